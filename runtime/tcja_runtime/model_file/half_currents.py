"""Moves the casts of a half current in front of its Split, so that parity can read and replace the current in float32.

A spiking layer of the time form fused (`tcja_exporters.time_forms.fused`) casts its current step by step, so that an
engine never writes the current of all steps in float32:

    current/half [T, N, ...]  ->  Split  ->  half_0, half_1, ...  ->  a Cast of each

Such a model has no tensor with the current of the layer in float32. `expose_currents` adds it; a cast from half changes
no value, and the casts behind the Split then cast from float32 to float32:

    current/half [T, N, ...]  ->  Cast  ->  current  ->  Split  ->  half_0, half_1, ...  ->  a Cast of each
"""

from __future__ import annotations

from tcja_runtime.model_file import protobuf
from tcja_runtime.model_file.tensor_names import current_tensor

_FIRST = "/half_0"


def expose_currents(model: bytes) -> bytes:
    """Add the current in float32 to every spiking layer of a serialised model that casts it step by step.

    Returns:
        The changed model; the same object as `model` if no layer casts its current step by step.

    Raises:
        ValueError: the bytes are not a model.
    """
    fields, changed = [], False
    for number, field, content in protobuf.fields(protobuf.inside(model, protobuf.MODEL_GRAPH)):
        layer = _layer(content) if number == protobuf.GRAPH_NODE else None
        if layer is None:
            fields.append(field)
            continue
        changed, current = True, current_tensor(layer)
        (half,) = protobuf.texts(content, protobuf.NODE_INPUT)
        cast = protobuf.node("Cast", [half], current) + protobuf.attribute("to", protobuf.FLOAT)
        fields += [protobuf.embedded(number, node) for node in (cast, protobuf.reading(content, {half: current}))]
    if not changed:
        return model
    others = b"".join(field for number, field, _ in protobuf.fields(model) if number != protobuf.MODEL_GRAPH)
    return others + protobuf.embedded(protobuf.MODEL_GRAPH, b"".join(fields))


def _layer(node: bytes) -> str | None:
    """Returns the layer whose half current a node splits; None if it is another node."""
    if protobuf.texts(node, protobuf.NODE_TYPE) != {"Split"}:
        return None
    first = next((name for name in protobuf.texts(node, protobuf.NODE_OUTPUT) if name.endswith(_FIRST)), None)
    return None if first is None else first.removesuffix(_FIRST)
