from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tcja_exporters import passes
from tcja_exporters.passes.base import PassResult

from .graphs import applied, floats, model, operators, run


def test_resolve_shapes():
    before = model(
        [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "zero"], ["n"]),
            helper.make_node("Mul", ["n", "four"], ["n4"]),
            helper.make_node("Concat", ["n4", "three"], ["target"], axis=0),
            helper.make_node("Reshape", ["x", "target"], ["flat"]),
            helper.make_node("Concat", ["two", "n4", "three"], ["wider"], axis=0),
            helper.make_node("Expand", ["flat", "wider"], ["wide"]),
            helper.make_node("CastLike", ["half", "wide"], ["single"]),
            helper.make_node("Add", ["wide", "single"], ["y"]),
        ],
        ["batch", 4, 3],
        values={"flat": ["4*batch", 3], "wide": [2, "4*batch", 3]},
        zero=np.array([0]),
        two=np.array([2]),
        three=np.array([3]),
        four=np.array([4]),
        half=np.array(0.5),
    )
    done, after = applied(passes.resolve_shapes, before)
    assert done == PassResult(3)
    assert sorted(operators(after)) == ["Add", "Cast", "Expand", "Reshape"]
    for n in (1, 5):
        x = floats(n, 4, 3)
        np.testing.assert_array_equal(run(after, x), run(before, x))


def test_resolve_shapes_leaves_what_it_does_not_know():
    two_unknown = model(
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["x", "s"], ["y"])],
        ["a", "b"],
    )
    two_unknown.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"]))
    assert applied(passes.resolve_shapes, two_unknown)[0] == PassResult(0)


def test_resolve_shapes_finds_types_that_are_not_noted():
    before = model(
        [
            helper.make_node("Neg", ["x"], ["n"]),
            helper.make_node("CastLike", ["two", "n"], ["c"]),
            helper.make_node("Mul", ["n", "c"], ["y"]),
        ],
        ["n", 4],
        two=np.array([2], np.int64),
    )
    done, after = applied(passes.resolve_shapes, before)
    assert (done, operators(after)) == (PassResult(1), ["Neg", "Cast", "Mul"])
    x = floats(3, 4)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_resolve_shapes_knows_the_number_of_channels():
    """As in the constants that torch exports for a batch norm without scale and shift."""
    before = model(
        [
            helper.make_node("Shape", ["x"], ["channels"], start=1, end=2),
            helper.make_node("Expand", ["one", "channels"], ["ones"]),
            helper.make_node("Mul", ["x", "ones"], ["z"]),
            helper.make_node("Shape", ["x"], ["last"], start=-1),
            helper.make_node("Shape", ["x"], ["first"], end=1),
            helper.make_node("Concat", ["first", "last"], ["both"], axis=0),
            helper.make_node("Reshape", ["z", "both"], ["y"]),
        ],
        ["batch", 1, 4],
        one=np.ones(1, np.float32),
    )
    done, after = applied(passes.resolve_shapes, before)
    assert (done, sorted(operators(after))) == (PassResult(2), ["Concat", "Expand", "Mul", "Reshape", "Shape"])
    x = floats(3, 1, 4)
    np.testing.assert_array_equal(run(after, x), run(before, x))
