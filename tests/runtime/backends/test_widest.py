"""The largest rounding bounds hold for what ONNX Runtime computes, by onnx's evaluator in float64, and are narrow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.widest import widest
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature
from tcja_runtime.data.contract import InputContract
from tcja_runtime.evidence.largest_bounds import shares
from tcja_runtime.evidence.rounding import FLOAT32
from tcja_runtime.evidence.trace import Recording, Reference
from tcja_runtime.model_file.magnitudes import SHAPE_OF, magnitudes
from tcja_runtime.model_file.model import Model
from tcja_runtime.neuron import NeuronSpec

T, N = 3, 2


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 1, shape).astype(np.float32)


def node(operator: str, *constants: np.ndarray, reads: tuple[str, ...] = ("x",), **attributes: object):
    """The only node of a graph: what it reads, its constants, and its attributes."""
    return operator, reads, constants, attributes


AXES = np.array([2, 3])
OPERATORS = {
    "convolution": node("Conv", drawn(4, 6, 3, 3), drawn(4), pads=[1, 1, 1, 1]),
    "grouped convolution": node("Conv", drawn(6, 2, 3, 3), group=3),
    "transposed convolution": node("ConvTranspose", drawn(6, 4, 3, 3), strides=[2, 2]),
    "matrix product": node("MatMul", drawn(5, 7)),
    "constant and matrix": node("Mul", drawn(6, 1, 1)),
    "sum": node("Add", drawn(6, 1, 1)),
    "difference": node("Sub", drawn(6, 1, 1)),
    "quotient": node("Div", drawn(6, 1, 1)),
    "square": node("Mul", reads=("x", "x")),
    "mean": node("ReduceMean", AXES, keepdims=0),
    "sum over axes": node("ReduceSum", AXES, keepdims=1),
    "average pooling": node("AveragePool", kernel_shape=[3, 3], strides=[2, 2]),
    "maximum pooling": node("MaxPool", kernel_shape=[2, 2]),
    "sigmoid": node("Sigmoid"),
    "tanh": node("Tanh"),
    "negative": node("Neg"),
    "rectified": node("Relu"),
    "transposed": node("Transpose", perm=[0, 2, 3, 1]),
    "batch norm": node("BatchNormalization", drawn(6), drawn(6) * 9, drawn(6) * 5, np.abs(drawn(6)) + np.float32(0.1)),
}


def model(operator: str, reads: tuple[str, ...], constants: tuple[np.ndarray, ...], attributes: dict) -> bytes:
    """A serialised model: x -> a difference of two constants -> the node -> y."""
    stored = {f"c{k}": array for k, array in enumerate(constants)} | {"u": drawn(5, 5) * 100, "v": drawn(5, 5) * 99}
    nodes = [
        helper.make_node("Add", ["x", "u"], ["x and u"]),
        helper.make_node("Sub", ["x and u", "v"], ["z"]),
        helper.make_node(
            operator, [*("z" for _ in reads), *(f"c{k}" for k in range(len(constants)))], ["y"], **attributes
        ),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return made.SerializeToString()


def in_float64(content: bytes) -> onnx.ModelProto:
    made = onnx.load_from_string(content)
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in made.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float64), tensor.name))
    return made


@pytest.mark.parametrize("case", OPERATORS)
def test_no_rounding_error_is_larger_than_its_limit(case):
    content, x = model(*OPERATORS[case]), drawn(N, 6, 5, 5)
    found = magnitudes(content, ["y"], {})
    run = OnnxRuntimeSession.open(Model(Path("m.onnx"), found.model, b"")).run({"x": np.abs(x)})
    share = shares(found, {name: run[SHAPE_OF + name].tolist() for name in found.shaped}, FLOAT32)["y"]
    (exact,) = ReferenceEvaluator(in_float64(content)).run(None, {"x": x.astype(np.float64)})
    computed = OnnxRuntimeSession.open(Model(Path("m.onnx"), content, b"")).run({"x": x})["y"]
    assert run["y"].shape == exact.shape
    assert (run["y"] * (1 + 1e-5) >= np.abs(exact)).all()
    error = np.abs(computed - exact)
    assert (error <= share * run["y"]).all()
    assert error.max() > 0
    assert share < 1e-4  # a limit that were too wide would find nothing


REFUSED = {
    "softmax": node("Softmax"),
    "quotient of two computed values": node("Div", reads=("x", "x")),
    "quantised values": node("QuantizeLinear", np.float32(0.1), np.int8(0)),
    "comparison": node("Greater", np.float32(0)),
    "square root": node("Sqrt"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_behind_other_operations_no_limit_is_known(case):
    found = magnitudes(model(*REFUSED[case]), ["y", "z"], {})
    assert list(found.outputs) == ["z"]


def test_a_node_of_another_domain_is_not_known():
    made = onnx.load_from_string(model(*OPERATORS["sigmoid"]))
    made.graph.node[-1].domain = "tcja"
    assert list(magnitudes(made.SerializeToString(), ["y"], {}).outputs) == []


def network() -> tuple[Model, NetworkSignature]:
    """A convolution of the input, a spiking layer that is given, and a linear layer whose mean is the output."""
    stored = {"w": drawn(4, 2, 3, 3), "b": drawn(4), "f": drawn(100, 3), "flat": np.array([T, -1, 100])}
    stored |= {"all": np.array([-1, 2, 5, 5]), "parts": np.array([T, -1, 4, 5, 5]), "time": np.array([0])}
    nodes = [
        helper.make_node("Transpose", ["frames"], ["t"], perm=[1, 0, 2, 3, 4]),
        helper.make_node("Reshape", ["t", "all"], ["a"]),
        helper.make_node("Conv", ["a", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["c", "parts"], ["lif/current"]),
        helper.make_node("Relu", ["lif/current"], ["lif/spikes"]),
        helper.make_node("Reshape", ["lif/spikes", "flat"], ["g"]),
        helper.make_node("MatMul", ["g", "f"], ["h"]),
        helper.make_node("ReduceMean", ["h", "time"], ["rates"], keepdims=0),
    ]
    frames = helper.make_tensor_value_info("frames", TensorProto.FLOAT, ["N", T, 2, 5, 5])
    rates = helper.make_tensor_value_info("rates", TensorProto.FLOAT, ["N", 3])
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "g", [frames], [rates], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    neuron = NeuronSpec.linear(decay=0.5, strict=True)
    signature = NetworkSignature(
        input=InputContract.of((T, 2, 5, 5)),
        output="rates",
        output_shape=(3,),
        time_steps=T,
        layers=[Layer(name="lif", shape=(4, 5, 5), neuron=neuron)],
    )
    return Model(Path("m.onnx"), made.SerializeToString(), b""), signature


def test_the_limits_of_a_network_are_those_of_its_weights_and_inputs():
    """In a convolution of one pixel, the magnitude is |w| of this pixel + |b|; without spikes, the output has none."""
    made, signature = network()
    inputs = np.zeros((N, T, 2, 5, 5), np.float32)
    inputs[0, 1, 1, 2, 2] = -3.0
    silent = np.zeros((T, N, 4, 5, 5), np.bool_)
    nothing = np.zeros((N, 3), np.float32)
    reference = Reference(output=nothing, output_bound=nothing, spikes={"lif": silent}, undecided={}, witnesses={})
    found = widest(made, signature, Recording(inputs, reference), FLOAT32)
    weight, bias = np.abs(drawn(4, 2, 3, 3)), np.abs(drawn(4))
    limits = found.signals["lif"]
    share = limits[0, 0, 0, 0, 0] / bias[0]
    assert 2.0**-24 < share < 1e-5
    expected = np.broadcast_to(bias[:, None, None], limits.shape).copy()
    expected[1, 0, :, 1:4, 1:4] += 3 * weight[:, 1, ::-1, ::-1]
    np.testing.assert_allclose(limits, share * expected, rtol=1e-5)
    assert (found.output == 0).all()


def test_replaced_weights_have_their_own_limits():
    made, signature = network()
    inputs = np.ones((N, T, 2, 5, 5), np.float32)
    fired = np.ones((T, N, 4, 5, 5), np.bool_)
    nothing = np.zeros((N, 3), np.float32)
    reference = Reference(output=nothing, output_bound=nothing, spikes={"lif": fired}, undecided={}, witnesses={})
    own = widest(made, signature, Recording(inputs, reference), FLOAT32)
    doubled = widest(made, signature, Recording(inputs, reference), FLOAT32, weights={"f": -2 * drawn(100, 3)})
    np.testing.assert_allclose(doubled.output, 2 * own.output, rtol=1e-5)
    np.testing.assert_array_equal(doubled.signals["lif"], own.signals["lif"])
