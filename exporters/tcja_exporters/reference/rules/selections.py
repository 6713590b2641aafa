"""Error bounds of operations that select values: maxima, order statistics, comparisons, where and clips.

    max, min, pooling         e_y = max(f(x + e) - y, y - f(x - e))                 f is monotone in every argument
    clip                      e_y = max(e_x, e_limit) near the limit                |y - limit| <= e_x + e_limit
                              e_y = e_x elsewhere
    a < b, a >= b, ...        e_y = 1 if |a - b| <= e_a + e_b, and not both are exact; otherwise 0
    and, or, xor, not         e_y = 1 if that of an argument is not 0
    where(c, a, b)            e_y = e_a or e_b, of the selected one                 if e_c = 0
                              e_y = |a - b| + max(e_a, e_b)                         otherwise

The results of comparisons are truth values. Their error 1 says that rounding may decide them. A number of float64, such
as 0.3, has an error here: a backend has it in float32, or in float16 if it stores that (`Bounds.held_error`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tcja_exporters.reference.bounds import (
    OWN_ROUNDING,
    Bound,
    Bounds,
    Operation,
    by_parts,
    finest_grid,
)
from tcja_exporters.reference.convolution import batch_parts

Rule = Callable[[Bounds, Operation], Bound]


def bound_maximum(select: Callable[..., Any]) -> Rule:
    """Return the rule for an operation that selects from its first argument: a maximum, a median, the largest k values.

    Args:
        select: the operation, which returns the selected values, or a tuple that begins with them.
    """

    def selected(x: Tensor, operation: Operation) -> Tensor:
        found = select(x, *operation.args[1:], **operation.kwargs)
        values: Tensor = found if isinstance(found, Tensor) else found[0]
        return values

    def rule(bounds: Bounds, operation: Operation) -> Bound:
        x, y = operation.args[0], operation.result
        error, grid = bounds.of(x)
        if error is None:
            return Bound(None, bounds.grid(x))
        reach = error.to(x.dtype) * OWN_ROUNDING
        return Bound(_farther(selected(x + reach, operation), selected(x - reach, operation), y), grid)

    return rule


def bound_max_pool(pool: Callable[..., Any]) -> Rule:
    """Return the rule for a maximum pooling, which is computed in parts of the batch.

    Args:
        pool: the pooling, with the arguments of the operation.
    """

    def rule(bounds: Bounds, operation: Operation) -> Bound:
        x, y = operation.args[0], operation.result
        error, grid = bounds.of(x)
        if error is None:
            return Bound(None, bounds.grid(x))

        def moved(part: slice) -> Tensor:
            reach = error[part].to(x.dtype).mul_(OWN_ROUNDING)
            above, below = (pool(each, *operation.args[1:]) for each in (x[part] + reach, x[part] - reach))
            return _farther(above, below, y[part])

        return Bound(by_parts(batch_parts(x), moved, y), grid)

    return rule


def bound_larger(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the larger or the smaller one of two tensors, by element."""
    values, y = operation.args[:2], operation.result
    errors = [bounds.held_error(value) for value in values]
    error = torch.maximum(*errors)
    return Bound(error.expand(y.shape) if error.any() else None, finest_grid(map(bounds.grid, values)))


def bound_max(select: Callable[..., Any]) -> Rule:
    """Return the rule for aten.max or aten.min: of a tensor, over an axis, or of two tensors."""
    of_one = bound_maximum(select)

    def rule(bounds: Bounds, operation: Operation) -> Bound:
        of_two = len(operation.args) > 1 and isinstance(operation.args[1], Tensor)
        return bound_larger(bounds, operation) if of_two else of_one(bounds, operation)

    return rule


def bound_clip(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of a clip. Its limits are numbers or tensors."""
    x, y = operation.args[0], operation.result
    name = operation.name
    names = {"clamp_min": ("min",), "clamp_max": ("max",)}.get(name, ("min", "max"))
    defaults = (-1, 1) if name == "hardtanh" else (None, None)
    limits = [operation.argument(i + 1, key, defaults[i]) for i, key in enumerate(_LIMITS.get(name, names))]
    error = bounds.error(x)
    found = [_tensor(limit) for limit in limits if limit is not None]
    for limit in found:
        held = bounds.held_error(limit)
        if held.any():
            near = (y - limit).abs() <= (held + error) * OWN_ROUNDING
            error = torch.maximum(error, torch.where(near, held, 0.0))
    grid = finest_grid(map(bounds.grid, (x, *found)))
    return Bound(error.to(torch.float32).expand(y.shape) if error.any() else None, grid)


_LIMITS = {"hardtanh": ("min_val", "max_val")}


def bound_comparison(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the truth values of a comparison."""
    values = [_tensor(value) for value in operation.args[:2]]
    if not any(value in bounds for value in values):
        return Bound(None, 0)
    margin = sum(bounds.held_error(value) for value in values)
    if not isinstance(margin, Tensor) or not bool(margin.any()):
        return Bound(None, 0)
    distance = (values[0].double() - values[1].double()).abs()
    return Bound(((distance <= margin * OWN_ROUNDING) & (margin > 0)).to(torch.float32).expand(distance.shape), 0)


def bound_logical(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the truth values of and, or, xor and not."""
    errors = [bounds.error(value) for value in operation.args[:2] if isinstance(value, Tensor)]
    error = errors[0] if len(errors) == 1 else torch.maximum(*errors)
    return Bound((error > 0).to(torch.float32) if error.any() else None, 0)


def bound_where(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of where(condition, a, b)."""
    condition, a, b = operation.args
    return _selected(bounds, condition, (a, b), operation.result)


def bound_masked_fill(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of x with a number where a mask is true."""
    x, mask, value = operation.args
    return _selected(bounds, mask, (_tensor(value), x), operation.result)


def _selected(bounds: Bounds, condition: Tensor, values: tuple[Tensor, Tensor], y: Tensor) -> Bound:
    a, b = values
    e_a, e_b = bounds.held_error(a), bounds.held_error(b)
    error = torch.where(condition, e_a, e_b)
    doubtful = bounds.of(condition).error
    if doubtful is not None:
        apart = (a.double() - b.double()).abs().nan_to_num(nan=0.0).to(torch.float32)
        error = torch.where(doubtful > 0, apart + torch.maximum(e_a, e_b), error)
    grid = finest_grid((bounds.grid(a), bounds.grid(b)))
    return Bound(error.to(torch.float32).expand(y.shape) if error.any() else None, grid)


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)


def _farther(above: Tensor, below: Tensor, y: Tensor) -> Tensor:
    """Return the larger distance of a value y from its largest and smallest possible values."""
    return torch.maximum(above.sub_(y), y - below).to(torch.float32)


SELECTIONS: dict[str, Rule] = {
    "max_pool2d_with_indices": bound_max_pool(functional.max_pool2d),
    "max_pool3d_with_indices": bound_max_pool(functional.max_pool3d),
    "adaptive_max_pool2d": bound_maximum(torch.ops.aten.adaptive_max_pool2d),
    "adaptive_max_pool3d": bound_maximum(torch.ops.aten.adaptive_max_pool3d),
    "amax": bound_maximum(torch.amax),
    "amin": bound_maximum(torch.amin),
    "max": bound_max(torch.max),
    "min": bound_max(torch.min),
    "maximum": bound_larger,
    "minimum": bound_larger,
    "sort": bound_maximum(torch.sort),
    "topk": bound_maximum(torch.topk),
    "median": bound_maximum(torch.median),
    "kthvalue": bound_maximum(torch.kthvalue),
    "hardtanh": bound_clip,
    "clamp": bound_clip,
    "clamp_min": bound_clip,
    "clamp_max": bound_clip,
    "where": bound_where,
    "masked_fill": bound_masked_fill,
}
"""The rules of selected values, by the names of the operations."""

TRUTHS: dict[str, Rule] = {
    **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne"), bound_comparison),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"), bound_logical),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor", "logical_not"), bound_logical),
}
"""The rules of truth values, by the names of the operations."""
