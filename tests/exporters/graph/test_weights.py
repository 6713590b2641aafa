"""Which weights of an exported network are parameters, in networks that use them in odd ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tcja_exporters.reference.recorder import with_weights
from tcja_runtime.bundle.network_signature import Weight
from tcja_runtime.evidence import stimulus

from ..peers import odd

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def found(name: str) -> tuple[nn.Module, list[Weight]]:
    model, exported = odd.exported(name)
    return model, exported.weights


USES = {
    "batch norm": {"conv.weight": ["norm"], "fc.weight": [None]},
    "a batch norm for each step": {"conv.weight": ["norms.0", "norms.1", "norms.2"], "fc.weight": [None]},
    "two modules of one parameter": {"both.0.weight": [None], "fc.weight": [None]},
    "weight norm": {"conv.weight": [None], "fc.weight": [None]},
    "square weight, transposed and not": {"linear.weight": [None], "weight": [None, None], "fc.weight": [None]},
    "two modules of equal values": {"a.weight": [None], "b.weight": [None], "fc.weight": [None]},
    # What is computed, or is used in another way too, is not replaced:
    "standardised weight": {"fc.weight": [None]},
    "a weight used as a scale too": {"fc.weight": [None]},
    "a bias used twice": {"fc.weight": [None]},
    "one batch norm of a convolution and of spikes": {"fc.weight": [None]},
    "convolution and batch norm in one module": {"fc.weight": [None]},
    "weight of another name": {"linear.weight": [None], "odd.kernel": [None], "fc.weight": [None]},
}
"""By network, the batch norms that are folded into the tensors of each parameter."""
QUICK = ("batch norm", "standardised weight")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in USES])
def test_a_parameter_has_a_tensor_for_each_way_it_is_used(name):
    _, weights = found(name)
    by_parameter: dict[str, list[str | None]] = {}
    for weight in weights:
        norm = weight.norm
        by_parameter.setdefault(str(weight.parameter), []).append(norm)
    assert by_parameter == USES[name]
    assert len({weight.tensor for weight in weights}) == len(weights)


@pytest.mark.parametrize(
    "name", ["square weight, transposed and not", pytest.param("a batch norm for each step", marks=pytest.mark.slow)]
)
def test_all_tensors_of_a_parameter_get_the_same_values(name):
    model, weights = found(name)
    values = stimulus.exact_weights(weights)
    changed = with_weights(model, weights, values).state_dict()
    for weight in weights:
        value = values[weight.tensor].T if weight.transposed else values[weight.tensor]
        np.testing.assert_array_equal(changed[weight.parameter], value)


@pytest.mark.slow
def test_a_batch_norm_changes_nothing_where_its_layer_has_other_weights():
    model, weights = found("batch norm, other epsilon")
    norm = with_weights(model, weights, stimulus.exact_weights(weights)).get_submodule("norm").double().eval()
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    assert torch.equal(norm(x), x)
    assert not torch.equal(model.get_submodule("norm").double()(x), x)
