"""Error bounds of operations on each element: batch norm, arithmetic and the quantiser.

    batch norm        e_y = F e_x + NORM u (F (|x| + e_x + |mean|) + |shift|),    F = |scale| / sqrt(var + epsilon)
    x + y, x - y      e   = e_x + e_y + 3 u |result|
    x + a y, x - a y  e   = max(|a|, 1) (e_x + e_y) + 3 w |a| (|y| + e_y) + 3 u |result|      a: not a power of two
    x y               e   = |x| e_y + |y| e_x + e_x e_y + 2 u |result|
    x / y             e   = (e_x + |x / y| e_y) / (|y| - e_y) + DIVISION u |result|     infinite if e_y >= |y|
    a sigmoid(b)      e   = (|a| + e_a) (e_b / 4 + FUNCTION u + w) + e_a + 2 u |result|      w: of a stored result
    quantiser q       e_y = max(q(x + e) - q(x), q(x) - q(x - e)),    e = e_x + SCALING |x|       q is monotone

u is the unit roundoff of sums; in a batch norm, the unit roundoff of operands is added to NORM u. A batch norm that
returns its input has no error of its own. |result| includes the error of the result. A multiplication or division by a
power of two does not round. A number in a sum has the error of its rounding. Products of numbers on grids are exact if
sums of them would be (`tcja_exporters.reference.bounds`). NVIDIA's fast division errs by 2 ulp, which are up to 4 u;
one more u is that of a divisor that is a rounded constant (CUDA C++ Programming Guide, "Mathematical Functions").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tcja_exporters.modules.quantizer import quantized
from tcja_exporters.reference.bounds import (
    EXACT,
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
from tcja_exporters.reference.rules.functions import DIVISION, FUNCTION
from tcja_exporters.reference.rules.normalizations import bound_batch_statistics

NORM = 8
"""The number of roundings that are counted for a batch norm."""
SCALING = 2.0**-22
"""The relative error of the division by the scale in a quantiser."""


def bound_batch_norm(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of a batch norm, with stored statistics or with those of its input."""
    args, y = operation.args, operation.result
    x, scale, shift, mean, variance = args[:5]
    training, epsilon = (False, args[-1]) if len(args) == 7 else (args[5], args[-1])
    if training:
        return bound_batch_statistics(bounds, operation)
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
    """Return the bound of x + alpha y or x - alpha y; for rsub, that of y - alpha x."""
    y = operation.result
    (a, e_a, grid_a), (b, e_b, grid_b) = (_operand(bounds, value, added=True) for value in operation.args[:2])
    alpha = abs(operation.argument(2, "alpha", 1))
    exact = isinstance(e_a, float) and isinstance(e_b, float)
    if exact and alpha == 1 and grid_a is not None and grid_b is not None:
        grid = max(grid_a, grid_b)
        if sums_are_exact(grid, magnitude(y), bounds.result_unit):
            return Bound(None, grid)
    scaled = a + e_a if operation.name == "rsub" else b + e_b
    product = 0.0 if _is_power_of_two(alpha) else 3 * bounds.result_unit * alpha * scaled
    return Bound(_rounded(bounds, max(alpha, 1) * (e_a + e_b) + product, y, roundings=3))


def bound_multiplication(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of x y."""
    y, factor = operation.result, operation.args[1]
    (a, e_a, grid_a), (b, e_b, grid_b) = _operand(bounds, operation.args[0]), _operand(bounds, factor)
    if isinstance(e_a, float) and isinstance(e_b, float):
        grid = None if grid_a is None or grid_b is None else grid_a + grid_b
        if sums_are_exact(grid, magnitude(y), bounds.result_unit):
            return Bound(None, grid)
        if not isinstance(factor, Tensor) and _is_power_of_two(factor):
            return EXACT
        return Bound(_rounded(bounds, torch.zeros(()), y, roundings=2))
    return Bound(_rounded(bounds, a * e_b + b * e_a + e_a * e_b, y, roundings=2))


def bound_division(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of x / y; an estimate if the result is rounded to an integer."""
    (_, e_a, grid), (b, e_b, _) = _operand(bounds, operation.args[0]), _operand(bounds, operation.args[1])
    y = operation.result
    if operation.kwargs.get("rounding_mode"):
        return bounds.estimate("div with a rounded result", operation)
    if isinstance(e_a, float) and isinstance(e_b, float) and b.ndim == 0 and _is_power_of_two(b):
        finer = None if grid is None else max(0, grid + int(b.log2()))
        return Bound(None, finer if sums_are_exact(finer, magnitude(y), bounds.result_unit) else None)
    error = e_a if isinstance(e_b, float) else e_a + magnitude(y) * e_b
    low = b if isinstance(e_b, float) else (b - e_b * OWN_ROUNDING).clamp_(min=0.0)
    moved = torch.as_tensor(error / low).nan_to_num(nan=0.0 if isinstance(e_b, float) else math.inf, posinf=math.inf)
    return Bound(_rounded(bounds, moved, y, roundings=DIVISION))


def bound_gated_unit(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of a gated linear unit: the first half of an axis times the sigmoid of the second half."""
    x, y = operation.args[0], operation.result
    axis = operation.argument(1, "dim", -1)
    (a, _), (e_a, e_b) = magnitude(x).chunk(2, axis), bounds.error(x).chunk(2, axis)
    e_gate = (e_b / 4 + FUNCTION * bounds.arithmetic.total + bounds.result_unit).clamp(max=1.0)
    return Bound(_rounded(bounds, (a + e_a) * e_gate + e_a, y, roundings=2))


def bound_reciprocal(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of 1 / x."""
    return bound_division(bounds, Operation((1.0, operation.args[0]), {}, operation.result))


def _is_power_of_two(number: Any) -> bool:
    """Whether a number is a power of two, or the negative of one."""
    return math.frexp(float(number))[0] in (0.5, -0.5)


def keep_bound(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of |x|, -x or ReLU: that of x. They increase no difference and keep the grid."""
    return bounds.of(operation.args[0])


def bound_quantizer(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the quantiser in `tcja_exporters.modules.quantizer`."""
    (x, scale), y = operation.args, operation.result
    error, grid = bounds.of(x)
    if error is None and bool((y == x).all()):
        return Bound(None, grid)
    e = (magnitude(x) * SCALING + (0.0 if error is None else error) * OWN_ROUNDING).to(x.dtype)
    high, low = quantized(x + e, scale), quantized(x - e, scale)
    return Bound(torch.maximum(high.sub_(y), y - low).to(torch.float32))


def _operand(bounds: Bounds, value: Any, *, added: bool = False) -> tuple[Tensor, Tensor | float, int | None]:
    """Return three facts about an operand, which is a tensor or a number: its magnitude, error bound and grid.

    The error bound is 0.0 if the operand is exact, as a weight is. The rounding of a number to float32 is one of the
    roundings that the rules count, except in a sum, where the result may be much smaller than the number; that to
    float16 is an error. The grid is the g of `tcja_exporters.reference.bounds.Bound`; None if it is not known.

    Args:
        bounds: the bounds known so far.
        value: the operand.
        added: whether it is a term of a sum.
    """
    if isinstance(value, Tensor):
        error = bounds.of(value).error
        if added and value not in bounds and (held := bounds.held_error(value)).any():
            error = held
        return magnitude(value), 0.0 if error is None else error, bounds.grid(value)
    number = torch.tensor(abs(float(value)), dtype=torch.float64)
    held = bounds.held_error(number)
    rounds = bool(held) and (added or bounds.result_unit > bounds.arithmetic.total)
    return number.float(), held if rounds else 0.0, coarsest_grid(number)


def _rounded(bounds: Bounds, error: Tensor | float, y: Tensor, *, roundings: int) -> Tensor:
    """Return the error of a result y after further roundings and after it is stored.

    Args:
        bounds: the bounds, for their arithmetic.
        error: the error of y before these roundings.
        y: the result.
        roundings: the number of further roundings.
    """
    return bounds.after_storing(y, error + roundings * bounds.arithmetic.total * (magnitude(y) + error))
