"""The published DVS128-Gesture network (ridgerchu/TCJA, ``src/dvs128.py``)."""

from __future__ import annotations

from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.shared.cextnet import CextNetwork, Head
from tcja_exporters.networks.shared.event_sizes import EventSizes

# The training code sorts its class folders, named 0 to 10, as text: 0, 1, 10, 2, ...
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


class Dvs128(CextNetwork):
    """The registry entry: five convolutions of equal width; the score of a class is the mean rate of its ten units."""

    name = "dvs128"
    summary = "DVS128-Gesture: five spiking convolutions, TCJA twice, voting over firing rates"
    output = "rates"
    head = Head(fires=True, voters=10)
    class_names = CLASSES
    published = EventSizes(
        attention=Attention("tcja", "product", 20, ((4, 4), (4, 4))),
        widths=(128,) * 5,
        height=128,
        width=128,
        hidden=512,
        classes=11,
    )


NETWORK = Dvs128()
