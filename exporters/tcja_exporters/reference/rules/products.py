"""Error bounds of sums of products: convolutions and matrix products.

    e_y = d_x * W' + X * d_w + e_bias + u (SINGLE A + steps(n) (A + |y|) / 2),     A = X' * W' + |bias| + e_bias

where * is the convolution or matrix product, and

    X = |x|, W = |w|             the magnitudes of both operands
    d_x, d_w                     the errors of x and w as operands (`Bounds.operand_error`)
    X' = X + d_x, W' = W + d_w   the largest magnitudes that a backend may have in place of X and W
    u                            the unit roundoff of sums
    n                            the number of terms that are not zero in a sum

Both operands may be activations with errors, as in attention: (x + d_x) (w + d_w) - x w is at most d_x W' + X d_w. In
alpha x * w + beta bias, the terms have the factors |alpha| and |beta|. Products of spikes are sums of integers, so they
are exact (the grids of `tcja_exporters.reference.bounds` add up), and so are products of such sums up to 1 / u.

SINGLE is the number of roundings of each single product: its own rounding, and those of a batch norm that is folded
into the weights; two more for alpha and beta. steps(n) is explained, with its sources, in
`tcja_runtime.evidence.rounding`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tcja_exporters.reference.bounds import Bound, Bounds, Operation, by_parts, magnitude, sums_are_exact
from tcja_exporters.reference.convolution import convolution, convolution_parts

SINGLE = 5
"""The number of roundings of each single product (the module's docstring)."""


@dataclasses.dataclass(frozen=True)
class _Products:
    """A convolution or matrix product with its operands.

    Attributes:
        x: the first operand.
        weight: the second operand.
        weight_axis: the axis of the output channels in `weight`; None if it is not a weight.
        compute: a function that returns the same sums of products for two other operands.
        terms: a function that returns, for two operands, the number of terms of each sum that are not zero.
        bias: the tensor that is added to the sums; None without a bias.
        bias_error: the error bound of that tensor; None without an error.
        single: the number of roundings of each single product.
        parts: the slices of the first axis of x that are computed one after the other.
    """

    x: Tensor
    weight: Tensor
    weight_axis: int | None
    compute: Callable[[Tensor, Tensor], Tensor]
    terms: Callable[[Tensor, Tensor], Tensor]
    bias: Tensor | None
    bias_error: Tensor | None = None
    single: int = SINGLE
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
    return _bound(bounds, _Products(x, weight, int(transposed), compute, terms, shaped, parts=parts), operation.result)


def bound_product(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.mm or aten.bmm."""
    return _bound_matrices(bounds, _Matrices(*operation.args[:2]), operation.result)


def bound_vectors(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.mv or aten.dot."""
    a, b = operation.args
    rows = bounds.viewed(a, lambda value: value.reshape(-1, value.shape[-1]))
    column = bounds.viewed(b, lambda value: value.unsqueeze(1))
    y = operation.result
    bound = _bound_matrices(bounds, _Matrices(rows, column), y.reshape(-1, 1))
    return bound if bound.error is None else bound._replace(error=bound.error.reshape(y.shape))


def bound_product_and_bias(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.addmm or aten.baddbmm."""
    bias, a, b = operation.args
    alpha, beta = (abs(float(operation.kwargs.get(name, 1))) for name in ("alpha", "beta"))
    return _bound_matrices(bounds, _Matrices(a, b, bias, alpha, beta), operation.result)


class _Matrices(NamedTuple):
    """The operands of alpha a @ b + beta bias, and the magnitudes of both factors."""

    a: Tensor
    b: Tensor
    bias: Tensor | None = None
    alpha: float = 1.0
    beta: float = 1.0


def _bound_matrices(bounds: Bounds, of: _Matrices, y: Tensor) -> Bound:
    """Return the bound of y = alpha a @ b + beta bias, for matrices or batches of matrices."""
    a, b, alpha = of.a, of.b, of.alpha
    bias = None if of.bias is None else magnitude(of.bias) * of.beta
    single = SINGLE if alpha == of.beta == 1 else SINGLE + 2
    error = None if of.bias is None else bounds.of(of.bias).error
    e_bias = None if error is None else error * of.beta

    def terms(a: Tensor, b: Tensor) -> Tensor:
        rows = (a != 0).sum(-1, keepdim=True, dtype=torch.float32)
        columns = (b != 0).sum(-2, keepdim=True, dtype=torch.float32)
        return torch.minimum(rows, columns)

    both = a in bounds and b in bounds  # neither is a weight
    if a not in bounds and b in bounds:  # the weight is on the left

        def compute(x: Tensor, w: Tensor) -> Tensor:
            return alpha * (w @ x)

        return _bound(bounds, _Products(b, a, a.ndim - 2, compute, lambda x, w: terms(w, x), bias, e_bias, single), y)
    axis = None if both else b.ndim - 1
    return _bound(bounds, _Products(a, b, axis, lambda x, w: alpha * (x @ w), terms, bias, e_bias, single), y)


def _bound(bounds: Bounds, of: _Products, y: Tensor) -> Bound:
    """Return the bound of y, the result of the products `of`, by the equations of the module's docstring."""
    arithmetic = bounds.arithmetic
    x, weight = magnitude(of.x), magnitude(of.weight)
    d_x = bounds.operand_error(of.x)
    d_w = bounds.operand_error(of.weight, weight_axis=of.weight_axis)
    plain = of.single == SINGLE and of.bias_error is None and (of.bias is None or not of.bias.any())
    if plain and d_x is None and d_w is None:
        grid = _exact_grid(bounds, of, x, weight)
        if grid is not None:
            return Bound(None, grid)
    grown_x = x if d_x is None else x + d_x
    grown_w = weight if d_w is None else weight + d_w
    bias = None if of.bias is None else magnitude(of.bias)

    def error(part: slice) -> Tensor:
        total = of.compute(grown_x[part], grown_w)
        if bias is not None:
            total += bias if of.bias_error is None else bias + of.bias_error
        counted = bounds.steps(of.terms(grown_x[part], grown_w))
        size = y[part].to(torch.float32).abs_()
        error = total.mul_(arithmetic.total * (of.single + counted / 2)).addcmul_(size, arithmetic.total * counted / 2)
        if d_x is not None:
            error += of.compute(d_x[part], grown_w)
        if d_w is not None:
            error += of.compute(x[part], d_w)
            if bias is not None:
                error += arithmetic.operand * bias
        if of.bias_error is not None:
            error += of.bias_error
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
