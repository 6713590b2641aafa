"""Graphs made for a pass, and what it makes of them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tcja_exporters.passes.base import PassResult

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def model(
    nodes: list[onnx.NodeProto],
    shape: list[int | str],
    output: str = "y",
    values: dict[str, list[int | str]] | None = None,
    **constants: np.ndarray,
) -> onnx.ModelProto:
    """A model of these nodes from x [shape] to `output`, with the shapes of some tensors in between known."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
        value_info=[helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in (values or {}).items()],
    )
    domains = {node.domain for node in nodes} - {""}
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def run(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (y,) = onnxruntime.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})
    return y


def applied(apply, proto: onnx.ModelProto) -> tuple[PassResult, onnx.ModelProto]:
    graph = gs.import_onnx(proto)
    done = apply(graph)
    result = gs.export_onnx(graph.cleanup().toposort())
    result.ir_version = 10
    return done, result


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]
