"""Weights are read from the bytes of weights.bin, as ONNX reads them, and from no other file that a model names."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.errors import BadInput
from tcja_runtime.model_file import protobuf
from tcja_runtime.model_file.model import WEIGHTS, Model

TYPES = ("float32", "float16", "float64", "int8", "uint8", "int32", "int64", "bool")
SPACE = 192  # bytes before each tensor in the weights file


def outside(array, name, location=WEIGHTS, offset=0, **entries):
    """A tensor whose values are in a file."""
    tensor = numpy_helper.from_array(array, name)
    external_data_helper.set_external_data(tensor, location, offset, array.nbytes)
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    tensor.ClearField("raw_data")
    return tensor


def model(initializers, nodes, outputs, **graph):
    made = helper.make_graph(nodes, "graph", [], outputs, initializers, **graph)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def identity(initializers, read):
    """A model that returns the tensors that it reads."""
    nodes = [helper.make_node("Identity", [each.name], [f"{each.name} out"]) for each in read]
    outputs = [helper.make_tensor_value_info(f"{each.name} out", each.data_type, each.dims) for each in read]
    return model(initializers, nodes, outputs)


def in_memory(made, weights=b""):
    return Model(Path("a.onnx"), made.SerializeToString(), weights)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {kind: (rng.normal(size=(3, 5)) * 50).astype(kind) for kind in TYPES}


@pytest.fixture
def weights(arrays):
    return b"".join(b"\x55" * SPACE + array.tobytes() for array in arrays.values())


@pytest.fixture
def stored(arrays):
    found, at = [], 0
    for kind, array in arrays.items():
        found.append(outside(array, kind, offset=at + SPACE))
        at += SPACE + array.nbytes
    return found


def test_tensors_are_those_that_onnx_reads_from_the_file(tmp_path, arrays, weights, stored):
    made = identity(stored, stored)
    onnx.save(made, tmp_path / "a.onnx")
    (tmp_path / WEIGHTS).write_bytes(weights)
    whole = onnx.load(tmp_path / "a.onnx")  # onnx reads the file itself
    found = in_memory(made, weights).tensors()
    assert found.keys() == arrays.keys()
    for tensor in whole.graph.initializer:
        expected = numpy_helper.to_array(tensor)
        np.testing.assert_array_equal(found[tensor.name], expected)
        assert found[tensor.name].dtype == expected.dtype


def test_onnx_runtime_computes_with_them_and_opens_no_file(tmp_path, arrays, weights, stored, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"\0" * len(weights))  # in the folder where ONNX Runtime would look for it
    session = OnnxRuntimeSession.open(in_memory(identity(stored, stored), weights))
    for name, value in session.run({}).items():
        np.testing.assert_array_equal(value, arrays[name.removesuffix(" out")])


def test_tensors_that_no_node_reads_are_left_out(weights, stored):
    made = in_memory(identity(stored, stored[:2]), weights)
    assert list(made.tensors()) == ["float32", "float16"]
    assert OnnxRuntimeSession.open(made).run({}).keys() == {"float32 out", "float16 out"}


def test_what_is_written_is_what_onnx_reads_and_no_other_weights(tmp_path, arrays, weights, stored):
    made = identity(stored, stored[1:3])
    in_memory(made, weights).write(tmp_path / "a.onnx")
    whole = onnx.load(tmp_path / "a.onnx", load_external_data=False)
    external_data_helper.load_external_data_for_tensor(whole.graph.initializer[1], str(tmp_path))
    np.testing.assert_array_equal(numpy_helper.to_array(whole.graph.initializer[1]), arrays["float16"])
    assert b"\x55" not in (tmp_path / WEIGHTS).read_bytes()[: SPACE + arrays["float32"].nbytes]


def test_the_body_of_a_loop_reads_weights(weights, stored):
    wanted = stored[0]
    info = helper.make_tensor_value_info("inner", wanted.data_type, wanted.dims)
    branch = helper.make_graph([helper.make_node("Identity", ["float32"], ["inner"])], "branch", [], [info])
    node = helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch)
    yes = numpy_helper.from_array(np.array(True), "yes")
    out = helper.make_tensor_value_info("out", wanted.data_type, wanted.dims)
    made = in_memory(model([yes, *stored], [node], [out]), weights)
    (found,) = OnnxRuntimeSession.open(made).run({}).values()
    np.testing.assert_array_equal(found, made.tensors()["float32"])


ARRAY = np.arange(400, dtype=np.float32)


def in_a_constant(location):
    value = outside(ARRAY, "c", location)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [400])
    return model([], [helper.make_node("Constant", [], ["out"], value=value)], [out])


def in_a_body(location):
    info = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [400])
    nodes = [helper.make_node("Identity", ["w"], ["inner"])]
    branch = helper.make_graph(nodes, "branch", [], [info], [outside(ARRAY, "w", location)])
    node = helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch)
    yes = numpy_helper.from_array(np.array(True), "yes")
    return model([yes], [node], [helper.make_tensor_value_info("out", TensorProto.FLOAT, [400])])


def in_a_function(location):
    constant = helper.make_node("Constant", [], ["y"], value=outside(ARRAY, "c", location))
    made = model([], [helper.make_node("F", [], ["out"], domain="own")], [])
    made.functions.append(helper.make_function("own", "F", [], ["y"], [constant], [helper.make_opsetid("", 18)]))
    return made


def graph_of(**entries):
    tensor = outside(ARRAY, "w", **entries)
    return identity([tensor], [tensor])


FOREIGN = {
    "another folder": (
        graph_of(location="../secret.bin"),
        "tensor w is in the file '../secret.bin', not in weights.bin",
    ),
    "no name": (graph_of(location=""), "tensor w is in the file '', not in weights.bin"),
    "a memory address": (graph_of(location="*/_ORT_MEM_ADDR_/*"), "not in weights.bin"),
    "a name twice": (graph_of(offset=0, Location=1), None),
    "a node": (in_a_constant("../secret.bin"), "a node of it has a constant in another file"),
    "a node, of weights.bin": (in_a_constant(WEIGHTS), "a node of it has a constant in another file"),
    "a body": (in_a_body("../secret.bin"), "a node of it has a constant in another file"),
    "a function": (in_a_function("../secret.bin"), "a node of it has a constant in another file"),
    "behind the end": (graph_of(offset=64), r"tensor w of shape \[400\] does not fit into weights.bin, .* 1600 bytes"),
    "before the begin": (graph_of(offset=-4), "does not fit into weights.bin"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_no_other_file_is_read(case):
    made, message = FOREIGN[case]
    if message is None:
        made.graph.initializer[0].external_data.add(key="location", value="../secret.bin")
        message = "tensor w says twice where its values are"
    with pytest.raises(BadInput, match=f"a.onnx cannot be read: .*{message}"):
        OnnxRuntimeSession.open(in_memory(made, ARRAY.tobytes()))


def test_graphs_in_graphs_are_read_up_to_a_limit():
    node = b""
    for _ in range(2000):
        attribute = protobuf.embedded(protobuf.ATTRIBUTE_GRAPHS, protobuf.embedded(protobuf.GRAPH_NODE, node))
        node = protobuf.embedded(protobuf.NODE_ATTRIBUTE, attribute)
    made = protobuf.embedded(protobuf.MODEL_GRAPH, protobuf.embedded(protobuf.GRAPH_NODE, node))
    with pytest.raises(ValueError, match="its graphs are nested too deep"):
        Model(Path("a.onnx"), made, b"").tensors()


def test_a_size_that_is_not_that_of_the_shape_is_refused():
    tensor = outside(ARRAY, "w")
    tensor.dims[0] = 401
    with pytest.raises(BadInput, match=r"tensor w of shape \[401\] does not fit"):
        OnnxRuntimeSession.open(in_memory(identity([tensor], [tensor]), ARRAY.tobytes() * 2))
