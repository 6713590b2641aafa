"""Keeps reductions out of the kernel that TensorRT makes of a spiking layer in the time form fused.

TensorRT makes one kernel of all time steps of such a layer, and of the elementwise operations behind its spikes. If a
reduction comes next, such as a mean over the map or over time, the builder puts it into the same kernel. The time of
this build grows exponentially with T: with 16 steps it takes minutes, with 20 nobody waits for it. Products and pooling
are kernels of their own, and they end the fusion (`benchmarks/engines/patterns.py` has the table). So every reduction
that reads spikes, with nothing but elementwise operations in between, is replaced:

    a mean over neighbouring axes       an AveragePool with one window over these axes
    a maximum over neighbouring axes    a MaxPool with one window over these axes
    each other reduction                stays, behind a barrier (`tcja_exporters.time_forms.nodes.barrier`)

A mean over the maps that a convolution returns becomes an AveragePool, too: for a ReduceMean, the builder copies them.

A barrier returns its input to the bit, and a MaxPool the maximum. A mean keeps its equation, a sum and one division.
The order of the sum may differ, as it does between backends.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tcja_exporters.time_forms.nodes import barrier

MEANS = {"ReduceMean": "AveragePool", "GlobalAveragePool": "AveragePool"}
MAXIMA = {"ReduceMax": "MaxPool", "GlobalMaxPool": "MaxPool"}
OTHERS = {
    *("ReduceSum", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum"),
    *("ReduceLogSumExp", "Softmax", "LogSoftmax", "Hardmax", "LayerNormalization", "LpNormalization", "Einsum"),
    *("GroupNormalization", "MeanVarianceNormalization", "GlobalLpPool"),
}
POOLS = {**MEANS, **MAXIMA}
"""The reductions that a pooling can replace, and the pooling."""

KERNELS = {"Conv", "ConvTranspose", "Gemm", "MatMul", "InstanceNormalization", "Scan", "Loop"}
"""The operators that TensorRT computes in kernels of their own, which end the fusion, besides pooling."""

LARGEST_POOLED = 2**14
"""The largest window of a pooling. A kernel computes each window in one thread, so larger ones are left to a reduction.
"""

_COMPARISONS = {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not", "Xor"}
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)

Sizes = Sequence[int | None]
"""The sizes of a tensor's axes; None for an unknown size."""


def keep_reductions_apart(graph: onnx.GraphProto, spikes: Collection[str]) -> None:
    """Replace every reduction of a graph that TensorRT would compute in the kernel of a spiking layer, in place.

    The names and shapes of the results stay. The nodes of the graph must be in order.

    Args:
        graph: the graph. The sizes of its tensors are read from its descriptions of values.
        spikes: the names of the spikes, float32 tensors, of the layers in the time form fused.
    """
    change = _Change.of(graph, spikes)
    for node in list(graph.node):
        change.add(node)
    del graph.node[:]
    graph.node.extend(change.nodes)
    graph.initializer.extend(change.constants.values())


@dataclasses.dataclass
class _Change:
    """The nodes of the new graph, and what is known of its tensors.

    Attributes:
        sizes: the sizes of each tensor, by its name; only those that the graph describes.
        types: the types of the same tensors.
        stored: the graph's constants, by name.
        fused: the types of the tensors that TensorRT computes in the kernel of a spiking layer, by name.
        nodes: the nodes of the new graph.
        constants: the constants that were added, by name.
        makers: the node that makes each tensor of `fused` except the spikes.
        apart: the names of the results of barriers, by the names of their inputs.
        convolved: the results of convolutions, and of Reshapes of them.
    """

    sizes: Mapping[str, Sizes]
    types: Mapping[str, int]
    stored: Mapping[str, onnx.TensorProto]
    fused: dict[str, int]
    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = dataclasses.field(default_factory=dict)
    makers: dict[str, onnx.NodeProto] = dataclasses.field(default_factory=dict)
    apart: dict[str, str] = dataclasses.field(default_factory=dict)
    convolved: set[str] = dataclasses.field(default_factory=set)

    @classmethod
    def of(cls, graph: onnx.GraphProto, spikes: Collection[str]) -> _Change:
        """Return the `_Change` of a graph, without any nodes; `spikes` is as in `keep_reductions_apart`."""
        described = {
            value.name: value.type.tensor_type
            for value in (*graph.value_info, *graph.input, *graph.output)
            if value.type.tensor_type.HasField("shape")
        }
        sizes = {name: [size.dim_value or None for size in each.shape.dim] for name, each in described.items()}
        types = {name: each.elem_type for name, each in described.items()}
        stored = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                stored[node.output[0]] = node.attribute[0].t
        return cls(sizes, types, stored, dict.fromkeys(spikes, TensorProto.FLOAT))

    def add(self, node: onnx.NodeProto) -> None:
        """Add a node of the graph, or the nodes that replace it."""
        behind = [name for name in node.input if name in self.fused]
        if node.op_type == "Conv" or (node.op_type == "Reshape" and node.input[0] in self.convolved):
            self.convolved.update(node.output)
        if not behind and self._is_mean_of_convolved(node) and self._pooled(node):
            return
        if not behind or node.op_type in KERNELS or _has_window(node):
            self.nodes.append(node)
        elif node.op_type in POOLS or (node.op_type in OTHERS and not _is_product(node)):
            if not self._pooled(node):
                for i, name in enumerate(node.input):
                    if name in self.fused:
                        node.input[i] = self._kept_apart(name)
                self.nodes.append(node)
        else:
            self.nodes.append(node)
            for name in node.output:
                self.fused[name] = self.types.get(name) or _type(node, self.fused[behind[-1]])
                self.makers[name] = node

    def _is_mean_of_convolved(self, node: onnx.NodeProto) -> bool:
        """Whether a node computes the mean over the maps, the last two axes, of what a float32 convolution returns."""
        (source, *_) = node.input or [""]
        if node.op_type not in MEANS or source not in self.convolved or self.types.get(source) != TensorProto.FLOAT:
            return False
        rank = len(self.sizes[source])
        return rank > 3 and sorted(axis % rank for axis in self._axes(node)) == [rank - 2, rank - 1]

    def _pooled(self, node: onnx.NodeProto) -> bool:
        """Add the pooling that replaces a mean or a maximum; return whether one can."""
        (source, *_), (result, *_) = node.input, node.output
        sizes, axes = self.sizes.get(source), self._axes(node)
        kind = self.fused.get(source) or self.types.get(source)
        if node.op_type not in POOLS or kind not in _FLOATS or not sizes or not axes:
            return False
        axes = sorted(axis % len(sizes) for axis in axes)
        window = _Window.of(sizes, axes)
        kept = 1 if node.op_type.startswith("Global") else _attribute(node, "keepdims", 1)
        shape = [1 if i in axes else size for i, size in enumerate(sizes) if i not in axes or kept]
        if window is None or shape.count(None) > 1:
            return False
        images = source if _fits(sizes, window.images) else self._reshaped(source, window.images, f"{result}/images")
        made = result if _fits(shape, window.pooled) else f"{result}/pooled"
        pool = POOLS[node.op_type]
        self.nodes.append(helper.make_node(pool, [images], [made], name=made, kernel_shape=window.kernel))
        if made != result:
            self._reshaped(made, shape, result)
        return True

    def _axes(self, node: onnx.NodeProto) -> list[int]:
        """Return the axes over which a node reduces; an empty list if they are not known."""
        if node.op_type.startswith("Global"):
            return list(range(2, len(self.sizes.get(node.input[0], ()))))
        if len(node.input) > 1 and node.input[1] in self.stored:
            return [int(axis) for axis in numpy_helper.to_array(self.stored[node.input[1]]).reshape(-1)]
        return []

    def _kept_apart(self, name: str) -> str:
        """Add a barrier behind a tensor of the kernel, if there is none yet; return the name of the barrier's result.

        Integers and bools are not pooled. For them, the barriers are in front of the nodes that make them.
        """
        if name not in self.apart and self.fused[name] in _FLOATS:
            self.apart[name] = self._barrier(name)
        elif name not in self.apart:
            maker, copy = self.makers[name], onnx.NodeProto()
            copy.CopyFrom(maker)
            copy.name = f"{name}/apart"
            copy.input[:] = [self._kept_apart(each) if each in self.fused else each for each in maker.input]
            copy.output[:] = [f"{each}/apart" for each in maker.output]
            self.nodes.append(copy)
            self.apart |= zip(maker.output, copy.output, strict=True)
        return self.apart[name]

    def _barrier(self, name: str) -> str:
        sizes = self.sizes.get(name)
        rows = self._reshaped(name, _rows(sizes), f"{name}/rows")
        made = f"{name}/barrier"
        self.nodes.append(barrier(rows, made))
        if sizes and sizes.count(None) <= 1:
            return self._reshaped(made, sizes, f"{name}/apart")
        shape, result = f"{name}/shape", f"{name}/apart"
        self.nodes.append(helper.make_node("Shape", [name], [shape], name=shape))
        self.nodes.append(helper.make_node("Reshape", [made, shape], [result], name=result))
        return result

    def _reshaped(self, name: str, sizes: Sizes, result: str) -> str:
        """Add a Reshape to sizes of which one is unknown at most; return `result`, the name of its result."""
        target = f"{result}/target"
        values = np.array([-1 if size is None else size for size in sizes], np.int64)
        self.constants[target] = numpy_helper.from_array(values, target)
        self.nodes.append(helper.make_node("Reshape", [name, target], [result], name=result))
        return result


@dataclasses.dataclass(frozen=True)
class _Window:
    """The pooling in place of a reduction over neighbouring axes.

    Attributes:
        images: the sizes of the pooled images; None for a size that follows from the others.
        kernel: the rows and columns of the window.
    """

    images: tuple[int | None, int, int, int | None]
    kernel: tuple[int, int]

    @classmethod
    def of(cls, sizes: Sizes, axes: Sequence[int]) -> _Window | None:
        """Return the window; None if the axes are not neighbours, a size is not known, or the window is too large.

        Args:
            sizes: the sizes of the tensor.
            axes: the axes over which the reduction goes, in order.
        """
        before, over, behind = sizes[: axes[0]], _known(sizes[axes[0] : axes[-1] + 1]), sizes[axes[-1] + 1 :]
        if over is None or len(axes) != axes[-1] - axes[0] + 1 or math.prod(over) > LARGEST_POOLED:
            return None
        if not behind:
            rows, columns = math.prod(over[:-1]), over[-1]
            return cls((None, before[-1] if before and before[-1] else 1, rows, columns), (rows, columns))
        rows, first, last = math.prod(over), _known(before), _known(behind)
        if last is not None:
            return cls((None, 1, rows, math.prod(last)), (rows, 1))
        return None if first is None else cls((math.prod(first), 1, rows, None), (rows, 1))

    @property
    def pooled(self) -> tuple[int | None, ...]:
        """The sizes of the result."""
        first, channels, _, columns = self.images
        return first, channels, 1, 1 if self.kernel[1] == columns else columns


def _fits(sizes: Sizes, images: Sizes) -> bool:
    """Whether a tensor of some sizes has the sizes of images, without a Reshape."""
    return len(sizes) == len(images) and None not in images[1:] and [*sizes[1:]] == [*images[1:]]


def _known(sizes: Sizes) -> list[int] | None:
    """Return sizes if all of them are known, else None."""
    known = [size for size in sizes if size is not None]
    return known if len(known) == len(sizes) else None


def _rows(sizes: Sizes | None) -> Sizes:
    """Return the sizes [?, channels, 1, columns] in which a barrier gets a tensor of the given sizes."""
    known: list[int] = []
    for size in reversed(sizes or ()):
        if size is None:
            break
        known.insert(0, size)
    if not known:
        return (1, 1, 1, None)
    return (None, known[0], 1, math.prod(known[1:])) if len(known) > 1 else (None, 1, 1, known[0])


def _has_window(node: onnx.NodeProto) -> bool:
    """Whether a node is a pooling that the builder does not remove."""
    window = next((each.ints for each in node.attribute if each.name == "kernel_shape"), ())
    strides = next((each.ints for each in node.attribute if each.name == "strides"), ())
    return node.op_type in ("MaxPool", "AveragePool", "LpPool") and any(size != 1 for size in (*window, *strides))


def _is_product(node: onnx.NodeProto) -> bool:
    return node.op_type == "Einsum" and len(node.input) > 1


def _type(node: onnx.NodeProto, of_input: int) -> int:
    """Return the type of the result of a node that is elementwise or moves values.

    Args:
        node: the node.
        of_input: the type of its last input that the kernel computes.
    """
    if node.op_type == "Cast":
        return _attribute(node, "to", of_input)
    if node.op_type in ("Shape", "Size", "ArgMax", "ArgMin", "NonZero"):
        return TensorProto.INT64
    return TensorProto.BOOL if node.op_type in _COMPARISONS else of_input


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((each.i for each in node.attribute if each.name == name), default)
