"""Folds batch norms into the convolution or matrix product before them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult
from tcja_runtime.errors import BadInput

Array = npt.NDArray[Any]


def fold_batch_norm(graph: gs.Graph) -> PassResult:
    """Fold y = scale * (W x + b - mean) / sqrt(variance + epsilon) + shift into W and b.

        factor = scale / sqrt(variance + epsilon)
        W' = factor W
        b' = factor (b - mean) + shift

    The folded weights are computed in float64 and rounded once. The folded layer rounds differently from the trained
    layer and batch norm, unless each factor is a power of two and b' is zero.

    Raises:
        BadInput: a folded weight is too large for float32.
    """
    changes, exact = 0, True
    for norm in [node for node in graph.nodes if node.op == "BatchNormalization"]:
        linear = norm.i(0) if norm.inputs[0].inputs else None
        if linear is None or len(linear.outputs[0].outputs) != 1 or not _is_linear(linear):
            continue
        scale, shift, mean, variance = (tensor.values.astype(np.float64) for tensor in norm.inputs[1:5])
        factor = scale / np.sqrt(variance + norm.attrs.get("epsilon", 1e-5))
        weight = linear.inputs[1]
        axis = 0 if linear.op == "Conv" or linear.attrs.get("transB", 0) else 1
        along = [-1 if i == axis else 1 for i in range(weight.values.ndim)]
        bias = linear.inputs[2].values.astype(np.float64) if len(linear.inputs) == 3 else np.zeros_like(mean)
        folded_bias = factor * (bias - mean) + shift
        exact &= bool((np.frexp(np.abs(factor))[0] == 0.5).all() and not folded_bias.any())

        linear.inputs = [
            linear.inputs[0],
            _constant(f"{norm.outputs[0].name}/weight", weight.values * factor.reshape(along)),
            _constant(f"{norm.outputs[0].name}/bias", folded_bias),
        ]
        output = norm.outputs[0]
        norm.outputs.clear()
        linear.outputs = [output]
        changes += 1
    return PassResult(changes, exact, "" if exact else "folded weights round differently from the trained order")


_FOLDED = "/BatchNormalization/weight"


def norm_of(weight: str) -> str | None:
    """Return the module of the batch norm that was folded into a weight, given the weight's name; None if none was."""
    return weight.removesuffix(_FOLDED) if weight.endswith(_FOLDED) else None


def _is_linear(node: gs.Node) -> bool:
    """Whether a node is a Conv or Gemm that computes W x + b with constant W and b, and no further factors."""
    scaled = any(node.attrs.get(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    constant = all(isinstance(tensor, gs.Constant) for tensor in node.inputs[1:])
    return node.op in ("Conv", "Gemm") and constant and not scaled


def _constant(name: str, values: Array) -> gs.Constant:
    """Return a constant with these values in float32.

    Raises:
        BadInput: a value is too large for float32.
    """
    with np.errstate(over="ignore"):
        folded = values.astype(np.float32)
    if not np.isfinite(folded).all():
        raise BadInput(f"{name}, folded from the batch norm and the layer before it, is too large for float32")
    return gs.Constant(name, folded)
