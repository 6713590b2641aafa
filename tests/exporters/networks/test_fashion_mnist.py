from ... import networks
from ..peers.published import FashionMnist
from .conformance import Conformance


class TestFashionMnist(Conformance):
    small = networks.REGISTRY["fashion_mnist"]
    published = FashionMnist
    parameters = 13_014_656 + 8 * 8 * 4 + 128 * 128 * 4  # without attention as published, and TCJA
