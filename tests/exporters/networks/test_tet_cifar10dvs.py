import pytest
import torch

from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.tet_cifar10dvs import Sizes
from tcja_runtime.errors import BadInput

from ... import networks
from ..checkpoint.wrapped import wrapped
from ..peers.published import TetCifar10Dvs
from .conformance import Conformance

EVENT = networks.REGISTRY["tet_cifar10dvs"].sizes.event


class TestTetCifar10Dvs(Conformance):
    small = networks.REGISTRY["tet_cifar10dvs"]
    published = TetCifar10Dvs
    time_axis = 1
    parameters = 9_304_466
    per_step = 1
    recorded = True

    @pytest.mark.slow
    @pytest.mark.tensorrt
    def test_it_is_found_exported_and_fires_the_same_spikes(self, tmp_path):
        super().test_it_is_found_exported_and_fires_the_same_spikes(tmp_path)


@pytest.mark.parametrize("pooling", ["average", "stride"])
def test_the_published_networks_without_attention(pooling):
    """VGGSNN and VGGSNNwoAP: T is in none of their tensors."""
    sizes = Sizes(EVENT._replace(attention=Attention("none", "product", 4, ((0, 0),))), pooling)
    small = networks.Small("tet_cifar10dvs", sizes, scale=1.4)
    theirs = TetCifar10Dvs(sizes).eval()
    theirs.load_state_dict(small.state())
    with pytest.raises(
        BadInput, match=r"^model.pth is a tet_cifar10dvs, but does not store T, .* \(`settings` T=10, if it was 10\)$"
    ):
        identify(wrapped(small.state()))
    found = identify(wrapped(small.state()), settings={"T": "4"})
    assert (found.time_steps, found.contract.shape[0]) == (4, 4)
    assert "attention = none (by its keys)" in found.evidence
    with torch.no_grad():
        batch = small.inputs(2)
        torch.testing.assert_close(found.model(batch), theirs(batch))


def test_parameters_without_attention():
    for pooling in ("average", "stride"):
        sizes = Sizes()._replace(
            event=Sizes().event._replace(attention=Attention("none", "product", 10, ((0, 0),))), pooling=pooling
        )
        with torch.device("meta"):
            network = networks.NETWORKS["tet_cifar10dvs"].build(sizes)
        assert sum(p.numel() for p in network.parameters()) == 9_271_498
        assert len(network.state_dict()) == 58


def test_frames_of_the_published_size_are_resized_from_the_sensors():
    network = networks.NETWORKS["tet_cifar10dvs"]
    taken = network.contract(Sizes(EVENT))
    assert (taken.shape, taken.sensor, taken.resize) == ((4, 2, 48, 48), (128, 128), "bilinear")
    larger = network.contract(Sizes(EVENT._replace(height=64, width=64)))
    assert (larger.shape, larger.sensor, larger.resize) == ((4, 2, 64, 64), None, None)
