"""The trained network in PyTorch, as the reference that exported models are compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
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
    calls: dict[str, list[Spikes]] = {}

    def note(name: str, fired: Tensor) -> None:
        calls.setdefault(name, []).append(fired.bool().numpy())

    with torch.inference_mode(), _observed(network, note):
        output = network(torch.from_numpy(inputs).to(dtype))
    spikes = {name: fired[0] if len(fired) == 1 else np.concatenate(fired) for name, fired in calls.items()}
    return Trace(output.numpy(), spikes)


def layers(network: nn.Module, contract: InputContract) -> list[Layer]:
    """The spiking layers in the order they fire, found without computing anything."""
    specs = {name: neuron.spec for name, neuron in spiking_neurons(network).items()}
    found: dict[str, Layer] = {}

    def note(name: str, spikes: Tensor) -> None:
        found[name] = Layer(name=name, shape=tuple(spikes.shape[2:]), neuron=specs[name])

    with _observed(network, note), torch.device("meta"):
        torch.func.functional_call(network, _meta(network), torch.empty(1, *contract.shape))
    return list(found.values())


def _meta(network: nn.Module) -> dict[str, Tensor]:
    tensors = (*network.named_parameters(), *network.named_buffers())
    return {name: tensor.to("meta") for name, tensor in tensors}


@contextmanager
def _observed(network: nn.Module, note: Callable[[str, Tensor], object]) -> Iterator[None]:
    """Within, spikes [steps, N, ...] are noted under their layer's name at each of its calls."""

    def hook(name: str) -> Any:
        return lambda neuron, _inputs, output: note(name, neuron.fired(output))

    handles = [neuron.register_forward_hook(hook(name)) for name, neuron in spiking_neurons(network).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
