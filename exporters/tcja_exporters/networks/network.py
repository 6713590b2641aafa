"""What the registry knows of a network."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import nn

from tcja_exporters.dialects import Dialect
from tcja_runtime.frames import InputContract

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of a state_dict's tensors by key."""


class ShapeReader:
    """Reads sizes off a checkpoint's shapes.

    A tensor that is missing, empty or of too few dimensions tells nothing: the next one is asked, and in the end the
    default taken, so that a checkpoint that lacks one can still be compared with the network as a whole.

    Attributes:
        evidence: which tensor gave which size, a line each.
        conflicts: where tensors contradict each other, a line each.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = {key: shape for key, shape in shapes.items() if all(shape)}
        self.evidence: list[str] = []
        self.conflicts: list[str] = []

    def size(self, what: str, *places: tuple[str, int], default: int) -> int:
        """The length of a tensor's axis; a place is the tensor's key and the axis."""
        for key, axis in places:
            shape = self._shapes.get(key, ())
            if axis < len(shape):
                self.evidence.append(f"{what} = {shape[axis]} ({key})")
                return shape[axis]
        return default

    def time_steps(self, attention: Iterable[str], default: int) -> int:
        """T, from the convolutions over channels [T, T, k_t] of the attention blocks with these prefixes."""
        places = [(f"{prefix}.conv.weight", 0) for prefix in attention]
        found = {key: self._shapes[key][axis] for key, axis in places if self._shapes.get(key)}
        if len(set(found.values())) > 1:
            said = ", ".join(f"{t} in {key}" for key, t in found.items())
            self.conflicts.append(f"the attention blocks disagree on T: {said}")
        return self.size("T", *places, default=default)

    def kernels(self, attention: str, default: tuple[int, int]) -> tuple[int, int]:
        """(k_t, k_c) of the attention block with this prefix."""
        return (
            self.size(f"k_t of {attention}", (f"{attention}.conv.weight", 2), default=default[0]),
            self.size(f"k_c of {attention}", (f"{attention}.conv_c.weight", 2), default=default[1]),
        )

    def side(self, key: str, channels: int, default: int) -> int:
        """Side of the square map that a fully connected layer [out, channels * side * side] takes."""
        shape = self._shapes.get(key, ())
        features = shape[1] if len(shape) > 1 else channels * default * default
        side = math.isqrt(features // channels)
        if channels * side * side != features:
            self.conflicts.append(f"{key} takes {features} inputs, which are not {channels} channels of a square map")
        elif len(shape) > 1:
            self.evidence.append(f"map before the classifier = {side}x{side} ({key})")
        return max(side, 1)

    def voted_classes(self, key: str, voters: int, default: int) -> int:
        """Number of classes of a last layer [classes * voters, in]."""
        units = self._shapes.get(key, (default * voters,))[0]
        if units % voters:
            self.conflicts.append(f"{key} has {units} outputs, which are not {voters} for each class")
        elif key in self._shapes:
            self.evidence.append(f"classes = {units // voters} ({key}, {voters} units a class)")
        return max(units // voters, 1)


class Sizes(Protocol):
    """What a checkpoint's shapes decide; each network has its own."""

    @property
    def time_steps(self) -> int:
        """T."""
        ...


SizesT = TypeVar("SizesT", bound=Sizes)


class Network(abc.ABC, Generic[SizesT]):
    """A family of networks that differ only in what a checkpoint's shapes tell.

    A subclass adds a module to this package, and itself to `tcja_exporters.networks.NETWORKS`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line: what it is."""
    dialect: ClassVar[Dialect]
    """The training code that its checkpoints come from."""
    output: ClassVar[str]
    """Name of the ONNX output: "rates" for firing rates, "logits" for the values before a softmax."""

    @abc.abstractmethod
    def sizes(self, reader: ShapeReader) -> SizesT:
        """What the shapes tell; the published sizes where they tell nothing."""

    @abc.abstractmethod
    def build(self, sizes: SizesT) -> nn.Module:
        """The network with these sizes, its keys those of the published checkpoints."""

    @abc.abstractmethod
    def contract(self, sizes: SizesT) -> InputContract:
        """What it takes in."""

    @abc.abstractmethod
    def classes(self, sizes: SizesT) -> tuple[str, ...]:
        """Class names in the order of the output."""


AnyNetwork = Network[Any]


def named_or_numbered(names: tuple[str, ...], classes: int) -> tuple[str, ...]:
    """The data set's class names if there are as many as classes, else their numbers."""
    return names if len(names) == classes else tuple(map(str, range(classes)))
