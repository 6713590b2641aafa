"""Computes the nodes that depend only on constants, and stores their results as constants."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from tcja_exporters.passes import origins
from tcja_exporters.passes.base import PassResult
from tcja_runtime.backends import onnxruntime


def fold_constants(graph: gs.Graph) -> PassResult:
    """Compute the nodes that depend only on constants, with ONNX Runtime; remove convolution biases that are zero."""
    onnxruntime.require().set_default_logger_severity(
        3
    )  # errors only: the warnings are about ONNX Runtime's own optimisations
    before = len(graph.nodes)
    origins.follow(graph)
    graph.fold_constants(error_ok=False)
    graph.cleanup()
    for node in graph.nodes:
        # The exporter adds a bias of zeros to a convolution without a bias; adding zero changes no comparison.
        bias = node.inputs[2] if node.op == "Conv" and len(node.inputs) == 3 else None
        if isinstance(bias, gs.Constant) and not bias.values.any():
            del node.inputs[2]
    return PassResult(before - len(graph.nodes))
