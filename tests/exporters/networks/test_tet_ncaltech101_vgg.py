from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.shared.event_sizes import EventSizes

from ... import networks
from ..peers.published import TetNCaltech101Vgg
from .conformance import Conformance


class TestTetNCaltech101Vgg(Conformance):
    small = networks.Small(
        "tet_ncaltech101_vgg",
        EventSizes(
            attention=Attention("tcja", "product", 4, ((4, 3), (2, 4))),
            widths=(4, 8, 16, 16, 32),
            height=64,
            width=64,
            hidden=32,
            classes=5,
        ),
        scale=1.4,
    )
    published = TetNCaltech101Vgg
    time_axis = 1
    parameters = 21_909_829
    per_step = 1
    recorded = True
