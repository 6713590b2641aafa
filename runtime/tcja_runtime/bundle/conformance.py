"""Checks that the models of a bundle fit its network signature: inputs, outputs, signals, weights, neurons.

Parity runs parts of a model. These checks are for the whole model, which users deploy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tcja_runtime.bundle.network_signature import NetworkSignature
from tcja_runtime.bundle.stepwise import HEAD, TAIL, Streaming
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.files.folder import Files
from tcja_runtime.model_file import protobuf
from tcja_runtime.model_file.layer_tensors import exposed
from tcja_runtime.model_file.tensor_names import (
    SPIKE_COUNTS,
    kept_tensor,
    membrane_tensor,
    next_membrane_tensor,
)
from tcja_runtime.neuron import NeuronSpec

SHAPE = "_shape"
"""The end of the name of the attribute that has the shape of a constant."""

_ELEMENTS = {
    protobuf.FLOAT: "float32",
    10: "float16",
    11: "float64",
    2: "uint8",
    3: "int8",
    protobuf.INT32: "int32",
    7: "int64",
    9: "bool",
}


_FORMATS = {"fp32": protobuf.FLOAT, "fp16": 10}
"""The type of a stored weight, by its precision. A weight in int8 is computed from what is stored."""


@dataclasses.dataclass(frozen=True)
class Value:
    """An input or output of a model.

    Attributes:
        name: the name of the tensor.
        element: the type of its elements, a number of onnx.TensorProto.DataType such as 1 for float32.
        sizes: the size of each axis; None for an axis of any size.
    """

    name: str
    element: int
    sizes: tuple[int | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join("N" if size is None else str(size) for size in self.sizes)
        return f"'{self.name}' {_ELEMENTS.get(self.element, f'type {self.element}')} [{sizes}]"


def check(files: Files, signature: NetworkSignature) -> None:
    """Check that both models of a bundle, model.onnx and model.plain.onnx, fit its network signature.

    Args:
        files: the bundle, or the folder of the models.
        signature: the network signature.

    Raises:
        BadInput: a file is not an ONNX model.
        ParityNotMet: a model does not fit the network signature (`departures`).
    """
    for file in (PLAIN_MODEL, MODEL):
        try:
            counts = file == PLAIN_MODEL and signature.spike_counts
            found = departures(files.read(file), signature, counts=counts)
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"{files.path / file} cannot be read as an ONNX model: {error}; export the bundle again"
            ) from error
        if found:
            raise ParityNotMet(f"{file} is not the network that the bundle describes: it {'; it '.join(found)}")


def check_streaming(files: Files, split: Streaming, signature: NetworkSignature) -> None:
    """Check the inputs and outputs of the head and the tail of a stepwise network.

    Args:
        files: the bundle, or the folder of the models.
        split: how the network is split into head and tail.
        signature: the signature of the whole network.

    Raises:
        BadInput: a file is not an ONNX model.
        ParityNotMet: the inputs or outputs of a model do not follow from the split and the network signature.
    """
    kept = [(kept_tensor(feature.name), feature.shape) for feature in split.features]
    before = [(membrane_tensor(state.layer), state.shape) for state in split.states]
    after = [(next_membrane_tensor(state.layer), state.shape) for state in split.states]
    expected = {
        HEAD: ([(split.frame, signature.input.shape[1:]), *before], [*after, *kept]),
        TAIL: (
            [(name, (signature.time_steps, *shape)) for name, shape in kept],
            [(signature.output, signature.output_shape)],
        ),
    }
    for file, sides in expected.items():
        try:
            graph = list(protobuf.fields(protobuf.inside(files.read(file), protobuf.MODEL_GRAPH)))
            found = [_values(graph, kind) for kind in (protobuf.GRAPH_INPUT, protobuf.GRAPH_OUTPUT)]
        except (ValueError, TypeError) as error:
            raise BadInput(
                f"{files.path / file} cannot be read as an ONNX model: {error}; export the bundle again"
            ) from error
        for verb, values, side in zip(("takes", "returns"), found, sides, strict=True):
            wanted = [Value(name, protobuf.FLOAT, (None, *shape)) for name, shape in side]
            if values != wanted:
                said, meant = (", ".join(map(str, each)) or "nothing" for each in (values, wanted))
                raise ParityNotMet(f"{file} is not what the bundle describes: it {verb} {said}, not {meant}")


def departures(model: bytes, signature: NetworkSignature, *, counts: bool = False) -> list[str]:
    """Returns the differences between a model and a network signature, a phrase each.

    Example: "returns 'rates' [N, 10], not 'scores' [N, 10]". The list is empty if the model fits it.

    Args:
        model: the serialised model.
        signature: the network signature.
        counts: whether the model also returns its spike counts.

    Raises:
        ValueError: the bytes are not an ONNX model.
    """
    graph = list(protobuf.fields(protobuf.inside(exposed(model), protobuf.MODEL_GRAPH)))
    stored = {
        name: protobuf.number(c, protobuf.STORED_TYPE)
        for number, _, c in graph
        if number == protobuf.GRAPH_INITIALIZER
        for name in protobuf.texts(c, protobuf.STORED_NAME)
    }
    taken = [value for value in _values(graph, protobuf.GRAPH_INPUT) if value.name not in stored]
    returned = _values(graph, protobuf.GRAPH_OUTPUT)
    found = []
    takes = [Value(signature.input.name, protobuf.FLOAT, (None, *signature.input.shape))]
    returns = [Value(signature.output, protobuf.FLOAT, (None, *signature.output_shape))]
    if counts:
        returns.append(Value(SPIKE_COUNTS, protobuf.INT32, (None, len(signature.layers), signature.time_steps)))
    for verb, values, expected in (("takes", taken, takes), ("returns", returned, returns)):
        if values != expected:
            has, wanted = (" and ".join(map(str, each)) or "nothing" for each in (values, expected))
            found.append(f"{verb} {has}, not {wanted}")
    nodes = [content for number, _, content in graph if number == protobuf.GRAPH_NODE]
    made = {name for node in nodes for name in protobuf.texts(node, protobuf.NODE_OUTPUT)}
    weights = {name for weight in signature.weights for name in (weight.tensor, weight.bias) if name}
    for lacking, what in ((signature.probed - made, "computes"), (weights - stored.keys() - made, "holds")):
        if lacking:
            found.append(f"{what} no {', '.join(sorted(lacking)[:3])}")
    found += filter(None, [_other_shape(signature, _shapes(graph, nodes)), _other_type(signature, stored)])
    neurons = {layer.result_tensor: layer for layer in (*signature.layers, *signature.integrators)}
    for node in nodes:
        if protobuf.texts(node, protobuf.NODE_TYPE) == {"TcjaLif"}:
            (result,) = protobuf.texts(node, protobuf.NODE_OUTPUT)
            name, told = result.removesuffix("/spikes").removesuffix("/membranes"), protobuf.attributes(node)
            try:
                said = spec_of(told)
            except ValueError as error:
                found.append(f"has neurons {name} whose constants are those of no neuron: {error}")
                continue
            if result not in neurons:
                found.append(f"has neurons {name} that the manifest does not list")
            elif unlike := _unlike(said, neurons[result].neuron):
                found.append(f"has neurons {neurons[result].name} whose {unlike}")
    return found


def _other_type(signature: NetworkSignature, stored: Mapping[str, int]) -> str:
    """A phrase about the first weight that a model stores in another type than the network signature says, if any."""
    for weight in signature.weights:
        kind = stored.get(weight.tensor)
        if kind is not None and _FORMATS.get(weight.type) != kind:
            return f"holds {weight.tensor} in {_ELEMENTS.get(kind, f'type {kind}')}, not in {weight.type}"
    return ""


def _other_shape(signature: NetworkSignature, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """A phrase about the first weight whose shape is not that of the network signature, if any."""
    for weight in signature.weights:
        wanted = weight.shape[::-1] if weight.transposed else weight.shape
        shape = shapes.get(weight.tensor, wanted)
        if shape != wanted:
            return f"holds {weight.tensor} {list(shape)}, not {list(wanted)}"
    return ""


def _shapes(graph: Sequence[tuple[int, bytes, bytes]], nodes: Sequence[bytes]) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the weights that a graph stores, by the names of the tensors that products read."""
    found = {}
    for number, _, content in graph:
        if number == protobuf.GRAPH_INITIALIZER:
            (name,) = protobuf.texts(content, protobuf.STORED_NAME) or {""}
            found[name] = protobuf.numbers(content, protobuf.STORED_DIMS)
    for node in nodes:
        if protobuf.texts(node, protobuf.NODE_TYPE) == {"DequantizeLinear"}:
            read = next((c.decode() for n, _, c in protobuf.fields(node) if n == protobuf.NODE_INPUT), "")
            found |= {name: found[read] for name in protobuf.texts(node, protobuf.NODE_OUTPUT) if read in found}
    return found


def spec_of(attributes: dict[str, protobuf.Value]) -> NeuronSpec:
    """Returns the constants of the neuron from the attributes of a TcjaLif node. The node stores them as float32.

    A constant that is an array is a list of numbers; its shape is in the attribute of its name with `SHAPE` behind it.

    Raises:
        ValueError: an attribute is missing, or a constant is out of range (`NeuronSpec`).
    """
    needed = [field.name for field in dataclasses.fields(NeuronSpec) if field.default is dataclasses.MISSING]
    try:
        values: dict[str, Any] = {name: attributes[name] for name in needed}
    except KeyError as error:
        raise ValueError(f"a TcjaLif node has no attribute {error}") from error
    values |= {name: attributes[name] for name in (*NeuronSpec.CONSTANTS, "returns") if name in attributes}
    for name in NeuronSpec.CONSTANTS:
        shape = attributes.get(f"{name}{SHAPE}")
        if isinstance(shape, list):
            values[name] = {"shape": shape, "values": values[name]}
    values |= {"tau": values["tau"] or None, "strict": bool(values["strict"])}
    return NeuronSpec.from_dict({**values, "rescales": bool(attributes.get("rescales", 0))})


def _unlike(said: NeuronSpec, expected: NeuronSpec) -> str:
    """A phrase about the first constant that differs, such as "tau is 2.0, not 3.0"; empty if none differs."""
    for field in dataclasses.fields(NeuronSpec):
        name, a, b = field.name, getattr(said, field.name), getattr(expected, field.name)
        if name not in NeuronSpec.CONSTANTS or None in (a, b):
            if a != b:
                return f"{name} is {a}, not {b}"
            continue
        one, other = (array_of(each).astype(np.float32) for each in (a, b))
        if one.shape != other.shape:
            return f"{name} is {a}, not {b}"
        differing = np.argwhere(one != other)
        if len(differing):
            at = tuple(differing[0].tolist())
            return f"{name}{list(at) or ''} is {one[at]:.9g}, not {other[at]:.9g}"
    return ""


def _values(graph: Sequence[tuple[int, bytes, bytes]], kind: int) -> list[Value]:
    found = []
    for number, _, content in graph:
        if number == kind:
            tensor = protobuf.inside(protobuf.inside(content, protobuf.VALUE_TYPE), protobuf.TYPE_TENSOR)
            shape = protobuf.inside(tensor, protobuf.TENSOR_SHAPE)
            sizes = [
                protobuf.number(c, protobuf.DIM_VALUE) for n, _, c in protobuf.fields(shape) if n == protobuf.SHAPE_DIM
            ]
            (name,) = protobuf.texts(content, protobuf.VALUE_NAME)
            found.append(
                Value(name, protobuf.number(tensor, protobuf.TENSOR_ELEMENT), tuple(size or None for size in sizes))
            )
    return found
