"""Error bounds of sums of products: convolutions and matrix products.

    e_y = d_x * W' + X * d_w + u (SINGLE A + steps(n) (A + |y|) / 2),     A = X' * W' + |bias|

where * is the convolution or matrix product, and

    X = |x|, W = |w|             the magnitudes of both operands
    d_x, d_w                     the errors of x and w as operands (`Bounds.operand_error`)
    X' = X + d_x, W' = W + d_w   the largest magnitudes that a backend may have in place of X and W
    u                            the unit roundoff of sums
    n                            the number of terms that are not zero in a sum

SINGLE is the number of roundings of each single product: its own rounding, and those of a batch norm that is folded
into the weights. steps(n) is explained, with its sources, in `tcja_runtime.evidence.rounding`.
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
"""The number of roundings of each single product (the module's docstring)."""


@dataclasses.dataclass(frozen=True)
class _Products:
    """A convolution or matrix product with its operands.

    Attributes:
        x: the first operand.
        weight: the second operand.
        weight_axis: the axis of the output channels in `weight`.
        compute: a function that returns the same sums of products for two other operands.
        terms: a function that returns, for two operands, the number of terms of each sum that are not zero.
        bias: the tensor that is added to the sums; None without a bias.
        parts: the slices of the first axis of x that are computed one after the other.
    """

    x: Tensor
    weight: Tensor
    weight_axis: int
    compute: Callable[[Tensor, Tensor], Tensor]
    terms: Callable[[Tensor, Tensor], Tensor]
    bias: Tensor | None
    parts: Sequence[slice] = (slice(None),)


def bound_convolution(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.convolution, transposed or not."""
    x, weight, bias, *options, groups = operation.args
    transposed = options[3]

    def compute(x: Tensor, weight: Tensor, groups: int = groups) -> Tensor:
        return convolution(x, weight, None, (*options, groups))

    def terms(x: Tensor, weight: Tensor) -> Tensor:
        if groups > 1:  # at most the number of terms of a group
            return torch.tensor(float(weight[:, 0].numel() if transposed else weight[0].numel()))
        kernel = torch.ones(1, 1, *weight.shape[2:])
        return compute((x != 0).sum(1, keepdim=True, dtype=torch.float32), kernel, 1)

    along_channels = (-1, *(1,) * (operation.result.ndim - 2))
    shaped = None if bias is None else bias.reshape(along_channels)
    parts = list(convolution_parts(x, weight))
    return _bound(bounds, _Products(x, weight, int(transposed), compute, terms, shaped, parts), operation.result)


def bound_product(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.mm or aten.bmm."""
    return _bound_matrices(bounds, operation.args[0], operation.args[1], None, operation.result)


def bound_product_and_bias(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.addmm; an estimate if alpha or beta is not 1 or the bias has an error."""
    bias, a, b = operation.args
    factors = [operation.kwargs.get(name, 1) for name in ("alpha", "beta")]
    if factors != [1, 1] or bounds.of(bias).error is not None:
        return bounds.estimate("addmm with factors", operation)
    return _bound_matrices(bounds, a, b, bias, operation.result)


def _bound_matrices(bounds: Bounds, a: Tensor, b: Tensor, bias: Tensor | None, y: Tensor) -> Bound:
    """Return the bound of y = a @ b + bias, for matrices or batches of matrices."""

    def terms(a: Tensor, b: Tensor) -> Tensor:
        rows = (a != 0).sum(-1, keepdim=True, dtype=torch.float32)
        columns = (b != 0).sum(-2, keepdim=True, dtype=torch.float32)
        return torch.minimum(rows, columns)

    if a not in bounds and b in bounds:  # the weight is on the left
        swapped = _Products(b, a, a.ndim - 2, lambda x, w: w @ x, lambda x, w: terms(w, x), bias)
        return _bound(bounds, swapped, y)
    return _bound(bounds, _Products(a, b, b.ndim - 1, torch.matmul, terms, bias), y)


def _bound(bounds: Bounds, of: _Products, y: Tensor) -> Bound:
    """Return the bound of y, the result of the products `of`, by the equations of the module's docstring."""
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
    """Return the grid of the sums if they are exact, otherwise None; `x` and `weight` are the operands' magnitudes."""
    grid_x, grid_w = bounds.of(of.x).grid, bounds.grid(of.weight)
    if grid_x is None or grid_w is None:
        return None
    grid = grid_x + grid_w
    exact = all(sums_are_exact(grid, of.compute(x[part], weight), bounds.result_unit) for part in of.parts)
    return grid if exact else None


def _steps(n: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Return steps(n) of `tcja_runtime.evidence.rounding`: the number of roundings that count in a sum of n terms."""
    return torch.minimum(n, CONFIDENCE * n.sqrt()) if arithmetic.unbiased else n
