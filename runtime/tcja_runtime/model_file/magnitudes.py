"""Makes the magnitude model of a part of a model: for every tensor x, it computes how large the sums behind x can be.

A rounding error is a share of the magnitudes of all that was added on the way to a value, not of the value itself: in
1 - 1 + 2^-20 it is a share of 2. The magnitude model computes these magnitudes. It has the same tensors and, with few
exceptions, the same nodes. Its inputs and weights are the magnitudes |x| and |w| of those of the part, and

    x - y, -x, |x|, ReLU   ->  |x| + |y|, |x|          products, sums and means stay as they are
    sigmoid, tanh          ->  |x| + 1                 its slope is at most 1, and so is its value
    batch norm             ->  |scale| / sqrt(var + epsilon) (|x| + |mean|) + |shift|
    x / c                  ->  |x| / |c|               c: a constant
    casts, quantised spikes ->  none                   the magnitude model computes in float32

Each result is at least the magnitude of the tensor in the part. By induction, if the rounding error of every operand is
at most r times its magnitude, then that of a result is at most (r + the roundings of the operation) times the magnitude
of the result (`tcja_runtime.evidence.largest_bounds`).

Tensors behind other operations, such as a softmax or a division by a computed value, are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence

from tcja_runtime.model_file import protobuf
from tcja_runtime.model_file.subgraph import Dimensions, part
from tcja_runtime.model_file.tensor_names import given_tensor

SHAPE_OF = "shape of "
"""The begin of the name of an output that has the shape of the tensor whose name follows."""

_MAGNITUDE, _ONE = "magnitude of ", "magnitude/one"
_FLOAT16, _DOUBLE = 10, 11
_FLOATS = (protobuf.FLOAT, _FLOAT16, _DOUBLE)

MOVES = frozenset(
    {
        *("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand", "Slice", "Gather", "Flatten", "Identity", "Tile"),
        *("Split", "DepthToSpace", "SpaceToDepth", "Concat", "Pad"),
    }
)
"""Operators that only move values."""
SELECTIONS = frozenset({"MaxPool", "ReduceMax", "Neg", "Abs", "Relu", "Cast"})
"""Operators whose results have no larger error than their operands."""
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
MEANS = frozenset({"ReduceMean", "ReduceSum", "AveragePool", "GlobalAveragePool"})
QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""Operators that change no spike, as the scale of spikes is 1."""
ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "BatchNormalization", "Sigmoid", "Tanh"})
_KNOWN = MOVES | SELECTIONS | QUANTISERS | PRODUCTS | MEANS | ELEMENTWISE
_REPLACED = {"Sub": "Add", "Neg": "Identity", "Abs": "Identity", "Relu": "Identity", "Cast": "Identity"}
_REPLACED |= dict.fromkeys(QUANTISERS, "Identity")
_OF_CONSTANTS = MOVES | {"DequantizeLinear", "Cast"}
"""Operators of constants whose result is a constant, with one rounding at most."""


@dataclasses.dataclass(frozen=True)
class Node:
    """A node of a model.

    Attributes:
        operator: the operator, such as "Conv".
        inputs: the names of the tensors that it reads; empty for an input that is left out.
        outputs: the names of the tensors that it computes.
        content: the serialised node.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    content: bytes

    @classmethod
    def read(cls, content: bytes) -> Node:
        """Returns a node from its bytes. A node of another domain than that of ONNX has no operator."""
        texts: dict[int, list[str]] = {field: [] for field in (*_TEXTS, protobuf.NODE_DOMAIN)}
        for number, _, text in protobuf.fields(content):
            if number in texts:
                texts[number].append(text.decode())
        inputs, outputs, kind = (texts[field] for field in _TEXTS)
        known = not "".join(texts[protobuf.NODE_DOMAIN])
        return cls("".join(kind) if known else "", tuple(inputs), tuple(outputs), content)

    @property
    def values(self) -> tuple[str, ...]:
        """The inputs that hold values of the network; the others are shapes and axes, or the numbers of a batch norm.

        The value of a padding is one of them: it may be left out.
        """
        if self.operator in ("Pad", "BatchNormalization"):
            kept = (0, 2) if self.operator == "Pad" else (0, 1, 2)
            return tuple(self.inputs[at] for at in kept if at < len(self.inputs) and self.inputs[at])
        every = self.operator in PRODUCTS | {"Add", "Sub", "Mul", "Div", "Concat"}
        return tuple(name for name in (self.inputs if every else self.inputs[:1]) if name)


_TEXTS = (protobuf.NODE_INPUT, protobuf.NODE_OUTPUT, protobuf.NODE_TYPE)


@dataclasses.dataclass(frozen=True)
class Magnitudes:
    """The magnitude model of a part.

    Attributes:
        model: the serialised model. Besides `outputs`, it returns the shape of each tensor of `shaped`, under its name
            with SHAPE_OF before it.
        nodes: the nodes of the part whose magnitudes it computes, in order.
        constants: the names of the tensors that are weights and other constants.
        outputs: the names of the tensors whose magnitudes it returns.
        shaped: the names of the tensors whose shapes it returns.
    """

    model: bytes
    nodes: Sequence[Node]
    constants: frozenset[str]
    outputs: Sequence[str]
    shaped: Sequence[str]


@dataclasses.dataclass
class _Tensors:
    """The tensors of a part that are known so far, by name.

    Attributes:
        values: those that hold values of the network and are computed, or are inputs.
        constants: weights and other constants of floats.
        others: whole numbers, such as shapes.
        spikes: those of `values` that are 0 or 1 and have no error: given spikes, moved or not.
    """

    values: set[str] = dataclasses.field(default_factory=set)
    constants: set[str] = dataclasses.field(default_factory=set)
    others: set[str] = dataclasses.field(default_factory=set)
    spikes: set[str] = dataclasses.field(default_factory=set)

    def add(self, node: Node) -> bool:
        """Add the results of a node, if they are known; whether it computes values whose magnitudes are known."""
        read = {name for name in node.inputs if name}
        if node.operator == "Shape" or (read <= self.others and node.operator in _OF_CONSTANTS - {"Cast"}):
            self.others.update(node.outputs)
        elif read <= self.constants | self.others and node.operator in _OF_CONSTANTS:
            self.constants.update(node.outputs)
        elif node.operator in _KNOWN and self._fits(node):
            self.values.update(node.outputs[:1])
            if node.operator in MOVES | QUANTISERS | {"Cast", "MaxPool"} and set(node.values) <= self.spikes:
                self.spikes.update(node.outputs[:1])
            return True
        return False

    def _fits(self, node: Node) -> bool:
        values = node.values
        known = all(name in self.values | self.constants for name in values)
        if node.operator in QUANTISERS:
            return values[0] in self.spikes
        if node.operator == "Div":
            return known and values[1] in self.constants
        if node.operator == "BatchNormalization":
            return known and set(node.inputs[1:]) <= self.constants
        if node.operator == "Gemm":
            factors = (protobuf.attributes(node.content).get(name, 1.0) for name in ("alpha", "beta"))
            return known and all(isinstance(factor, float) and factor > 0 for factor in factors)
        return known


def magnitudes(
    model: bytes, outputs: Sequence[str], given: Mapping[str, Dimensions], spikes: Collection[str] = ()
) -> Magnitudes:
    """Make the magnitude model of a part of a serialised model.

    Args:
        model: the whole model.
        outputs: the names of the tensors whose magnitudes are wanted. Those that cannot be computed are left out.
        given: the tensors that the part takes as inputs, as for `tcja_runtime.model_file.subgraph.part`.
        spikes: the names of those given tensors that are spikes.

    Raises:
        ValueError: the bytes are not a model.
    """
    fired = {given_tensor(name) for name in spikes}
    computed, tensors = _computed(part(model, outputs, given), fired)
    wanted = [name for name in outputs if name in tensors.values]
    cut = part(model, wanted, given) if wanted else b""
    computed, tensors = _computed(cut, fired)
    nodes = list(computed.values())
    shaped = sorted({name for node in nodes for name in _shapes_read(node)})
    before = b"".join(field for number, field, _ in protobuf.fields(cut) if number != protobuf.MODEL_GRAPH)
    graph = _graph(protobuf.inside(cut, protobuf.MODEL_GRAPH), set(computed), tensors, (wanted, shaped))
    return Magnitudes(
        before + protobuf.embedded(protobuf.MODEL_GRAPH, graph), nodes, frozenset(tensors.constants), wanted, shaped
    )


def _computed(cut: bytes, spikes: set[str]) -> tuple[dict[bytes, Node], _Tensors]:
    """Returns the nodes of a part whose magnitudes are known, by their bytes, and what is known of its tensors.

    Args:
        cut: the serialised part.
        spikes: the names of its inputs that are spikes.
    """
    graph = list(protobuf.fields(protobuf.inside(cut, protobuf.MODEL_GRAPH)))
    tensors, found = _Tensors(spikes=set(spikes)), {}
    for number, _, content in graph:
        if number == protobuf.GRAPH_INITIALIZER:
            floats = protobuf.number(content, protobuf.STORED_TYPE) in _FLOATS
            names = protobuf.texts(content, protobuf.STORED_NAME)
            (tensors.constants if floats else tensors.others).update(names)
    for number, _, content in graph:
        if number == protobuf.GRAPH_INPUT:
            tensors.values.update(protobuf.texts(content, protobuf.VALUE_NAME) - tensors.constants - tensors.others)
    for number, _, content in graph:
        if number == protobuf.GRAPH_NODE:
            node = Node.read(content)
            if tensors.add(node):
                found[content] = node
    return found, tensors


def _shapes_read(node: Node) -> tuple[str, ...]:
    """Returns the names of the tensors whose shapes tell how many terms the sums of a node have."""
    if node.operator in ("Conv", "ConvTranspose"):
        return node.inputs[:2]
    if node.operator in ("Gemm", "MatMul") or node.operator in MEANS:
        return (node.inputs[0], node.outputs[0])
    return ()


def _graph(
    graph: bytes, computed: set[bytes], tensors: _Tensors, returned: tuple[Sequence[str], Sequence[str]]
) -> bytes:
    """The GraphProto of the magnitude model, from that of the part (`magnitudes`).

    Args:
        graph: the GraphProto of the part.
        computed: the serialised nodes that compute values.
        tensors: the tensors of the part.
        returned: the names of the tensors whose magnitudes are returned, and of those whose shapes are.
    """
    sizes: dict[str, str] = {}
    nodes, rest = [], []
    for number, field, content in protobuf.fields(graph):
        if number == protobuf.GRAPH_NODE:
            read = Node.read(content).values if content in computed else ()
            for name in [each for each in read if each in tensors.constants and each not in sizes]:
                sizes[name] = _MAGNITUDE + name
                nodes += _magnitude(name)
            nodes += _replaced(content, sizes) if content in computed else [content]
        elif number == protobuf.GRAPH_INPUT:
            names = protobuf.texts(content, protobuf.VALUE_NAME) & tensors.values
            rest += [protobuf.embedded(number, protobuf.value(name, protobuf.FLOAT)) for name in names]
        elif number not in (protobuf.GRAPH_OUTPUT, protobuf.GRAPH_VALUE):
            rest.append(field)
    outputs, shaped = returned
    nodes += [protobuf.node("Shape", [name], SHAPE_OF + name) for name in shaped]
    results = [protobuf.value(name, protobuf.FLOAT) for name in outputs]
    results += [protobuf.value(SHAPE_OF + name, _INT64) for name in shaped]
    one = protobuf.scalar(_ONE, 1.0)
    return b"".join(
        [
            *(protobuf.embedded(protobuf.GRAPH_NODE, node) for node in nodes),
            *rest,
            protobuf.embedded(protobuf.GRAPH_INITIALIZER, one),
            *(protobuf.embedded(protobuf.GRAPH_OUTPUT, result) for result in results),
        ]
    )


_INT64 = 7


def _magnitude(name: str) -> list[bytes]:
    """The nodes that compute the magnitude of a constant, in float32."""
    cast = f"{_MAGNITUDE}{name}/float32"
    to = protobuf.attribute("to", protobuf.FLOAT)
    return [protobuf.node("Cast", [name], cast) + to, protobuf.node("Abs", [cast], _MAGNITUDE + name)]


def _replaced(content: bytes, sizes: Mapping[str, str]) -> list[bytes]:
    """The nodes that compute the magnitudes of the results of a node.

    Args:
        content: the serialised node.
        sizes: the names of the magnitudes of constants, by the name of the constant.
    """
    node = Node.read(content)
    read = [sizes.get(name, name) for name in node.values]
    (result, *_) = node.outputs
    if node.operator in _REPLACED:
        return [protobuf.node(_REPLACED[node.operator], read, result)]
    if node.operator in ("Sigmoid", "Tanh"):
        return [protobuf.node("Add", [*read, _ONE], result)]
    if node.operator == "BatchNormalization":
        mean = node.inputs[3]
        other = f"{_MAGNITUDE}{mean} in {result}"
        cast = f"{other}/float32"
        negative = [
            *(protobuf.node("Cast", [mean], cast) + protobuf.attribute("to", protobuf.FLOAT),),
            protobuf.node("Abs", [cast], f"{other}/positive"),
            protobuf.node("Neg", [f"{other}/positive"], other),
        ]
        return [*negative, protobuf.reading(content, {**sizes, mean: other, node.inputs[4]: node.inputs[4]})]
    return [protobuf.reading(content, sizes)]


def fan_in(node: Node, shapes: Mapping[str, Sequence[int]]) -> int:
    """Returns the largest number of terms of a sum that a node computes; 1 for a node without sums.

    Args:
        node: the node.
        shapes: the shapes of tensors, by name (`Magnitudes.shaped`).
    """
    read = [shapes[name] for name in _shapes_read(node)]
    if node.operator in ("Conv", "ConvTranspose"):
        weight = read[1]
        return _product(weight[1:]) if node.operator == "Conv" else weight[0] * _product(weight[2:])
    if node.operator == "MatMul":
        return read[0][-1]
    if node.operator == "AveragePool":
        kernel = protobuf.attributes(node.content).get("kernel_shape")
        return _product(kernel) if isinstance(kernel, list) else 1
    if node.operator == "Gemm":
        return _product(read[0]) // max(read[1][0], 1)
    return _product(read[0]) // max(_product(read[1]), 1) if read else 1


def _product(sizes: Sequence[float]) -> int:
    found = 1
    for size in sizes:
        found *= int(size)
    return found
