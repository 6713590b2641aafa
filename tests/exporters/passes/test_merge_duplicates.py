from __future__ import annotations

import numpy as np
from onnx import helper

from tcja_exporters import passes
from tcja_exporters.passes.base import PassResult

from .graphs import applied, floats, model, operators, run


def test_merge_duplicates():
    before = model(
        [
            helper.make_node("Transpose", ["x"], ["a"], perm=[1, 0]),
            helper.make_node("Transpose", ["x"], ["b"], perm=[1, 0]),
            helper.make_node("Transpose", ["x"], ["c"], perm=[0, 1]),
            helper.make_node("Add", ["a", "one"], ["d"]),
            helper.make_node("Add", ["b", "also_one"], ["e"]),
            helper.make_node("Mul", ["d", "e"], ["f"]),
            helper.make_node("MatMul", ["f", "c"], ["y"]),
        ],
        [3, 4],
        one=np.ones(1, np.float32),
        also_one=np.ones(1, np.float32),
    )
    done, after = applied(passes.merge_duplicates, before)
    assert done == PassResult(2)
    assert sorted(operators(after)) == ["Add", "MatMul", "Mul", "Transpose", "Transpose"]
    x = floats(3, 4)
    np.testing.assert_array_equal(run(after, x), run(before, x))


def test_merge_duplicates_leaves_chance_alone():
    random = [helper.make_node("RandomNormal", [], [name], shape=[3]) for name in "ab"]
    before = model(
        [*random, helper.make_node("Sub", ["a", "b"], ["c"]), helper.make_node("Add", ["c", "x"], ["y"])], [3]
    )
    assert applied(passes.merge_duplicates, before)[0] == PassResult(0)
