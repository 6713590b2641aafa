"""Neurons without a loop: one comparison for all time steps, in every time form, equal to the equations in numpy."""

import numpy as np
import pytest
from onnx import helper

from tcja_exporters import custom_op
from tcja_runtime.choices import TIME_FORMS
from tcja_runtime.neuron import NeuronSpec, fire

from .one_layer import model, ran

STEPS = 5
PARALLEL = {"decay": 0.0, "threshold": 0.0, "strict": False, "reset": "none"}


@pytest.mark.parametrize("form", TIME_FORMS)
@pytest.mark.parametrize("changes", [{}, {"strict": True}, {"threshold": -0.5}, {"gain": 1.5, "bias": 0.25}])
def test_it_is_one_comparison(changes, form):
    spec = NeuronSpec.linear(**{**PARALLEL, **changes})
    x = np.random.default_rng(0).integers(-4, 5, (STEPS, 2, 300)).astype(np.float32) / 4
    plain = model(spec, form, STEPS)
    assert {node.op_type for node in plain.graph.node} <= {
        *("Identity", "Mul", "Add", "Greater", "GreaterOrEqual", "Cast")
    }
    expected = fire(spec, x)
    np.testing.assert_array_equal(ran(plain, x), expected.astype(np.float32))
    assert 0.05 < expected.mean() < 0.95


def test_a_half_current_is_cast_for_all_steps_at_once():
    plain = model(NeuronSpec.linear(**PARALLEL), "fused", STEPS, half=True)
    x = np.random.default_rng(0).normal(0, 1, (STEPS, 2, 300)).astype(np.float16)
    assert [node.op_type for node in plain.graph.node] == ["Identity", "Cast", "GreaterOrEqual", "Cast"]
    np.testing.assert_array_equal(ran(plain, x), (x >= 0).astype(np.float32))


@pytest.mark.parametrize(
    "changes", [{"decay": 0.5}, {"reset": "late", "threshold": 1.0}, {"reset": "refractory", "threshold": 1.0}]
)
def test_other_neurons_have_a_loop(changes):
    spec = NeuronSpec.linear(**{**PARALLEL, **changes})
    assert not spec.instant
    assert "Scan" in {node.op_type for node in model(spec, "scan", STEPS).graph.node}


def test_the_function_of_the_operator_has_no_loop():
    spec = NeuronSpec.linear(**PARALLEL)
    node = helper.make_node(custom_op.NAME, ["x"], ["s"], domain=custom_op.DOMAIN, **custom_op.attributes(spec))
    whole = helper.make_model(helper.make_graph([node], "g", [], []))
    custom_op.define(whole)
    (function,) = whole.functions
    assert [node.op_type for node in function.node] == ["Constant", "GreaterOrEqual", "Cast"]
