import numpy as np
import onnx
import pytest
from onnx import helper

from tcja_exporters.costs.roofline import Costs
from tcja_runtime.errors import BadInput

from .graphs import F, by_hand, model, tensor


def test_more_open_axes_than_a_batch():
    made = by_hand()
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "steps"
    with pytest.raises(BadInput, match=r"more open axes than a batch \(batch, steps\)"):
        Costs.of(made)


def test_a_batch_that_is_fixed():
    made = by_hand()
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 2
    assert Costs.of(made).total().macs == Costs.of(by_hand(), batch=2).total().macs
    with pytest.raises(BadInput, match="`batch` 4: the model has another fixed batch"):
        Costs.of(made, batch=4)


def test_unknown_operators_and_shapes():
    ends = [tensor("x", F, "batch", 8)], [tensor("y", F, "batch", 8)]
    odd = helper.make_node("Odd", ["x"], ["y"], name="a/Odd", domain="other")
    made = model([odd], *ends, [])
    made.opset_import.append(helper.make_opsetid("other", 1))
    with pytest.raises(BadInput, match="the costs of the model are not known: its tensor 'y' has no known shape"):
        Costs.of(made)
    body = helper.make_graph([helper.make_node("Relu", ["x"], ["r"])], "b", [], [tensor("r", F, 1, 8)])
    chosen = helper.make_node("If", ["c"], ["y"], name="a/If", then_branch=body, else_branch=body)
    condition = onnx.numpy_helper.from_array(np.array(True), "c")
    with pytest.raises(BadInput, match=r"If \(node a/If\) has no rule"):
        Costs.of(model([chosen], *ends, [condition]))
