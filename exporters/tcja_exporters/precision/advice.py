r"""What a lower precision would cost, layer by layer, before any engine is built.

Each layer is fed the reference's spikes, its weights and inputs rounded as the precision rounds them. The membranes of
sampled neurons, made to fire as the reference did, are then off by

    sigma         the root mean square of h' - h over the layer

and a neuron at a distance m from its threshold fires otherwise if an error, taken for normal, passes the threshold.
With the density p of the distances near 0 that is, in the mean over all neurons and time steps,

    flip rate     integral over m of p Q(m / sigma)  =  p sigma / sqrt(2 pi),        p = share of m < near / near

where near is NEAR of the threshold or more, so that enough of the sampled membranes tell p.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tcja_exporters.modules.neurons import spiking_neurons
from tcja_runtime.bundle.signature import Layer
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.trace import Reference, Witnesses
from tcja_runtime.neuron import membranes

FLIPS_PER_SPIKE = {"fp16": 1e-3, "int8": 1e-1}
"""Layers that would flip more often, by precision, are better kept in float32: what is behind them then sees few other
spikes. Half is meant to change next to nothing, and rounds the currents of any layer so that some 4e-4 of its spikes
flip; 8 bits flip one in a hundred, and one in twenty where a
layer takes what is no spikes, of which neither cost the trained example accuracy."""
NEAR = 0.1

_Rounding = Callable[[Tensor, int | None], Tensor]


def advise(network: nn.Module, inputs: Floats, reference: Reference, layers: Sequence[Layer]) -> list[Advice]:
    """Predict each layer's flips in every lower precision.

    Args:
        network: in eval mode; its weights are converted to float32 and stay so.
        inputs: windows [N, ...].
        reference: what the network did with them.
        layers: its spiking layers.
    """
    network.to(torch.float32)
    found = []
    for precision, rounding in _ROUNDINGS.items():
        currents = _currents(_rounded(network, rounding), inputs, reference)
        flips = {layer.name: _flips(layer, reference, currents[layer.name].astype(np.float64)) for layer in layers}
        limit = FLIPS_PER_SPIKE[precision]
        keep = [name for name, rate in flips.items() if rate > limit * reference.spikes[name].mean()]
        found.append(Advice(precision=precision, flips=flips, keep=keep))
    return found


def _flips(layer: Layer, reference: Reference, rounded: npt.NDArray[Any]) -> float:
    neuron, witnesses = layer.neuron, reference.witnesses[layer.name]
    # Witnesses that were taken because they are near would make that look common.
    sampled = np.isin(witnesses.element, stimulus.places(layer.shape, stimulus.REAL_PLACES))
    fired = witnesses.of(reference.spikes[layer.name])[:, sampled]
    h = membranes(neuron, witnesses.values[:, sampled], fired)
    sigma = float(np.sqrt(np.mean((membranes(neuron, rounded[:, sampled], fired) - h) ** 2)))
    near = max(NEAR * abs(neuron.threshold), 3 * sigma)
    density = float(np.mean(np.abs(h - neuron.threshold) < near)) / near
    return min(density * sigma / math.sqrt(2 * math.pi), 0.5)


def _currents(network: nn.Module, inputs: Floats, reference: Reference) -> dict[str, npt.NDArray[Any]]:
    """The witnesses' currents [T, K] by layer, every layer fed the reference's spikes."""
    found: dict[str, list[npt.NDArray[Any]]] = {}

    def answer(name: str, witnesses: Witnesses) -> Callable[[Tensor], Tensor]:
        def stand_in(current: Tensor) -> Tensor:
            parts = found.setdefault(name, [])
            done = sum(map(len, parts))
            parts.append(witnesses.of(current.numpy()))
            given = reference.spikes[name][done : done + len(current)]
            return torch.from_numpy(given).to(current.dtype)

        return stand_in

    neurons = spiking_neurons(network)
    for name in reference.spikes:  # those of a layer that is never called are none of them
        neurons[name].stand_in = answer(name, reference.witnesses[name])
    with torch.inference_mode():
        network(torch.from_numpy(inputs))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _rounded(network: nn.Module, rounding: _Rounding) -> nn.Module:
    """A copy of a network with rounded weights, whose convolutions and products round what they take."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            axis = 1 if isinstance(module, nn.ConvTranspose2d) else 0
            module.weight.data = rounding(module.weight.data, axis)
            module.register_forward_pre_hook(lambda _module, args: (rounding(args[0], None), *args[1:]))
    return copied


def _half(values: Tensor, _axis: int | None) -> Tensor:
    return values.half().to(values.dtype)


def _int8(values: Tensor, axis: int | None) -> Tensor:
    """Symmetric, one scale for each index of an axis or for all; whole numbers, such as spikes, stay as they are."""
    if axis is None and bool((values == values.round()).all()):
        return values
    axes = [i for i in range(values.ndim) if i != axis]
    largest = values.abs().amax(axes, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    scale = largest / 127
    return (values / scale).round() * scale


_ROUNDINGS: Mapping[str, _Rounding] = {"fp16": _half, "int8": _int8}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Advice:
    """What a precision would do to a network.

    Attributes:
        precision: "fp16" or "int8".
        flips: by layer, the predicted share of neurons and time steps that fire otherwise.
        keep: layers that are better kept in float32.
    """

    precision: str
    flips: dict[str, float]
    keep: list[str]
