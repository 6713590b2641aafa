"""The record that a pass returns, and a function that passes share."""

from __future__ import annotations

import dataclasses

import onnx_graphsurgeon as gs

from tcja_exporters import custom_op


@dataclasses.dataclass(frozen=True)
class PassResult:
    """The result of a pass.

    Attributes:
        changes: the number of nodes that were replaced, moved or removed.
        exact: whether every tensor that stays in the graph keeps its bits.
        note: a remark for the reader of the report; may be empty.
    """

    changes: int
    exact: bool = True
    note: str = ""


def is_promised(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether other code looks this tensor up by its name, so that a pass must keep it.

    Such a tensor is an output of the model, or the current or the spikes of a spiking layer.
    """
    if any(tensor is output for output in graph.outputs):
        return True
    return any(node.op == custom_op.NAME for node in (*tensor.inputs, *tensor.outputs))
