"""The probe variant of a model: the same graph with more of its tensors as outputs.

It is made without the onnx package, so that a board can do it. A serialised protobuf message may be followed by more
fields of the same message: repeated fields grow and embedded messages merge
(https://protobuf.dev/programming-guides/encoding/#last-one-wins). The probe of a model is therefore its bytes and,
behind them, a ModelProto with a graph (field 7) with outputs (field 12) that have a name (field 1) and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable

_MODEL_GRAPH, _GRAPH_OUTPUT, _VALUE_NAME = 7, 12, 1


def with_outputs(model: bytes, tensors: Iterable[str]) -> bytes:
    """A serialised ONNX model with these tensors as further outputs. Their types are left to be inferred."""
    outputs = b"".join(_field(_GRAPH_OUTPUT, _field(_VALUE_NAME, name.encode())) for name in tensors)
    return model + _field(_MODEL_GRAPH, outputs)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


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
