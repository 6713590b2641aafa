"""The N-Caltech101 network published with TET's loss (ridgerchu/TCJA, ``src/tet/caltech101.py``)."""

from __future__ import annotations

from tcja_exporters.networks.ncaltech101 import NCaltech101
from tcja_exporters.networks.shared.cextnet import Head

_TCJA = NCaltech101.published.attention


class TetNCaltech101(NCaltech101):
    """The registry entry: `NCaltech101` with other kernel sizes and an output layer that does not fire.

    Its neurons are SpikingJelly's, although it was trained with TET's loss.
    """

    name = "tet_ncaltech101"
    summary = "N-Caltech101, trained with TET's loss: as ncaltech101, with output units that do not fire"
    output = "logits"
    head = Head(fires=False, voters=1)
    published = NCaltech101.published._replace(attention=_TCJA._replace(kernels=((4, 4), (4, 4))))


NETWORK = TetNCaltech101()
