"""Networks in FP16."""

from __future__ import annotations

from onnx import TensorProto

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
