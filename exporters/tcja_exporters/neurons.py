"""The spiking neuron as a torch module; its equations and constants are `tcja_runtime.neuron`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tcja_exporters import custom_op
from tcja_exporters.surrogates import Surrogate
from tcja_runtime.neuron import NeuronSpec


class SpikingNeuron(nn.Module):
    """A layer of identical neurons that runs over a whole window.

    It starts every call from rest and keeps nothing between calls, so no stale membrane can reach an export. It has
    no parameters: a checkpoint does not store a neuron's constants. In an ONNX export it is one `custom_op` node.

    Shapes: currents [T, ...] -> spikes (0 or 1) [T, ...], same dtype.

    Attributes:
        spec: the neuron's constants and order of operations.
        surrogate: the spike function while training; None is the Heaviside step.
    """

    def __init__(self, spec: NeuronSpec) -> None:
        super().__init__()
        self.spec = spec
        self.surrogate: Surrogate | None = None

    def forward(self, current: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            return self._symbolic(current)
        v = torch.full_like(current[0], self.spec.v_reset)
        spikes = []
        for x in current.unbind(0):
            h = self.spec.charge(v, x)
            if self.surrogate is None:
                s = self.spec.fires(h)
            else:
                s = self.surrogate(h - self.spec.threshold, self.spec.strict)
            # The reset is not differentiated, as in the published training (detach_reset=True).
            v = self.spec.after(h, s.detach().to(h.dtype))
            spikes.append(s)
        return torch.stack(spikes).to(current.dtype)

    def _symbolic(self, current: Tensor) -> Tensor:
        """The operator that stands for this layer in a model, instead of the loop over time."""
        spikes: Tensor = torch.onnx.ops.symbolic(
            f"{custom_op.DOMAIN}::{custom_op.NAME}",
            (current,),
            custom_op.attributes(self.spec),
            dtype=current.dtype,
            shape=current.shape,
            version=custom_op.VERSION,
        )
        return spikes


def set_surrogate(model: nn.Module, surrogate: Surrogate | None) -> None:
    """Give every spiking neuron of a model this spike function: a surrogate to train, None for the Heaviside step."""
    for neuron in spiking_neurons(model).values():
        neuron.surrogate = surrogate


def spiking_neurons(model: nn.Module) -> dict[str, SpikingNeuron]:
    """The spiking layers of a model by module name, in the order they were added."""
    return {name: module for name, module in model.named_modules() if isinstance(module, SpikingNeuron)}
