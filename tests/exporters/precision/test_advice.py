"""Predicted flips against those of the rounded network itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tcja_exporters.modules.neurons import spiking_neurons
from tcja_exporters.precision.advice import FLIPS_PER_SPIKE, advise
from tcja_exporters.reference import recorder

from ... import networks

SMALL = (*networks.SMALL.values(), networks.REGISTRY["tet_cifar10dvs"])


def half(values: Tensor, _axis: int | None) -> Tensor:
    return values.half().float()


def int8(values: Tensor, axis: int | None) -> Tensor:
    """127 steps of the largest magnitude of each output, or of all that is no spike."""
    if axis is None and bool(((values == 0) | (values == 1)).all() or (values == values.round()).all()):
        return values
    flat = values.flatten(1) if axis == 0 else values.reshape(1, -1)
    scale = (flat.abs().amax(1) / 127).reshape(-1, *(1,) * (values.ndim - 1))
    return torch.round(values / scale) * scale


def flips(network: nn.Module, inputs: np.ndarray, expected: dict[str, np.ndarray], rounded) -> dict[str, float]:
    """Share of spikes that differ in a network whose products are rounded, each layer fed the expected spikes."""
    for module in network.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            module.weight.data = rounded(module.weight.data, 0)
            module.register_forward_pre_hook(lambda _m, args: (rounded(args[0], None),))
    found = {}

    def forced(name: str, fired: Tensor, time_axis: int) -> Tensor:
        given = torch.from_numpy(expected[name]).movedim(0, time_axis)
        found[name] = float((fired.bool() != given).float().mean())
        return given.to(fired.dtype)

    for name, neuron in spiking_neurons(network).items():
        neuron.register_forward_hook(lambda n, _i, out, name=name: forced(name, out, n.time_axis))
    with torch.no_grad():
        network(torch.from_numpy(inputs))
    return found


@pytest.mark.parametrize("small", SMALL, ids=lambda small: small.name)
@pytest.mark.parametrize(("precision", "rounded"), [("fp16", half), ("int8", int8)])
def test_flips_are_as_predicted(small, precision, rounded):
    network, inputs = small.module(), small.inputs(12).numpy()
    signature = recorder.signature(network, small.network.contract(small.sizes), "rates", small.sizes.time_steps)
    layers, recorded = signature.layers, recorder.record(network, inputs, signature).reference
    (advice,) = (each for each in advise(network, inputs, recorded, layers) if each.precision == precision)
    measured = flips(small.module(), inputs, dict(recorded.spikes), rounded)
    compared = 0
    for layer in layers:
        seen = measured[layer.name] * recorded.spikes[layer.name].size
        if seen >= 30:  # fewer say little of a rate
            assert 1 / 3 < advice.flips[layer.name] / measured[layer.name] < 3
            compared += 1
    assert compared
    limit = FLIPS_PER_SPIKE[precision]
    fired = {name: spikes.mean() for name, spikes in recorded.spikes.items()}
    assert advice.per_spike == pytest.approx({name: rate / fired[name] for name, rate in advice.flips.items()})
    assert advice.keep == [name for name, rate in advice.flips.items() if rate > limit * fired[name]]
