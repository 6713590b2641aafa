r"""Derives the error bound of every tensor that a network computes, while the network runs.

Within the context `Propagation`, each PyTorch operation on float64 tensors also derives the bound of its result
(`tcja_exporters.reference.bounds`) from the bounds of its arguments. The rules:

    sums of products                    `tcja_exporters.reference.product_bounds`
    sums, means, pooling                `tcja_exporters.reference.reduction_bounds`
    operations on each element          `tcja_exporters.reference.elementwise_bounds`
    operations that only move values    the errors are moved in the same way
    all other operations                estimated, and named in `Bounds.estimated`

The bounds hold for backends that compute convolutions as sums of products, in any order, with or without fused
multiply-adds. They do not hold for convolutions by Winograd's algorithm or by a Fourier transform.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tcja_exporters.reference import elementwise_bounds, product_bounds, reduction_bounds
from tcja_exporters.reference.bounds import Bound, Bounds, Operation, flattened
from tcja_exporters.reference.convolution import convolution

Rule = Callable[[Bounds, Operation], Bound]
"""A function that returns the bound of an operation's result, given the bounds known so far and the operation."""


class Propagation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which every result of a PyTorch operation gets an error bound. Use it without gradients.

    Args:
        bounds: the bounds known so far; the new bounds are added to it.
    """

    def __init__(self, bounds: Bounds) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bounds = bounds

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, bounds = kwargs or {}, self._bounds
        name = func.overloadpacket.__name__
        in_place = func._schema.is_mutable and name.endswith("_")
        before = (_copy(bounds, args[0]), *args[1:]) if in_place else args
        result = convolution(args[0], args[1], args[2], args[3:]) if name == "convolution" else func(*args, **kwargs)
        values = [value for value in flattened([result]) if isinstance(value, Tensor) and value.is_floating_point()]
        if name in _FRESH or not values:
            return result
        name = name.removesuffix("_") if in_place else name
        operation = Operation(before, kwargs, values[0])
        if name in _MOVES:
            _move(bounds, func, operation, values)
        elif name in _RULES:
            bounds[values[0]] = _RULES[name](bounds, operation)
        else:
            bounds[values[0]] = bounds.estimate(str(func), operation)
        return result


def _copy(bounds: Bounds, tensor: Tensor) -> Tensor:
    """Return a copy of a tensor, with its bound, before an operation changes the tensor in place."""
    copy = tensor.clone()
    bounds[copy] = bounds.of(tensor)
    return copy


def _move(bounds: Bounds, func: Any, operation: Operation, results: list[Tensor]) -> None:
    """Move the errors in the same way as the values. Moved weights get no bound, because weights have none."""
    args, kwargs = operation.args, operation.kwargs
    given = [value for value in flattened(args) if isinstance(value, Tensor) and value.is_floating_point()]
    if not any(value in bounds for value in given):
        return
    pads = func.overloadpacket.__name__ == "constant_pad_nd"
    grid = None if pads and len(args) > 2 and args[2] else _common_grid([bounds.grid(value) for value in given])

    def error(value: Any) -> Any:
        if isinstance(value, (list, tuple)) and any(isinstance(item, Tensor) for item in value):
            return [error(item) for item in value]
        if isinstance(value, Tensor) and value.is_floating_point():
            found = bounds.of(value).error
            return torch.zeros_like(value, dtype=torch.float32) if found is None else found
        return value

    errors: list[Tensor | None] = [None] * len(results)
    if any(bounds.of(value).error is not None for value in given):
        moved = tuple(map(error, args))
        as_float32 = {"dtype": torch.float32} if "dtype" in kwargs else {}
        errors = flattened([func(*(moved[:2] if pads else moved), **{**kwargs, **as_float32})])
    for value, its in zip(results, errors, strict=True):
        bounds[value] = Bound(its, grid)


def _common_grid(grids: list[int | None]) -> int | None:
    """Return the finest of some grids, on which all their values are; None if one of the grids is not known.

    A grid g has the multiples of 2^-g, so the finest grid is the largest g. Example: 3 for the grids 0 and 3.
    """
    known = [grid for grid in grids if grid is not None]
    return max(known) if len(known) == len(grids) else None


_FRESH = frozenset(
    {
        *("empty", "zeros", "ones", "full", "eye", "arange", "linspace", "scalar_tensor", "empty_strided"),
        *("empty_like", "zeros_like", "ones_like", "full_like", "new_empty", "new_zeros", "new_ones", "new_full"),
        *("new_empty_strided", "lift_fresh"),
    }
)
"""Operations whose results do not depend on the values of tensors."""

_MOVES = frozenset(
    {
        *("view", "_unsafe_view", "_reshape_alias", "reshape", "permute", "transpose", "t", "expand", "repeat"),
        *("unsqueeze", "squeeze", "slice", "select", "index_select", "unbind", "split", "split_with_sizes", "chunk"),
        *("cat", "stack", "clone", "contiguous", "detach", "alias", "_to_copy", "flip", "roll", "unfold"),
        *("constant_pad_nd", "select_scatter", "slice_scatter"),
        *("upsample_nearest2d", "pixel_shuffle", "pixel_unshuffle"),
    }
)
"""Operations that move, select or repeat values, or pad them, and do not change any value."""

_RULES: dict[str, Rule] = {
    "convolution": product_bounds.bound_convolution,
    "mm": product_bounds.bound_product,
    "bmm": product_bounds.bound_product,
    "addmm": product_bounds.bound_product_and_bias,
    "max_pool2d_with_indices": reduction_bounds.bound_max_pool,
    "avg_pool2d": reduction_bounds.bound_average_pool,
    "_adaptive_avg_pool2d": reduction_bounds.bound_adaptive_pool,
    "mean": reduction_bounds.bound_mean,
    "sum": reduction_bounds.bound_sum,
    "native_batch_norm": elementwise_bounds.bound_batch_norm,
    "_native_batch_norm_legit_no_training": elementwise_bounds.bound_batch_norm,
    "add": elementwise_bounds.bound_addition,
    "sub": elementwise_bounds.bound_addition,
    "rsub": elementwise_bounds.bound_addition,
    "mul": elementwise_bounds.bound_multiplication,
    "div": elementwise_bounds.bound_division,
    "neg": elementwise_bounds.keep_bound,
    "abs": elementwise_bounds.keep_bound,
    "relu": elementwise_bounds.keep_bound,
    "hardtanh": elementwise_bounds.keep_bound,
    "clamp": elementwise_bounds.keep_bound,
    "quantized": elementwise_bounds.bound_quantizer,
    "sigmoid": elementwise_bounds.bound_function(0.25),
    "tanh": elementwise_bounds.bound_function(1.0),
}
"""The rules, by the names of the operations."""
