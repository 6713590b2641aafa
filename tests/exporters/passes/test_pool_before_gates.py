from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from tcja_exporters.passes.pool_before_gates import pool_before_gates

from .graphs import applied, floats, model, operators, run

GATED = {"n": ["T", "N", 3, 6, 6], "gate": ["T", "N", 3, 1, 1], "gated": ["T", "N", 3, 6, 6]}


def gated(*behind: onnx.NodeProto, values: dict[str, list[int | str]]) -> onnx.ModelProto:
    """n = -x, times the sigmoid of its spatial mean, and what is behind it."""
    nodes = [
        helper.make_node("Neg", ["x"], ["n"], name="Neg"),
        helper.make_node("ReduceMean", ["n", "axes"], ["z"], name="ReduceMean", keepdims=1),
        helper.make_node("Sigmoid", ["z"], ["gate"], name="Sigmoid"),
        helper.make_node("Mul", ["n", "gate"], ["gated"], name="Mul"),
        *behind,
    ]
    shapes = {**GATED, "z": GATED["gate"], "y": ["B", 3, 3, 3], **values}
    return model(nodes, GATED["n"], values=shapes, axes=np.array([3, 4]), joined=np.array([-1, 3, 6, 6]))


def pooled(source: str, kind: str = "MaxPool") -> onnx.NodeProto:
    return helper.make_node(kind, [source], ["y"], name="Pool", kernel_shape=[2, 2], strides=[2, 2])


JOIN = helper.make_node("Reshape", ["gated", "joined"], ["images"], name="Reshape")
IMAGES = {"images": ["B", 3, 6, 6]}


def test_maximum_pooling_before_a_gate():
    before = gated(JOIN, pooled("images"), values=IMAGES)
    done, after = applied(pool_before_gates, before)
    assert (done.changes, done.exact) == (1, True)
    kinds = operators(after)
    assert kinds.index("MaxPool") < kinds.index("Mul")
    onnx.checker.check_model(after, full_check=True)
    x = floats(2, 3, 3, 6, 6)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_maximum_pooling_before_a_gate_that_is_cast():
    cast = helper.make_node("Cast", ["images"], ["half"], name="Cast", to=TensorProto.FLOAT16)
    back = helper.make_node("Cast", ["y_half"], ["y"], name="Cast back", to=TensorProto.FLOAT)
    pool = helper.make_node("MaxPool", ["half"], ["y_half"], name="Pool", kernel_shape=[2, 2], strides=[2, 2])
    before = gated(JOIN, cast, pool, back, values=IMAGES)
    for name, shape in (("half", IMAGES["images"]), ("y_half", ["B", 3, 3, 3])):
        before.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape))
    done, after = applied(pool_before_gates, before)
    assert done.changes == 1
    x = floats(2, 3, 3, 6, 6)
    # Not in ONNX Runtime, which leaves roundings to half out.
    ((found,), (expected,)) = (ReferenceEvaluator(each).run(None, {"x": x}) for each in (after, before))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "before",
    [
        gated(JOIN, pooled("images", "AveragePool"), values=IMAGES),
        gated(JOIN, pooled("images"), helper.make_node("Relu", ["gated"], ["other"]), values=IMAGES),
        gated(JOIN, helper.make_node("Neg", ["images"], ["negative"]), pooled("negative"), values=IMAGES),
    ],
    ids=["average", "read by another", "not monotone"],
)
def test_what_is_not_the_same_is_left(before):
    if before.graph.node[-1].op_type == "Relu":
        before.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, None))
    assert applied(pool_before_gates, before)[0].changes == 0
