"""The N-Caltech101 network published with TET's loss (ridgerchu/TCJA, ``src/tet/caltech101.py``)."""

from __future__ import annotations

from torch import nn

from tcja_exporters.dialects import SPIKINGJELLY
from tcja_exporters.networks.cextnet import CextNet, Head, cextnet_sizes
from tcja_exporters.networks.event import EventSizes
from tcja_exporters.networks.network import Attention, Network, ShapeReader, named_or_numbered
from tcja_runtime.frames import InputContract

HEAD = Head(fires=False, voters=1)
PUBLISHED = EventSizes(
    attention=Attention("tcja", "product", 14, ((4, 4), (4, 4))),
    widths=(64, 128, 256, 256, 512),
    height=180,
    width=240,
    hidden=1024,
    classes=101,
)


class TetNCaltech101(Network[EventSizes]):
    """The neurons are SpikingJelly's, not TET's; the output layer does not fire."""

    name = "tet_ncaltech101"
    summary = "N-Caltech101, trained with TET's loss: as ncaltech101, with output units that do not fire"
    dialect = SPIKINGJELLY
    output = "logits"

    def sizes(self, reader: ShapeReader) -> EventSizes:
        return cextnet_sizes(reader, PUBLISHED, HEAD)

    def build(self, sizes: EventSizes) -> nn.Module:
        return CextNet(sizes, HEAD)

    def contract(self, sizes: EventSizes) -> InputContract:
        return InputContract.frames(sizes.time_steps, sizes.height, sizes.width)

    def classes(self, sizes: EventSizes) -> tuple[str, ...]:
        return named_or_numbered((), sizes.classes)

    def told_by(self, sizes: EventSizes) -> str | None:
        # Else all keys and shapes are those of ncaltech101.
        return "k_t of conv.15 is 4" if sizes.attention.kernels == PUBLISHED.attention.kernels else None


NETWORK = TetNCaltech101()
