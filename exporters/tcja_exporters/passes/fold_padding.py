"""Folds zero padding into the convolution after it."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult


def fold_padding(graph: gs.Graph) -> PassResult:
    """Remove each Pad that adds zeros on spatial axes only and is read by one Conv only; add its pads to the Conv."""
    changes = 0
    for conv in [node for node in graph.nodes if node.op == "Conv"]:
        pad = conv.i(0) if conv.inputs[0].inputs else None
        if pad is None or pad.op != "Pad" or len(pad.outputs[0].outputs) != 1:
            continue
        rank = len(conv.inputs[1].values.shape)
        given = [tensor for tensor in pad.inputs[1:] if not tensor.is_empty()]
        if pad.attrs.get("mode", "constant") != "constant" or not all(isinstance(t, gs.Constant) for t in given):
            continue
        pads = given[0].values.tolist()
        value = given[1].values.item() if len(given) > 1 else 0.0
        if len(pads) != 2 * rank or value != 0.0 or min(pads) < 0 or any(pads[:2] + pads[rank : rank + 2]):
            continue
        inside = conv.attrs.get("pads", [0] * (2 * rank - 4))
        conv.attrs["pads"] = [a + b for a, b in zip(inside, pads[2:rank] + pads[rank + 2 :], strict=True)]
        conv.inputs[0] = pad.inputs[0]
        changes += 1
    return PassResult(changes)
