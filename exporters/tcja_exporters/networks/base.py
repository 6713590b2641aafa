"""What the registry knows of a network."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from torch import nn

from tcja_exporters.modules.attention import ATTENTIONS, COMBINATIONS, Kernels
from tcja_exporters.modules.dialects import Dialect
from tcja_runtime.data.contract import InputContract

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of a state_dict's tensors by key."""

T = "T"
"""The setting that says the number of time steps where no tensor tells."""


class ShapeReader:
    """Reads sizes off a checkpoint's shapes, and takes what they cannot tell from the user's settings.

    A tensor that is missing, empty or of too few dimensions tells nothing: the next one is asked, and in the end the
    default taken, so that a checkpoint that lacks one can still be compared with the network as a whole.

    Attributes:
        variant: the choice of each of the network's variants that is being tried.
        settings: what the user says of the network.
        evidence: which tensor gave which size, a line each.
        conflicts: where tensors contradict each other or the user, a line each.
        unknown: what neither tensors nor settings tell, a line each.
    """

    def __init__(
        self, shapes: Shapes, variant: Mapping[str, str] | None = None, settings: Mapping[str, str] | None = None
    ) -> None:
        self._shapes = {key: shape for key, shape in shapes.items() if all(shape)}
        self.variant = variant or {}
        self.settings = settings or {}
        self.evidence: list[str] = []
        self.conflicts: list[str] = []
        self.unknown: list[str] = []

    def size(self, what: str, *places: tuple[str, int], default: int) -> int:
        """The length of a tensor's axis; a place is the tensor's key and the axis."""
        for key, axis in places:
            shape = self._shapes.get(key, ())
            if axis < len(shape):
                self.evidence.append(f"{what} = {shape[axis]} ({key})")
                return shape[axis]
        return default

    def time_steps(self, places: Iterable[tuple[str, int]], default: int) -> int:
        """T, from the axes of tensors, or else as the user says."""
        found = {key: self._shapes[key][axis] for key, axis in places if axis < len(self._shapes.get(key, ()))}
        said = int(self.settings.get(T, 0))
        if len(set(found.values())) > 1:
            differing = ", ".join(f"{t} in {key}" for key, t in found.items())
            self.conflicts.append(f"its tensors disagree on T: {differing}")
        if found:
            key, time_steps = next(iter(found.items()))
            self.evidence.append(f"T = {time_steps} ({key})")
            if said not in (0, time_steps):
                self.conflicts.append(f"T is {time_steps} in {key}, not {said} as `settings` says")
            return time_steps
        if said:
            self.evidence.append(f"T = {said} (as `settings` says; no tensor tells)")
            return said
        self.unknown.append(
            f"T, the number of time steps it was trained with (`settings` T={default}, if it was {default})"
        )
        return default

    def attention(
        self,
        prefixes: Sequence[str],
        published: Attention,
        *,
        conv: str = "conv",
        time_steps: Sequence[tuple[str, int]] = (),
    ) -> Attention:
        """What the attention blocks with these prefixes are, in the variant that is being tried.

        Args:
            prefixes: of the blocks' keys.
            published: what they are where nothing tells.
            conv: name of a block's convolution over channels [T, T, k_t].
            time_steps: axes of other tensors that tell T.
        """
        kind = self.choice("attention", ATTENTIONS)
        over_channels, over_time = kind in ("tcja", "cla"), kind in ("tcja", "tla")
        places = [(f"{prefix}.{conv}.weight", 0) for prefix in prefixes if over_channels]
        found = self.time_steps([*places, *time_steps], published.time_steps)
        kernels = tuple(
            (
                self.size(f"k_t of {prefix}", (f"{prefix}.{conv}.weight", 2), default=k_t) if over_channels else 0,
                self.size(f"k_c of {prefix}", (f"{prefix}.conv_c.weight", 2), default=k_c) if over_time else 0,
            )
            for prefix, (k_t, k_c) in zip(prefixes, published.kernels, strict=True)
        )
        combine = self.setting("combine", COMBINATIONS) if kind == "tcja" else COMBINATIONS[0]
        return Attention(kind, combine, found, kernels)

    def choice(self, variant: str, choices: Sequence[str]) -> str:
        """A choice that the keys tell: the one that is being tried, or the published, which is the first."""
        chosen = self.variant.get(variant, choices[0])
        if chosen != choices[0]:
            self.evidence.append(f"{variant} = {chosen} (by its keys)")
        return chosen

    def setting(self, name: str, choices: Sequence[str]) -> str:
        """A choice that no checkpoint tells: the user's, or the first."""
        chosen = self.settings.get(name, choices[0])
        others = " or ".join(f"`settings` {name}={choice}" for choice in choices if choice != chosen)
        self.evidence.append(f"{name} = {chosen} (no checkpoint tells; else {others})")
        return chosen

    def map_side(self, key: str, channels: int, published: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the map that a fully connected layer [out, channels * height * width] takes.

        A map of the published area has the published sides, another is taken for a square.
        """
        shape = self._shapes.get(key, ())
        features = shape[1] if len(shape) > 1 else channels * math.prod(published)
        area = features // channels
        height, width = published if area == math.prod(published) else (math.isqrt(area),) * 2
        if channels * height * width != features:
            self.conflicts.append(f"{key} takes {features} inputs, which are not {channels} channels of a square map")
        elif len(shape) > 1:
            self.evidence.append(f"map before the classifier = {height}x{width} ({key})")
        return max(height, 1), max(width, 1)

    def voted_classes(self, key: str, voters: int, default: int) -> int:
        """Number of classes of a last layer [classes * voters, in]."""
        if voters == 1:
            return self.size("classes", (key, 0), default=default)
        units = self._shapes.get(key, (default * voters,))[0]
        if units % voters:
            self.conflicts.append(f"{key} has {units} outputs, which are not {voters} for each class")
        elif key in self._shapes:
            self.evidence.append(f"classes = {units // voters} ({key}, {voters} units a class)")
        return max(units // voters, 1)


class Attention(NamedTuple):
    """What a network's attention blocks are.

    The published TCJA is ``Attention("tcja", "product", T, kernels)``.
    """

    kind: str
    """One of `attention.ATTENTIONS`."""
    combine: str
    """One of `attention.COMBINATIONS`."""
    time_steps: int
    """T, of the whole network."""
    kernels: tuple[Kernels, ...]
    """(k_t, k_c) of each block."""


class Sizes(Protocol):
    """What a checkpoint's shapes and the user's settings decide; each network has its own."""

    @property
    def time_steps(self) -> int:
        """T."""
        ...


SizesT = TypeVar("SizesT", bound=Sizes)


class Network(abc.ABC, Generic[SizesT]):
    """A family of networks that differ only in what a checkpoint's shapes and the user's settings tell.

    A subclass is a module of this package, which offers an instance of it as NETWORK.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line: what it is."""
    dialect: ClassVar[Dialect]
    """The training code that its checkpoints come from."""
    output: ClassVar[str]
    """Name of the ONNX output: "rates" for firing rates, "logits" for the values before a softmax, "image"."""
    variants: ClassVar[Mapping[str, tuple[str, ...]]] = {"attention": ATTENTIONS}
    """Choices that the keys of a checkpoint tell, by name; the published one is the first."""
    settings: ClassVar[Mapping[str, tuple[str, ...]]] = {"combine": COMBINATIONS}
    """Choices that no checkpoint tells, by name; the published one is the first."""
    undeployed: ClassVar[tuple[str, ...]] = ()
    """Prefixes of the keys of what is trained with the network and not needed to run it."""

    @abc.abstractmethod
    def sizes(self, reader: ShapeReader) -> SizesT:
        """What shapes and settings tell; the published sizes where they tell nothing."""

    @abc.abstractmethod
    def build(self, sizes: SizesT) -> nn.Module:
        """The network with these sizes, its keys those of the published checkpoints."""

    @abc.abstractmethod
    def contract(self, sizes: SizesT) -> InputContract:
        """What it takes in."""

    @abc.abstractmethod
    def classes(self, sizes: SizesT) -> tuple[str, ...]:
        """Class names in the order of the output; none if it does not classify."""

    def dialect_of(self, sizes: SizesT) -> Dialect:  # noqa: ARG002  # most networks have one
        """The training code whose neurons a network of these sizes has."""
        return self.dialect

    def told_by(self, sizes: SizesT) -> str | None:  # noqa: ARG002  # most networks have keys of their own
        """What of these sizes tells it from networks with the same keys, if anything does."""
        return None

    def canonical(self, key: str) -> str:
        """The key under which the network has a tensor that published checkpoints hold several times over."""
        return key


AnyNetwork = Network[Any]


def named_or_numbered(names: tuple[str, ...], classes: int) -> tuple[str, ...]:
    """The data set's class names if there are as many as classes, else their numbers."""
    return names if len(names) == classes else tuple(map(str, range(classes)))
