"""Finds the modules that fire without being known neurons, so that parity does not judge their spikes.

Such a module compares values with a threshold in its own operations, as a neuron does that no library and no `register`
names. Its 0s and 1s are numbers for the rest of the network. They are found by following the data through the graph:

    exact      values without rounding: the input, the spikes of known neurons (not the membranes of integrators), and
               what copies, pools or counts them
    step       values that take few levels: the result of a comparison (<, <=, >, >=), a sign, a floor or a ceiling of
               values that are not exact; a rounding to few levels; and what is computed from steps and constants alone
    used       a step that the network computes with: it is weighted, added, returned, or is the current of a neuron

A module is reported if a step that arises in it is used. These uses of comparisons are no firing and are not reported:

    selection  a comparison that chooses between values: Where, x * (x > 0), a Relu
    masking    a step that multiplies other values, except the gate of an attention block (a sigmoid, or computed from
               the step itself); a step that becomes a large number, which is added to the scores of an attention block
    counting   the number of steps as a divisor, such as the mean over the frames that have events
    indexing   a step in a shape or an index
    rounding   a quantiser: a rounding to more than `_LEVELS` levels, or to levels that are not known
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from torch import nn

from tcja_exporters import custom_op
from tcja_exporters.graph.naming import module_of
from tcja_runtime.bundle.network_signature import UnjudgedLayer

_LEVELS = 16
"""The largest number of levels of a rounding that counts as firing. A quantiser of 4 bits has as many, and is none."""
_LARGE = 1e4
"""The magnitude from which a constant that multiplies a step makes it a mask of attention scores."""

_COMPARISONS = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual"}
_ROUNDINGS = {"Round", "Floor", "Ceil"}
_SHAPES = {"Shape", "Size", "ConstantOfShape"}
_ONLY_FIRST = {
    *("Reshape", "Expand", "Tile", "Slice", "Gather", "GatherElements", "GatherND", "Unsqueeze", "Squeeze", "Pad"),
    *("TopK", "Resize", "Split", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "CumSum", "Trilu", "CastLike"),
}
"""The operators whose further inputs are shapes, axes and indices."""
_MOVES = {
    *("Identity", "Cast", "CastLike", "Reshape", "Flatten", "Transpose", "Unsqueeze", "Squeeze", "Expand", "Tile"),
    *("Slice", "Split", "Gather", "GatherElements", "GatherND", "Concat", "Pad", "ScatterND", "ScatterElements"),
    *("MaxPool", "GlobalMaxPool", "ReduceMax", "ReduceMin", "ReduceSum", "Relu", "Clip", "Abs", "Neg", "Max", "Min"),
    *("Where", "Not", "And", "Or", "Xor", "Equal", "Sign", *_COMPARISONS, *_ROUNDINGS),
}
"""The operators that keep exact values exact."""
_USES = {"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "BatchNormalization", custom_op.NAME, custom_op.STEP}
_SELECTS = {"Where", "And", "Or", "Xor", "Equal", *_COMPARISONS}
_GATES = {"Sigmoid", "HardSigmoid"}
_COPIES = {"Identity", "Cast", "CastLike", "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand"}
_LIMITS = {"Clip", "Max", "Min"}


def unjudged(model: onnx.ModelProto, network: nn.Module) -> list[UnjudgedLayer]:
    """Return the modules of a network that fire and are not known neurons, in the order in which they fire.

    Args:
        model: the model as `torch.onnx.export` returns it, or after step joining, with the modules in its metadata.
        network: the network, for the names of the modules' classes.
    """
    modules = dict(network.named_modules())
    names = dict.fromkeys(module_of(node) for node in _Flow(model).firing())
    return [UnjudgedLayer(name=name, kind=modules.get(name, network)._get_name()) for name in names]


@dataclasses.dataclass(frozen=True)
class _Value:
    """What is known of a tensor that depends on the input.

    Attributes:
        exact: whether its values have no rounding.
        steps: the sources, a bit each, of which the tensor is a step; 0 if it is not a step.
        origins: the sources on which it depends in any way, a bit each.
    """

    exact: bool
    steps: int
    origins: int


class _Flow:
    """The flow of data through a model.

    Args:
        model: the model. Its nodes are in the order in which they run.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._makers = {tensor: node for node in model.graph.node for tensor in node.output if tensor}
        self._readers: dict[str, list[onnx.NodeProto]] = collections.defaultdict(list)
        for node in model.graph.node:
            for tensor in set(_data(node)):
                self._readers[tensor].append(node)
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._values: dict[str, _Value] = {}
        self._sources: list[onnx.NodeProto] = []

    def firing(self) -> list[onnx.NodeProto]:
        """Return the nodes that make steps which the network computes with, in the order in which they run."""
        self._values = {
            value.name: _Value(exact=True, steps=0, origins=0)
            for value in self._graph.input
            if value.name not in self._constants
        }
        needed, used = self._needed(), 0
        for node in self._graph.node:
            data = [self._values[name] for name in _data(node) if name in self._values]
            if not data or needed.isdisjoint(node.output):
                continue
            used |= self._used(node, data)
            value = self._made(node, data)
            self._values.update(dict.fromkeys(filter(None, node.output), value))
        for output in self._graph.output:
            used |= self._values[output.name].steps if output.name in self._values else 0
        return [node for i, node in enumerate(self._sources) if used >> i & 1]

    def _needed(self) -> set[str]:
        """Return the names of the tensors on which the output depends."""
        needed, waiting = set[str](), [output.name for output in self._graph.output]
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += self._makers[name].input if name in self._makers else []
        return needed

    def _made(self, node: onnx.NodeProto, data: Sequence[_Value]) -> _Value:
        """Return what is known of the results of a node, from what is known of the data that it takes."""
        origins = _union(value.origins for value in data)
        if node.op_type in (custom_op.NAME, custom_op.STEP):
            return _Value(exact=custom_op.fires(node), steps=0, origins=origins)
        exact = node.op_type in _MOVES and all(value.exact for value in data)
        if self._masks_scores(node):
            return _Value(exact=exact, steps=0, origins=origins)
        if all(value.steps for value in data):
            return _Value(exact=exact, steps=_union(value.steps for value in data), origins=origins)
        if node.op_type == "Where" and all(name not in self._values for name in node.input[1:]):
            return _Value(exact=exact, steps=data[0].steps, origins=origins)
        if not exact and self._is_source(node):
            source = 1 << len(self._sources)
            self._sources.append(node)
            return _Value(exact=False, steps=source, origins=origins | source)
        return _Value(exact=exact, steps=0, origins=origins)

    def _is_source(self, node: onnx.NodeProto) -> bool:
        """Whether a node makes a step of values that are not steps."""
        if node.op_type in _COMPARISONS or node.op_type == "Sign":
            return True
        if node.op_type not in _ROUNDINGS and not (node.op_type == "Cast" and _to_integer(node)):
            return False
        levels = self._levels(node)
        return levels <= _LEVELS if math.isfinite(levels) else node.op_type in ("Floor", "Ceil")

    def _levels(self, node: onnx.NodeProto) -> float:
        """Return the number of levels of a rounding, from the limits of what it takes or makes; infinite without."""
        low, high = -math.inf, math.inf
        for least, most in self._limits(node):
            low, high = max(low, least), min(high, most)
        return high - low + 1

    def _limits(self, node: onnx.NodeProto) -> Iterator[tuple[float, float]]:
        """Yield the limits, lowest and highest value, of the operations right before and right after a rounding."""
        before = self._makers.get(node.input[0])
        while before is not None and before.op_type in _LIMITS:
            yield self._limit(before)
            before = self._makers.get(next(name for name in before.input if name in self._values))
        after = node
        while len(readers := self._readers[after.output[0]]) == 1 and readers[0].op_type in _LIMITS:
            (after,) = readers
            yield self._limit(after)

    def _limit(self, node: onnx.NodeProto) -> tuple[float, float]:
        """Return the lowest and the highest value that a Clip, Max or Min with constants makes."""
        numbers = [self._number(name) if name else None for name in node.input]
        if node.op_type == "Clip":
            low, high = [*numbers[1:], None, None][:2]
        else:
            known = next((number for number in numbers if number is not None), None)
            low, high = (known, None) if node.op_type == "Max" else (None, known)
        return -math.inf if low is None else low, math.inf if high is None else high

    def _used(self, node: onnx.NodeProto, data: Sequence[_Value]) -> int:
        """Return the sources whose steps a node computes with."""
        steps = _union(value.steps for value in data)
        if not steps or node.op_type in _SELECTS:
            return self._chosen(node) if node.op_type == "Where" else 0
        if node.op_type in _USES:
            return steps
        others = [value for value in data if not value.steps]
        if not others or self._masks_scores(node):
            return 0
        if node.op_type in ("Mul", "Div"):
            numerators = data[:1] if node.op_type == "Div" else data
            used = _union(value.steps for value in numerators)
            return used if any(other.origins & used for other in others) or self._is_gated(node) else 0
        return steps

    def _chosen(self, where: onnx.NodeProto) -> int:
        """Return the sources of the steps that a Where puts next to values that are not steps."""
        branches = [self._values[name] for name in where.input[1:] if name in self._values]
        return _union(value.steps for value in branches) if any(not value.steps for value in branches) else 0

    def _is_gated(self, node: onnx.NodeProto) -> bool:
        """Whether one of the factors is the gate of an attention block."""
        for name in node.input:
            maker = self._makers.get(name)
            while maker is not None and maker.op_type in _COPIES:
                maker = self._makers.get(maker.input[0])
            if maker is not None and maker.op_type in _GATES:
                return True
        return False

    def _masks_scores(self, node: onnx.NodeProto) -> bool:
        """Whether a node multiplies by a large constant, or chooses one: a mask of attention scores."""
        if node.op_type not in ("Mul", "Where"):
            return False
        numbers = [self._number(name) for name in node.input if name not in self._values]
        return any(number is not None and abs(number) >= _LARGE for number in numbers)

    def _number(self, name: str) -> float | None:
        """Return the constant number that a tensor holds; None if it is not one number, or depends on the input."""
        maker = self._makers.get(name)
        while maker is not None and maker.op_type in _COPIES:
            name = maker.input[0]
            maker = self._makers.get(name)
        if maker is not None and maker.op_type == "Constant":
            value = onnx.helper.get_attribute_value(maker.attribute[0])
            found = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
        elif name in self._constants:
            found = numpy_helper.to_array(self._constants[name])
        else:
            return None
        return float(found.reshape(-1)[0]) if found.size == 1 and found.dtype.kind in "fiub" else None


def _data(node: onnx.NodeProto) -> list[str]:
    """Return the names of the tensors whose values a node computes with: without shapes, axes and indices."""
    if node.op_type in _SHAPES:
        return []
    return [name for name in (node.input[:1] if node.op_type in _ONLY_FIRST else node.input) if name]


def _to_integer(cast: onnx.NodeProto) -> bool:
    kind = next(attribute.i for attribute in cast.attribute if attribute.name == "to")
    return kind in (*range(onnx.TensorProto.UINT8, onnx.TensorProto.INT64 + 1), onnx.TensorProto.UINT32)


def _union(bits: Iterable[int]) -> int:
    found = 0
    for each in bits:
        found |= each
    return found
