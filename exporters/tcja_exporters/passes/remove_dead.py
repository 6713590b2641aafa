"""Nodes that change nothing go."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import Done, is_promised


def remove_dead(graph: gs.Graph) -> Done:
    """Remove nodes that nobody reads, Identity, and reshapes that another reshape undoes.

    A Reshape of a Reshape takes the first one's input, unless it copies sizes of its own; one that then ends in the
    shape it began with goes. A node that makes a promised tensor stays.
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
    return Done(before - len(graph.nodes))


def _copies(reshape: gs.Node) -> bool:
    """Whether a target may hold zeros, which stand for sizes of the input."""
    target = reshape.inputs[1]
    return not (reshape.attrs.get("allowzero") or (isinstance(target, gs.Constant) and target.values.all()))


def _changes_nothing(node: gs.Node) -> bool:
    if node.op == "Reshape":
        return node.inputs[0].shape is not None and node.inputs[0].shape == node.outputs[0].shape
    return bool(node.op == "Identity")
