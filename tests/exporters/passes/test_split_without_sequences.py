from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from tcja_exporters import passes
from tcja_exporters.passes.base import PassResult

from .graphs import applied, floats, model, operators, run


def in_parts(split: int | list[int], taken: tuple[int, ...] = (0, 1, 2), *more: onnx.NodeProto) -> onnx.ModelProto:
    """Parts of x [n, 7] along its last axis, stacked by Concat."""
    names = [f"part {i}" for i in range(len(taken))]
    nodes = [
        helper.make_node("SplitToSequence", ["x", "split"], ["sequence"], axis=1),
        *(
            helper.make_node("SequenceAt", ["sequence", f"at {at}"], [name])
            for at, name in zip(taken, names, strict=True)
        ),
        *more,
        helper.make_node("Concat", names, ["y"], axis=1),
    ]
    places = {f"at {at}": np.array(at, np.int64) for at in taken}
    return model(nodes, ["n", 7], split=np.array(split, np.int64), **places)


@pytest.mark.parametrize(
    ("split", "taken"),
    [(3, (0, 1, 2)), ([1, 4, 2], (2, 0, 1)), ([1, 4, 2], (-1, 1, 1)), (7, (0,))],
    ids=["one size", "sizes", "from the end, twice, one unused", "whole"],
)
def test_split_without_sequences(split, taken):
    before = in_parts(split, taken)
    done, after = applied(passes.split_without_sequences, before)
    assert done == PassResult(1 + len(taken))
    assert not {"SplitToSequence", "SequenceAt"} & {*operators(after)}
    x = floats(2, 7)
    np.testing.assert_array_equal(run(after, x), run(before, x))


@pytest.mark.parametrize(
    "before",
    [
        in_parts(3, (0, 1, 2), helper.make_node("SequenceLength", ["sequence"], ["length"])),
        in_parts(3, (0, 1, 3)),
    ],
    ids=["read otherwise", "outside"],
)
def test_split_without_sequences_leaves_what_is_not_parts(before):
    assert applied(passes.split_without_sequences, before)[0] == PassResult(0)
