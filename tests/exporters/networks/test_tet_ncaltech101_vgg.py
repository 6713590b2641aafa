import pytest

from ... import networks
from ..peers.published import TetNCaltech101Vgg
from .conformance import Conformance


class TestTetNCaltech101Vgg(Conformance):
    small = networks.REGISTRY["tet_ncaltech101_vgg"]
    published = TetNCaltech101Vgg
    time_axis = 1
    parameters = 21_909_829
    per_step = 1
    recorded = True

    @pytest.mark.slow
    @pytest.mark.tensorrt
    def test_it_is_found_exported_and_fires_the_same_spikes(self, tmp_path):
        super().test_it_is_found_exported_and_fires_the_same_spikes(tmp_path)
