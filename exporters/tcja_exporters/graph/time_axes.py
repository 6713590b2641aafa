"""Finds the stepwise operations of a model, and the axes of time and batch of their results.

Time and batch are two axes of a tensor, [T, N, ...] or [N, T, ...], or the first axis holds both, [T * N, ...] or
[N * T, ...]. An operation is stepwise, or "acts on each time step alone", if every step of its result depends only on
the same step of its inputs, and on constants that are the same for all steps. Each operator has a rule that decides
this from the axes of its inputs. An operator without a rule counts as one that mixes steps. A spiking layer also counts
as stepwise; it is the only operation with a state.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from tcja_exporters import custom_op

Shape = tuple[int | None, ...]
"""The shape of a tensor; None stands for a size that depends on the batch."""

MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten")
"""Operators that move values and do not change them."""
_ELEMENTWISE = (
    *("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Where", "Clip", "PRelu", "Abs", "Neg", "Sqrt", "Exp", "Log"),
    *("Relu", "LeakyRelu", "Elu", "Sigmoid", "HardSigmoid", "Tanh", "Erf", "Softplus"),
    *("Floor", "Ceil", "Round", "Sign"),
    *("Identity", "Cast", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
)
_OF_IMAGES = (
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool"),
    *("BatchNormalization", "InstanceNormalization", "DepthToSpace", "SpaceToDepth"),
)
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")


@dataclasses.dataclass(frozen=True)
class TimeAxes:
    """The axes of time and batch in a tensor.

    Attributes:
        axes: the pair (axis of time, axis of batch); (0,) if the first axis holds both.
        time_first: if the first axis holds both, true for T * N and false for N * T; otherwise false.
    """

    axes: tuple[int, ...]
    time_first: bool = False

    @property
    def joined(self) -> bool:
        """Whether time and batch are one axis."""
        return len(self.axes) == 1

    def item_shape(self, shape: Shape) -> Shape:
        """Return the shape without the axes of time and batch: the shape of one time step of one window."""
        return tuple(size for axis, size in enumerate(shape) if axis not in self.axes)

    def moved(self, to: Callable[[int], int]) -> TimeAxes | None:
        """Return these axes after the axes of the tensor moved; None if a joined axis is not the first any more.

        Args:
            to: a function that returns the new position of an axis.
        """
        axes = tuple(map(to, self.axes))
        return None if self.joined and axes != (0,) else dataclasses.replace(self, axes=axes)


WINDOWS = TimeAxes((1, 0))
"""The axes of a network's input, [N, T, ...]."""


@dataclasses.dataclass(frozen=True)
class StepwiseTensors:
    """The stepwise tensors of a model: those that only stepwise operations compute from the model's input.

    Attributes:
        axes: the time axes of each stepwise tensor, by name.
        shapes: the shapes of all tensors of the model, by name.
        constants: the names of tensors that are constants, or are computed from constants only.
    """

    axes: Mapping[str, TimeAxes]
    shapes: Mapping[str, Shape]
    constants: frozenset[str]


def stepwise_tensors(model: onnx.ModelProto, source: str, time_steps: int) -> StepwiseTensors:
    """Return the stepwise tensors of a model.

    Args:
        model: the model. Its value_info holds the shapes of its tensors; a tensor without a shape counts as not
            stepwise.
        source: the name of the model's input [N, T, ...].
        time_steps: the number of time steps, T.
    """
    graph = model.graph
    values = (*graph.value_info, *graph.input, *graph.output)
    shapes = {value.name: _shape(value) for value in values if value.type.tensor_type.HasField("shape")}
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    integers = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.INT64
    }
    constants = {tensor.name for tensor in graph.initializer}
    axes = {source: WINDOWS}
    known = _Known(time_steps, shapes, integers, constants)
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if constants.issuperset(inputs):
            constants.update(node.output)
        elif len(node.output) == 1 and node.output[0] in shapes:
            found = _axes_after(known, node, axes)
            axes |= {node.output[0]: found} if found else {}
    return StepwiseTensors(axes, shapes, frozenset(constants))


def acts_on_rows(
    node: onnx.NodeProto,
    shapes: Mapping[str, Shape],
    constants: Collection[str],
    integers: Mapping[str, npt.NDArray[np.int64]],
) -> bool:
    """Whether each row of a node's result, along the first axis, depends only on the same row of its data inputs.

    Args:
        node: the node, with one output.
        shapes: the shapes of its inputs and of its output, by name; the first axis of a data input is the batch, None.
        constants: the names of its constant inputs.
        integers: the values of those that hold integers, by name.
    """
    known = _Known(0, shapes, integers, {*constants})
    rows = TimeAxes((0,))
    return _axes_after(known, node, {name: rows for name in node.input if name and name not in constants}) == rows


@dataclasses.dataclass(frozen=True)
class _Known:
    """The facts about a model that the rules need.

    Attributes:
        time_steps: the number of time steps, T.
        shapes: the shapes of tensors, by name.
        integers: the values of integer constants, such as axes and target shapes, by name.
        constants: the names of the constants found so far.
    """

    time_steps: int
    shapes: Mapping[str, Shape]
    integers: Mapping[str, npt.NDArray[np.int64]]
    constants: set[str]

    def second_input(self, node: onnx.NodeProto) -> npt.NDArray[np.int64] | None:
        """Return the values of a node's second input if they are constant integers; otherwise None."""
        return self.integers.get(node.input[1]) if len(node.input) > 1 else None

    def constant_shapes(self, names: Sequence[str]) -> list[Shape]:
        """Return the shapes of the constants among some tensors."""
        return [self.shapes[name] for name in names if name in self.constants]


@dataclasses.dataclass(frozen=True)
class _Call:
    """A node with its data inputs, which are the inputs that are not constant.

    Attributes:
        node: the node.
        data: the names of the data inputs.
        rank: the number of axes of the first data input.
        axes: the time axes, which are the same in all data inputs.
    """

    node: onnx.NodeProto
    data: Sequence[str]
    rank: int
    axes: TimeAxes


def _axes_after(known: _Known, node: onnx.NodeProto, axes: Mapping[str, TimeAxes]) -> TimeAxes | None:
    """Return the time axes of a node's result; None if the node is not stepwise."""
    inputs = [name for name in node.input if name]
    data = [name for name in inputs if name not in known.constants]
    different = {axes.get(name) for name in data}
    (common,) = different if len(different) == 1 else (None,)
    if common is None or any(name not in known.shapes for name in inputs):
        return None
    if node.op_type == custom_op.NAME:
        return common if common.axes == (0, 1) else None
    rule = _RULES.get(node.op_type)
    return rule(known, _Call(node, data, len(known.shapes[data[0]]), common)) if rule else None


def _elementwise(known: _Known, call: _Call) -> TimeAxes | None:
    same_rank = all(len(known.shapes[name]) == call.rank for name in call.data)
    constants = known.constant_shapes(call.node.input)
    return (
        call.axes if same_rank and all(_is_same_for_all(shape, call.rank, call.axes) for shape in constants) else None
    )


def _quantized(known: _Known, call: _Call) -> TimeAxes | None:
    scalars = all(known.shapes[name] == () for name in call.node.input[1:])
    return call.axes if len(call.data) == 1 and scalars else None


def _of_images(_known: _Known, call: _Call) -> TimeAxes | None:
    return call.axes if call.axes.joined and call.data == [call.node.input[0]] else None


def _reduced(known: _Known, call: _Call) -> TimeAxes | None:
    squeezed = _squeezed(known, call)
    return call.axes if squeezed and _attribute(call.node, "keepdims", 1) else squeezed


def _squeezed(known: _Known, call: _Call) -> TimeAxes | None:
    axes = known.second_input(call.node)
    if axes is None or not axes.size:
        return None
    gone = {axis % call.rank for axis in axes.tolist()}
    return None if gone.intersection(call.axes.axes) else call.axes.moved(lambda a: a - sum(g < a for g in gone))


def _transposed(_known: _Known, call: _Call) -> TimeAxes | None:
    backwards = list(range(call.rank))[::-1]
    return call.axes.moved(list(_attribute(call.node, "perm", backwards)).index)


def _unsqueezed(known: _Known, call: _Call) -> TimeAxes | None:
    axes = known.second_input(call.node)
    if axes is None:
        return None
    rank = call.rank + axes.size
    new = {axis % rank for axis in axes.tolist()}
    return call.axes.moved([axis for axis in range(rank) if axis not in new].__getitem__)


def _reshaped(known: _Known, call: _Call) -> TimeAxes | None:
    """Return the axes after a Reshape that joins time and batch, splits them as they were joined, or keeps them."""
    before, after, axes = known.shapes[call.data[0]], known.shapes.get(call.node.output[0]), call.axes
    if not after or sorted(axes.axes) != list(range(len(axes.axes))):
        return None
    size = _product(axes.item_shape(before))
    time_first = axes.time_first if axes.joined else axes.axes == (0, 1)
    two = (known.time_steps, None) if time_first else (None, known.time_steps)
    if after[:2] == two and _product(after[2:]) == size:
        return TimeAxes((0, 1) if time_first else (1, 0))
    return TimeAxes((0,), time_first) if after[0] is None and _product(after[1:]) == size else None


def _flattened(_known: _Known, call: _Call) -> TimeAxes | None:
    return call.axes if call.axes.joined and _attribute(call.node, "axis", 1) == 1 and call.data else None


def _multiplied(known: _Known, call: _Call) -> TimeAxes | None:
    """Return the axes after a MatMul; None if it mixes steps.

    The product x W with a constant matrix W mixes the last axis of x. The products W x and x y mix the last two axes of
    x and y.
    """
    constants = known.constant_shapes(call.node.input)
    if any(len(known.shapes[name]) != call.rank for name in call.data) or any(len(shape) > 2 for shape in constants):
        return None
    rows_are_free = constants and call.data[0] == call.node.input[0]
    return call.axes if max(call.axes.axes) < call.rank - (1 if rows_are_free else 2) else None


def _gemm(known: _Known, call: _Call) -> TimeAxes | None:
    added = [known.shapes[name] for name in call.node.input[2:] if name]
    rows = call.data == [call.node.input[0]] and call.axes.axes == (0,) and not _attribute(call.node, "transA", 0)
    return call.axes if rows and all(_is_same_for_all(shape, 2, call.axes) for shape in added) else None


def _along_an_axis(known: _Known, call: _Call) -> TimeAxes | None:
    """Return the axes after an operation along one axis, such as Softmax; None if this axis is time or batch."""
    axis = _attribute(call.node, "axis", -1) % call.rank
    same_rank = len({len(known.shapes[name]) for name in call.data}) == 1
    return call.axes if same_rank and axis not in call.axes.axes and len(call.data) == len(call.node.input) else None


_Rule = Callable[[_Known, _Call], "TimeAxes | None"]
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_OF_IMAGES, _of_images),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    **dict.fromkeys(("Concat", "Softmax", "LogSoftmax"), _along_an_axis),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantized),
    "Transpose": _transposed,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Reshape": _reshaped,
    "Flatten": _flattened,
    "MatMul": _multiplied,
    "Gemm": _gemm,
}
"""The rule of each operator: a function that returns the time axes of the result, or None if it is not stepwise."""


def _is_same_for_all(constant: Shape, rank: int, axes: TimeAxes) -> bool:
    """Whether a constant is the same for all steps and windows.

    Args:
        constant: the shape of the constant.
        rank: the number of axes of the tensor to which the constant is broadcast.
        axes: the time axes of this tensor.
    """
    behind = rank - len(constant)
    return behind >= 0 and all(axis < behind or constant[axis - behind] == 1 for axis in axes.axes)


def _shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)


def _product(sizes: Shape) -> int | None:
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
