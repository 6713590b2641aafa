"""The published N-Caltech101 network (ridgerchu/TCJA, ``src/caltech101.py``)."""

from __future__ import annotations

from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.shared.cextnet import CextNetwork, Head
from tcja_exporters.networks.shared.event_sizes import EventSizes


class NCaltech101(CextNetwork):
    """The registry entry: the output layer fires, and its firing rates are the output."""

    name = "ncaltech101"
    summary = "N-Caltech101: five spiking convolutions, TCJA twice, the firing rates of spiking output neurons"
    output = "rates"
    head = Head(fires=True, voters=1)
    published = EventSizes(
        attention=Attention("tcja", "product", 14, ((4, 4), (2, 4))),
        widths=(64, 128, 256, 256, 512),
        height=180,
        width=240,
        hidden=1024,
        classes=101,
    )

    def told_by(self, sizes: EventSizes) -> str | None:
        # Without the published kernel sizes, all keys and shapes may be those of tet_ncaltech101.
        told = sizes.attention.kernels == self.published.attention.kernels
        return f"k_t of conv.15 is {sizes.attention.kernels[1][0]}" if told else None


NETWORK = NCaltech101()
