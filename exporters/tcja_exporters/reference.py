"""The trained network in PyTorch, as the reference that exported models are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tcja_exporters.neurons import spiking_neurons
from tcja_runtime.bundle import Layer
from tcja_runtime.frames import Floats, InputContract
from tcja_runtime.trace import Spikes, Trace


def run(network: nn.Module, inputs: Floats, dtype: torch.dtype = torch.float32) -> Trace:
    """Run a network over windows [N, ...] and record every spike.

    Args:
        network: in eval mode; its weights are converted to `dtype` and stay so.
        inputs: float32.
        dtype: the precision to compute in.
    """
    network.to(dtype)
    spikes: dict[str, Spikes] = {}
    with torch.inference_mode(), _observed(network, lambda name, s: spikes.__setitem__(name, s.bool().numpy())):
        output = network(torch.from_numpy(inputs).to(dtype))
    return Trace(output.numpy(), spikes)


def layers(network: nn.Module, contract: InputContract) -> list[Layer]:
    """The spiking layers in the order they fire, found without computing anything."""
    specs = {name: neuron.spec for name, neuron in spiking_neurons(network).items()}
    found: list[Layer] = []

    def note(name: str, spikes: Tensor) -> None:
        found.append(Layer(name=name, shape=tuple(spikes.shape[2:]), neuron=specs[name]))

    with _observed(network, note), torch.device("meta"):
        torch.func.functional_call(network, _meta(network), torch.empty(1, *contract.shape))
    return found


def _meta(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.to("meta") for name, tensor in network.state_dict().items()}


@contextmanager
def _observed(network: nn.Module, note: Any) -> Iterator[None]:
    """Within, every spiking layer's spikes [T, N, ...] are noted under its name when it fires."""

    def hook(name: str) -> Any:
        def observe(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            note(name, output)

        return observe

    handles = [neuron.register_forward_hook(hook(name)) for name, neuron in spiking_neurons(network).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
