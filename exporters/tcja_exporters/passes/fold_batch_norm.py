"""Folds batch norms into the convolution or matrix product before them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from tcja_exporters.passes.base import PassResult
from tcja_exporters.passes.origins import NOTHING, Norm, Origin, origin_of, set_origin
from tcja_runtime.errors import BadInput

Array = npt.NDArray[Any]


def fold_batch_norm(graph: gs.Graph) -> PassResult:
    """Fold y = scale * (W x + b - mean) / sqrt(variance + epsilon) + shift into W and b.

        factor = scale / sqrt(variance + epsilon)
        W' = factor W
        b' = factor (b - mean) + shift

    The folded weights are computed in float64 and rounded once. The folded layer rounds differently from the trained
    layer and batch norm, unless each factor is a power of two and b' is zero. Layers with the same constants get the
    same folded constants, so a layer that is called at each time step has one W' and one b'.

    Raises:
        BadInput: a folded weight is too large for float32.
    """
    changes, exact = 0, True
    folded: dict[tuple[object, ...], list[gs.Constant]] = {}
    for norm in [node for node in graph.nodes if node.op == "BatchNormalization"]:
        linear = norm.i(0) if norm.inputs[0].inputs else None
        if linear is None or len(linear.outputs[0].outputs) != 1 or not _is_linear(linear):
            continue
        axis = 0 if linear.op == "Conv" or linear.attrs.get("transB", 0) else 1
        key = (*(tensor.name for tensor in (*linear.inputs[1:], *norm.inputs[1:5])), _epsilon(norm), axis)
        if key not in folded:
            folded[key] = _fold(linear, norm, axis)
        exact &= _keeps_bits(norm, folded[key][1])
        linear.inputs = [linear.inputs[0], *folded[key]]
        output = norm.outputs[0]
        norm.outputs.clear()
        linear.outputs = [output]
        changes += 1
    return PassResult(changes, exact, "" if exact else "folded weights round differently from the trained order")


def _fold(linear: gs.Node, norm: gs.Node, axis: int) -> list[gs.Constant]:
    """Return W' and b'.

    Args:
        linear: the convolution or matrix product.
        norm: the batch norm.
        axis: the axis of the output channels in the weight.
    """
    _, shift, mean, _ = (tensor.values.astype(np.float64) for tensor in norm.inputs[1:5])
    factor, weight = _factor(norm), linear.inputs[1]
    along = [-1 if i == axis else 1 for i in range(weight.values.ndim)]
    bias = linear.inputs[2] if len(linear.inputs) == 3 else None
    added = np.zeros_like(mean) if bias is None else bias.values.astype(np.float64)
    name = norm.outputs[0].name
    folded = [
        _constant(f"{name}/weight", weight.values * factor.reshape(along)),
        _constant(f"{name}/bias", factor * (added - mean) + shift),
    ]
    for tensor, before in zip(folded, (weight, bias), strict=True):
        set_origin(tensor, _origin(NOTHING if before is None else origin_of(before), norm))
    return folded


def _factor(norm: gs.Node) -> Array:
    """Return scale / sqrt(variance + epsilon) in float64."""
    scale, variance = (norm.inputs[i].values.astype(np.float64) for i in (1, 4))
    factor: Array = scale / np.sqrt(variance + _epsilon(norm))
    return factor


def _epsilon(norm: gs.Node) -> float:
    return float(norm.attrs.get("epsilon", 1e-5))


def _keeps_bits(norm: gs.Node, bias: gs.Constant) -> bool:
    """Whether the folded layer, whose bias is given, rounds as the layer and its batch norm did."""
    return bool((np.frexp(np.abs(_factor(norm)))[0] == 0.5).all() and not bias.values.any())


def _origin(before: Origin, norm: gs.Node) -> Origin:
    """Return the origin of a weight or bias after a batch norm was folded into it.

    Args:
        before: its origin before.
        norm: the batch norm.
    """
    scale, shift, mean, variance = (origin_of(tensor) for tensor in norm.inputs[1:5])
    parameters = before.parameters.union(*(each.parameters for each in (scale, shift, mean, variance)))
    plain = all(each.copied or not each.parameters for each in (scale, shift))
    ones = scale.copied or (norm.inputs[1].values == 1).all()
    zeros = shift.copied or not norm.inputs[2].values.any()
    if before.norm or not (plain and ones and zeros and mean.copied and variance.copied):
        return Origin(parameters=parameters)
    own = Norm(
        scale=scale.copied,
        shift=shift.copied,
        mean=mean.copied,
        variance=variance.copied,
        epsilon=_epsilon(norm),
    )
    return dataclasses.replace(before, parameters=parameters, norm=own)


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
