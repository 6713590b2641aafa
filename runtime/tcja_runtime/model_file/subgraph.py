"""Parts of an exported model: the graph between tensors that are given and tensors that are asked for.

A probe looks inside a network with them: all spikes of a free run, or one layer alone, fed whatever it should be fed.

They are cut without the onnx package, so that a board can do it; `tcja_runtime.model_file.protobuf` reads and writes
the messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tcja_runtime.model_file import protobuf
from tcja_runtime.model_file.scan_pooling import opened
from tcja_runtime.model_file.tensor_names import given_tensor

Dimensions = Sequence[int | None]
"""Of a tensor; None where any size will do."""


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
    for number, field, content in protobuf.fields(opened(model)):
        if number == protobuf.MODEL_GRAPH:
            graph += content
        elif graph:
            after += field
        else:
            before += field
    return before + protobuf.embedded(protobuf.MODEL_GRAPH, _part_of_graph(graph, outputs, given)) + after


def _part_of_graph(graph: bytes, outputs: Sequence[str], given: Mapping[str, Dimensions]) -> bytes:
    fields = list(protobuf.fields(graph))
    types = _types(fields)
    needed, read, kept = set(outputs), set[str](), []
    for number, _, content in reversed(fields):  # a node comes after those whose results it reads
        if number != protobuf.GRAPH_NODE or needed.isdisjoint(protobuf.texts(content, protobuf.NODE_OUTPUT)):
            continue
        reads = protobuf.texts(content, protobuf.NODE_INPUT)
        read |= reads
        needed |= reads - given.keys()
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


def _types(graph: Iterable[tuple[int, bytes, bytes]]) -> dict[str, int]:
    """The types of elements of tensors that a graph stores, or says the type of."""
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
    """Names of the tensors that a model takes.

    Raises:
        ValueError: it is not a model.
    """
    fields = protobuf.fields(protobuf.inside(model, protobuf.MODEL_GRAPH))
    return [
        name
        for number, _, content in fields
        if number == protobuf.GRAPH_INPUT
        for name in protobuf.texts(content, protobuf.VALUE_NAME)
    ]


def makers(model: bytes) -> dict[str, tuple[str, str, list[str]]]:
    """For each tensor that a node of a model computes: the node's name, its operator, and what it reads.

    Raises:
        ValueError: it is not a model.
    """
    found = {}
    for number, _, node in protobuf.fields(protobuf.inside(opened(model), protobuf.MODEL_GRAPH)):
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
