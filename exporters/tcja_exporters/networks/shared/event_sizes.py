"""What the published networks for event streams have in common: their sizes, and how shapes tell them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tcja_exporters.networks.base import Attention, ShapeReader


class EventSizes(NamedTuple):
    """What a checkpoint decides of a network that takes event frames [N, T, 2, height, width]."""

    attention: Attention
    widths: tuple[int, ...]
    """Channels of each convolution; a checkpoint may have all of them wider or narrower by one factor."""
    height: int
    """Of the frames."""
    width: int
    """Of the frames."""
    hidden: int
    """Units between the last map and the output layer; 0 if there are none."""
    classes: int

    @property
    def time_steps(self) -> int:
        """T."""
        return self.attention.time_steps


def read_sizes(
    reader: ShapeReader,
    published: EventSizes,
    *,
    first: str,
    second: str,
    attention: Sequence[str],
    conv: str = "conv",
    flat: str,
    last: str,
    voters: int = 1,
    shrink: int,
) -> EventSizes:
    """Sizes of a network of the published proportions.

    Args:
        reader: of the checkpoint.
        published: the sizes of the published network, which hold where nothing is told.
        first: key of the first convolution's weights.
        second: key of the second's.
        attention: prefixes of the attention blocks.
        conv: name of a block's convolution over channels.
        flat: key of the weights that take the flattened map.
        last: key of the output layer's weights.
        voters: output units a class.
        shrink: by how much the poolings divide the frames' sides.
    """
    base = published.widths[0]
    channels = reader.size("channels", (first, 0), (second, 1), default=base)
    widths = tuple(channels * width // base for width in published.widths)
    sides = reader.map_side(flat, widths[-1], (published.height // shrink, published.width // shrink))
    as_published = sides == (published.height // shrink, published.width // shrink)
    height, width = (published.height, published.width) if as_published else (shrink * sides[0], shrink * sides[1])
    hidden = published.hidden and reader.size("hidden units", (flat, 0), (last, 1), default=published.hidden)
    return EventSizes(
        attention=reader.attention(attention, published.attention, conv=conv),
        widths=widths,
        height=height,
        width=width,
        hidden=hidden,
        classes=reader.voted_classes(last, voters, published.classes),
    )
