from ... import networks
from ..peers.published import Dvs128
from .conformance import Conformance


class TestDvs128(Conformance):
    small = networks.REGISTRY["dvs128"]
    published = Dvs128
    parameters = 1_832_576
    recorded = True
