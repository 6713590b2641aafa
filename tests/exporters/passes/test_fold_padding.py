from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from tcja_exporters import passes
from tcja_exporters.passes.base import PassResult

from .graphs import applied, floats, model, operators, run


def padded(pads: list[int], value: float = 0.0, mode: str = "constant") -> onnx.ModelProto:
    nodes = [
        helper.make_node("Pad", ["x", "pads", "value"], ["p"], mode=mode),
        helper.make_node("Conv", ["p", "w"], ["y"], pads=[1, 0]),
    ]
    return model(nodes, ["n", 3, 7], w=floats(4, 3, 4), pads=np.array(pads), value=np.float32(value))


def test_fold_padding():
    before = padded([0, 0, 1, 0, 0, 2])
    done, after = applied(passes.fold_padding, before)
    assert done == PassResult(1)
    assert operators(after) == ["Conv"]
    assert helper.get_attribute_value(after.graph.node[0].attribute[0]) == [2, 2]
    x = floats(2, 3, 7)
    np.testing.assert_array_equal(run(after, x), run(before, x))


@pytest.mark.parametrize(
    "before",
    [padded([0, 0, 1, 0, 0, 2], value=1.0), padded([0, 1, 1, 0, -1, 2]), padded([0, 0, 1, 0, 0, 2], mode="reflect")],
    ids=["not zero", "channels", "reflected"],
)
def test_fold_padding_leaves_what_no_convolution_does(before):
    assert applied(passes.fold_padding, before)[0] == PassResult(0)
