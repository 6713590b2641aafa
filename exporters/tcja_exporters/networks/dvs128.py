"""The published DVS128-Gesture network (ridgerchu/TCJA, ``src/dvs128.py``)."""

from __future__ import annotations

from torch import nn

from tcja_exporters.dialects import SPIKINGJELLY
from tcja_exporters.networks.cextnet import CextNet, Head, cextnet_sizes
from tcja_exporters.networks.event import EventSizes
from tcja_exporters.networks.network import Attention, Network, ShapeReader, named_or_numbered
from tcja_runtime.frames import InputContract

HEAD = Head(fires=True, voters=10)
PUBLISHED = EventSizes(
    attention=Attention("tcja", "product", 20, ((4, 4), (4, 4))),
    widths=(128,) * 5,
    height=128,
    width=128,
    hidden=512,
    classes=11,
)

# The training reads its classes from folders named 0..10, which sort as text: 0, 1, 10, 2, ...
CLASSES = (
    "hand clapping",
    "right hand wave",
    "other gestures",
    "left hand wave",
    "right arm clockwise",
    "right arm counter-clockwise",
    "left arm clockwise",
    "left arm counter-clockwise",
    "arm roll",
    "air drums",
    "air guitar",
)


class Dvs128(Network[EventSizes]):
    """Five equally wide convolutions; the firing rates of ten units vote for each class."""

    name = "dvs128"
    summary = "DVS128-Gesture: five spiking convolutions, TCJA twice, voting over firing rates"
    dialect = SPIKINGJELLY
    output = "rates"

    def sizes(self, reader: ShapeReader) -> EventSizes:
        return cextnet_sizes(reader, PUBLISHED, HEAD)

    def build(self, sizes: EventSizes) -> nn.Module:
        return CextNet(sizes, HEAD)

    def contract(self, sizes: EventSizes) -> InputContract:
        return InputContract.frames(sizes.time_steps, sizes.height, sizes.width)

    def classes(self, sizes: EventSizes) -> tuple[str, ...]:
        return named_or_numbered(CLASSES, sizes.classes)


NETWORK = Dvs128()
