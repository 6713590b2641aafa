r"""Derives the error bound of every tensor that a network computes, while the network runs.

Within the context `Propagation`, each PyTorch operation on float64 tensors also derives the bound of its result
(`tcja_exporters.reference.bounds`) from the bounds of its arguments. There are three cases:

    operations with a rule              `tcja_exporters.reference.rules`
    operations that only move values    the errors are moved in the same way
    all other operations                estimated, and named in `Bounds.estimated`

Truth values have bounds, too: rounding may decide a comparison. Whole numbers that are computed from values with an
error, such as the place of a maximum, have an infinite error; so have further results of an operation with a rule.
PyTorch's fused attention is computed by its single operations, as in the exported models.

The bounds hold for backends that compute convolutions as sums of products, in any order, with or without fused
multiply-adds. They do not hold for convolutions by Winograd's algorithm or by a Fourier transform.
"""

from __future__ import annotations

import dataclasses
import math
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from tcja_exporters.reference.bounds import Bound, Bounds, Operation, finest_grid, flattened
from tcja_exporters.reference.convolution import convolution
from tcja_exporters.reference.rules import RULES, SECOND, TRUTHS


class Propagation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which every result of a PyTorch operation gets an error bound. Use it without gradients.

    Args:
        bounds: the bounds known so far; the new bounds are added to it.
    """

    def __init__(self, bounds: Bounds) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bounds = bounds
        self._settings = ExitStack()

    def __enter__(self) -> Propagation:
        self._settings.enter_context(sdpa_kernel(SDPBackend.MATH))
        fast = torch.backends.mha.get_fastpath_enabled()
        self._settings.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._settings.close()

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, bounds = kwargs or {}, self._bounds
        name = func.overloadpacket.__name__
        in_place = func._schema.is_mutable and name.endswith("_")
        before = (_copy(bounds, args[0]), *args[1:]) if in_place else args
        result = convolution(args[0], args[1], args[2], args[3:]) if name == "convolution" else func(*args, **kwargs)
        values = [value for value in flattened([result]) if isinstance(value, Tensor)]
        if name in _FRESH or not values:
            return result
        name = name.removesuffix("_") if in_place else name
        operation = Operation(before, kwargs, values[0], name)
        if name == "copy":
            bounds[values[0]] = _copied(bounds, operation)
        elif name in _MOVES:
            _move(bounds, func, operation, values)
        elif name in _CONSTANTS:
            bounds.forget(values[0])
        elif name in TRUTHS:
            bounds[values[0]] = TRUTHS[name](bounds, operation)
        else:
            _derive(bounds, str(func), operation, values)
        if in_place:
            _write_through(bounds, values[0])
        return result


def _derive(bounds: Bounds, name: str, operation: Operation, results: list[Tensor]) -> None:
    """Store the bounds of the results of an operation that computes numbers.

    Args:
        bounds: the bounds known so far.
        name: the full name of the operation, for messages.
        operation: the call.
        results: all results.
    """
    first, *others = results
    if not first.is_floating_point():
        others = results
    elif operation.name in RULES:
        bounds[first] = RULES[operation.name](bounds, operation)
        if operation.name in SECOND:
            second, *others = others
            bounds[second] = SECOND[operation.name](bounds, dataclasses.replace(operation, result=second))
    else:
        for value in filter(Tensor.is_floating_point, results):
            bounds[value] = bounds.estimate(name, dataclasses.replace(operation, result=value))
        others = [value for value in others if not value.is_floating_point()]
    rounded = any(bounds.of(value).error is not None for value in _tensors(operation))
    for value in others:
        if value.is_floating_point() or rounded:
            bounds[value] = Bound(torch.full(value.shape, math.inf), None)


def _tensors(operation: Operation) -> list[Tensor]:
    given = flattened((*operation.args, *operation.kwargs.values()))
    return [value for value in given if isinstance(value, Tensor)]


def _copy(bounds: Bounds, tensor: Tensor) -> Tensor:
    """Return a copy of a tensor, with its bound, before an operation changes the tensor in place."""
    copy = tensor.clone()
    bounds[copy] = bounds.of(tensor)
    return copy


def _move(bounds: Bounds, func: Any, operation: Operation, results: list[Tensor]) -> None:
    """Move the errors in the same way as the values. Moved weights get no bound, because weights have none."""
    args, kwargs, name = operation.args, operation.kwargs, operation.name
    given = [value for value in _tensors(operation) if value.is_floating_point() or value in bounds]
    if not any(value in bounds for value in given):
        return
    if name in _INDEXED:
        if any(bounds.of(value).error is not None for value in given if not value.is_floating_point()):
            bounds[results[0]] = bounds.estimate(f"{name} by a rounded index", operation)
            return
        given = [value for value in given if value.is_floating_point()]
    pads = name == "constant_pad_nd"
    grid = None if pads and len(args) > 2 and args[2] else finest_grid(map(bounds.grid, given))
    errors: list[Tensor | None] = [None] * len(results)
    if any(bounds.of(value).error is not None for value in given):
        as_float32 = {"dtype": torch.float32} if "dtype" in kwargs else {}
        of = [_error(bounds, value, name in _INDEXED) for value in args[: 2 if pads else None]]
        again = torch.ops.aten.reshape if name in _VIEWS else func  # errors may lie otherwise in memory than values
        errors = flattened([again(*of[: 2 if name in _VIEWS else None], **{**kwargs, **as_float32})])
    for value, its in zip(results, errors, strict=True):
        bounds[value] = Bound(its, grid)


def _error(bounds: Bounds, value: Any, numbers: bool) -> Any:
    """Return an argument of an operation that moves values, with errors in place of values.

    Args:
        bounds: the bounds known so far.
        value: the argument.
        numbers: whether only numbers are moved, so that truth values and whole numbers are indices.
    """
    if isinstance(value, (list, tuple)) and any(isinstance(item, Tensor) for item in value):
        return [_error(bounds, item, numbers) for item in value]
    if isinstance(value, Tensor) and (value.is_floating_point() or (value in bounds and not numbers)):
        found = bounds.of(value).error
        return torch.zeros_like(value, dtype=torch.float32) if found is None else found.detach()
    return value


def _copied(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of a tensor into which another one was copied."""
    source, shape = operation.args[1], operation.result.shape
    error = bounds.of(source).error
    return Bound(None if error is None else error.expand(shape), bounds.grid(source))


def _write_through(bounds: Bounds, written: Tensor) -> None:
    """Store the bound of a tensor that an operation changed in place; in what it is a view of, too, if it is one."""
    base = written if written._base is None else written._base
    if not base.is_floating_point():
        return
    if not (written in bounds or base in bounds):  # set to numbers, as a weight
        bounds.forget(base)
        return
    error, grid = bounds.of(written)
    if written is base:
        bounds.write(base, Bound(error, grid))
        return
    whole = bounds.of(base).error
    if error is None and whole is None:
        bounds.write(base, Bound(None, finest_grid((grid, bounds.grid(base)))))
        return
    changed = torch.empty_strided(base.shape, base.stride(), dtype=torch.float32)
    changed.copy_(torch.zeros(()) if whole is None else whole)
    part = changed.as_strided(written.shape, written.stride(), written.storage_offset() - base.storage_offset())
    part.copy_(torch.zeros(()) if error is None else error)
    bounds.write(base, Bound(changed, None))


_FRESH = frozenset(
    {
        *("empty", "zeros", "ones", "full", "eye", "arange", "linspace", "scalar_tensor", "empty_strided"),
        *("empty_like", "zeros_like", "ones_like", "full_like", "new_empty", "new_zeros", "new_ones", "new_full"),
        *("new_empty_strided", "lift_fresh"),
    }
)
"""Operations whose results do not depend on the values of tensors."""

_VIEWS = frozenset({"view", "_unsafe_view", "_reshape_alias"})
"""Operations of `_MOVES` that give a tensor another shape."""

_INDEXED = frozenset({"index", "gather", "take", "index_select"})
"""Operations of `_MOVES` whose arguments that are no numbers say which values are moved."""

_CONSTANTS = frozenset({"zero", "fill"})
"""Operations that set all values of a tensor to one number, in place."""

_MOVES = frozenset(
    {
        *("view", "_unsafe_view", "_reshape_alias", "reshape", "permute", "transpose", "t", "expand", "repeat"),
        *("unsqueeze", "squeeze", "slice", "select", "index_select", "unbind", "split", "split_with_sizes", "chunk"),
        *("cat", "stack", "clone", "contiguous", "detach", "alias", "_to_copy", "flip", "roll", "unfold"),
        *("constant_pad_nd", "select_scatter", "slice_scatter"),
        *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "pixel_shuffle", "pixel_unshuffle"),
        *("index", "gather", "take", "im2col", "tril", "triu", "diagonal", "channel_shuffle"),
        *("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d", "lift_fresh_copy"),
    }
)
"""Operations that move, select or repeat values, or pad them, and do not change any value."""
