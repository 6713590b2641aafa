import pytest
import torch

from tcja_exporters.networks.cifar10dvs import AdaptiveAverage

from ... import networks
from ..peers.published import Cifar10Dvs
from .conformance import Conformance


class TestCifar10Dvs(Conformance):
    small = networks.REGISTRY["cifar10dvs"]
    published = Cifar10Dvs
    parameters = 11_369_450
    per_step = 0
    recorded = True

    @pytest.mark.slow
    @pytest.mark.tensorrt
    def test_it_is_found_exported_and_fires_the_same_spikes(self, tmp_path):
        super().test_it_is_found_exported_and_fires_the_same_spikes(tmp_path)


@pytest.mark.parametrize("after", [48, 32, 50])
def test_adaptive_average_is_torchs(after):
    """To the bit on counts, whose sums are exact."""
    counts = torch.randint(0, 9, (2, 3, 128, 128), generator=torch.Generator().manual_seed(0)).float()
    pooled = torch.nn.AdaptiveAvgPool2d(after)(counts)
    assert torch.equal(AdaptiveAverage(128, after)(counts), pooled)
    noise = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(AdaptiveAverage(128, after)(noise), torch.nn.AdaptiveAvgPool2d(after)(noise))
