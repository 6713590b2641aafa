from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from onnx import helper

from tcja_exporters import passes
from tcja_exporters.passes.base import PassResult
from tcja_exporters.passes.origins import Origin, set_origin

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


@pytest.mark.parametrize(
    ("origins", "values", "stored"),
    [
        (["w", "w"], [1.0, 1.0], 1),
        (["w", "v"], [1.0, 1.0], 2),  # two parameters that only happen to be equal
        (["w", "w"], [1.0, 2.0], 2),
        ([None, None], [1.0, 1.0], 2),
    ],
)
def test_merge_duplicates_makes_copies_of_a_parameter_one_constant(origins, values, stored):
    before = model(
        [helper.make_node("Add", ["x", "a"], ["s"]), helper.make_node("Mul", ["s", "b"], ["y"])],
        [3, 4],
        a=np.full(4, values[0], np.float32),
        b=np.full(4, values[1], np.float32),
    )

    def marked(graph: gs.Graph) -> PassResult:
        for name, origin in zip("ab", origins, strict=True):
            if origin:
                set_origin(graph.tensors()[name], Origin(parameters=frozenset([origin])))
        return passes.merge_duplicates(graph)

    _, after = applied(marked, before)
    assert len(after.graph.initializer) == stored
    x = floats(3, 4)
    np.testing.assert_array_equal(run(after, x), run(before, x))


@pytest.mark.parametrize(("other", "left"), [("w", 1), ("v", 2)])
def test_merge_duplicates_keeps_products_of_equal_parameters_apart(other, left):
    before = model(
        [
            helper.make_node("Mul", ["x", "a"], ["s"]),
            helper.make_node("Mul", ["x", "b"], ["t"]),
            helper.make_node("Add", ["s", "t"], ["y"]),
        ],
        [3, 4],
        a=np.ones(4, np.float32),
        b=np.ones(4, np.float32),
    )

    def marked(graph: gs.Graph) -> PassResult:
        for name, origin in (("a", "w"), ("b", other)):
            set_origin(graph.tensors()[name], Origin(parameters=frozenset([origin]), copied=origin))
        return passes.merge_duplicates(graph)

    assert operators(applied(marked, before)[1]).count("Mul") == left
