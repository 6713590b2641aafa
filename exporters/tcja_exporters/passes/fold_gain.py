"""A neuron's gain is folded into the weights that make its current."""

from __future__ import annotations

import math

import numpy as np
import onnx_graphsurgeon as gs

from tcja_exporters import custom_op
from tcja_exporters.passes.done import Done

_MOVES_ONLY = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Identity")


def fold_gain(graph: gs.Graph) -> Done:
    """Fold the gain of h = decay v + gain x + bias into the Conv or Gemm that makes x, where it is a power of two.

    Scaling by a power of two commutes with rounding, so every bit stays. A decayed-input neuron keeps its gain: with
    it folded, (x - v) / tau would become x' - v / tau, which saves nothing and is another order of operations.
    """
    changes, kept = 0, 0
    for node in graph.nodes:
        if node.op != custom_op.NAME or node.attrs["gain"] == 1.0:
            continue
        source = _source(node)
        if node.attrs["charge_order"] != "linear" or math.frexp(node.attrs["gain"])[0] != 0.5 or source is None:
            kept += 1
            continue
        gain = np.float32(node.attrs["gain"])
        for i, tensor in enumerate(source.inputs[1:], 1):
            source.inputs[i] = gs.Constant(f"{source.outputs[0].name}/gained_{i}", tensor.values * gain)
        node.attrs["gain"] = 1.0
        changes += 1
    return Done(changes, note=f"{kept} neurons keep their gain, as trained" if kept else "")


def _source(neuron: gs.Node) -> gs.Node | None:
    """The Conv or Gemm whose result, moved but unchanged, is the current of this neuron and of nothing else."""
    tensor = neuron.inputs[0]
    while len(tensor.outputs) == 1 and len(tensor.inputs) == 1 and tensor.inputs[0].op in _MOVES_ONLY:
        tensor = tensor.inputs[0].inputs[0]
    if len(tensor.outputs) != 1 or len(tensor.inputs) != 1 or tensor.inputs[0].op not in ("Conv", "Gemm"):
        return None
    node = tensor.inputs[0]
    return node if all(isinstance(weight, gs.Constant) for weight in node.inputs[1:]) else None
