import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from tcja_runtime.probe import with_outputs


@pytest.fixture
def model() -> onnx.ModelProto:
    """y = -relu(x w), with names long enough for a varint of two bytes."""
    names = {"product": "m" * 200, "kept": "r"}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], [names["product"]]),
        helper.make_node("Relu", [names["product"]], [names["kept"]]),
        helper.make_node("Neg", [names["kept"]], ["y"]),
    ]
    weight = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3) - 2, "w")
    value = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", value, ["batch", 2])],
        [helper.make_tensor_value_info("y", value, ["batch", 3])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_probe_is_the_model_with_more_outputs(model):
    probe = onnx.load_from_string(with_outputs(model.SerializeToString(), ["m" * 200, "r"]))
    assert [output.name for output in probe.graph.output] == ["y", "m" * 200, "r"]
    del probe.graph.output[1:]
    assert probe == model


def test_probe_runs(model):
    session = onnxruntime.InferenceSession(with_outputs(model.SerializeToString(), ["m" * 200]))
    x = np.array([[1.0, 2.0]], np.float32)
    y, product = session.run(None, {"x": x})
    np.testing.assert_array_equal(product, [[0.0, 3.0, 6.0]])
    np.testing.assert_array_equal(y, -np.maximum(product, 0))


def test_no_more_outputs_is_the_model_itself(model):
    assert onnx.load_from_string(with_outputs(model.SerializeToString(), [])) == model
