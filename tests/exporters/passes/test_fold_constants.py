from __future__ import annotations

import numpy as np
from onnx import helper

from tcja_exporters import passes

from .graphs import applied, floats, model, operators, run


def test_fold_constants():
    before = model(
        [
            helper.make_node("Mul", ["a", "a"], ["b"]),
            helper.make_node("Conv", ["x", "w", "zeros"], ["c"]),
            helper.make_node("Add", ["c", "b"], ["y"]),
        ],
        [1, 2, 5],
        a=floats(1),
        w=floats(3, 2, 1),
        zeros=np.zeros(3, np.float32),
    )
    done, after = applied(passes.fold_constants, before)
    assert done.exact
    assert operators(after) == ["Conv", "Add"]
    assert len(after.graph.node[0].input) == 2
    x = floats(1, 2, 5)
    np.testing.assert_array_equal(run(after, x), run(before, x))
