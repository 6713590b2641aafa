"""The weights that are lowered, and those that are kept."""

from __future__ import annotations

import pytest

from tcja_exporters.precision import keep_in_float32, lowerable
from tcja_runtime.errors import BadInput

from ..peers import odd
from .lowering import layers_of, lower


def test_what_is_kept_stays_as_it_was(name, exports):
    exported = exports[name][0]
    spiking = layers_of(name)
    kept = keep_in_float32([spiking[1].name], exported.model, exported.weights, spiking)
    assert kept
    for precision in ("fp16", "int8"):
        low = lower(name, exported, precision, kept).exported
        assert {weight.module for weight in low.weights if weight.type == "fp32"} >= kept
        before = {tensor.name: tensor for tensor in exported.model.graph.initializer}
        after = {tensor.name: tensor for tensor in low.model.graph.initializer}
        for weight in exported.weights:
            if weight.module in kept:
                assert before[weight.tensor] == after[weight.tensor]


def test_names_of_what_is_kept(exports):
    exported, spiking = exports["dvs128"][0], layers_of("dvs128")

    def kept(*names: str) -> set[str]:
        return keep_in_float32(names, exported.model, exported.weights, spiking)

    assert kept("conv.0.0") == {"conv.0.0"}
    assert kept("conv.0") == {"conv.0.0"}
    assert kept(spiking[0].name) == {"conv.0.0"}
    assert kept("conv.11") == {"conv.11.conv", "conv.11.conv_c"}
    assert kept() == set()
    with pytest.raises(BadInput, match=r"`keep` conv\.99 names neither a layer with weights"):
        kept("conv.99")


SHARED = {
    "batch norm": ["conv", "fc"],
    "a batch norm for each step": ["fc"],
    "one batch norm of two convolutions": ["fc"],
    "two modules of one parameter": ["fc"],
    "a shared bias": ["fc"],
    "square weight, transposed and not": ["linear", "fc"],
    "matmul with a parameter": ["fc"],
    "one module of two names": ["fc"],
}
"""By network, the modules whose weights can be lowered: those that share no parameter and no batch norm."""


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n == "a shared bias" else pytest.mark.slow) for n in SHARED]
)
def test_what_several_layers_share_is_not_lowered(name):
    model, exported = odd.exported(name)
    assert [weight.module for weight in lowerable(model, exported)] == SHARED[name]
