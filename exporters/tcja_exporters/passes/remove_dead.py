"""Removes nodes that change nothing."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult, is_promised


def remove_dead(graph: gs.Graph) -> PassResult:
    """Remove nodes whose results nothing reads, Identity nodes, and reshapes that have no effect.

    If a Reshape reads the result of another Reshape, it then reads the input of that other Reshape; except if its
    target shape has zeros, which copy sizes of its input. A Reshape to the shape of its input is removed. A node that
    makes a promised tensor (`tcja_exporters.passes.base.is_promised`) stays.
    """
    before = len(graph.nodes)
    for node in graph.toposort().nodes:
        if node.op == "Reshape" and not _copies(node):
            while node.inputs[0].inputs and node.i(0).op == "Reshape":
                node.inputs[0] = node.i(0).inputs[0]
        result = node.outputs[0]
        if not _changes_nothing(node) or is_promised(graph, result):
            continue
        for reader in list(result.outputs):
            reader.inputs = [node.inputs[0] if tensor is result else tensor for tensor in reader.inputs]
    graph.cleanup()
    return PassResult(before - len(graph.nodes))


def _copies(reshape: gs.Node) -> bool:
    """Whether the target shape of a Reshape may hold zeros, which copy sizes of its input."""
    target = reshape.inputs[1]
    return not (reshape.attrs.get("allowzero") or (isinstance(target, gs.Constant) and target.values.all()))


def _changes_nothing(node: gs.Node) -> bool:
    """Whether the output of a node equals its input: an Identity, or a Reshape to the same shape."""
    if node.op == "Reshape":
        return node.inputs[0].shape is not None and node.inputs[0].shape == node.outputs[0].shape
    return bool(node.op == "Identity")
