"""Tensors that a pass must leave under their names."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from tcja_exporters import custom_op


def is_promised(graph: gs.Graph, tensor: gs.Tensor) -> bool:
    """Whether others look a tensor up by its name: an output of the model, a neuron's current or its spikes."""
    if any(tensor is output for output in graph.outputs):
        return True
    return any(node.op == custom_op.NAME for node in (*tensor.inputs, *tensor.outputs))
