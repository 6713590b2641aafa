"""Which operations of a model act on each time step alone, and where time and batch are in what they return.

Time and batch are two axes of a tensor, [T, N, ...] or [N, T, ...], or the first axis holds both, [T * N, ...] or
[N * T, ...]. An operation acts on each step alone if every step of its result depends on the same step of its inputs
and on constants that are the same for all steps. Whether one does is told by its operator and by where time is; an
operator that is not known here is taken to mix steps. A spiking layer is the one operation with a state.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from tcja_exporters import custom_op

Shape = tuple[int | None, ...]
"""Of a tensor; None where it depends on the batch."""

MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity", "Flatten")
"""Operators that change no value."""
_ELEMENTWISE = (
    *("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "Where", "Clip", "PRelu", "Abs", "Neg", "Sqrt", "Exp", "Log"),
    *(
        "Relu",
        "LeakyRelu",
        "Elu",
        "Sigmoid",
        "HardSigmoid",
        "Tanh",
        "Erf",
        "Softplus",
        "Floor",
        "Ceil",
        "Round",
        "Sign",
    ),
    *("Identity", "Cast", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
)
_OF_IMAGES = (
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool"),
    *("BatchNormalization", "InstanceNormalization", "DepthToSpace", "SpaceToDepth"),
)
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where time and batch are in a tensor.

    Attributes:
        axes: of time and of batch; the first axis alone, (0,), where it holds both.
        time_first: of these, whether the first axis is T * N rather than N * T.
    """

    axes: tuple[int, ...]
    time_first: bool = False

    @property
    def joined(self) -> bool:
        """Whether time and batch are one axis."""
        return len(self.axes) == 1

    def item(self, shape: Shape) -> Shape:
        """What a tensor's shape is for one step of one window."""
        return tuple(size for axis, size in enumerate(shape) if axis not in self.axes)

    def moved(self, to: Callable[[int], int]) -> Layout | None:
        """The layout after each axis has moved; None if what was joined is not the first axis any more."""
        axes = tuple(map(to, self.axes))
        return None if self.joined and axes != (0,) else dataclasses.replace(self, axes=axes)


WINDOWS = Layout((1, 0))
"""Of a network's input, [N, T, ...]."""


class Layouts:
    """The layouts of a model's tensors: of every one that is computed step by step from the input.

    Args:
        model: whose value_info says the shapes of its tensors; what is of no known shape counts as mixed.
        source: the model's input [N, T, ...].
        time_steps: T.

    Attributes:
        of: layout by tensor.
        shapes: by tensor.
        constants: tensors that are constants, or computed from constants alone.
    """

    def __init__(self, model: onnx.ModelProto, source: str, time_steps: int) -> None:
        graph = model.graph
        self._time_steps = time_steps
        values = (*graph.value_info, *graph.input, *graph.output)
        self.shapes = {v.name: _shape(v) for v in values if v.type.tensor_type.HasField("shape")}
        self.shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._values = {
            t.name: numpy_helper.to_array(t) for t in graph.initializer if t.data_type == onnx.TensorProto.INT64
        }
        self.constants = {tensor.name for tensor in graph.initializer}
        self.of: dict[str, Layout] = {source: WINDOWS}
        for node in graph.node:
            inputs = [name for name in node.input if name]
            if self.constants.issuperset(inputs):
                self.constants.update(node.output)
            elif len(node.output) == 1 and node.output[0] in self.shapes:
                layout = self._after(node, inputs)
                self.of |= {node.output[0]: layout} if layout else {}

    def target(self, node: onnx.NodeProto) -> npt.NDArray[np.int64] | None:
        """The constant integers that a node takes second, such as axes or a shape; None if it takes none."""
        return self._values.get(node.input[1]) if len(node.input) > 1 else None

    def _after(self, node: onnx.NodeProto, inputs: Sequence[str]) -> Layout | None:
        """The layout of what a node returns, if it acts on each step alone."""
        data = [name for name in inputs if name not in self.constants]
        known = {self.of.get(name) for name in data}
        (layout,) = known if len(known) == 1 else (None,)
        if layout is None or any(name not in self.shapes for name in inputs):
            return None
        if node.op_type == custom_op.NAME:
            return layout if layout.axes == (0, 1) else None
        rule = _RULES.get(node.op_type)
        return rule(self, node, data, layout) if rule else None

    def _elementwise(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        rank = len(self.shapes[data[0]])
        same_rank = all(len(self.shapes[name]) == rank for name in data)
        constants = [self.shapes[name] for name in node.input if name in self.constants]
        return layout if same_rank and all(_spreads(shape, rank, layout) for shape in constants) else None

    def _quantized(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        return layout if len(data) == 1 and all(self.shapes[name] == () for name in node.input[1:]) else None

    def _of_images(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        return layout if layout.joined and data == [node.input[0]] else None

    def _reduced(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        without = self._squeezed(node, data, layout)
        return layout if without and _attribute(node, "keepdims", 1) else without

    def _squeezed(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        axes = self.target(node)
        if axes is None or not axes.size:
            return None
        gone = {axis % len(self.shapes[data[0]]) for axis in axes.tolist()}
        return None if gone.intersection(layout.axes) else layout.moved(lambda a: a - sum(g < a for g in gone))

    def _transposed(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        backwards = list(range(len(self.shapes[data[0]])))[::-1]
        return layout.moved(list(_attribute(node, "perm", backwards)).index)

    def _unsqueezed(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        axes = self.target(node)
        if axes is None:
            return None
        rank = len(self.shapes[data[0]]) + axes.size
        new = {axis % rank for axis in axes.tolist()}
        return layout.moved([axis for axis in range(rank) if axis not in new].__getitem__)

    def _reshaped(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        """What was joined stays joined, or becomes two axes in its own order; the first two axes may be joined."""
        after = self.shapes.get(node.output[0])
        if not after or sorted(layout.axes) != list(range(len(layout.axes))):
            return None
        size = _product(layout.item(self.shapes[data[0]]))
        time_first = layout.time_first if layout.joined else layout.axes == (0, 1)
        two = (self._time_steps, None) if time_first else (None, self._time_steps)
        if after[:2] == two and _product(after[2:]) == size:
            return Layout((0, 1) if time_first else (1, 0))
        return Layout((0,), time_first) if after[0] is None and _product(after[1:]) == size else None

    def _flattened(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        return layout if layout.joined and _attribute(node, "axis", 1) == 1 and data else None

    def _multiplied(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        """A product with a constant matrix, or of matrices of each step."""
        rank = len(self.shapes[data[0]])
        constant = [self.shapes[name] for name in node.input if name in self.constants]
        if any(len(self.shapes[name]) != rank for name in data) or any(len(shape) > 2 for shape in constant):
            return None
        rows_are_free = constant and data[0] == node.input[0]
        return layout if max(layout.axes) < rank - (1 if rows_are_free else 2) else None

    def _gemm(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        added = [self.shapes[name] for name in node.input[2:] if name]
        rows = data == [node.input[0]] and layout.axes == (0,) and not _attribute(node, "transA", 0)
        return layout if rows and all(_spreads(shape, 2, layout) for shape in added) else None

    def _along(self, node: onnx.NodeProto, data: Sequence[str], layout: Layout) -> Layout | None:
        """What runs along an axis that is another one."""
        axis = _attribute(node, "axis", -1) % len(self.shapes[data[0]])
        same_rank = len({len(self.shapes[name]) for name in data}) == 1
        return layout if same_rank and axis not in layout.axes and len(data) == len(node.input) else None


_Rule = Callable[[Layouts, onnx.NodeProto, Sequence[str], Layout], "Layout | None"]
_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_ELEMENTWISE, Layouts._elementwise),
    **dict.fromkeys(_OF_IMAGES, Layouts._of_images),
    **dict.fromkeys(_REDUCTIONS, Layouts._reduced),
    **dict.fromkeys(("Concat", "Softmax", "LogSoftmax"), Layouts._along),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), Layouts._quantized),
    "Transpose": Layouts._transposed,
    "Squeeze": Layouts._squeezed,
    "Unsqueeze": Layouts._unsqueezed,
    "Reshape": Layouts._reshaped,
    "Flatten": Layouts._flattened,
    "MatMul": Layouts._multiplied,
    "Gemm": Layouts._gemm,
}


def _spreads(constant: Shape, rank: int, layout: Layout) -> bool:
    """Whether a constant that is combined with a tensor of a rank is the same for all steps and windows."""
    behind = rank - len(constant)
    return behind >= 0 and all(axis < behind or constant[axis - behind] == 1 for axis in layout.axes)


def _shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim)


def _product(sizes: Shape) -> int | None:
    known = [size for size in sizes if size is not None]
    return math.prod(known) if len(known) == len(sizes) else None


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)
