"""How a network is split to be streamed: frame by frame, so that little is left to do when a window's last has come.

    head.onnx    frame x_t [N, P, H, W], membranes v_{t-1} [N, ...]  ->  membranes v_t, features of that step [N, ...]
    tail.onnx    features of all steps [N, T, ...]                   ->  the network's output

The head is what of the network acts on each time step alone, at one step; its spiking layers have their state in the
open. The tail is the rest, from the first operation on that mixes steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

HEAD = "head.onnx"
TAIL = "tail.onnx"

_LARGEST = 2**31
"""No size is as large."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """What a streamed network keeps from step to step: the membranes of a spiking layer.

    Attributes:
        layer: its name, which the head's input and output of them are named after (`tcja_runtime.model_file.subgraph`).
        shape: without the batch.
        start: what each is before the first step of a window.
    """

    layer: str
    shape: tuple[int, ...]
    start: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feature:
    """What a streamed network's head returns at each step, [N, *shape], and its tail takes at once, [N, T, *shape].

    Attributes:
        name: of the tensor, which the head's output and the tail's input are named after
            (`tcja_runtime.model_file.subgraph`).
        shape: without time and batch.
    """

    name: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Streaming:
    """How a bundle's network is streamed; all is empty where it is not.

    Attributes:
        frame: name of the head's input, one step of the network's.
        states: what is kept from step to step.
        features: what is kept until a window is whole.
    """

    frame: str = ""
    states: list[State] = dataclasses.field(default_factory=list)
    features: list[Feature] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.frame)

    def bytes(self, time_steps: int) -> int:
        """What a stream keeps: its membranes, and the features of a window of so many steps."""
        membranes = sum(math.prod(state.shape) for state in self.states)
        return 4 * (membranes + time_steps * sum(math.prod(feature.shape) for feature in self.features))

    def check(self, layers: Mapping[str, tuple[tuple[int, ...], float]]) -> None:
        """Check it against a network's spiking layers: the shape of their neurons, and what their membranes start from.

        Raises:
            ValueError: it is of another network.
        """
        if not isinstance(self.frame, str):
            raise ValueError(f"streaming's frame is {self.frame!r}")
        if not self and (self.states or self.features):
            raise ValueError("streaming has no frame")
        for state in self.states:
            if layers.get(state.layer) != (state.shape, state.start):
                raise ValueError(f"streaming keeps {state.shape} from {state.start} of layer '{state.layer}'")
        for feature in self.features:
            if not all(type(size) is int and 0 < size < _LARGEST for size in feature.shape):
                raise ValueError(f"streaming keeps {feature.name} of shape {feature.shape}")
        names = [*(state.layer for state in self.states), *(feature.name for feature in self.features)]
        if len(set(names)) < len(names) or (self and not (self.states and self.features)):
            raise ValueError(f"streaming keeps {', '.join(names) or 'nothing'}")

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Streaming:
        """The inverse of `dataclasses.asdict`, from JSON too."""
        return cls(
            frame=fields["frame"],
            states=[State(**{**f, "shape": tuple(f["shape"])}) for f in fields["states"]],
            features=[Feature(**{**f, "shape": tuple(f["shape"])}) for f in fields["features"]],
        )
