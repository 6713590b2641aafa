"""The record of a recognised neuron, and functions that the modules of this folder share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from tcja_exporters.modules.integer import IntegerNeuron, IntegerSpec
from tcja_exporters.modules.neurons import SpikingNeuron, SteppedNeuron
from tcja_runtime.neuron import NeuronSpec

Calls: TypeAlias = Literal["window", "step"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recognised:
    """A neuron of another library.

    Attributes:
        spec: the constants of the neuron.
        library: the name of the library; "own" for a registered neuron.
        calls: "window" if one call takes the currents of a whole window, "step" if it takes those of one time step.
        time_axis: the axis of time in a window, such as 0 for [T, N, ...].
        pairs: whether a call returns the pair (spikes, state), not the spikes alone.
        most: the largest number of spikes of a neuron in a time step, 1 but for integer neurons.
        size: what the number of spikes is divided by; 1 but for some integer neurons.
        result: the place of the spikes, or of an integrator's membranes, in what a call returns, if several values.
        build: a function that returns a new module which computes what this neuron computes, of more than a neuron with
            the constants `spec`; None if such a neuron is enough. It copies the parameters that it takes.

    Each of `calls`, `time_axis` and `pairs` is None if it is not known yet (`tcja_exporters.user_models.usage`).
    """

    spec: NeuronSpec
    library: str
    calls: Calls | None
    time_axis: int | None = 0
    pairs: bool | None = False
    most: int = 1
    size: float = 1.0
    result: int = 0
    build: Callable[[Recognised], nn.Module] | None = dataclasses.field(default=None, compare=False)

    @classmethod
    def integer(cls, spec: IntegerSpec, library: str, calls: Calls | None, *, once: bool = False) -> Recognised:
        """The integer neuron with these constants; the other arguments are as in `IntegerNeuron` and in this class."""

        def build(known: Recognised) -> nn.Module:
            return IntegerNeuron(
                spec,
                time_axis=known.time_axis or 0,
                stepped=known.calls == "step",
                pairs=bool(known.pairs),
                once=once,
            )

        return cls(spec=spec.level(1), library=library, calls=calls, most=spec.most, size=spec.size, build=build)

    @property
    def values(self) -> str:
        """The values that its spikes have, for messages: "0 and 1", or "0 to 4, divided by 4"."""
        divided = f", divided by {self.size:g}" if self.size != 1.0 else ""
        return f"0 to {self.most}{divided}" if self.most > 1 else f"0 and 1{divided}"

    def fires(self, spikes: torch.Tensor) -> bool:
        """Whether all values of a tensor are numbers of spikes that this neuron can fire, divided by `size`."""
        counts = torch.arange(self.most + 1, dtype=spikes.dtype, device=spikes.device) / self.size
        return bool(torch.isin(spikes, counts).all())

    def result_of(self, output: Any) -> torch.Tensor:
        """Return the spikes or membranes [steps, N, ...] in what one call of the neuron returned."""
        found: Any = output[self.result] if self.pairs else output
        if isinstance(found, (tuple, list)):  # an integrator that returns a list of its membranes
            return torch.stack(list(found))
        result: torch.Tensor = found.movedim(self.time_axis or 0, 0) if self.calls == "window" else found.unsqueeze(0)
        return result

    def replacement(self) -> nn.Module:
        """Return a new module that computes what this neuron computes, at rest. It is called in the same way."""
        if self.build is not None:
            return self.build(self)
        if self.calls == "window":
            return SpikingNeuron(self.spec, time_axis=self.time_axis or 0, pairs=bool(self.pairs))
        return SteppedNeuron(self.spec, pairs=bool(self.pairs))


def class_name(module: nn.Module) -> str:
    """Return the package and class of a module, for messages, such as "snntorch.Leaky"."""
    kind = type(module)
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def ancestors(module: nn.Module) -> set[str]:
    """Return the names of a module's class and of all its base classes."""
    return {kind.__name__ for kind in type(module).__mro__}


def scalar(name: str, value: Any) -> float:
    """Return a constant of a neuron as a float.

    Args:
        name: the name of the constant, for messages.
        value: a number, or a tensor of one element.

    Raises:
        ValueError: the tensor does not have exactly one element.
    """
    if isinstance(value, torch.Tensor):
        if value.numel() != 1:
            raise ValueError(f"its {name} has {value.numel()} values; all neurons of a layer must share one")
        value = value.detach()
    return float(value)
