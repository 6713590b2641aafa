"""The sizes of the published networks for event frames, and the function that reads them from a checkpoint."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from tcja_exporters.networks.base import Attention, ShapeReader


class EventSizes(NamedTuple):
    """The sizes of a network that takes event frames [N, T, 2, height, width]."""

    attention: Attention
    """The attention blocks."""
    widths: tuple[int, ...]
    """The output channels of each convolution. A checkpoint may have the published numbers times a common factor."""
    height: int
    """The height of the frames, in pixels."""
    width: int
    """The width of the frames, in pixels."""
    hidden: int
    """The number of units of the fully connected layer before the output layer; 0 if there is no such layer."""
    classes: int
    """The number of classes."""

    @property
    def time_steps(self) -> int:
        """The number of time steps, T."""
        return self.attention.time_steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventKeys:
    """The keys of the tensors from whose shapes the sizes are read.

    Attributes:
        first: the key of the first convolution's weight.
        second: the key of the second convolution's weight.
        attention: the prefixes of the attention blocks' keys.
        attention_conv: the name of an attention block's convolution over channels.
        flat: the key of the weight of the layer that takes the flattened map.
        last: the key of the output layer's weight.
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
    """Return the sizes of a network that has the proportions of a published network.

    Args:
        reader: the reader of the checkpoint's shapes.
        published: the sizes of the published network; a size that the reader does not find is taken from these.
        keys: the keys of the tensors to read.
        shrink: the factor by which all poolings together divide the height and width of the frames.
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
