"""What acts on each step alone, against ONNX Runtime: where a step of the input changes, so does one of the result."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tcja_exporters.graph.time_axes import TimeAxes, stepwise_tensors

T, N = 3, 2
WINDOW = (4, 5, 6)
"""A step of a window: C, H, W."""
CONSTANTS = {
    "filters": np.random.default_rng(0).standard_normal((7, 4, 3, 3)),
    "matrix": np.random.default_rng(1).standard_normal((6, 2)),
    "left": np.random.default_rng(2).standard_normal((2, 5)),
    "dense": np.random.default_rng(3).standard_normal((120, 2)),
    "bias": np.random.default_rng(4).standard_normal(2),
    "scale": np.array(0.1),
    "channels": np.random.default_rng(5).standard_normal((4, 1, 1)),
    "by step": np.random.default_rng(6).standard_normal((T, 1, 1, 1)),
    "sequence": np.random.default_rng(7).standard_normal((T, T, 1)),
}
INTEGERS = {
    "joined": [-1, *WINDOW],
    "flat": [-1, 120],
    "windows": [-1, T, *WINDOW],
    "steps": [T, -1, *WINDOW],
    "blocks": [-1, T, 2, 2, 30],
    "of channels": [-1, T, 4, 30],
    "rows": [-1],
    "spatial": [3, 4],
    "time": [1],
    "first": [0],
    "last": [-1],
}
ZERO = numpy_helper.from_array(np.array(0, np.int8), "zero")

Step = tuple[str, list[str]] | tuple[str, list[str], dict[str, object]]


def chain(*steps: Step) -> onnx.ModelProto:
    """Operators one behind the other, each with more inputs behind the data, or ahead of it where they say where."""
    nodes, tensor = [], "frames"
    for i, (kind, more, *attributes) in enumerate(steps):
        inputs = [tensor if name == "data" else name for name in (more if "data" in more else ["data", *more])]
        tensor = "y" if i == len(steps) - 1 else f"t{i}"
        nodes.append(
            helper.make_node(kind, inputs, [tensor], name=f"{kind} {i}", **(attributes[0] if attributes else {}))
        )
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in CONSTANTS.items()]
    constants += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in INTEGERS.items()]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["batch", T, *WINDOW])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [tensor for tensor in (*constants, ZERO) if tensor.name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)


JOIN: Step = ("Reshape", ["joined"])
TO_STEPS: Step = ("Transpose", [], {"perm": [1, 0, 2, 3, 4]})
CONV: Step = ("Conv", ["filters"], {"kernel_shape": [3, 3]})

ALONE = {
    "joined": [JOIN, CONV],
    "joined, time first": [TO_STEPS, JOIN, ("MaxPool", [], {"kernel_shape": [2, 2]})],
    "apart again": [JOIN, ("Relu", []), ("Reshape", ["windows"])],
    "apart again, time first": [TO_STEPS, JOIN, ("Relu", []), ("Reshape", ["steps"])],
    "flat": [JOIN, ("Reshape", ["flat"]), ("Gemm", ["dense", "bias"])],
    "flattened": [JOIN, ("Flatten", []), ("MatMul", ["dense"])],
    "matrices": [("MatMul", ["matrix"])],
    "matrices on the left": [("MatMul", ["left", "data"])],
    "each channel": [("Mul", ["channels"])],
    "mean over rows and columns": [("ReduceMean", ["spatial"], {"keepdims": 0})],
    "mean that keeps them": [TO_STEPS, ("ReduceMean", ["spatial"])],
    "another axis": [("Unsqueeze", ["first"]), ("Squeeze", ["first"])],
    "quantised": [("QuantizeLinear", ["scale", "zero"]), ("DequantizeLinear", ["scale", "zero"])],
    "softmax of rows": [("Softmax", [], {"axis": -1})],
    "transposed": [("Transpose", [], {"perm": [2, 0, 1, 4, 3]}), ("Sigmoid", [])],
    "channels split": [("Reshape", ["of channels"])],
}
MIXING = {
    "convolution over channels, T of them": [("ReduceMean", ["spatial"], {"keepdims": 0}), ("Conv", ["sequence"])],
    "mean over time": [("ReduceMean", ["time"], {"keepdims": 0})],
    "joined in the other order": [TO_STEPS, JOIN, ("Reshape", ["windows"])],
    "a constant of each step": [("Mul", ["by step"])],
    "softmax over time": [("Softmax", [], {"axis": 1})],
    "sums so far": [("CumSum", ["one"])],
    "time joined with channels": [("Reshape", ["rows"])],
    "the last axis": [("Transpose", [], {"perm": [0, 2, 3, 4, 1]}), ("Softmax", [], {"axis": -1})],
}
INTEGERS["one"] = [1]


@pytest.mark.parametrize("steps", ALONE.values(), ids=ALONE)
def test_what_acts_on_each_step_alone(steps):
    model = chain(*steps)
    found = stepwise_tensors(model, "frames", T)
    assert "y" in found.axes
    axes, rng = found.axes["y"], np.random.default_rng(8)
    frames = rng.standard_normal((N, T, *WINDOW)).astype(np.float32)
    before = by_step(run(model, frames), axes)
    for t in range(T):
        other = frames.copy()
        other[:, t] = rng.standard_normal((N, *WINDOW))
        differs = by_step(run(model, other), axes) != before
        assert differs[t].reshape(N, -1).any(axis=1).all()
        assert not np.delete(differs, t, axis=0).any()
        one = frames.copy()
        one[1, t] = 0
        assert not (by_step(run(model, one), axes) != before)[:, 0].any()


@pytest.mark.parametrize("steps", MIXING.values(), ids=MIXING)
def test_what_mixes_steps_or_is_not_the_same_for_all(steps):
    assert "y" not in stepwise_tensors(chain(*steps), "frames", T).axes


def test_two_of_different_axes_are_not_combined():
    model = chain(TO_STEPS, ("Add", ["frames", "data"]))
    assert "y" not in stepwise_tensors(model, "frames", T).axes


def run(model: onnx.ModelProto, frames: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"frames": frames})[0]


def by_step(value: np.ndarray, axes: TimeAxes) -> np.ndarray:
    """As [T, N, ...]."""
    if axes.joined:
        value = value.reshape(*((T, N) if axes.time_first else (N, T)), *value.shape[1:])
        return value if axes.time_first else np.moveaxis(value, 1, 0)
    return np.moveaxis(value, axes.axes, (0, 1))
