"""Error bounds of operations on each element: batch norm, arithmetic, functions and the quantiser.

    batch norm        e_y = F e_x + NORM u (F (|x| + e_x + |mean|) + |shift|),    F = |scale| / sqrt(var + epsilon)
    x + y, x - y      e   = e_x + e_y + 3 u |result|
    x y               e   = |x| e_y + |y| e_x + e_x e_y + 2 u |result|
    x / y             e   = e_x / |y| + 3 u |result|                              y without error
    sigmoid           e_y = e_x / 4 + FUNCTION u                  1 / 4 is the largest slope
    tanh              e_y = e_x + FUNCTION u                      1 is the largest slope
    quantiser q       e_y = max(q(x + e) - q(x), q(x) - q(x - e)),    e = e_x + DIVISION |x|       q is monotone

u is the unit roundoff of sums; in a batch norm, the unit roundoff of operands is added to NORM u. A batch norm that
returns its input has no error of its own. |result| includes the
error of the result. A multiplication or division by a power of two does not round.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tcja_exporters.modules.quantizer import quantized
from tcja_exporters.reference.bounds import (
    OWN_ROUNDING,
    Bound,
    Bounds,
    Operation,
    by_parts,
    coarsest_grid,
    magnitude,
    sums_are_exact,
)
from tcja_exporters.reference.convolution import batch_parts

NORM = 8
"""The number of roundings that are counted for a batch norm."""
FUNCTION = 8
"""The error of a sigmoid or tanh, in units of u. A test measures at most 3 for ONNX Runtime."""
DIVISION = 2.0**-22
"""The relative error of the division by the scale in a quantiser."""


def bound_batch_norm(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of a batch norm in eval mode; an estimate in training mode."""
    args, y = operation.args, operation.result
    x, scale, shift, mean, variance = args[:5]
    training, epsilon = (False, args[-1]) if len(args) == 7 else (args[5], args[-1])
    if training:
        return bounds.estimate("batch_norm in training mode", operation)
    along_channels = (-1, *(1,) * (x.ndim - 2))

    def sized(values: Tensor | None, default: float) -> Tensor:
        return torch.tensor(default) if values is None else magnitude(values).reshape(along_channels)

    if _changes_nothing(args, epsilon):
        return bounds.of(x)
    factor = sized(scale, 1.0) / (variance + epsilon).sqrt().to(torch.float32).reshape(along_channels)
    own = NORM * bounds.arithmetic.total + bounds.arithmetic.operand
    error, fixed = bounds.of(x).error, own * (factor * sized(mean, 0.0) + sized(shift, 0.0))

    def moved(part: slice) -> Tensor:
        found = torch.addcmul(fixed, own * factor, magnitude(x[part]))
        return bounds.after_storing(
            y[part], found if error is None else found.addcmul_((1 + own) * factor, error[part])
        )

    return Bound(by_parts(batch_parts(y), moved, y))


def _changes_nothing(args: Sequence[Any], epsilon: float) -> bool:
    """Whether a batch norm returns its input: its factor is exactly 1, and its mean and shift are 0."""
    _, scale, shift, mean, variance = args[:5]
    ones = (scale is None or bool((scale == 1).all())) and bool(((variance + epsilon) == 1).all())
    return ones and not any(values is not None and bool(values.any()) for values in (shift, mean))


def bound_addition(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of x + alpha y or x - alpha y."""
    y = operation.result
    (_, e_a, grid_a), (_, e_b, grid_b) = _operand(bounds, operation.args[0]), _operand(bounds, operation.args[1])
    alpha = operation.argument(2, "alpha", 1)
    exact = isinstance(e_a, float) and isinstance(e_b, float)
    if exact and alpha == 1 and grid_a is not None and grid_b is not None:
        grid = max(grid_a, grid_b)
        if sums_are_exact(grid, magnitude(y), bounds.result_unit):
            return Bound(None, grid)
    return Bound(_rounded(bounds, max(abs(alpha), 1) * (e_a + e_b), y, roundings=3))


def bound_multiplication(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of x y."""
    y, factor = operation.result, operation.args[1]
    (a, e_a, _), (b, e_b, _) = _operand(bounds, operation.args[0]), _operand(bounds, factor)
    exact = isinstance(e_a, float) and isinstance(e_b, float)
    if exact and not isinstance(factor, Tensor) and math.frexp(float(factor))[0] in (0.5, -0.5):
        return Bound(None, None)
    error = a * e_b + b * e_a + e_a * e_b if not exact else torch.zeros(())
    return Bound(_rounded(bounds, error, y, roundings=2))


def bound_division(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of x / y; an estimate if y has an error or the result is rounded to an integer."""
    (_, e_a, _), (b, e_b, _) = _operand(bounds, operation.args[0]), _operand(bounds, operation.args[1])
    if not isinstance(e_b, float) or operation.kwargs.get("rounding_mode"):
        return bounds.estimate("div with a rounded divisor or result", operation)
    if isinstance(e_a, float) and b.ndim == 0 and math.frexp(float(b))[0] == 0.5:
        return Bound(None, None)
    return Bound(_rounded(bounds, e_a / b, operation.result, roundings=3))


def keep_bound(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of |x|, -x, ReLU or a clip: that of x. They increase no difference and keep the grid."""
    return bounds.of(operation.args[0])


def bound_quantizer(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the quantiser in `tcja_exporters.modules.quantizer`."""
    (x, scale), y = operation.args, operation.result
    error, grid = bounds.of(x)
    if error is None and bool((y == x).all()):
        return Bound(None, grid)
    e = (magnitude(x) * DIVISION + (0.0 if error is None else error) * OWN_ROUNDING).to(x.dtype)
    high, low = quantized(x + e, scale), quantized(x - e, scale)
    return Bound(torch.maximum(high.sub_(y), y - low).to(torch.float32))


def bound_function(slope: float) -> Callable[[Bounds, Operation], Bound]:
    """Return the rule for a function with values from -1 to 1, such as a sigmoid.

    Args:
        slope: the largest slope of the function. The own error of the function is FUNCTION u.
    """

    def rule(bounds: Bounds, operation: Operation) -> Bound:
        y, error = operation.result, bounds.of(operation.args[0]).error
        own = torch.full_like(y, FUNCTION * bounds.arithmetic.total, dtype=torch.float32)
        return Bound(bounds.after_storing(y, own if error is None else own + slope * error))

    return rule


def _operand(bounds: Bounds, value: Any) -> tuple[Tensor, Tensor | float, int | None]:
    """Return three facts about an operand, which is a tensor or a number: its magnitude, error bound and grid.

    The error bound is 0.0 if the operand is exact, as a number or a weight is. The grid is the g of
    `tcja_exporters.reference.bounds.Bound`; None if it is not known.
    """
    if isinstance(value, Tensor):
        error = bounds.of(value).error
        return magnitude(value), 0.0 if error is None else error, bounds.grid(value)
    number = torch.tensor(abs(float(value)))
    return number, 0.0, coarsest_grid(number)


def _rounded(bounds: Bounds, error: Tensor | float, y: Tensor, *, roundings: int) -> Tensor:
    """Return the error of a result y after further roundings and after it is stored.

    Args:
        bounds: the bounds, for their arithmetic.
        error: the error of y before these roundings.
        y: the result.
        roundings: the number of further roundings.
    """
    return bounds.after_storing(y, error + roundings * bounds.arithmetic.total * (magnitude(y) + error))
