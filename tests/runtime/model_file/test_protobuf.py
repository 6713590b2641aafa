"""ONNX files read and written without the onnx package, against that package."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from tcja_runtime.model_file import protobuf

SAID = {"a": -3, "b": 2**40, "c": 0.1, "d": "text", "e": [1, -2, 300], "f": 0, "g": ""}


def test_attributes_are_read_as_onnx_reads_them():
    tensor = helper.make_tensor("t", onnx.TensorProto.FLOAT, [1], [1.0])
    node = helper.make_node("Op", [], [], **SAID, floats=[1.0, -0.1], tensor=tensor)
    expected = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name != "tensor"}
    expected = {name: value.decode() if isinstance(value, bytes) else value for name, value in expected.items()}
    assert protobuf.attributes(node.SerializeToString()) == expected


def test_floats_that_are_packed_are_read_too():
    packed = protobuf.embedded(protobuf.ATTRIBUTE_NAME, b"decay")
    packed += protobuf.embedded(protobuf.ATTRIBUTE_FLOATS, np.array([0.5, -2.0], "<f4").tobytes())
    packed += protobuf.varint(protobuf.ATTRIBUTE_TYPE << 3 | protobuf.VARINT) + protobuf.varint(6)
    assert protobuf.attributes(protobuf.embedded(protobuf.NODE_ATTRIBUTE, packed)) == {"decay": [0.5, -2.0]}


def test_integers_that_are_packed_are_read_too():
    (attribute,) = helper.make_node("Op", [], [], kernel_shape=[2, -1]).attribute
    packed = protobuf.embedded(protobuf.ATTRIBUTE_NAME, b"kernel_shape")
    packed += protobuf.embedded(protobuf.ATTRIBUTE_INTEGERS, protobuf.varint(2) + protobuf.varint(2**64 - 1))
    packed += protobuf.varint(protobuf.ATTRIBUTE_TYPE << 3 | protobuf.VARINT) + protobuf.varint(attribute.type)
    assert protobuf.attributes(protobuf.embedded(protobuf.NODE_ATTRIBUTE, packed)) == {"kernel_shape": [2, -1]}


@pytest.mark.parametrize("value", [0, 1, 2**40, "", "text"])
def test_attributes_are_written_as_onnx_reads_them(value):
    node = onnx.NodeProto()
    node.MergeFromString(protobuf.attribute("name", value))
    (attribute,) = node.attribute
    read = helper.get_attribute_value(attribute)
    assert (attribute.name, read.decode() if isinstance(read, bytes) else read) == ("name", value)
    assert attribute.type == (onnx.AttributeProto.INT if isinstance(value, int) else onnx.AttributeProto.STRING)


@pytest.mark.parametrize("content", [b"\x0a\x05ab", b"\x0b", b"\xff\xff"])
def test_what_is_no_message_is_refused(content):
    with pytest.raises(ValueError, match="the bytes (of the ONNX model are cut off|are not an ONNX model)"):
        list(protobuf.fields(content))


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (b"\xff" * 10**6, "the ONNX model has a number of more than 10 bytes"),
        (b"\xff" * 10 + b"\x01", "the ONNX model has a number of more than 10 bytes"),
        (b"\xff" * 9, "the bytes of the ONNX model are cut off"),
        (b"", "the bytes of the ONNX model are cut off"),
    ],
)
def test_a_number_that_is_none(number, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        protobuf.read_varint(number, 0)


@pytest.mark.parametrize("value", [0, 127, 128, 2**63, 2**64 - 1])
def test_numbers_of_64_bits_are_read(value):
    content = b"x" + protobuf.varint(value) + b"y"
    assert protobuf.read_varint(content, 1) == (value, len(content) - 1)


def test_an_attribute_without_a_type_is_refused():
    attribute = helper.make_attribute("tau", 2.0)
    attribute.ClearField("type")
    node = protobuf.embedded(protobuf.NODE_ATTRIBUTE, attribute.SerializeToString())
    with pytest.raises(ValueError, match="^the attribute 'tau' of a node has no type$"):
        protobuf.attributes(node)


@pytest.mark.parametrize("packed", [False, True])
def test_the_sizes_of_a_tensor(packed):
    tensor = helper.make_tensor("t", onnx.TensorProto.FLOAT, [3, 500], bytes(6000), raw=True).SerializeToString()
    if packed:
        sizes = protobuf.varint(3) + protobuf.varint(500)
        tensor = protobuf.embedded(protobuf.STORED_DIMS, sizes)
    assert protobuf.numbers(tensor, protobuf.STORED_DIMS) == (3, 500)


def in_graph(content: bytes) -> bytes:
    return protobuf.embedded(protobuf.MODEL_GRAPH, content)


def nested(levels: int, field: int = protobuf.ATTRIBUTE_GRAPH) -> bytes:
    node = b""
    for _ in range(levels):
        attribute = protobuf.embedded(field, protobuf.embedded(protobuf.GRAPH_NODE, node))
        node = protobuf.embedded(protobuf.NODE_ATTRIBUTE, attribute)
    return in_graph(protobuf.embedded(protobuf.GRAPH_NODE, node))


NAMES = protobuf.embedded(protobuf.NODE_INPUT, b"") * 2**19


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (b"\x0a\x00" * (2**20 + 1), "the ONNX model has more than 1,048,576 fields"),
        (in_graph(protobuf.embedded(protobuf.GRAPH_NODE, NAMES) * 3), "has more than 1,048,576 fields"),
        (nested(30), "the ONNX model has messages in more than 64 levels"),
        (nested(30, protobuf.ATTRIBUTE_GRAPHS), "the ONNX model has messages in more than 64 levels"),
        (b"\x0f", "the bytes are not an ONNX model"),
        (in_graph(b"\x0a\x05"), "the bytes of the ONNX model are cut off"),
    ],
)
def test_a_model_with_too_many_parts_is_refused(model, message):
    with pytest.raises(ValueError, match=message):
        protobuf.check_size(model)


def test_the_parts_of_a_model_are_those_of_onnx():
    """Each message that is counted is where ONNX's own package writes it."""
    value = helper.make_tensor_value_info("v", onnx.TensorProto.FLOAT, [1, "n"])
    inner = helper.make_graph([helper.make_node("Relu", ["v"], ["o"])], "inner", [value], [value], value_info=[value])
    node = helper.make_node("Scan", ["v"], ["o"], body=inner)
    graph = helper.make_graph([node], "g", [value], [value], [helper.make_tensor("t", 1, [1], [1.0])])
    function = helper.make_function("d", "F", ["a"], ["b"], [node], [helper.make_opsetid("", 18)])
    model = helper.make_model(graph, functions=[function])
    helper.set_model_props(model, {"a": "b"})
    protobuf.check_size(model.SerializeToString())
