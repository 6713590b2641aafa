"""What is known of a library's neuron."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from tcja_runtime.neuron import NeuronSpec

Calls: TypeAlias = Literal["window", "step"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recognised:
    """A module that is a neuron.

    Attributes:
        spec: its constants.
        library: whose it is.
        calls: whether a call takes a whole window or one time step.
        time_axis: of a window.
        pairs: whether a call returns its spikes and a state.
    """

    spec: NeuronSpec
    library: str
    calls: Calls
    time_axis: int = 0
    pairs: bool = False


def class_name(module: nn.Module) -> str:
    """Package and class of a module, for messages: "snntorch.Leaky"."""
    kind = type(module)
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


def ancestors(module: nn.Module) -> set[str]:
    """Names of the classes that a module's class is made from."""
    return {kind.__name__ for kind in type(module).__mro__}


def scalar(name: str, value: Any) -> float:
    """A constant of a neuron, a number or a tensor of one.

    Raises:
        ValueError: it has several values.
    """
    if isinstance(value, torch.Tensor):
        if value.numel() != 1:
            raise ValueError(f"its {name} has {value.numel()} values; all neurons of a layer must share one")
        value = value.detach()
    return float(value)
