from tcja_exporters.networks.event import EventSizes
from tcja_exporters.networks.network import Attention

from ... import networks
from ..published import Cifar10Dvs
from .conformance import Conformance


class TestCifar10Dvs(Conformance):
    small = networks.Small(
        "cifar10dvs",
        EventSizes(
            attention=Attention("tcja", "product", 3, ((4, 3), (2, 4))),
            widths=(4, 8, 16, 16, 32, 32, 32, 32),
            height=48,
            width=48,
            hidden=0,
            classes=4,
        ),
    )
    published = Cifar10Dvs
    parameters = 11_369_450
    per_step = 0
    recorded = True
