"""Moves pooling out of the Scan of a spiking layer, so that parity can read the spikes of the layer.

The Scan of a layer may pool the spikes of each step before it returns them (`tcja_exporters.time_forms`). This
saves memory, because the spikes of a whole window are never in memory at the same time:

    pooled, in the body      s [N * C * H * W]  ->  Reshape [N * C, 1, H, W]  ->  MaxPool
    after the Scan           scanned [T, N * C, 1, h, w]  ->  Reshape [T * N, C, h, w]

Such a model has no tensor with the spikes of the layer. `expose_spikes` moves the Reshape and the MaxPool out of the
body of the Scan, without changing them. After the Scan they read the spikes:

    fired [T, N * C * H * W]  ->  Reshape  ->  spikes [T, N, C, H, W]  ->  Reshape [T * N * C, 1, H, W]  ->  MaxPool
"""

from __future__ import annotations

from tcja_runtime.model_file import protobuf
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor

_POOLING = {"MaxPool", "AveragePool"}


def expose_spikes(model: bytes) -> bytes:
    """Move pooling out of every Scan of a serialised model, so that each spiking layer has a tensor of its spikes.

    Returns:
        The changed model; the same object as `model` if no Scan has pooling.

    Raises:
        ValueError: the bytes are not a model.
    """
    graph = protobuf.inside(model, protobuf.MODEL_GRAPH)
    nodes = [content for number, _, content in protobuf.fields(graph) if number == protobuf.GRAPH_NODE]
    if not any(_pooling(node) for node in nodes):
        return model
    renamed: dict[str, str] = {}
    fields = []
    for number, field, content in protobuf.fields(graph):
        if number != protobuf.GRAPH_NODE:
            fields.append(field)
        elif inside := _pooling(content):
            scan, behind, names = _without(content, *inside)
            renamed |= names
            fields += [protobuf.embedded(protobuf.GRAPH_NODE, node) for node in (scan, *behind)]
        else:
            fields.append(protobuf.embedded(protobuf.GRAPH_NODE, protobuf.reading(content, renamed)))
    others = b"".join(field for number, field, _ in protobuf.fields(model) if number != protobuf.MODEL_GRAPH)
    return others + protobuf.embedded(protobuf.MODEL_GRAPH, b"".join(fields))


def _pooling(node: bytes) -> tuple[bytes, bytes] | None:
    """Returns the NodeProtos of the Reshape and the pooling in a Scan; None if the node is not a Scan with pooling."""
    if protobuf.texts(node, protobuf.NODE_TYPE) != {"Scan"}:
        return None
    body = list(protobuf.fields(protobuf.body(node)))
    nodes = [content for number, _, content in body if number == protobuf.GRAPH_NODE]
    if len(nodes) < 2 or not protobuf.texts(nodes[-1], protobuf.NODE_TYPE) & _POOLING:
        return None
    reshape, pool = nodes[-2:]
    split, results = _ordered(reshape, protobuf.NODE_OUTPUT), _ordered(node, protobuf.NODE_OUTPUT)
    returned = [
        protobuf.texts(content, protobuf.VALUE_NAME) for number, _, content in body if number == protobuf.GRAPH_OUTPUT
    ]
    alone = _ordered(pool, protobuf.NODE_INPUT) == split and protobuf.texts(reshape, protobuf.NODE_TYPE) == {"Reshape"}
    asked = returned[1:] == [{*_ordered(pool, protobuf.NODE_OUTPUT)}] and len(results) == 2
    return (reshape, pool) if alone and asked and len(_ordered(reshape, protobuf.NODE_INPUT)) == 2 else None


def _without(scan: bytes, reshape: bytes, pool: bytes) -> tuple[bytes, list[bytes], dict[str, str]]:
    """Move the Reshape and the pooling out of a Scan.

    Args:
        scan: the NodeProto of the Scan.
        reshape: the NodeProto of the Reshape in its body.
        pool: the NodeProto of the pooling in its body.

    Returns:
        The Scan without the two nodes; the nodes to put after it; and, by its old name, the new name of the tensor with
        the pooled spikes.
    """
    (name,) = protobuf.texts(scan, protobuf.NODE_NAME)
    layer = name.rpartition("/")[0]
    fired, spikes, shape = f"{layer}/fired", spikes_tensor(layer), f"{layer}/shape"
    (one_step, planes), (split,) = _ordered(reshape, protobuf.NODE_INPUT), _ordered(reshape, protobuf.NODE_OUTPUT)
    (_, scanned), (pooled,) = _ordered(scan, protobuf.NODE_OUTPUT), _ordered(pool, protobuf.NODE_OUTPUT)

    def field_of_body(number: int, field: bytes, content: bytes) -> bytes:
        if number == protobuf.GRAPH_NODE and content in (reshape, pool):
            return b""
        if number == protobuf.GRAPH_OUTPUT and protobuf.texts(content, protobuf.VALUE_NAME) == {pooled}:
            return protobuf.embedded(number, protobuf.value(one_step, protobuf.FLOAT, [None]))
        return field

    def field_of_scan(number: int, field: bytes, content: bytes) -> bytes:
        if number == protobuf.NODE_OUTPUT and content.decode() == scanned:
            return protobuf.embedded(number, fired.encode())
        if number == protobuf.NODE_ATTRIBUTE and protobuf.inside(content, protobuf.ATTRIBUTE_GRAPH):
            body = b"".join(
                field_of_body(*each) for each in protobuf.fields(protobuf.inside(content, protobuf.ATTRIBUTE_GRAPH))
            )
            kept = b"".join(f for n, f, _ in protobuf.fields(content) if n != protobuf.ATTRIBUTE_GRAPH)
            return protobuf.embedded(number, kept + protobuf.embedded(protobuf.ATTRIBUTE_GRAPH, body))
        return field

    behind = [
        protobuf.node("Shape", [current_tensor(layer)], shape),
        protobuf.node("Reshape", [fired, shape], spikes),
        protobuf.node("Reshape", [spikes, planes], split),
        pool,
    ]
    return b"".join(field_of_scan(*each) for each in protobuf.fields(scan)), behind, {scanned: pooled}


def _ordered(node: bytes, kind: int) -> list[str]:
    """Returns the names of the inputs or outputs of a node, in order.

    Args:
        node: the NodeProto.
        kind: the number of the field, NODE_INPUT or NODE_OUTPUT.
    """
    return [content.decode() for number, _, content in protobuf.fields(node) if number == kind]
