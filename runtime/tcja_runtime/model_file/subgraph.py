"""Cuts parts out of an exported model. A part has the nodes that compute chosen tensors from given tensors.

`tcja_runtime.backends.probe` runs parts to read spikes and signals inside a network. Examples: all spikes of the
free-running network; all input currents if the spikes of every layer are given (teacher-forced). Parts are cut without
the package onnx, so that a board can cut them too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tcja_runtime.model_file import protobuf
from tcja_runtime.model_file.layer_tensors import exposed
from tcja_runtime.model_file.tensor_names import given_tensor

Dimensions = Sequence[int | None]
"""The dimensions of a tensor, with None for a dimension of any size."""


def part(model: bytes, outputs: Sequence[str], given: Mapping[str, Dimensions]) -> bytes:
    """Cut a part out of a serialised ONNX model.

    Args:
        model: the whole model. The body of a Scan may read tensors of the main graph, but not given ones.
        outputs: the names of the tensors that the part computes and returns. If the model does not store the type of
            such a tensor, the part has no type for it, and the runtime that loads the part must infer it.
        given: the name and dimensions of each float tensor that the part takes as an input and does not compute. The
            input for tensor "x" has the name `given_tensor("x")`. The part has no nodes that are needed only to compute
            given tensors, and no inputs that it does not read.

    Returns:
        The part, a serialised model.

    Raises:
        ValueError: the bytes are not a model.
    """
    before, graph, after = b"", b"", b""
    for number, field, content in protobuf.fields(exposed(model)):
        if number == protobuf.MODEL_GRAPH:
            graph += content
        elif graph:
            after += field
        else:
            before += field
    return before + protobuf.embedded(protobuf.MODEL_GRAPH, _part_of_graph(graph, outputs, given)) + after


def _part_of_graph(graph: bytes, outputs: Sequence[str], given: Mapping[str, Dimensions]) -> bytes:
    """The part of a GraphProto (see `part`)."""
    fields = list(protobuf.fields(graph))
    types = _types(fields)
    needed, read, kept = set(outputs), set[str](), []
    for number, _, content in reversed(fields):  # a node comes after those whose results it reads
        if number != protobuf.GRAPH_NODE or needed.isdisjoint(protobuf.texts(content, protobuf.NODE_OUTPUT)):
            continue
        reads = protobuf.texts(content, protobuf.NODE_INPUT)
        read |= reads
        needed |= reads - given.keys() | _read_in_body(content)
        kept.append(
            protobuf.embedded(
                protobuf.GRAPH_NODE, protobuf.reading(content, {name: given_tensor(name) for name in given})
            )
        )
    kept.reverse()
    inputs = [
        field
        for number, field, content in fields
        if number == protobuf.GRAPH_INPUT and not needed.isdisjoint(protobuf.texts(content, protobuf.VALUE_NAME))
    ]
    inputs += [
        protobuf.embedded(
            protobuf.GRAPH_INPUT, protobuf.value(given_tensor(name), types.get(name) or protobuf.FLOAT, dimensions)
        )
        for name, dimensions in given.items()
        if name in read
    ]
    rest = [
        field
        for number, field, _ in fields
        if number not in (protobuf.GRAPH_NODE, protobuf.GRAPH_INPUT, protobuf.GRAPH_OUTPUT)
    ]
    results = [protobuf.embedded(protobuf.GRAPH_OUTPUT, protobuf.value(name, types.get(name))) for name in outputs]
    return b"".join([*kept, *rest, *inputs, *results])


def _read_in_body(node: bytes) -> set[str]:
    """Returns the names of the tensors that the body of a Scan reads: its own, and some of the main graph."""
    inner = protobuf.fields(protobuf.body(node))
    read = (
        protobuf.texts(content, protobuf.NODE_INPUT) for number, _, content in inner if number == protobuf.GRAPH_NODE
    )
    return set[str]().union(*read)


def _types(graph: Iterable[tuple[int, bytes, bytes]]) -> dict[str, int]:
    """Returns the type of the elements of each tensor that a graph stores or describes, by the name of the tensor."""
    types: dict[str, int] = {}
    for number, _, content in graph:
        if number == protobuf.GRAPH_INITIALIZER:
            types |= dict.fromkeys(
                protobuf.texts(content, protobuf.STORED_NAME), protobuf.number(content, protobuf.STORED_TYPE)
            )
        elif number in (protobuf.GRAPH_VALUE, protobuf.GRAPH_OUTPUT):
            kind = protobuf.inside(protobuf.inside(content, protobuf.VALUE_TYPE), protobuf.TYPE_TENSOR)
            types |= dict.fromkeys(
                protobuf.texts(content, protobuf.VALUE_NAME), protobuf.number(kind, protobuf.TENSOR_ELEMENT)
            )
    return types


def inputs(model: bytes) -> list[str]:
    """Returns the names of the inputs of a serialised model.

    Raises:
        ValueError: the bytes are not a model.
    """
    fields = protobuf.fields(protobuf.inside(model, protobuf.MODEL_GRAPH))
    return [
        name
        for number, _, content in fields
        if number == protobuf.GRAPH_INPUT
        for name in protobuf.texts(content, protobuf.VALUE_NAME)
    ]


def makers(model: bytes) -> dict[str, tuple[str, str, list[str]]]:
    """Returns the node that computes each tensor of a serialised model.

    The tensors of spiking layers are exposed first (`tcja_runtime.model_file.layer_tensors`).

    Returns:
        By the name of a tensor, three facts about the node that computes it: the name of the node, its operator, and
        the names of the tensors that it reads.

    Raises:
        ValueError: the bytes are not a model.
    """
    found = {}
    for number, _, node in protobuf.fields(protobuf.inside(exposed(model), protobuf.MODEL_GRAPH)):
        if number == protobuf.GRAPH_NODE:
            texts: dict[int, list[str]] = {
                field: []
                for field in (protobuf.NODE_INPUT, protobuf.NODE_OUTPUT, protobuf.NODE_NAME, protobuf.NODE_TYPE)
            }
            for field, _, content in protobuf.fields(node):
                if field in texts:
                    texts[field].append(content.decode())
            for tensor in texts[protobuf.NODE_OUTPUT]:
                found[tensor] = (
                    "".join(texts[protobuf.NODE_NAME]),
                    "".join(texts[protobuf.NODE_TYPE]),
                    texts[protobuf.NODE_INPUT],
                )
    return found
