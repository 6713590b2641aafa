from __future__ import annotations

import numpy as np
from onnx import helper

from tcja_exporters import passes

from .graphs import applied, floats, model, operators, run


def test_remove_dead():
    before = model(
        [
            helper.make_node("Identity", ["x"], ["i"]),
            helper.make_node("Relu", ["i"], ["r"]),
            helper.make_node("Reshape", ["r", "split"], ["s"]),
            helper.make_node("Reshape", ["s", "merge"], ["m"]),
            helper.make_node("Neg", ["m"], ["n"]),
            helper.make_node("Reshape", ["n", "split"], ["t"]),
            helper.make_node("Reshape", ["t", "wide"], ["y"]),
            helper.make_node("Exp", ["x"], ["unread"]),
        ],
        ["n", 6],
        values={"i": ["n", 6], "r": ["n", 6], "s": ["n", 2, 3], "m": ["n", 6], "n": ["n", 6], "t": ["n", 2, 3]},
        split=np.array([-1, 2, 3]),
        merge=np.array([-1, 6]),
        wide=np.array([1, -1]),
    )
    _, after = applied(passes.remove_dead, before)
    assert operators(after) == ["Relu", "Neg", "Reshape"]
    for n in (1, 4):
        x = floats(n, 6)
        np.testing.assert_array_equal(run(after, x), run(before, x))


def test_remove_dead_keeps_a_reshape_from_which_sizes_are_copied():
    before = model(
        [helper.make_node("Reshape", ["x", "merge"], ["m"]), helper.make_node("Reshape", ["m", "copy"], ["y"])],
        [2, "n", 6],
        values={"m": ["m", 6]},
        merge=np.array([-1, 6]),
        copy=np.array([0, 2, -1]),
    )
    _, after = applied(passes.remove_dead, before)
    x = floats(2, 3, 6)
    np.testing.assert_array_equal(run(after, x), run(before, x))
