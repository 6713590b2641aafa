import functools

import pytest

from tcja_exporters.checkpoint.identify import identify
from tcja_runtime.errors import BadInput

from ... import networks
from ..checkpoint.wrapped import wrapped
from ..peers.published import CextNet
from .conformance import Conformance


def small(name: str, k_t: int) -> networks.Small:
    sizes = networks.REGISTRY[name].sizes
    attention = sizes.attention._replace(kernels=((4, 4), (k_t, 4)))
    return networks.Small(name, sizes._replace(attention=attention))


class PublishedNCaltech101(CextNet):
    def forward(self, frames):
        return super().forward(frames).mean(0)


class TestNCaltech101(Conformance):
    small = networks.REGISTRY["ncaltech101"]
    published = PublishedNCaltech101
    parameters = 21_907_096
    per_step = 0
    recorded = True

    @pytest.mark.slow
    @pytest.mark.tensorrt
    def test_it_is_found_exported_and_fires_the_same_spikes(self, tmp_path):
        super().test_it_is_found_exported_and_fires_the_same_spikes(tmp_path)


class TestTetNCaltech101(Conformance):
    small = networks.REGISTRY["tet_ncaltech101"]
    published = functools.partial(PublishedNCaltech101, fires=False)
    parameters = 21_907_488
    per_step = 0
    recorded = True

    @pytest.mark.slow
    @pytest.mark.tensorrt
    def test_it_is_found_exported_and_fires_the_same_spikes(self, tmp_path):
        super().test_it_is_found_exported_and_fires_the_same_spikes(tmp_path)


@pytest.mark.parametrize(("k_t", "name"), [(2, "ncaltech101"), (4, "tet_ncaltech101")])
def test_the_published_kernels_decide(k_t, name):
    found = identify(wrapped(small(name, k_t).state()))
    assert found.name == name
    other = {"ncaltech101", "tet_ncaltech101"} - {name}
    said = f"check this: k_t of conv.15 is {k_t}, as published for {name}; a retrained {other.pop()} may look the same"
    assert any(line.startswith(said) for line in found.evidence)


def test_other_kernels_must_be_asked_for():
    state = small("ncaltech101", 3).state()
    with pytest.raises(BadInput, match=r"fits several networks, .* ncaltech101 \(.*; tet_ncaltech101 \(.*`network`$"):
        identify(wrapped(state))
    assert identify(wrapped(state), "ncaltech101").output == "rates"
    assert identify(wrapped(state), "tet_ncaltech101").output == "logits"
