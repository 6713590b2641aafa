"""Replaces sequences of tensors by the parts that are taken from them, as TensorRT knows no sequences.

Source: https://onnx.ai/onnx/operators/onnx__SplitToSequence.html, https://onnx.ai/onnx/operators/onnx__Split.html
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult, is_promised


def split_without_sequences(graph: gs.Graph) -> PassResult:
    """Make each SplitToSequence whose parts are taken by SequenceAt a Split, which returns these parts.

    The exporter writes `chunk` and `split` of PyTorch so. A sequence stays if something else reads it, or if the number
    of its parts, or which of them is taken, is not known.
    """
    changes = 0
    for node in [node for node in graph.nodes if node.op == "SplitToSequence"]:
        sequence, sizes = node.outputs[0], _sizes(node)
        takers = list(sequence.outputs)
        if is_promised(graph, sequence) or not sizes or not all(_takes_one(taker, len(sizes)) for taker in takers):
            continue
        split = gs.Constant(f"{sequence.name}/sizes", np.array(sizes, np.int64))
        parts = [gs.Variable(f"{sequence.name}/part_{at}", node.inputs[0].dtype) for at in range(len(sizes))]
        node.op, node.inputs, node.attrs = "Split", [node.inputs[0], split], {"axis": node.attrs.get("axis", 0)}
        node.outputs = parts
        for taker in takers:
            taker.op, taker.inputs = "Identity", [parts[int(taker.inputs[1].values)]]
        changes += 1 + len(takers)
    return PassResult(changes)


def _sizes(node: gs.Node) -> list[int]:
    """Return the sizes of the parts of a SplitToSequence along its axis; an empty list if they are not known."""
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if not isinstance(given, gs.Constant):
        return []
    if given.values.ndim:
        return [int(size) for size in given.values]
    whole = node.inputs[0].shape[node.attrs.get("axis", 0)] if node.inputs[0].shape else None
    if not isinstance(whole, int):
        return []
    size = int(given.values)
    return [min(size, whole - begin) for begin in range(0, whole, size)]


def _takes_one(node: gs.Node, parts: int) -> bool:
    """Whether a node is a SequenceAt of a known position in a sequence of so many parts."""
    at = node.inputs[1] if node.op == "SequenceAt" else None
    return isinstance(at, gs.Constant) and -parts <= int(at.values) < parts
