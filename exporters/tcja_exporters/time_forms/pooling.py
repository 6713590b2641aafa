"""Writes the maximum pooling behind fused spikes such that TensorRT computes it in the kernel that unpacks them.

A layer in the time form fused writes one word for the spikes of all steps of a neuron
(`tcja_exporters.time_forms.fused`). TensorRT has a kernel of its own for MaxPool, so it would write the spikes of all
steps and read them again. A maximum of slices is elementwise to the builder, so it unpacks the words of a window and
writes their maximum only:

    max over a window of 2 x 2  =  Max(x[0::2, 0::2], x[0::2, 1::2], x[1::2, 0::2], x[1::2, 1::2])

A maximum has no rounding, so the result is the same to the bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tcja_exporters.time_forms.nodes import sizes

LARGEST_WINDOW = 4
"""The largest number of values in a window that is written as a maximum of slices."""

_ELEMENTWISE = {"Reshape", "Cast", "Mul", "Identity", "Squeeze", "Unsqueeze", "Transpose"}
"""Operators that may stand between the spikes and the pooling."""


def pool_by_slices(graph: onnx.GraphProto, spikes: Collection[str]) -> None:
    """Replace the maximum pooling behind spikes by a maximum of slices, in place. The name of the result stays.

    Pooling stays as it is if its windows overlap, are large or have padding, or if the size of its images is not known.

    Args:
        graph: the graph; its nodes must be in order. The sizes of its tensors are read from its descriptions of values.
        spikes: the names of the spikes of the layers in the time form fused.
    """
    shapes = {value.name: value.type.tensor_type.shape for value in graph.value_info}
    behind, nodes = set(spikes), list(graph.node)
    del graph.node[:]
    for node in nodes:
        if node.op_type in _ELEMENTWISE and not behind.isdisjoint(node.input):
            behind.update(node.output)
        pooled = shapes.get(node.output[0]) if node.op_type == "MaxPool" and node.input[0] in behind else None
        window = _window(node) if pooled is not None else None
        if pooled is None or window is None or len(pooled.dim) != 4 or not all(sizes(pooled)[2:]):
            graph.node.append(node)
            continue
        graph.node.extend(_sliced(graph, node, window, sizes(pooled)[2:]))


def _window(pool: onnx.NodeProto) -> tuple[int, int] | None:
    """Return the rows and columns of a pooling's window; None if it is not to be replaced."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in pool.attribute}
    window = tuple(found["kernel_shape"])
    plain = not any(found.get("pads", ())) and set(found.get("dilations", (1,))) == {1} and not found.get("ceil_mode")
    if len(window) != 2 or window != tuple(found.get("strides", ())) or not plain or len(pool.output) != 1:
        return None
    return window if np.prod(window) <= LARGEST_WINDOW else None


def _sliced(
    graph: onnx.GraphProto, pool: onnx.NodeProto, window: tuple[int, int], pooled: list[int]
) -> list[onnx.NodeProto]:
    """Return the nodes that replace a pooling, and add their constants to the graph.

    Args:
        graph: the graph.
        pool: the pooling.
        window: the rows and columns of its window.
        pooled: the rows and columns of its result.
    """

    def constant(name: str, values: list[int]) -> str:
        stored = f"{pool.output[0]}/{name}"
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), stored))
        return stored

    axes, steps = constant("axes", [2, 3]), constant("steps", [*window])
    nodes, found = [], ""
    for row, column in itertools.product(*map(range, window)):
        at = f"{row}_{column}"
        starts = constant(f"starts_{at}", [row, column])
        ends = constant(
            f"ends_{at}", [first + size * step for first, size, step in zip((row, column), pooled, window, strict=True)]
        )
        part = f"{pool.output[0]}/{at}"
        nodes.append(helper.make_node("Slice", [pool.input[0], starts, ends, axes, steps], [part], name=part))
        if found:
            made = pool.output[0] if (row + 1, column + 1) == window else f"{part}/max"
            nodes.append(helper.make_node("Max", [found, part], [made], name=made))
            found = made
        else:
            found = part
    return nodes
