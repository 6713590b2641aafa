"""A model in memory, with the weights that it reads from the weights file of its bundle.

The large tensors of a model are not in its file but in weights.bin (ONNX: external data; TensorProto, the fields
external_data and data_location, in onnx/onnx.proto). Runtimes would open this file themselves, by its name, and a model
may name any other file. So the tensors are read here, from bytes that are in memory, and from weights.bin alone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.model_file import protobuf, subgraph
from tcja_runtime.model_file.subgraph import Dimensions

WEIGHTS = "weights.bin"
"""The file with the weights of all models of a bundle."""

_TYPES: Mapping[int, npt.DTypeLike] = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
    12: np.uint32,
    13: np.uint64,
}
"""The type of the values, by the number of TensorProto.DataType."""

_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse tensor", 23: "sparse tensor"},
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
"""By message, the messages in its fields that can hold a tensor (onnx/onnx.proto)."""

_TYPE, _NAME, _EXTERNAL = 2, 8, 13  # TensorProto
_KEY, _VALUE = 1, 2  # StringStringEntryProto
_DEEPEST = 32  # messages within each other; models of this project have 8


@dataclasses.dataclass(frozen=True)
class Model:
    """A model in memory.

    Attributes:
        path: the path of its file, for messages. The file is not read.
        content: the content of the file.
        weights: the content of the weights file.
    """

    path: Path
    content: bytes
    weights: bytes

    def part(self, outputs: Sequence[str], given: Mapping[str, Dimensions]) -> Model:
        """Returns a part of the model (`tcja_runtime.model_file.subgraph.part`); the model if `outputs` is empty.

        Raises:
            ValueError: the bytes are not a model.
        """
        content = subgraph.part(self.content, outputs, given) if outputs else self.content
        return dataclasses.replace(self, content=content)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Returns the tensors that the nodes of the model read from the weights file, by name. They share its memory.

        Raises:
            ValueError: the bytes are not a model; a tensor is in another file, or outside the weights file.
        """
        return {
            each.name: np.frombuffer(self.weights, each.type, math.prod(each.shape), each.offset).reshape(each.shape)
            for each in self._stored()
        }

    def write(self, file: Path) -> None:
        """Write the model into a file, and its weights beside it. Only the weights that the model reads are written.

        Raises:
            ValueError: as for `tensors`.
            OSError: a file cannot be written.
        """
        file.write_bytes(self.content)
        with (file.parent / WEIGHTS).open("wb") as weights:
            for each in self._stored():
                weights.seek(each.offset)
                weights.write(memoryview(self.weights)[each.offset : each.offset + each.size])

    def _stored(self) -> list[_Stored]:
        """Returns the tensors that are in the weights file and that a node reads."""
        graph = protobuf.inside(self.content, protobuf.MODEL_GRAPH)
        found = [
            _Stored.of(content, len(self.weights))
            for number, _, content in protobuf.fields(graph)
            if number == protobuf.GRAPH_INITIALIZER and any(n == _EXTERNAL for n, _, _ in protobuf.fields(content))
        ]
        if sum(1 for _ in _external(self.content, "model")) != len(found):
            raise ValueError("a node of it has a constant in another file; only the weights of the graph may be in one")
        read = set(_read(graph))
        return [each for each in found if each.name in read]


@dataclasses.dataclass(frozen=True)
class _Stored:
    """A tensor in the weights file.

    Attributes:
        name: its name.
        type: the type of its values.
        shape: its shape.
        offset: the offset of its first byte in the file.
    """

    name: str
    type: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """The size of the tensor, in bytes."""
        return math.prod(self.shape) * self.type.itemsize

    @classmethod
    def of(cls, tensor: bytes, size: int) -> _Stored:
        """Returns what a TensorProto says of its values.

        Args:
            tensor: the TensorProto.
            size: the size of the weights file, in bytes.

        Raises:
            ValueError: the values are in another file or outside the weights file, or the message is wrong.
        """
        name, where, shape = "", dict[str, str](), protobuf.numbers(tensor, protobuf.STORED_DIMS)
        for number, _, content in protobuf.fields(tensor):
            if number == _NAME:
                name = content.decode()
            elif number == _EXTERNAL:
                entry = {n: text.decode() for n, _, text in protobuf.fields(content)}
                if entry.get(_KEY, "") in where:
                    raise ValueError(f"tensor {name} says twice where its values are")
                where[entry.get(_KEY, "")] = entry.get(_VALUE, "")
        if where.get("location") != WEIGHTS:
            raise ValueError(f"tensor {name} is in the file '{where.get('location', '')}', not in {WEIGHTS}")
        kind = protobuf.number(tensor, _TYPE)
        if kind not in _TYPES:
            raise ValueError(f"tensor {name} has values of type {kind}, which cannot be in {WEIGHTS}")
        found = cls(name, np.dtype(_TYPES[kind]), shape, int(where.get("offset", "0")))
        if int(where.get("length", found.size)) != found.size or found.offset < 0 or found.end > size:
            raise ValueError(
                f"tensor {name} of shape {list(shape)} does not fit into {WEIGHTS}, which has {size} bytes"
            )
        return found

    @property
    def end(self) -> int:
        """The offset of the first byte after the tensor."""
        return self.offset + self.size


def _external(message: bytes, kind: str, depth: int = 0) -> Iterator[bytes]:
    """Yields all tensors of a message that name a file for their values, wherever they are in it.

    Raises:
        ValueError: the message is wrong.
    """
    if depth > _DEEPEST:
        raise ValueError("its graphs are nested too deep")
    for number, _, content in protobuf.fields(message):
        if kind == "tensor":
            if number == _EXTERNAL:
                yield message
                return
        elif number in _MESSAGES[kind] and b"location" in content:  # the key of the file's name
            yield from _external(content, _MESSAGES[kind][number], depth + 1)


def _read(graph: bytes, depth: int = 0) -> Iterator[str]:
    """Yields the names of the tensors that a graph reads: its nodes, and the nodes of the graphs in their attributes.

    A tensor that the graph returns is read, too.

    Raises:
        ValueError: the message is wrong.
    """
    if depth > _DEEPEST:
        raise ValueError("its graphs are nested too deep")
    for number, _, content in protobuf.fields(graph):
        if number == protobuf.GRAPH_OUTPUT:
            yield from protobuf.texts(content, protobuf.VALUE_NAME)
        elif number == protobuf.GRAPH_NODE:
            yield from protobuf.texts(content, protobuf.NODE_INPUT)
            for entry, _, attribute in protobuf.fields(content):
                if entry == protobuf.NODE_ATTRIBUTE:
                    for at, _, inner in protobuf.fields(attribute):
                        if _MESSAGES["attribute"].get(at) == "graph":
                            yield from _read(inner, depth + 1)
