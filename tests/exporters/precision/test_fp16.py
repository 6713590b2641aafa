"""Networks in FP16."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import onnxruntime
from onnx import TensorProto

from tcja_exporters.precision import fp16

from .lowering import layers_of, lower, types


def test_membranes_and_thresholds_stay_in_float32(name, exports):
    model = lower(name, exports[name][0], "fp16").exported.plain
    found = types(model)
    scans = [node for node in model.graph.node if node.op_type == "Scan"]
    assert scans
    for scan in scans:
        assert {found[tensor] for tensor in scan.input} == {TensorProto.FLOAT}
    assert {found[value.name] for value in (*model.graph.input, *model.graph.output)} == {TensorProto.FLOAT}


def test_products_are_in_half(name, exports):
    exported = exports[name][0]
    low = lower(name, exported, "fp16").exported
    found = types(low.plain)
    products = [node for node in low.plain.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(products) == len(exported.weights)
    assert {found[tensor] for node in products for tensor in (*node.input, *node.output)} == {TensorProto.FLOAT16}
    assert {weight.type for weight in low.weights} == {"fp16"}
    # Casts come in pairs around neurons and means, not around every operation.
    assert sum(node.op_type == "Cast" for node in low.model.graph.node) < 3 * len(layers_of(name))


def test_a_transpose_of_floats_stays_before_the_cast():
    """ONNX Runtime 1.32 crashes as it loads the other order, in a network that takes the time steps first."""
    tensors = [gs.Variable(name, np.dtype(np.float32), ["N", 10, 12]) for name in ("x", "steps", "y")]
    nodes = [
        gs.Node("Transpose", "axes", {"perm": [1, 0, 2]}, [tensors[0]], [tensors[1]]),
        gs.Node("MatMul", "product", {}, [tensors[1], gs.Constant("w", np.ones((12, 20), np.float32))], [tensors[2]]),
    ]
    tensors[1].shape, tensors[2].shape = [10, "N", 12], [10, "N", 20]
    graph = gs.Graph(nodes, [tensors[0]], [tensors[2]], opset=18)
    fp16.to_half(graph, ["w"])
    graph.toposort()
    assert [node.op for node in graph.nodes] == ["Transpose", "Cast", "MatMul", "Cast"]
    onnxruntime.InferenceSession(gs.export_onnx(graph).SerializeToString())
