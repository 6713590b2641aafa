import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from tcja_runtime.model_file.subgraph import inputs, part
from tcja_runtime.model_file.tensor_names import given_tensor


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


def test_all_of_a_model_with_more_outputs(model):
    whole = onnx.load_from_string(part(model.SerializeToString(), ["y", "m" * 200, "r"], {}))
    assert [output.name for output in whole.graph.output] == ["y", "m" * 200, "r"]
    del whole.graph.output[:]
    whole.graph.output.extend(model.graph.output)
    assert whole == model


def test_more_outputs_can_be_computed(model):
    session = onnxruntime.InferenceSession(part(model.SerializeToString(), ["y", "m" * 200], {}))
    x = np.array([[1.0, 2.0]], np.float32)
    y, product = session.run(None, {"x": x})
    np.testing.assert_array_equal(product, [[0.0, 3.0, 6.0]])
    np.testing.assert_array_equal(y, -np.maximum(product, 0))


def test_a_part_takes_what_is_given_and_no_more(model):
    content = part(model.SerializeToString(), ["y"], {"m" * 200: (None, None), "nowhere": (None,)})
    assert [node.op_type for node in onnx.load_from_string(content).graph.node] == ["Relu", "Neg"]
    session = onnxruntime.InferenceSession(content)
    (given,) = session.get_inputs()
    assert (given.name, given.type, len(given.shape)) == (given_tensor("m" * 200), "tensor(float)", 2)
    (y,) = session.run(None, {given.name: np.array([[-1.0, 2.0]], np.float32)})
    np.testing.assert_array_equal(y, [[0.0, -2.0]])


def test_what_the_body_of_a_scan_reads_is_in_the_part():
    """As a neuron whose constants are arrays: they are spread over the neurons by a node before the Scan."""
    value = onnx.TensorProto.FLOAT

    def info(name, *shape):
        return helper.make_tensor_value_info(name, value, shape)

    step = [helper.make_node("Add", ["v", "x_t"], ["sum"]), helper.make_node("Mul", ["sum", "spread"], ["out"])]
    step.append(helper.make_node("Identity", ["out"], ["v_next"]))
    body = helper.make_graph(step, "step", [info("v", 3), info("x_t", 3)], [info("v_next", 3), info("out", 3)])
    nodes = [
        helper.make_node("Neg", ["factor"], ["spread"]),
        helper.make_node("Neg", ["x"], ["current"]),
        helper.make_node("Scan", ["start", "current"], ["last", "y"], body=body, num_scan_inputs=1),
    ]
    stored = [numpy_helper.from_array(np.float32(a), name) for a, name in (([2, 3, 4], "factor"), ([0, 0, 0], "start"))]
    graph = helper.make_graph(nodes, "graph", [info("x", 2, 3)], [info("y", 2, 3)], stored)
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    content = part(whole.SerializeToString(), ["y"], {"current": (2, 3)})
    assert [node.op_type for node in onnx.load_from_string(content).graph.node] == ["Neg", "Scan"]
    (y,) = onnxruntime.InferenceSession(content).run(None, {given_tensor("current"): np.ones((2, 3), np.float32)})
    np.testing.assert_array_equal(y, [[-2, -3, -4], [2, 6, 12]])


def test_inputs_are_what_a_part_takes(model):
    content = part(model.SerializeToString(), ["y"], {"w": (2, 4), "m" * 200: (None, None)})
    assert inputs(content) == [given_tensor("m" * 200)]
    assert inputs(model.SerializeToString()) == ["x"]


def test_dimensions_and_types_that_are_known_are_said(model):
    model.graph.value_info.append(helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, ["batch", 3]))
    content = onnx.load_from_string(part(model.SerializeToString(), ["r", "y", "m" * 200], {"w": (2, 4)}))
    types = [output.type.tensor_type.elem_type for output in content.graph.output]
    assert types == [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT, onnx.TensorProto.UNDEFINED]
    (given,) = (value for value in content.graph.input if value.name == given_tensor("w"))
    assert [dimension.dim_value for dimension in given.type.tensor_type.shape.dim] == [2, 4]


def test_what_is_given_can_be_computed_too(model):
    session = onnxruntime.InferenceSession(
        part(model.SerializeToString(), ["y", "m" * 200], {"m" * 200: (None, None), "w": (2, 4)})
    )
    feeds = {"x": np.array([[1.0, 2.0]], np.float32), "m" * 200: np.array([[-1.0, 2.0]], np.float32)}
    feeds["w"] = np.ones((2, 4), np.float32)
    assert {value.name for value in session.get_inputs()} == {"x", given_tensor("m" * 200), given_tensor("w")}
    y, product = session.run(None, {name if name == "x" else given_tensor(name): v for name, v in feeds.items()})
    np.testing.assert_array_equal(y, [[0.0, -2.0]])
    np.testing.assert_array_equal(product, [[3.0, 3.0, 3.0, 3.0]])


@pytest.mark.parametrize("cut", [1, 2, 20, 300])
def test_what_is_cut_off_is_refused(model, cut):
    with pytest.raises(ValueError, match="the bytes of the ONNX model are cut off"):
        part(model.SerializeToString()[:-cut], ["y"], {})


def test_what_is_no_model_is_refused():
    with pytest.raises(ValueError, match="the bytes are not an ONNX model"):
        part(b"not a model", ["y"], {})
