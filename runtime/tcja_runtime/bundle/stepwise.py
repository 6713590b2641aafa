"""How a network is split to run stepwise: one frame at a time, so that few operations remain after the last frame.

    head.onnx    frame x_t [N, P, H, W], membranes v_{t-1} [N, ...]  ->  membranes v_t, features of that step [N, ...]
    tail.onnx    features of all steps [N, T, ...]                   ->  the network's output

The head is the part of the network before the first operation that mixes time steps. It runs one step, and the state of
its spiking layers is an input and an output. The tail is the rest of the network. It runs once for each window.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tcja_runtime.constant_arrays import Constant, array_of

HEAD = "head.onnx"
TAIL = "tail.onnx"

_LARGEST = 2**31
"""The limit of sizes: every size of a feature must be smaller."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class State:
    """A state of a stepwise network: the membranes of one spiking layer, which are kept from step to step.

    Attributes:
        layer: the name of the layer. The head's input and output are named after it
            (`tcja_runtime.model_file.tensor_names`).
        shape: the shape of the membranes without the batch.
        start: the membranes before the first step of a window: a number, or an array that broadcasts to the shape.
    """

    layer: str
    shape: tuple[int, ...]
    start: Constant

    @property
    def first(self) -> npt.NDArray[np.float32]:
        """The membranes before the first step: an array that broadcasts to [N, *shape], with as many axes."""
        array = array_of(self.start).astype(np.float32)
        return array.reshape((1,) * (1 + len(self.shape) - array.ndim) + array.shape)

    def membranes(self, n: int) -> npt.NDArray[np.float32]:
        """The membranes of n windows or streams before the first step, [n, *shape]."""
        return np.repeat(self.first + np.zeros(self.shape, np.float32), n, 0)


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
    """How a network is split into head and tail. All attributes are empty if the bundle has no head and tail.

    Attributes:
        frame: the name of the head's input that takes a frame, one time step of the network's input.
        states: the states that are kept from step to step.
        features: the tensors that are kept from each step until the window is complete.
    """

    frame: str = ""
    states: list[State] = dataclasses.field(default_factory=list)
    features: list[Feature] = dataclasses.field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.frame)

    def bytes(self, time_steps: int) -> int:
        """Returns the memory that one stream keeps, in bytes: its membranes, and the features of all steps of a window.

        Args:
            time_steps: T, the number of time steps in a window.
        """
        membranes = sum(math.prod(state.shape) for state in self.states)
        return 4 * (membranes + time_steps * sum(math.prod(feature.shape) for feature in self.features))

    def check(self, layers: Mapping[str, tuple[tuple[int, ...], Constant]]) -> None:
        """Check that the split fits the network of a bundle.

        Args:
            layers: for each spiking layer of the network, the shape of its neurons and their initial
                membranes.

        Raises:
            ValueError: a value is wrong, or a state does not fit a spiking layer of the network.
        """
        if not self and (self.states or self.features):
            raise ValueError("streaming has states or features, but no frame")
        for state in self.states:
            if layers.get(state.layer) != (state.shape, state.start):
                raise ValueError(
                    f"streaming: the network has no state of shape {state.shape} and start {state.start} of layer "
                    f"'{state.layer}'"
                )
        for feature in self.features:
            if not all(type(size) is int and 0 < size < _LARGEST for size in feature.shape):
                raise ValueError(f"streaming: {feature.name} cannot have the shape {feature.shape}")
        names = [*(state.layer for state in self.states), *(feature.name for feature in self.features)]
        if len(set(names)) < len(names) or (self and not (self.states and self.features)):
            raise ValueError(f"streaming has {', '.join(names) or 'nothing'}; it needs states and features, each once")
