"""Neurons that fire several spikes in a time step (integer neurons), of neurons that fire one.

Equations, with the current x of a time step and the largest number of spikes D:

    h = gain x
    s = clip(round(h), 0, D) / size

s is the number of thresholds d - 1/2, for d from 1 to D, that h reaches, divided by `size`. So an integer neuron is D
neurons without a loop, one for each threshold, and their sum, which is exact. `round` rounds halves to even numbers:
0.5 to 0, 1.5 to 2. So h must be above the thresholds of odd d, and may be at those of even d.

Sources: Luo et al., "Integer-Valued Training and Spike-Driven Inference Spiking Neural Network for High-performance and
Energy-efficient Object Detection" (SpikeYOLO), ECCV (2024), arXiv:2407.20708; Yao et al., "Scaling Spike-driven
Transformer with Efficient Spike Firing Approximation Training" (2024), arXiv:2411.16061.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from torch import Tensor, nn

from tcja_exporters.modules.neurons import SpikingNeuron, SteppedNeuron
from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerSpec:
    """The constants of a layer of integer neurons, which keep nothing from step to step.

    Attributes:
        most: the largest number of spikes in a time step, D.
        size: what the number of spikes is divided by, such as 4 in Spike-driven Transformer V3.
        gain: the factor of the input current.
        rounds_up: whether halves are rounded up, as by floor(h + 0.5); if False, to even numbers, as by `torch.round`.

    Raises:
        ValueError: a constant is out of range.
    """

    most: int
    size: float = 1.0
    gain: float = 1.0
    rounds_up: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.most <= 64:
            raise ValueError(f"an integer neuron fires from 1 to 64 spikes in a time step, got {self.most}")
        if not (self.size > 0 and self.gain > 0):
            raise ValueError(f"size and gain must be above 0, got {self.size} and {self.gain}")

    def level(self, d: int) -> NeuronSpec:
        """Return the neuron that fires the spike d, from 1 to `most`."""
        strict = d % 2 == 1 and not self.rounds_up
        return NeuronSpec.linear(decay=0.0, gain=self.gain, threshold=d - 0.5, strict=strict, reset="none")


class IntegerNeuron(nn.Module):
    """A layer of integer neurons, by the equations of this file; its children are the layers of one spike each.

    Shapes: currents -> spikes, as `SpikingNeuron` takes and returns them, or `SteppedNeuron` if `stepped` is true.

    Args:
        spec: the constants of the neurons.
        time_axis: the axis of time in a window.
        stepped: whether a call takes one time step.
        pairs: whether a call returns the pair (spikes, None).
        once: whether the network that is replaced has a membrane, so that only windows of one time step are the same.
    """

    def __init__(
        self, spec: IntegerSpec, *, time_axis: int = 0, stepped: bool = False, pairs: bool = False, once: bool = False
    ) -> None:
        super().__init__()
        self.spec, self.time_axis, self.pairs, self.once = spec, time_axis, pairs, once
        for d in range(1, spec.most + 1):
            level = spec.level(d)
            self.add_module(f"spike{d}", SteppedNeuron(level) if stepped else SpikingNeuron(level, time_axis=time_axis))

    def forward(self, current: Tensor, *_states: Any, **_named_states: Any) -> Any:
        levels = [*self.children()]
        if self.once and self._steps_so_far(current) > 1:
            raise BadInput(
                "a neuron that fires several spikes in a time step keeps a membrane, which is reset by their number; "
                "such neurons (ILIFNode) can be exported for windows of one time step only"
            )
        spikes = levels[0](current)
        for level in levels[1:]:
            spikes = spikes + level(current)
        spikes = spikes / self.spec.size if self.spec.size != 1.0 else spikes
        return (spikes, None) if self.pairs else spikes

    def _steps_so_far(self, current: Tensor) -> int:
        """Return the number of time steps of this call and those before, or 2 if there are several."""
        first: Any = next(self.children())
        if isinstance(first, SteppedNeuron):
            return 1 if first.rests else 2
        return current.shape[self.time_axis]
