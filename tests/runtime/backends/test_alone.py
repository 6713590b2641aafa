"""Which batches change bits, in ONNX Runtime: it adds the terms of a mean in another order if there are more rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tcja_runtime.backends.alone import rows_as_alone
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle

from ...fuzz import small_bundle

ROWS = 9


def session(path: Path, operator: str, shape: tuple[int, ...], weights: Sequence[int]) -> OnnxRuntimeSession:
    """A model of one operator: its axes are those of ReduceMean, or the shape of its weights."""
    if operator == "ReduceMean":
        constant = helper.make_tensor("w", TensorProto.INT64, [1], weights)
    else:
        drawn = np.random.default_rng(1).standard_normal(weights).astype(np.float32)
        constant = helper.make_tensor("w", TensorProto.FLOAT, drawn.shape, drawn.tobytes(), raw=True)
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "one operator",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [constant],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return OnnxRuntimeSession.open(path)


def bits(net: OnnxRuntimeSession, values: np.ndarray) -> bytes:
    return net.run({"x": values})["y"].tobytes()


@pytest.mark.parametrize(
    ("operator", "shape", "weights"),
    [
        ("ReduceMean", (10, 3), [1]),
        ("MatMul", (333,), (333, 40)),
        ("Conv", (2, 9, 9), (4, 2, 3, 3)),
    ],
)
def test_the_number_that_is_found_is_the_true_one(tmp_path, operator, shape, weights):
    """Up to it, each row has the bits that ONNX Runtime gives it alone; at one row more, one has not."""
    net = session(tmp_path / "m.onnx", operator, shape, weights)
    values = np.random.default_rng(2).standard_normal((ROWS, *shape)).astype(np.float32)
    alone = [bits(net, values[i : i + 1]) for i in range(ROWS)]
    same = [bits(net, values[:n]) == b"".join(alone[:n]) for n in range(1, ROWS + 1)]
    found = rows_as_alone(net, {"x": shape}, ROWS)
    assert found == (ROWS if all(same) else same.index(False))
    assert operator != "ReduceMean" or found < ROWS, "no batch of these means changes a bit, so they test nothing"


def test_streams_that_are_pushed_together_get_the_bits_of_one_alone(tmp_path):
    """All membranes and outputs, of a network of matrix products."""
    bundle, count = Bundle.open(small_bundle.unpacked(tmp_path)), 16
    split, shape = bundle.manifest.streaming, bundle.manifest.signature.input.shape
    frames = np.random.default_rng(0).uniform(0, 0.15, (count, *shape)).astype(np.float32)

    def answered(streams: Streams, windows: np.ndarray) -> list[bytes]:
        """For each stream, its membranes after each step, and its output."""
        found = [b""] * len(windows)
        for step in range(shape[0]):
            done = streams.push(windows[:, step])
            for i in range(len(windows)):
                found[i] += b"".join(streams._membranes[state.layer][i].tobytes() for state in split.states)
        return [one + output.tobytes() for one, output in zip(found, done.outputs, strict=True)]

    single = Streams.open(bundle)
    alone = [answered(single, window[None])[0] for window in frames]
    assert answered(Streams.open(bundle, count).as_alone(), frames) == alone
    assert len(set(alone)) == count
