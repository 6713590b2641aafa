"""Error bounds of sums, means and pooling.

    sum of n          e_y = sum of e_x  + n u  sum of (|x| + e_x)
    mean of n         e_y = mean of e_x + (n + 1) u  mean of (|x| + e_x)
    max pooling       e_y = the largest e_x in the pooling window

u is the unit roundoff of sums; n is the number of terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from tcja_exporters.reference.bounds import Bound, Bounds, Operation, sums_are_exact


def bound_sum(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.sum."""
    x, y = operation.args[0], operation.result
    axes, keepdim = _reduced_axes(operation)
    unit, (error, grid) = bounds.arithmetic.total, bounds.of(x)
    size = bounds.largest(x).sum(axes, keepdim=keepdim)
    if error is None and sums_are_exact(grid, size, bounds.result_unit):
        return Bound(None, grid)
    own = x.numel() / max(y.numel(), 1) * unit * size
    return Bound(bounds.after_storing(y, own if error is None else own + error.sum(axes, keepdim=keepdim)))


def bound_mean(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.mean."""
    x, y = operation.args[0], operation.result
    axes, keepdim = _reduced_axes(operation)
    return _bound_average(bounds, x, y, lambda v: v.mean(axes, keepdim=keepdim), x.numel() / max(y.numel(), 1))


def bound_average_pool(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.avg_pool2d."""
    x, kernel = operation.args[:2]
    padded = any(operation.argument(3, "padding", ()))
    terms = math.prod(kernel) if len(kernel) > 1 else kernel[0] ** 2
    average = _bound_average(
        bounds, x, operation.result, lambda v: functional.avg_pool2d(v, *operation.args[1:]), terms
    )
    return average._replace(grid=None) if padded else average


def bound_adaptive_pool(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten._adaptive_avg_pool2d."""
    x, size = operation.args
    whole = all(i % o == 0 for i, o in zip(x.shape[-2:], size, strict=True))
    terms = math.prod(-(-i // o) + (0 if whole else 1) for i, o in zip(x.shape[-2:], size, strict=True))
    average = _bound_average(
        bounds, x, operation.result, lambda v: functional.adaptive_avg_pool2d(v, tuple(size)), terms
    )
    return average if whole else average._replace(grid=None)


def bound_max_pool(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.max_pool2d_with_indices."""
    error, grid = bounds.of(operation.args[0])
    return Bound(None if error is None else functional.max_pool2d(error, *operation.args[1:]), grid)


def _reduced_axes(operation: Operation) -> tuple[Any, bool]:
    """Return the axes that a sum or mean reduces (all axes if none are given), and whether they stay with length 1."""
    axes = operation.argument(1, "dim", None) or list(range(operation.args[0].ndim))
    return axes, operation.argument(2, "keepdim", False)


def _bound_average(bounds: Bounds, x: Tensor, y: Tensor, average: Callable[[Tensor], Tensor], terms: float) -> Bound:
    """Return the bound of a mean. The mean of 2^k values on a grid may be exact.

    Args:
        bounds: the bounds known so far.
        x: the values.
        y: the mean of the values.
        average: a function that returns the same mean of other values in the shape of x.
        terms: the largest number of values in one mean.
    """
    unit, (error, grid) = bounds.arithmetic.total, bounds.of(x)
    size = average(bounds.largest(x))
    if error is None and sums_are_exact(grid, size * terms, unit):
        shift = math.log2(terms)
        if grid is not None and shift.is_integer() and sums_are_exact(grid + int(shift), size, bounds.result_unit):
            return Bound(None, grid + int(shift))
        return Bound(bounds.after_storing(y, 2 * unit * size))
    own = (terms + 1) * unit * size
    return Bound(bounds.after_storing(y, own if error is None else own + average(error)))
