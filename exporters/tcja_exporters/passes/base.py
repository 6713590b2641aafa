"""What a pass reports."""

from __future__ import annotations

import dataclasses

import onnx_graphsurgeon as gs

from tcja_exporters import custom_op


@dataclasses.dataclass(frozen=True)
class Done:
    """What a pass did.

    Attributes:
        changes: how many nodes it replaced or removed.
        exact: whether every tensor left in the graph has the bits it had.
        note: what a reader should know, empty if nothing.
    """

    changes: int
    exact: bool = True
    note: str = ""


def is_promised(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether others look a tensor up by its name: an output of the model, a neuron's current or its spikes."""
    if any(tensor is output for output in graph.outputs):
        return True
    return any(node.op == custom_op.NAME for node in (*tensor.inputs, *tensor.outputs))
