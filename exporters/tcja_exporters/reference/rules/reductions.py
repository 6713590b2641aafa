"""Error bounds of sums, means, products, vector norms and linear interpolation.

    sum of n          e_y = sum of e_x  + steps(n) u  sum of (|x| + e_x)
    mean of n         e_y = mean of e_x + (steps(n) + 1) u  mean of (|x| + e_x)
    cumulated sum     e_y = sum of e_x  + k w  sum of (|x| + e_x)                      of the first k values
    product of n      e_y = exp(1.01 n w) product of (|x| + e_x) - |y|
    sum of |x|        as a sum
    sqrt(sum of x^2)  e_y = sqrt(sum of e_x^2) + (steps(n) / 2 + ROOT + 2) w sqrt(sum of (|x| + e_x)^2)
    largest |x|       e_y = the largest e_x
    weight norm       e_y = (steps(n) / 2 + ROOT + DIVISION + 4) w |y|                 y = scale v / |v|, without errors
    fold              e_y = sum of e_x + steps(n) w  sum of (|x| + e_x)                of the n patches that meet
    interpolation     e_y = that of e_x + 8 w  that of (|x| + e_x)                     larger by a power of two
                      e_y = that of e_x + (8 w + 8 u size)  the largest |x| + e_x      other sizes

u is the unit roundoff of sums, and w that of an operation whose result is stored; n is the number of terms. steps(n) is
in `tcja_runtime.evidence.rounding`: the magnitudes of all terms are in the sums, so they bound every partial sum. A
vector norm is a norm, so that of x + d differs from that of x by at most that of d. A linear interpolation is a mean of
neighbours with weights; the weights are exact if the size grows by a power of two, and otherwise come from positions up
to the size, which are rounded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tcja_exporters.reference.bounds import OWN_ROUNDING, Bound, Bounds, Operation, magnitude, sums_are_exact
from tcja_exporters.reference.rules.functions import DIVISION, ROOT


def bound_sum(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.sum."""
    x, y = operation.args[0], operation.result
    axes, keepdim = _reduced_axes(operation)
    unit, (error, grid) = bounds.arithmetic.total, bounds.of(x)
    size = bounds.largest(x).sum(axes, keepdim=keepdim)
    if error is None and sums_are_exact(grid, size, bounds.result_unit):
        return Bound(None, grid)
    own = bounds.steps_of(x, y) * unit * size
    return Bound(bounds.after_storing(y, own if error is None else own + error.sum(axes, keepdim=keepdim)))


def bound_mean(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.mean."""
    x, y = operation.args[0], operation.result
    axes, keepdim = _reduced_axes(operation)
    average = _Average(x, lambda v: v.mean(axes, keepdim=keepdim), x.numel() / max(y.numel(), 1))
    return _bound_average(bounds, average, y)


def bound_average_pool(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.avg_pool2d or aten.avg_pool3d."""
    x, kernel = operation.args[:2]
    pool: Any = functional.avg_pool3d if operation.name == "avg_pool3d" else functional.avg_pool2d
    terms = math.prod(kernel) if len(kernel) > 1 else kernel[0] ** (3 if operation.name == "avg_pool3d" else 2)
    divisor = operation.argument(6, "divisor_override", None)
    fewer = any(operation.argument(3, "padding", ())) and not operation.argument(5, "count_include_pad", True)
    uneven = fewer or operation.argument(4, "ceil_mode", False) or divisor is not None
    average = _Average(x, lambda v: pool(v, *operation.args[1:]), max(terms, divisor or 0), even=not uneven)
    return _bound_average(bounds, average, operation.result)


def bound_adaptive_pool(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten._adaptive_avg_pool2d or aten._adaptive_avg_pool3d."""
    x, size = operation.args
    pool: Any = functional.adaptive_avg_pool3d if len(size) == 3 else functional.adaptive_avg_pool2d
    sides = list(zip(x.shape[-len(size) :], size, strict=True))
    whole = all(i % o == 0 for i, o in sides)
    terms = math.prod(-(-i // o) + (0 if whole else 1) for i, o in sides)
    return _bound_average(bounds, _Average(x, lambda v: pool(v, tuple(size)), terms, even=whole), operation.result)


def bound_cumulated_sum(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.cumsum."""
    (x, axis), y, (error, grid) = operation.args[:2], operation.result, bounds.of(operation.args[0])
    size = bounds.largest(x).cumsum(axis)
    if error is None and sums_are_exact(grid, size, bounds.result_unit):
        return Bound(None, grid)
    along = [1] * x.ndim
    along[axis] = -1
    own = torch.arange(1, x.shape[axis] + 1).reshape(along) * bounds.result_unit * size
    return Bound(bounds.after_storing(y, own if error is None else own + error.cumsum(axis)))


def bound_multiple(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the product over an axis, or of all values."""
    x, y = operation.args[0], operation.result
    axis, keepdim = operation.argument(1, "dim", None), operation.argument(2, "keepdim", False)
    size = x.abs() + bounds.error(x).double() * OWN_ROUNDING
    whole = size.prod() if axis is None else size.prod(axis, keepdim=keepdim)
    terms = x.numel() / max(y.numel(), 1)
    error = math.exp(1.01 * terms * bounds.result_unit) * whole - y.abs()
    return Bound(bounds.after_storing(y, error.to(torch.float32)))


def bound_vector_norm(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.linalg_vector_norm, of the orders 1, 2 and infinity."""
    x, y = operation.args[0], operation.result
    order, axes = operation.argument(1, "ord", 2), operation.argument(2, "dim", None)
    if order not in (1, 2, math.inf):
        return bounds.estimate(f"vector norm of the order {order}", operation)

    def norm(values: Tensor) -> Tensor:
        found: Tensor = torch.linalg.vector_norm(values, order, axes, operation.argument(3, "keepdim", False))
        return found

    steps = bounds.steps_of(x, y)
    units = {1: steps + 1, 2: steps / 2 + ROOT + 2, math.inf: 0}[order]
    return Bound(bounds.after_storing(y, norm(bounds.error(x)) + units * bounds.result_unit * norm(bounds.largest(x))))


def bound_weight_norm(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of aten._weight_norm_interface: a weight from its direction and its length."""
    direction, length, y = *operation.args[:2], operation.result
    if any(bounds.of(value).error is not None for value in (direction, length)):
        return bounds.estimate("weight norm of rounded values", operation)
    units = bounds.steps_of(direction, length) / 2 + ROOT + DIVISION + 4
    return Bound(bounds.after_storing(y, units * bounds.result_unit * magnitude(y)))


def bound_fold(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of aten.col2im: the sums of patches that meet."""
    x, y, (error, grid) = operation.args[0], operation.result, bounds.of(operation.args[0])

    def folded(values: Tensor) -> Tensor:
        found: Tensor = torch.ops.aten.col2im(values.contiguous(), *operation.args[1:], **operation.kwargs)
        return found

    size = folded(bounds.largest(x))
    if error is None and sums_are_exact(grid, size, bounds.result_unit):
        return Bound(None, grid)
    terms = float(bounds.steps(torch.tensor(float(math.prod(operation.argument(2, "kernel_size", ()))))))
    own = terms * bounds.result_unit * size
    return Bound(bounds.after_storing(y, own if error is None else own + folded(error)))


def bound_interpolation(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of aten.upsample_linear1d, aten.upsample_bilinear2d or aten.upsample_trilinear3d."""
    x, y = operation.args[0], operation.result
    dims = x.ndim - 2
    factors = [out / given for out, given in zip(y.shape[2:], x.shape[2:], strict=True)]
    exact = not operation.argument(2, "align_corners", False) and all(
        math.frexp(f)[0] == 0.5 and f >= 1 for f in factors
    )

    def moved(values: Tensor) -> Tensor:
        func: Any = getattr(torch.ops.aten, operation.name)
        found: Tensor = func(values, *operation.args[1:], **operation.kwargs)
        return found

    size, w = bounds.largest(x), bounds.result_unit
    if exact:
        own = 8 * w * moved(size)
    else:
        spread = size.amax(tuple(range(2, 2 + dims)), keepdim=True)
        own = (8 * w + 8 * bounds.arithmetic.total * max(*x.shape[2:], *y.shape[2:])) * spread
    return Bound(bounds.after_storing(y, own.expand(y.shape) + moved(bounds.error(x).contiguous())))


def _reduced_axes(operation: Operation) -> tuple[Any, bool]:
    """Return the axes that a sum or mean reduces (all axes if none are given), and whether they stay with length 1."""
    axes = operation.argument(1, "dim", None) or list(range(operation.args[0].ndim))
    return axes, operation.argument(2, "keepdim", False)


@dataclasses.dataclass(frozen=True)
class _Average:
    """Means of some values.

    Attributes:
        x: the values.
        compute: a function that returns the same means of other values in the shape of x.
        terms: the largest number of values in one mean, and the largest divisor.
        even: whether all means are of `terms` values, and divide by this number.
    """

    x: Tensor
    compute: Callable[[Tensor], Tensor]
    terms: float
    even: bool = True


def _bound_average(bounds: Bounds, of: _Average, y: Tensor) -> Bound:
    """Return the bound of means y. The mean of 2^k values on a grid may be exact."""
    unit, (error, grid) = bounds.arithmetic.total, bounds.of(of.x)
    size = of.compute(bounds.largest(of.x))
    if error is None and sums_are_exact(grid, size * of.terms, unit):
        shift = math.log2(of.terms)
        exact = of.even and shift.is_integer()
        if exact and grid is not None and sums_are_exact(grid + int(shift), size, bounds.result_unit):
            return Bound(None, grid + int(shift))
        return Bound(bounds.after_storing(y, 2 * unit * size))
    own = (float(bounds.steps(torch.tensor(of.terms))) + 1) * unit * size
    return Bound(bounds.after_storing(y, own if error is None else own + of.compute(error)))
