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
