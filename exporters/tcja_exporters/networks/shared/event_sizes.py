"""The sizes of the published networks for event streams, and how to read them from a checkpoint's shapes."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from tcja_exporters.networks.base import Attention, ShapeReader


class EventSizes(NamedTuple):
    """The sizes of a network that takes event frames [N, T, 2, height, width]."""

    attention: Attention
    widths: tuple[int, ...]
    """The channels of each convolution; in a checkpoint all of them may be wider or narrower by one factor."""
    height: int
    """The height of the frames."""
    width: int
    """The width of the frames."""
    hidden: int
    """The units between the last map and the output layer; 0 if there are none."""
    classes: int

    @property
    def time_steps(self) -> int:
        """T."""
        return self.attention.time_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventKeys:
    """The keys of the tensors whose shapes tell the sizes.

    Attributes:
        first: the key of the weights of the first convolution.
        second: the key of the weights of the second convolution.
        attention: the prefixes of the attention blocks' keys.
        attention_conv: the name of a block's convolution over channels.
        flat: the key of the weights that take the flattened map.
        last: the key of the weights of the output layer.
    """

    first: str
    second: str
    attention: tuple[str, ...]
    attention_conv: str = "conv"
    flat: str
    last: str


def read_sizes(
    reader: ShapeReader, published: EventSizes, keys: EventKeys, *, shrink: int, voters: int = 1
) -> EventSizes:
    """Read the sizes of a network that has the proportions of a published one.

    Args:
        reader: the shapes of the checkpoint.
        published: the sizes of the published network, for what no shape tells.
        keys: the keys of the tensors to read.
        shrink: the factor by which the poolings divide the sides of the frames.
        voters: the number of output units of each class.
    """
    base = published.widths[0]
    channels = reader.size("channels", (keys.first, 0), (keys.second, 1), default=base)
    widths = tuple(channels * width // base for width in published.widths)
    published_map = (published.height // shrink, published.width // shrink)
    sides = reader.map_side(keys.flat, widths[-1], published_map)
    as_published = sides == published_map
    height, width = (published.height, published.width) if as_published else (shrink * sides[0], shrink * sides[1])
    hidden = published.hidden and reader.size("hidden units", (keys.flat, 0), (keys.last, 1), default=published.hidden)
    return EventSizes(
        attention=reader.attention(keys.attention, published.attention, conv=keys.attention_conv),
        widths=widths,
        height=height,
        width=width,
        hidden=hidden,
        classes=reader.voted_classes(keys.last, voters, published.classes),
    )
