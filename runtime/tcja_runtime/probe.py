"""Parts of an exported model: the graph between tensors that are given and tensors that are asked for.

A probe looks inside a network with them: all spikes of a free run, or one layer alone, fed whatever it should be fed.

They are cut without the onnx package, so that a board can do it; `tcja_runtime.wire` reads and writes the messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tcja_runtime import wire
from tcja_runtime.names import given_tensor
from tcja_runtime.pooling import opened

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
    for number, field, content in wire.fields(opened(model)):
        if number == wire.MODEL_GRAPH:
            graph += content
        elif graph:
            after += field
        else:
            before += field
    return before + wire.embedded(wire.MODEL_GRAPH, _part_of_graph(graph, outputs, given)) + after


def _part_of_graph(graph: bytes, outputs: Sequence[str], given: Mapping[str, Dimensions]) -> bytes:
    fields = list(wire.fields(graph))
    types = _types(fields)
    needed, read, kept = set(outputs), set[str](), []
    for number, _, content in reversed(fields):  # a node comes after those whose results it reads
        if number != wire.GRAPH_NODE or needed.isdisjoint(wire.texts(content, wire.NODE_OUTPUT)):
            continue
        reads = wire.texts(content, wire.NODE_INPUT)
        read |= reads
        needed |= reads - given.keys()
        kept.append(wire.embedded(wire.GRAPH_NODE, wire.reading(content, {name: given_tensor(name) for name in given})))
    kept.reverse()
    inputs = [
        field
        for number, field, content in fields
        if number == wire.GRAPH_INPUT and not needed.isdisjoint(wire.texts(content, wire.VALUE_NAME))
    ]
    inputs += [
        wire.embedded(wire.GRAPH_INPUT, wire.value(given_tensor(name), types.get(name) or wire.FLOAT, dimensions))
        for name, dimensions in given.items()
        if name in read
    ]
    rest = [
        field for number, field, _ in fields if number not in (wire.GRAPH_NODE, wire.GRAPH_INPUT, wire.GRAPH_OUTPUT)
    ]
    results = [wire.embedded(wire.GRAPH_OUTPUT, wire.value(name, types.get(name))) for name in outputs]
    return b"".join([*kept, *rest, *inputs, *results])


def _types(graph: Iterable[tuple[int, bytes, bytes]]) -> dict[str, int]:
    """The types of elements of tensors that a graph stores, or says the type of."""
    types: dict[str, int] = {}
    for number, _, content in graph:
        if number == wire.GRAPH_INITIALIZER:
            types |= dict.fromkeys(wire.texts(content, wire.STORED_NAME), wire.number(content, wire.STORED_TYPE))
        elif number in (wire.GRAPH_VALUE, wire.GRAPH_OUTPUT):
            kind = wire.inside(wire.inside(content, wire.VALUE_TYPE), wire.TYPE_TENSOR)
            types |= dict.fromkeys(wire.texts(content, wire.VALUE_NAME), wire.number(kind, wire.TENSOR_ELEMENT))
    return types


def inputs(model: bytes) -> list[str]:
    """Names of the tensors that a model takes.

    Raises:
        ValueError: it is not a model.
    """
    fields = wire.fields(wire.inside(model, wire.MODEL_GRAPH))
    return [
        name
        for number, _, content in fields
        if number == wire.GRAPH_INPUT
        for name in wire.texts(content, wire.VALUE_NAME)
    ]


def makers(model: bytes) -> dict[str, tuple[str, str, list[str]]]:
    """For each tensor that a node of a model computes: the node's name, its operator, and what it reads.

    Raises:
        ValueError: it is not a model.
    """
    found = {}
    for number, _, node in wire.fields(wire.inside(opened(model), wire.MODEL_GRAPH)):
        if number == wire.GRAPH_NODE:
            texts: dict[int, list[str]] = {
                field: [] for field in (wire.NODE_INPUT, wire.NODE_OUTPUT, wire.NODE_NAME, wire.NODE_TYPE)
            }
            for field, _, content in wire.fields(node):
                if field in texts:
                    texts[field].append(content.decode())
            for tensor in texts[wire.NODE_OUTPUT]:
                found[tensor] = ("".join(texts[wire.NODE_NAME]), "".join(texts[wire.NODE_TYPE]), texts[wire.NODE_INPUT])
    return found
