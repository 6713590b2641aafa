"""Protobuf messages of ONNX files, read and written without the package onnx.

Sources: the protobuf encoding (https://protobuf.dev/programming-guides/encoding) and the messages in onnx/onnx.proto,
of which these fields are used:

    ModelProto      graph = 7, opset_import = 8, functions = 25
    GraphProto      node = 1, initializer = 5, input = 11, output = 12, value_info = 13
    TensorProto     dims = 1, data_type = 2, name = 8, raw_data = 9
    NodeProto       input = 1, output = 2, name = 3, op_type = 4, attribute = 5, domain = 7, overload = 8
    AttributeProto  name = 1, f = 2, i = 3, s = 4, g = 6, floats = 7, ints = 8, graphs = 11, type = 20
    ValueInfoProto  name = 1, type = 2;  TypeProto  tensor_type = 1;  Tensor  elem_type = 1, shape = 2;  shape  dim = 1
    Dimension       dim_value = 1
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MODEL_GRAPH, MODEL_FUNCTION = 7, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT, GRAPH_VALUE = 1, 5, 11, 12, 13
STORED_DIMS, STORED_TYPE, STORED_NAME, STORED_RAW = 1, 2, 8, 9
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_TYPE, NODE_ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS = 6, 11
ATTRIBUTE_NAME, ATTRIBUTE_FLOAT, ATTRIBUTE_INTEGER, ATTRIBUTE_TEXT = 1, 2, 3, 4
ATTRIBUTE_FLOATS, ATTRIBUTE_INTEGERS, ATTRIBUTE_TYPE = 7, 8, 20
VALUE_NAME, VALUE_TYPE, TYPE_TENSOR, TENSOR_ELEMENT, TENSOR_SHAPE, SHAPE_DIM, DIM_VALUE = 1, 2, 1, 1, 2, 1, 1
FLOAT, INT32 = 1, 6
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT, _BITS = 10, 2**64 - 1

MOST_FIELDS, DEEPEST = 2**20, 64
"""The most fields of a model, with those in its messages, and the most levels of messages in messages.

The models of the published networks have some 80,000 fields at most, in 9 levels.
"""

_Parts = dict[int, Any]
_VALUE: _Parts = {2: {1: {2: {1: {}}}}}  # ValueInfoProto.type.tensor_type.shape.dim
_NODE: _Parts = {NODE_ATTRIBUTE: {}}
_GRAPH: _Parts = {
    GRAPH_NODE: _NODE,
    GRAPH_INITIALIZER: {},
    GRAPH_INPUT: _VALUE,
    GRAPH_OUTPUT: _VALUE,
    GRAPH_VALUE: _VALUE,
}
_NODE[NODE_ATTRIBUTE] |= {ATTRIBUTE_GRAPH: _GRAPH, ATTRIBUTE_GRAPHS: _GRAPH}
_PARTS: _Parts = {MODEL_GRAPH: _GRAPH, MODEL_FUNCTION: {MODEL_GRAPH: _NODE}, 14: {}}
"""The messages of a model that are read: for the number of a field, the messages in it. 14 is the metadata."""

_AS_FLOAT, _AS_INTEGER, _AS_TEXT, _AS_FLOATS, _AS_INTEGERS = 1, 2, 3, 6, 7  # AttributeProto.type


class TooLarge(ValueError):
    """A model has too many parts to be read."""


def fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The fields of a message.

    Yields:
        The number of the field, all bytes of the field, and the bytes of its content. The content is empty if the field
        is an integer.

    Raises:
        ValueError: the message is not valid, or it is cut off.
    """
    at = 0
    while at < len(message):
        start, content = at, b""
        key, at = read_varint(message, at)
        kind = key & 7
        if kind == VARINT:
            _, at = read_varint(message, at)
        elif kind == BYTES:
            size, at = read_varint(message, at)
            content = message[at : at + size]
            at += size
        elif kind in (FIXED32, FIXED64):
            at += 4 if kind == FIXED32 else 8
        else:
            raise ValueError("the bytes are not an ONNX model")
        if at > len(message):
            raise ValueError("the bytes of the ONNX model are cut off")
        yield key >> 3, message[start:at], content


def check_size(model: bytes) -> None:
    """Check that a serialised model has not so many parts that reading them takes minutes.

    It counts the fields of all messages that this package reads.

    Raises:
        TooLarge: the model has too many fields, or its graphs are nested too deeply.
        ValueError: the bytes are not a model.
    """
    waiting, count = [(_PARTS, model, 0)], 0
    while waiting:
        parts, message, depth = waiting.pop()
        if depth > DEEPEST:
            raise TooLarge(f"the ONNX model has messages in more than {DEEPEST} levels")
        for number, _, content in fields(message):
            count += 1
            if count > MOST_FIELDS:
                raise TooLarge(f"the ONNX model has more than {MOST_FIELDS:,} fields")
            if number in parts:
                waiting.append((parts[number], content, depth + 1))


def inside(message: bytes, number: int) -> bytes:
    """Returns the bytes of the message in the field `number` of a message; empty if the message has no such field."""
    return b"".join(content for found, _, content in fields(message) if found == number)


def number(message: bytes, number: int) -> int:
    """Returns the integer in the field `number` of a message; 0 if the message has no such field.

    Args:
        message: the message.
        number: the number of the field, below 16.
    """
    return next((read_varint(field, 1)[0] for found, field, _ in fields(message) if found == number), 0)


def numbers(message: bytes, number: int) -> tuple[int, ...]:
    """Returns the integers in all fields `number` of a message, below 16: one in each, or several in a packed field.

    They are read as numbers without a sign, so that no size is negative.
    """
    found: list[int] = []
    for each, field, content in fields(message):
        at, values = (0, content) if content else (1, field)
        while each == number and at < len(values):
            value, at = read_varint(values, at)
            found.append(value)
    return tuple(found)


def texts(message: bytes, number: int) -> set[str]:
    """Returns the texts in all fields `number` of a message."""
    return {content.decode() for found, _, content in fields(message) if found == number}


def body(node: bytes) -> bytes:
    """Returns the GraphProto of the body of a Scan; empty if the node has none."""
    attributes = (content for number, _, content in fields(node) if number == NODE_ATTRIBUTE)
    return b"".join(inside(attribute, ATTRIBUTE_GRAPH) for attribute in attributes)


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Read a varint: 7 bits in each byte, the lowest bits first, in at most 10 bytes.

    Returns:
        The integer, and the offset of the first byte after it.

    Raises:
        ValueError: the message ends within the varint, or the varint has more than 10 bytes.
    """
    value = shift = 0
    for byte in message[at : at + _LONGEST_VARINT]:
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value & _BITS, at
    if shift == 7 * _LONGEST_VARINT:
        raise ValueError(f"the ONNX model has a number of more than {_LONGEST_VARINT} bytes")
    raise ValueError("the bytes of the ONNX model are cut off")


def embedded(number: int, content: bytes) -> bytes:
    """Returns the bytes of the field `number` with a content of any length: a text or a message."""
    return varint(number << 3 | BYTES) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """Returns the bytes of an integer, written as a varint."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def value(name: str, element: int | None, dimensions: Sequence[int | None] | None = None) -> bytes:
    """Returns a ValueInfoProto, the description of a tensor.

    Args:
        name: the name of the tensor.
        element: the type of the tensor's elements (TensorProto.DataType); None or 0 if it is not known.
        dimensions: the dimensions of the tensor, with None for each dimension that is not known. None instead of a list
            if the number of dimensions is not known.
    """
    tensor = b""
    if dimensions is not None:
        sizes = (b"" if n is None else varint(DIM_VALUE << 3 | VARINT) + varint(n) for n in dimensions)
        tensor = embedded(TENSOR_SHAPE, b"".join(embedded(SHAPE_DIM, size) for size in sizes))
    if element:
        tensor = varint(TENSOR_ELEMENT << 3 | VARINT) + varint(element) + tensor
    kind = embedded(VALUE_TYPE, embedded(TYPE_TENSOR, tensor)) if tensor else b""
    return embedded(VALUE_NAME, name.encode()) + kind


def scalar(name: str, value: float) -> bytes:
    """Returns a TensorProto: a float32 without axes."""
    kind = varint(STORED_TYPE << 3 | VARINT) + varint(FLOAT)
    return kind + embedded(STORED_NAME, name.encode()) + embedded(STORED_RAW, struct.pack("<f", value))


def node(kind: str, inputs: Sequence[str], output: str) -> bytes:
    """Returns a NodeProto without attributes.

    Args:
        kind: the operator.
        inputs: the names of the inputs.
        output: the name of the only output. It is also the name of the node.
    """
    read = b"".join(embedded(NODE_INPUT, name.encode()) for name in inputs)
    made = embedded(NODE_OUTPUT, output.encode()) + embedded(NODE_NAME, output.encode())
    return read + made + embedded(NODE_TYPE, kind.encode())


def reading(node: bytes, others: Mapping[str, str]) -> bytes:
    """Returns a NodeProto that reads other tensors.

    Args:
        node: the NodeProto.
        others: for each tensor that is replaced, its name and the name of the tensor that is read in its place.
    """

    def read(content: bytes) -> bytes:
        name = content.decode()
        return embedded(NODE_INPUT, others.get(name, name).encode())

    return b"".join(read(content) if number == NODE_INPUT else field for number, field, content in fields(node))


Value = int | float | str | list[float] | list[int]
"""The value of an attribute, if it has one of the types that `attributes` reads."""


def attributes(node: bytes) -> dict[str, Value]:
    """Returns the attributes of a NodeProto by name. Only numbers, texts and lists of numbers are read.

    Raises:
        ValueError: an attribute does not say which type it has, as it must since version 2 of the IR (onnx/onnx.proto).
    """
    found: dict[str, Value] = {}
    for number, _, content in fields(node):
        if number == NODE_ATTRIBUTE:
            values: dict[int, Value] = {}
            integers: list[int] = []
            floats: list[float] = []
            kind = 0
            for entry, field, text in fields(content):
                _, at = read_varint(field, 0)
                if entry == ATTRIBUTE_FLOAT:
                    (values[_AS_FLOAT],) = _floats(field[at:])
                elif entry == ATTRIBUTE_INTEGER:
                    values[_AS_INTEGER] = _signed(read_varint(field, at)[0])
                elif entry == ATTRIBUTE_TEXT:
                    values[_AS_TEXT] = text.decode()
                elif entry == ATTRIBUTE_FLOATS:
                    floats += _floats(text or field[at:])
                elif entry == ATTRIBUTE_INTEGERS:
                    integers += _packed(text) if text else [_signed(read_varint(field, at)[0])]
                elif entry == ATTRIBUTE_TYPE:
                    kind = read_varint(field, at)[0]
            values |= {_AS_INTEGERS: integers, _AS_FLOATS: floats}
            name = "".join(texts(content, ATTRIBUTE_NAME))
            if kind == 0:
                raise ValueError(f"the attribute '{name}' of a node has no type")
            if kind in values:
                found[name] = values[kind]
    return found


def attribute(name: str, value: int | str) -> bytes:
    """Returns the bytes of an attribute, as a field of a NodeProto."""
    if isinstance(value, int):
        kind, content = _AS_INTEGER, varint(ATTRIBUTE_INTEGER << 3 | VARINT) + varint(value)
    else:
        kind, content = _AS_TEXT, embedded(ATTRIBUTE_TEXT, value.encode())
    message = embedded(ATTRIBUTE_NAME, name.encode()) + content + varint(ATTRIBUTE_TYPE << 3 | VARINT) + varint(kind)
    return embedded(NODE_ATTRIBUTE, message)


def _floats(content: bytes) -> list[float]:
    """The numbers of float32 that follow each other in a field: one, or several in a packed field.

    Raises:
        ValueError: the size is not that of such numbers.
    """
    if not content or len(content) % 4:
        raise ValueError("an attribute of the ONNX model has a number that is not float32")
    return list(struct.unpack(f"<{len(content) // 4}f", content))


def _packed(content: bytes) -> list[int]:
    """The integers of a packed field."""
    at, found = 0, []
    while at < len(content):
        value, at = read_varint(content, at)
        found.append(_signed(value))
    return found


def _signed(value: int) -> int:
    """The signed integer that a varint of 64 bits stands for."""
    return value - 2**64 if value >= 2**63 else value
