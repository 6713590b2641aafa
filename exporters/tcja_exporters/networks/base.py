"""The entry of a network in the registry, and the reader of the sizes of its checkpoints."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

from torch import nn

from tcja_exporters.modules.attention import ATTENTIONS, COMBINATIONS, Kernels
from tcja_exporters.modules.dialects import Dialect
from tcja_runtime.bundle.manifest import CHECK
from tcja_runtime.data.contract import InputContract

Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of a state_dict's tensors, by key."""

T = "T"
"""The name of the setting for the number of time steps. Networks without a tensor that has an axis of time need it."""


@dataclasses.dataclass
class ShapeReader:
    """Reads the sizes of a network from the shapes of a checkpoint's tensors, and some from the user's settings.

    Each size can be read from several tensors. A tensor that is missing, empty or has too few axes is skipped. If all
    of them are skipped, the size is a default. So an incomplete checkpoint can still be compared with the network.

    Attributes:
        shapes: the shapes of the checkpoint's tensors.
        variant: the choice for each variant of the network, by the variant's name, such as {"attention": "tla"}. A
            variant without an entry has the published choice.
        settings: the user's settings, by name, such as {"T": "10"}.
        evidence: the sizes that were read and where, a line each, such as "T = 10 (conv.3.conv.weight)".
        conflicts: the contradictions between tensors, or between a tensor and a setting, a line each.
        unknown: the sizes that were found neither in a tensor nor in the settings, a line each.
    """

    shapes: Shapes
    variant: Mapping[str, str] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    evidence: list[str] = dataclasses.field(default_factory=list)
    conflicts: list[str] = dataclasses.field(default_factory=list)
    unknown: list[str] = dataclasses.field(default_factory=list)

    def _shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of a tensor; () if the tensor is missing or empty."""
        shape = self.shapes.get(key, ())
        return shape if all(shape) else ()

    def size(self, what: str, *places: tuple[str, int], default: int) -> int:
        """Return a size of the network, which is the length of an axis of a tensor.

        Args:
            what: the name of the size, for `evidence`, such as "channels".
            places: pairs (key of a tensor, axis) that have this length. The first one in the checkpoint is read.
            default: the result if none of the places is in the checkpoint.
        """
        for key, axis in places:
            shape = self._shape(key)
            if axis < len(shape):
                self.evidence.append(f"{what} = {shape[axis]} ({key})")
                return shape[axis]
        return default

    def time_steps(self, places: Iterable[tuple[str, int]], default: int) -> int:
        """Return T, read from tensors, or from the user's settings if none of the tensors exists.

        Args:
            places: pairs (key of a tensor, axis) that have the length T.
            default: the result if T is not in the settings either; `unknown` then gets a line.
        """
        found = {key: self._shape(key)[axis] for key, axis in places if axis < len(self._shape(key))}
        given = int(self.settings.get(T, 0))
        if len(set(found.values())) > 1:
            differing = ", ".join(f"{t} in {key}" for key, t in found.items())
            self.conflicts.append(f"its tensors disagree on T: {differing}")
        if found:
            key, time_steps = next(iter(found.items()))
            self.evidence.append(f"T = {time_steps} ({key})")
            if given not in (0, time_steps):
                self.conflicts.append(f"T is {time_steps} in {key}, not {given} as `settings` says")
            return time_steps
        if given:
            self.evidence.append(f"T = {given} (as requested; the checkpoint does not store it)")
            return given
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
        """Return the attention blocks of the network: their kind is in `variant`, their sizes are read.

        Args:
            prefixes: the prefixes of the blocks' keys.
            published: the attention blocks of the published network, whose sizes are the defaults.
            conv: the name of a block's convolution over channels, whose weight is [T, T, k_t].
            time_steps: pairs (key of a tensor, axis) outside the blocks that have the length T.
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
        """Return the choice for a variant, which is recognised by the keys of the checkpoint.

        It is the entry in `variant`; without an entry, the published choice.

        Args:
            variant: the name of the variant.
            choices: all choices, the published one first.
        """
        chosen = self.variant.get(variant, choices[0])
        if chosen != choices[0]:
            self.evidence.append(f"{variant} = {chosen} (by its keys)")
        return chosen

    def setting(self, name: str, choices: Sequence[str]) -> str:
        """Return the choice for a setting, which cannot be read from a checkpoint.

        It is the entry in `settings`; without an entry, the published choice.

        Args:
            name: the name of the setting.
            choices: all choices, the published one first.
        """
        chosen = self.settings.get(name, choices[0])
        others = " or ".join(f"{name}={choice}" for choice in choices if choice != chosen)
        doubt = "" if name in self.settings else CHECK
        self.evidence.append(f"{doubt}{name} = {chosen} (no checkpoint stores it; to change it, set {others})")
        return chosen

    def map_side(self, key: str, channels: int, published: tuple[int, int]) -> tuple[int, int]:
        """Return the height and width of the map that a fully connected layer takes.

        If the map has as many pixels as the published map, it has the same height and width. Otherwise it is taken as
        square.

        Args:
            key: the key of the layer's weight [out, channels * height * width].
            channels: the number of channels of the map.
            published: the height and width of the map in the published network.
        """
        shape = self._shape(key)
        features = shape[1] if len(shape) > 1 else channels * math.prod(published)
        area = features // channels
        height, width = published if area == math.prod(published) else (math.isqrt(area),) * 2
        if channels * height * width != features:
            self.conflicts.append(f"{key} takes {features} inputs, which are not {channels} channels of a square map")
        elif len(shape) > 1:
            self.evidence.append(f"map before the classifier = {height}x{width} ({key})")
        return max(height, 1), max(width, 1)

    def voted_classes(self, key: str, voters: int, default: int) -> int:
        """Return the number of classes of a network.

        Args:
            key: the key of the weight of the last layer [classes * voters, in].
            voters: the number of output units of each class.
            default: the result if the weight is missing.
        """
        if voters == 1:
            return self.size("classes", (key, 0), default=default)
        units = (self._shape(key) or (default * voters,))[0]
        if units % voters:
            self.conflicts.append(f"{key} has {units} outputs, which are not {voters} for each class")
        elif self._shape(key):
            self.evidence.append(f"classes = {units // voters} ({key}, {voters} units a class)")
        return max(units // voters, 1)


class Attention(NamedTuple):
    """The attention blocks of a network; in the TCJA paper, ``Attention("tcja", "product", T, kernels)``."""

    kind: str
    """The kind of the blocks, one of `attention.ATTENTIONS`."""
    combine: str
    """The way in which TCJA combines its two halves, one of `attention.COMBINATIONS`."""
    time_steps: int
    """The number of time steps, T."""
    kernels: tuple[Kernels, ...]
    """The kernel sizes (k_t, k_c) of each block."""


class Sizes(Protocol):
    """The sizes of a network. Each network has its own class of sizes."""

    @property
    def time_steps(self) -> int:
        """The number of time steps, T."""
        ...


SizesT = TypeVar("SizesT", bound=Sizes)


class Network(abc.ABC, Generic[SizesT]):
    """A registered network: a family of networks that differ only in sizes, variants and settings.

    Each subclass is in a module of this package, which holds an instance of the subclass as NETWORK.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """A description in one line."""
    dialect: ClassVar[Dialect]
    """The dialect of the network's checkpoints."""
    output: ClassVar[str]
    """The name of the ONNX output: "rates" for firing rates, "logits" for values before a softmax, "image"."""
    variants: ClassVar[Mapping[str, tuple[str, ...]]] = {"attention": ATTENTIONS}
    """The variants: for each name, the choices, which a checkpoint's keys show. The first is the published one."""
    settings: ClassVar[Mapping[str, tuple[str, ...]]] = {"combine": COMBINATIONS}
    """The settings: for each name, the choices, which no checkpoint stores. The first is the published one."""
    undeployed: ClassVar[tuple[str, ...]] = ()
    """The prefixes of keys of tensors that only training needs, such as "encoder."."""

    @abc.abstractmethod
    def sizes(self, reader: ShapeReader) -> SizesT:
        """Return the sizes of the network in a checkpoint. A size that `reader` does not find is the published size.

        Args:
            reader: the reader of the checkpoint's shapes and of the user's settings.
        """

    @abc.abstractmethod
    def build(self, sizes: SizesT) -> nn.Module:
        """Return the network with these sizes; its keys are those of the published checkpoints."""

    @abc.abstractmethod
    def contract(self, sizes: SizesT) -> InputContract:
        """Return the input contract of the network with these sizes."""

    @abc.abstractmethod
    def classes(self, sizes: SizesT) -> tuple[str, ...]:
        """Return the class names in the order of the output; an empty tuple if the network does not classify."""

    def dialect_of(self, sizes: SizesT) -> Dialect:  # noqa: ARG002  # most networks have one
        """Return the dialect of the network with these sizes."""
        return self.dialect

    def told_by(self, sizes: SizesT) -> str | None:  # noqa: ARG002  # most networks have keys of their own
        """Return the size that shows that a checkpoint is of this network, not of another one with the same keys.

        Returns:
            The size in words, such as "k_t of conv.15 is 2"; None if no size shows it.
        """
        return None

    def canonical(self, key: str) -> str:
        """Return the network's key for a tensor, given one of the keys under which a checkpoint may hold the tensor."""
        return key


AnyNetwork = Network[Any]


def named_or_numbered(names: tuple[str, ...], classes: int) -> tuple[str, ...]:
    """Return the class names of the data set if their number is `classes`, else the numbers "0", "1", "2", ..."""
    return names if len(names) == classes else tuple(map(str, range(classes)))
