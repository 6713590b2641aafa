"""How a network is split to run stepwise: a frame at a time, so that little is left to do after the last frame.

    head.onnx    frame x_t [N, P, H, W], membranes v_{t-1} [N, ...]  ->  membranes v_t, features of that step [N, ...]
    tail.onnx    features of all steps [N, T, ...]                   ->  the network's output

The head is the part of the network that computes each time step on its own. It runs one step, and the state of its
spiking layers is an input and an output. The tail is the rest, from the first operation on that mixes time steps.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

HEAD = "head.onnx"
TAIL = "tail.onnx"

_LARGEST = 2**31
"""All sizes are below this."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """The state of a stepwise network: the membranes of a spiking layer, which it keeps from step to step.

    Attributes:
        layer: the name of the layer. The head's input and output are named after it
            (`tcja_runtime.model_file.tensor_names`).
        shape: the shape of the membranes without the batch.
        start: the value of each membrane before the first step of a window.
    """

    layer: str
    shape: tuple[int, ...]
    start: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feature:
    """A tensor that the head returns at each step, [N, *shape], and the tail takes for all steps, [N, T, *shape].

    Attributes:
        name: the name of the tensor in the whole model. The head's output and the tail's input are named after it
            (`tcja_runtime.model_file.tensor_names`).
        shape: the shape without time and batch.
    """

    name: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Streaming:
    """How a network is split into head and tail; everything is empty where it is not.

    Attributes:
        frame: the name of the head's input, which is one time step of the network's input.
        states: the states that are kept from step to step.
        features: the features that are kept until the window is complete.
    """

    frame: str = ""
    states: list[State] = dataclasses.field(default_factory=list)
    features: list[Feature] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.frame)

    def bytes(self, time_steps: int) -> int:
        """The bytes of state that a stream keeps: its membranes, and the features of a window of `time_steps`."""
        membranes = sum(math.prod(state.shape) for state in self.states)
        return 4 * (membranes + time_steps * sum(math.prod(feature.shape) for feature in self.features))

    def check(self, layers: Mapping[str, tuple[tuple[int, ...], float]]) -> None:
        """Check that the split belongs to a network.

        Args:
            layers: for each spiking layer, the shape of its neurons and the value that their membranes start from.

        Raises:
            ValueError: it belongs to another network.
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
        """The inverse of `dataclasses.asdict`, also from JSON."""
        return cls(
            frame=fields["frame"],
            states=[State(**{**f, "shape": tuple(f["shape"])}) for f in fields["states"]],
            features=[Feature(**{**f, "shape": tuple(f["shape"])}) for f in fields["features"]],
        )
