"""Error bounds of sums of products: convolutions and matrix products.

With X = |x| and W = |w|, primes for what a backend may hold instead (X' = X + d_x), u the unit roundoff of sums, and n
the number of terms that are not zero:

    e_y = d_x * W' + X * d_w + u (SINGLE A + steps(n) (A + |y|) / 2),     A = X' * W' + |bias|
    d_x = the error of x as an operand,  d_w = the error of w as an operand

SINGLE counts the roundings that every product goes through on its own: its own, and those of a batch norm that is
multiplied into the weights. steps(n) is explained, with its sources, in `tcja_runtime.evidence.rounding`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tcja_exporters.reference.bounds import Bound, Bounds, Operation, by_parts, magnitude, sums_are_exact
from tcja_exporters.reference.convolution import convolution, convolution_parts
from tcja_runtime.evidence.rounding import CONFIDENCE, Arithmetic

SINGLE = 5


@dataclasses.dataclass(frozen=True)
class _Products:
    """A sum of products.

    Attributes:
        x: the first operand.
        weight: the second operand.
        weight_axis: the axis of the output channels in `weight`.
        compute: computes the same sums of two other operands.
        terms: counts the terms of each sum, of two operands.
        bias: what is added to each sum.
        parts: the parts of the first axis of x that are looked at one after the other.
    """

    x: Tensor
    weight: Tensor
    weight_axis: int
    compute: Callable[[Tensor, Tensor], Tensor]
    terms: Callable[[Tensor, Tensor], Tensor]
    bias: Tensor | None
    parts: Sequence[slice] = (slice(None),)


def bound_convolution(bounds: Bounds, operation: Operation) -> Bound:
    """The bound of aten.convolution, transposed or not."""
    x, weight, bias, *options, groups = operation.args
    transposed = options[3]

    def compute(x: Tensor, weight: Tensor, groups: int = groups) -> Tensor:
        return convolution(x, weight, None, (*options, groups))

    def terms(x: Tensor, weight: Tensor) -> Tensor:
        if groups > 1:  # at most all of a group
            return torch.tensor(float(weight[:, 0].numel() if transposed else weight[0].numel()))
        kernel = torch.ones(1, 1, *weight.shape[2:])
        return compute((x != 0).sum(1, keepdim=True, dtype=torch.float32), kernel, 1)

    along_channels = (-1, *(1,) * (operation.result.ndim - 2))
    shaped = None if bias is None else bias.reshape(along_channels)
    parts = list(convolution_parts(x, weight))
    return _bound(bounds, _Products(x, weight, int(transposed), compute, terms, shaped, parts), operation.result)


def bound_product(bounds: Bounds, operation: Operation) -> Bound:
    """The bound of aten.mm and aten.bmm."""
    return _bound_matrices(bounds, operation.args[0], operation.args[1], None, operation.result)


def bound_product_and_bias(bounds: Bounds, operation: Operation) -> Bound:
    """The bound of aten.addmm; estimated where it multiplies by factors or the bias has an error."""
    bias, a, b = operation.args
    factors = [operation.kwargs.get(name, 1) for name in ("alpha", "beta")]
    if factors != [1, 1] or bounds.of(bias).error is not None:
        return bounds.estimate("addmm with factors", operation)
    return _bound_matrices(bounds, a, b, bias, operation.result)


def _bound_matrices(bounds: Bounds, a: Tensor, b: Tensor, bias: Tensor | None, y: Tensor) -> Bound:
    """The bound of a @ b + bias, of matrices or batches of matrices."""

    def terms(a: Tensor, b: Tensor) -> Tensor:
        rows = (a != 0).sum(-1, keepdim=True, dtype=torch.float32)
        columns = (b != 0).sum(-2, keepdim=True, dtype=torch.float32)
        return torch.minimum(rows, columns)

    if a not in bounds and b in bounds:  # the weight is on the left
        swapped = _Products(b, a, a.ndim - 2, lambda x, w: w @ x, lambda x, w: terms(w, x), bias)
        return _bound(bounds, swapped, y)
    return _bound(bounds, _Products(a, b, b.ndim - 1, torch.matmul, terms, bias), y)


def _bound(bounds: Bounds, of: _Products, y: Tensor) -> Bound:
    """The bound of a sum of products, by the equations of this module."""
    arithmetic = bounds.arithmetic
    x, weight = magnitude(of.x), magnitude(of.weight)
    d_x = bounds.operand_error(of.x)
    d_w = bounds.operand_error(of.weight, weight_axis=of.weight_axis)
    if d_x is None and d_w is None and (of.bias is None or not of.bias.any()):
        grid = _exact_grid(bounds, of, x, weight)
        if grid is not None:
            return Bound(None, grid)
    grown_x = x if d_x is None else x + d_x
    grown_w = weight if d_w is None else weight + d_w
    bias = None if of.bias is None else magnitude(of.bias)

    def error(part: slice) -> Tensor:
        total = of.compute(grown_x[part], grown_w)
        if bias is not None:
            total += bias
        counted = _steps(of.terms(grown_x[part], grown_w), arithmetic)
        size = y[part].to(torch.float32).abs_()
        error = total.mul_(arithmetic.total * (SINGLE + counted / 2)).addcmul_(size, arithmetic.total * counted / 2)
        if d_x is not None:
            error += of.compute(d_x[part], grown_w)
        if d_w is not None:
            error += of.compute(x[part], d_w)
            if bias is not None:
                error += arithmetic.operand * bias
        return bounds.after_storing(y[part], error)

    return Bound(by_parts(of.parts, error, y))


def _exact_grid(bounds: Bounds, of: _Products, x: Tensor, weight: Tensor) -> int | None:
    """The grid of sums of products that need no rounding; None if they need some. x and weight are magnitudes."""
    grid_x, grid_w = bounds.of(of.x).grid, bounds.grid(of.weight)
    if grid_x is None or grid_w is None:
        return None
    grid = grid_x + grid_w
    exact = all(sums_are_exact(grid, of.compute(x[part], weight), bounds.result_unit) for part in of.parts)
    return grid if exact else None


def _steps(n: Tensor, arithmetic: Arithmetic) -> Tensor:
    """steps(n) of `tcja_runtime.evidence.rounding`: the number of roundings that count in a sum of n terms."""
    return torch.minimum(n, CONFIDENCE * n.sqrt()) if arithmetic.unbiased else n
