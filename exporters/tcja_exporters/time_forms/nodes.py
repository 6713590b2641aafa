"""The nodes that replace a TcjaLif node, the shapes of the model that it is in, and the integers of its types."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tcja_runtime.constant_arrays import ConstantArray

Shapes: TypeAlias = Mapping[str, onnx.TensorShapeProto]
"""The shapes of tensors by name; only those that the model stores. An unknown size is 0."""

FLOAT_BITS, HALF_BITS = (np.finfo(kind).nmant + 1 for kind in (np.float32, np.float16))
"""float32 holds every integer up to 2^24 exactly, and float16 every integer up to 2^11."""


def sizes(shape: onnx.TensorShapeProto) -> list[int]:
    """Return the sizes of a shape; 0 stands for an unknown size."""
    return [size.dim_value for size in shape.dim]


def barrier(rows: str, result: str) -> onnx.NodeProto:
    """Return a pooling that changes nothing, and that the builder of TensorRT computes in a kernel of its own.

    A window has three rows over images of one row. The other two rows are padding, which a MaxPool ignores. (The
    builder removes pooling with a window of 1 x 1.)

    Args:
        rows: the name of the input, [images, channels, 1, columns].
        result: the name of the output, which has the shape of the input.
    """
    return helper.make_node("MaxPool", [rows], [result], name=result, kernel_shape=[3, 1], pads=[1, 0, 1, 0])


@dataclasses.dataclass
class Nodes:
    """A growing list of nodes, and the constants that they read. Each node has the name of its first output.

    Attributes:
        layer: the prefix of the names of constants.
        prefix: the prefix of the names of nodes and their outputs.
        nodes: the nodes that were added.
        constants: the constants that were added, by name.
    """

    layer: str
    prefix: str
    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = dataclasses.field(default_factory=dict)

    def op(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node with one output; return the name of the output.

        Args:
            kind: the operator.
            inputs: the names of the inputs.
            name: the name of the output, without the prefix.
            attributes: the attributes of the node.
        """
        return self.out_of(kind, inputs, [name], **attributes)[0]

    def out_of(self, kind: str, inputs: list[str], names: list[str], **attributes: Any) -> list[str]:
        """Add a node with several outputs; return the names of the outputs. The arguments are as in `op`."""
        made = [self.prefix + name for name in names]
        self.nodes.append(helper.make_node(kind, inputs, made, name=made[0], **attributes))
        return made

    def barrier(self, rows: str, name: str) -> str:
        """Add a barrier behind the tensor `rows`; return the name of its output (`name` with the prefix)."""
        self.nodes.append(barrier(rows, self.prefix + name))
        return self.prefix + name

    def constant(self, name: str, value: Any, dtype: type = np.float32) -> str:
        """Add a constant; return its name, which is `name` with the prefix `layer`.

        Args:
            name: the name of the constant, without the prefix.
            value: a number, an array, or a constant of a neuron.
            dtype: the type in which it is stored.
        """
        stored = self.layer + name
        held = value.array if isinstance(value, ConstantArray) else value
        self.constants[stored] = numpy_helper.from_array(np.array(held, dtype), stored)
        return stored

    def step(self, t: int) -> Nodes:
        """Return an empty list for the nodes of time step t of the same layer."""
        return Nodes(self.layer, f"{self.prefix}{t}/")

    def take(self, others: Nodes) -> None:
        """Add the nodes and constants of another list."""
        self.nodes += others.nodes
        self.constants |= others.constants
