from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from tcja_exporters.modules.quantizer import quantized
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession


@pytest.mark.parametrize("scale", [1.0, 0.25, 0.0123])
def test_the_quantiser_is_onnx_runtimes(tmp_path, scale):
    helper = onnx.helper
    constants = [
        numpy_helper.from_array(np.array(scale, np.float32), "s"),
        numpy_helper.from_array(np.array(0, np.int8), "z"),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "q.onnx")
    x = (np.random.default_rng(0).normal(0, 60 * scale, 4096)).astype(np.float32)
    x = np.append(x, np.arange(-200, 200, dtype=np.float32) * np.float32(scale / 2))
    y = OnnxRuntimeSession.open(tmp_path / "q.onnx").run({"x": x})["y"]
    ours = quantized(torch.from_numpy(x).double(), float(np.float32(scale))).numpy()
    at_half = np.abs(np.abs(x / scale - np.trunc(x / scale)) - 0.5) < 1e-4
    assert np.abs(y - ours)[~at_half].max() <= 1e-6 * 128 * scale
    assert Counter(at_half.tolist())[False] > 4000
