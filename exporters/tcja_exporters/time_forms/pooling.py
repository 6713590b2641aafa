"""Writes the pooling behind fused spikes such that TensorRT computes it in the kernel that unpacks them.

A layer in the time form fused writes one word for the spikes of all steps of a neuron
(`tcja_exporters.time_forms.fused`). TensorRT has a kernel of its own for pooling, so it would write the spikes of all
steps and read them again. A maximum or a sum of slices is elementwise to the builder, so it unpacks the words of a
window and writes their maximum or mean only:

    max over a window of 2 x 2   =  Max(x[0::2, 0::2], x[0::2, 1::2], x[1::2, 0::2], x[1::2, 1::2])
    mean over a window of 2 x 2  =  (x[0::2, 0::2] + x[0::2, 1::2] + x[1::2, 0::2] + x[1::2, 1::2]) / 4

A maximum has no rounding, so the result is the same to the bit. So is the mean of spikes over a window whose size is a
power of two. The mean of gated spikes rounds each sum once, as an AveragePool does; its order may differ.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection

import numpy as np
import onnx
from onnx import TensorProto, helper

from tcja_exporters.time_forms.nodes import Nodes, sizes

LARGEST_SLICED = 4
"""The largest number of values in a window that is written as a maximum of slices."""

_POOLS = {"MaxPool": "Max", "AveragePool": "Add"}
"""The operators of pooling, and the operators that join two slices."""

_ELEMENTWISE = {"Reshape", "Cast", "Mul", "Identity", "Squeeze", "Unsqueeze", "Transpose"}
"""Operators that may stand between the spikes and the pooling."""


def pool_by_slices(graph: onnx.GraphProto, spikes: Collection[str]) -> None:
    """Replace the pooling behind spikes by a maximum or a mean of slices, in place. The name of the result stays.

    Pooling stays as it is if its windows overlap, are large or have padding, or if the size of its images is not known.
    So does a mean over a window whose size is not a power of two.

    Args:
        graph: the graph; its nodes must be in order. The sizes of its tensors are read from its descriptions of values.
        spikes: the names of the spikes of the layers in the time form fused.
    """
    shapes = {value.name: value.type.tensor_type.shape for value in graph.value_info}
    types = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    behind, nodes = set(spikes), list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type in _ELEMENTWISE and not behind.isdisjoint(node.input):
            behind.update(node.output)
        pooled = shapes.get(node.output[0]) if node.op_type in _POOLS and node.input[0] in behind else None
        window = _window(node) if pooled is not None else None
        if pooled is None or window is None or len(pooled.dim) != 4 or not all(sizes(pooled)[2:]):
            graph.node.append(node)
            continue
        made = _sliced(node, window, sizes(pooled)[2:], types[node.output[0]])
        graph.node.extend(made.nodes)
        graph.initializer.extend(made.constants.values())


def _window(pool: onnx.NodeProto) -> tuple[int, int] | None:
    """Return the rows and columns of a pooling's window; None if it is not to be replaced."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in pool.attribute}
    window = tuple(found["kernel_shape"])
    padded = any(found.get("pads", ())) or found.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID")
    plain = not padded and set(found.get("dilations", (1,))) == {1} and not found.get("ceil_mode")
    if len(window) != 2 or window != tuple(found.get("strides", ())) or not plain or len(pool.output) != 1:
        return None
    size = math.prod(window)
    exact = pool.op_type == "MaxPool" or math.log2(size).is_integer()
    return window if size <= LARGEST_SLICED and exact else None


def _sliced(pool: onnx.NodeProto, window: tuple[int, int], pooled: list[int], kind: int) -> Nodes:
    """Return the nodes that replace a pooling. The sum of a mean is computed in float32.

    Args:
        pool: the pooling.
        window: the rows and columns of its window.
        pooled: the rows and columns of its result.
        kind: the type of its result.
    """
    (result,), mean = pool.output, pool.op_type == "AveragePool"
    at = Nodes(f"{result}/", f"{result}/")
    is_half = mean and kind == TensorProto.FLOAT16
    images = at.op("Cast", [pool.input[0]], "wide", to=TensorProto.FLOAT) if is_half else pool.input[0]
    axes, steps = at.constant("axes", [2, 3], np.int64), at.constant("steps", window, np.int64)
    found = ""
    for row, column in itertools.product(*map(range, window)):
        name = f"{row}_{column}"
        ends = [first + size * step for first, size, step in zip((row, column), pooled, window, strict=True)]
        starts = at.constant(f"starts_{name}", [row, column], np.int64)
        part = at.op("Slice", [images, starts, at.constant(f"ends_{name}", ends, np.int64), axes, steps], name)
        found = at.op(_POOLS[pool.op_type], [found, part], f"{name}/joined") if found else part
    if mean:
        found = at.op("Mul", [found, at.constant("share", 1 / math.prod(window))], "mean")
    if is_half:
        at.op("Cast", [found], "half", to=TensorProto.FLOAT16)
    at.nodes[-1].output[0] = at.nodes[-1].name = result
    return at
