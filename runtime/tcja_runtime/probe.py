"""Parts of an exported model: the graph between tensors that are given and tensors that are asked for.

A probe looks inside a network with them: all spikes of a free run, or one layer alone, fed whatever it should be fed.

They are cut without the onnx package, so that a board can do it. What is read of the protobuf encoding
(https://protobuf.dev/programming-guides/encoding) and of ONNX's messages (onnx/onnx.proto):

    ModelProto      graph = 7
    GraphProto      node = 1, initializer = 5, input = 11, output = 12, value_info = 13
    TensorProto     data_type = 2, name = 8
    NodeProto       input = 1, output = 2, name = 3, op_type = 4
    ValueInfoProto  name = 1, type = 2;  TypeProto  tensor_type = 1;  Tensor  elem_type = 1, shape = 2;  shape  dim = 1;
                    Dimension  dim_value = 1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE = 1, 5, 11, 12, 13
_STORED_TYPE, _STORED_NAME = 2, 8
_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_TYPE = 1, 2, 3, 4
_VALUE_NAME, _VALUE_TYPE, _TYPE_TENSOR, _TENSOR_ELEMENT, _TENSOR_SHAPE, _SHAPE_DIM = 1, 2, 1, 1, 2, 1
_DIM_VALUE = 1
_FLOAT = 1

Dimensions = Sequence[int | None]
"""Of a tensor; None where any size will do."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def part(model: bytes, outputs: Sequence[str], given: Mapping[str, Dimensions]) -> bytes:
    """A serialised model that computes some tensors of a serialised model, from some others.

    Args:
        model: the whole model. What a subgraph reads must be a constant or be read by its node too.
        outputs: tensors to compute; types that the model does not say are left to be inferred.
        given: tensors of floats that are not read from whatever makes them but taken as inputs, named `given_tensor`,
            each with its dimensions. Nodes that only they need are left out.

    Raises:
        ValueError: it is not a model.
    """
    before, graph, after = b"", b"", b""
    for number, field, content in _fields(model):
        if number == _MODEL_GRAPH:
            graph += content
        elif graph:
            after += field
        else:
            before += field
    return before + _embedded(_MODEL_GRAPH, _part_of_graph(graph, outputs, given)) + after


def _part_of_graph(graph: bytes, outputs: Sequence[str], given: Mapping[str, Dimensions]) -> bytes:
    fields = list(_fields(graph))
    types = _types(fields)
    needed, read, kept = set(outputs), set[str](), []
    for number, _, content in reversed(fields):  # a node comes after those whose results it reads
        if number != _GRAPH_NODE or needed.isdisjoint(_names(content, _NODE_OUTPUT)):
            continue
        reads = _names(content, _NODE_INPUT)
        read |= reads
        needed |= reads - given.keys()
        kept.append(_embedded(_GRAPH_NODE, _reading(content, given)))
    kept.reverse()
    inputs = [
        field
        for number, field, content in fields
        if number == _GRAPH_INPUT and not needed.isdisjoint(_names(content, _VALUE_NAME))
    ]
    inputs += [
        _embedded(_GRAPH_INPUT, _value(given_tensor(name), types.get(name) or _FLOAT, dimensions))
        for name, dimensions in given.items()
        if name in read
    ]
    rest = [field for number, field, _ in fields if number not in (_GRAPH_NODE, _GRAPH_INPUT, _GRAPH_OUTPUT)]
    results = [_embedded(_GRAPH_OUTPUT, _value(name, types.get(name))) for name in outputs]
    return b"".join([*kept, *rest, *inputs, *results])


def _reading(node: bytes, given: Mapping[str, Dimensions]) -> bytes:
    """A node that reads what is given in place of what it read."""

    def reads(content: bytes) -> bytes:
        name = content.decode()
        return _embedded(_NODE_INPUT, given_tensor(name).encode() if name in given else content)

    return b"".join(reads(content) if number == _NODE_INPUT else field for number, field, content in _fields(node))


def _types(graph: Iterable[tuple[int, bytes, bytes]]) -> dict[str, int]:
    """The types of elements of tensors that a graph stores, or says the type of."""
    types: dict[str, int] = {}
    for number, _, content in graph:
        if number == _GRAPH_INITIALIZER:
            types |= dict.fromkeys(_names(content, _STORED_NAME), _number(content, _STORED_TYPE))
        elif number in (_GRAPH_VALUE, _GRAPH_OUTPUT):
            kind = _inside(_inside(content, _VALUE_TYPE), _TYPE_TENSOR)
            types |= dict.fromkeys(_names(content, _VALUE_NAME), _number(kind, _TENSOR_ELEMENT))
    return types


def _inside(message: bytes, number: int) -> bytes:
    return b"".join(content for found, _, content in _fields(message) if found == number)


def _number(message: bytes, number: int) -> int:
    """A number of at most 127 in a message; 0 if it has none."""
    return next((_read_varint(field, 1)[0] for found, field, _ in _fields(message) if found == number), 0)


def _value(name: str, element: int | None, dimensions: Dimensions | None = None) -> bytes:
    """A ValueInfoProto: a tensor's name, and what is known of its type of elements and its dimensions."""
    tensor = b""
    if dimensions is not None:
        sizes = (b"" if n is None else _varint(_DIM_VALUE << 3 | _VARINT) + _varint(n) for n in dimensions)
        tensor = _embedded(_TENSOR_SHAPE, b"".join(_embedded(_SHAPE_DIM, size) for size in sizes))
    if element:
        tensor = _varint(_TENSOR_ELEMENT << 3 | _VARINT) + _varint(element) + tensor
    kind = _embedded(_VALUE_TYPE, _embedded(_TYPE_TENSOR, tensor)) if tensor else b""
    return _embedded(_VALUE_NAME, name.encode()) + kind


def _names(message: bytes, number: int) -> set[str]:
    return {content.decode() for found, _, content in _fields(message) if found == number}


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """The fields of a message: number, the whole field, and its content where that has a length."""
    at = 0
    while at < len(message):
        start, content = at, b""
        key, at = _read_varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind == _BYTES:
            size, at = _read_varint(message, at)
            content = message[at : at + size]
            at += size
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ValueError("it is not an ONNX model")
        if at > len(message):
            raise ValueError("it is cut off")
        yield key >> 3, message[start:at], content


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the least first, and where it ends."""
    value = shift = 0
    while at < len(message):
        value |= (message[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if message[at - 1] < 128:
            return value, at
    raise ValueError("it is cut off")


def _embedded(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def spikes_tensor(layer: str) -> str:
    """The tensor of an exported model that holds a spiking layer's spikes, [T, N, ...]."""
    return f"{layer}/spikes"


def current_tensor(layer: str) -> str:
    """The tensor of an exported model that holds a spiking layer's input current, [T, N, ...]."""
    return f"{layer}/current"


def given_tensor(name: str) -> str:
    """The input of a part of a model through which a tensor is given."""
    return f"{name}/given"


def inputs(model: bytes) -> list[str]:
    """Names of the tensors that a model takes.

    Raises:
        ValueError: it is not a model.
    """
    fields = _fields(_inside(model, _MODEL_GRAPH))
    return [name for number, _, content in fields if number == _GRAPH_INPUT for name in _names(content, _VALUE_NAME)]


def makers(model: bytes) -> dict[str, tuple[str, str, list[str]]]:
    """For each tensor that a node of a model computes: the node's name, its operator, and what it reads.

    Raises:
        ValueError: it is not a model.
    """
    found = {}
    for number, _, node in _fields(_inside(model, _MODEL_GRAPH)):
        if number == _GRAPH_NODE:
            texts: dict[int, list[str]] = {field: [] for field in (_NODE_INPUT, _NODE_OUTPUT, _NODE_NAME, _NODE_TYPE)}
            for field, _, content in _fields(node):
                if field in texts:
                    texts[field].append(content.decode())
            for tensor in texts[_NODE_OUTPUT]:
                found[tensor] = ("".join(texts[_NODE_NAME]), "".join(texts[_NODE_TYPE]), texts[_NODE_INPUT])
    return found
