r"""How far rounding may move a tensor: its error bound, and the arithmetic that the bounds of operations are made of.

The error bound e of a tensor x is a tensor of its shape. A backend that computes the same function in an `Arithmetic`
differs from the exact value x by no more than e. With u the unit roundoff of what an operation does, rounding adds
u times the magnitude of what is rounded:

    stored result      e' = e + (stored - total) (|y| + e) + stored_tiny          where results are stored in less
    operand            d  = e + operand (|x| + e) + operand_tiny                  floating point
                       d  = e + max |x| / (2 levels)                              integers; none for spikes and counts

Sums of numbers on a common grid are exact: if all terms are multiples of 2^-g and their magnitudes add up to at most
2^-g / u, nothing is rounded, in any order. Spikes are such numbers, and so are the weights of
`tcja_runtime.evidence.stimulus`. So a bound also notes the grid of a tensor, as long as it is known.

Bounds are computed in float32; OWN_ROUNDING makes up for that. The errors of the float64 values themselves, some
1e-16, lie far below. `tcja_exporters.reference.propagation` derives the bounds of all that a network computes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from tcja_runtime.evidence.rounding import FLOAT32, Arithmetic

ESTIMATED = 2.0**-14
"""The estimated error of an operation without a rule, relative to its largest result (`Bounds.estimated`)."""
OWN_ROUNDING = 1.0 + 2.0**-8
"""The factor that bounds must be enlarged by, because they are themselves rounded to float32."""
_GRIDS = (0, 3, 6, 12, 24)
_FIRST_VALUES = 64


class Bound(NamedTuple):
    """The error bound of a tensor, and the grid of its values.

    Attributes:
        error: the largest error of each element, float32 in the tensor's shape; None for a tensor without error.
        grid: g, where all values are multiples of 2^-g; None where that is not known.
    """

    error: Tensor | None = None
    grid: int | None = None


EXACT = Bound()


@dataclasses.dataclass(frozen=True)
class Operation:
    """One call of a PyTorch operation.

    Attributes:
        args: the positional arguments.
        kwargs: the keyword arguments.
        result: the first tensor that it returned.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Tensor

    def argument(self, position: int, name: str, default: Any) -> Any:
        """An argument that may be given by position, by name or not at all."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


class Bounds:
    """The error bounds of tensors, for the backends of one arithmetic.

    Args:
        arithmetic: how the backends compute.

    Attributes:
        estimated: the names of operations whose error was estimated because there is no rule for them. The caller
            empties it.
    """

    def __init__(self, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        self.estimated: set[str] = set()
        self._bounds: Any = WeakTensorKeyDictionary()
        self._grids: Any = WeakTensorKeyDictionary()

    def __contains__(self, tensor: Tensor) -> bool:
        """Whether the tensor has a bound of its own: it was computed or marked. Weights have none."""
        return tensor in self._bounds

    def __setitem__(self, tensor: Tensor, bound: Bound) -> None:
        self._bounds[tensor] = bound

    def of(self, tensor: Tensor) -> Bound:
        """The bound of a tensor; EXACT for one that was neither computed nor marked, such as a weight."""
        found: Bound = self._bounds.get(tensor, EXACT)
        return found

    def error(self, tensor: Tensor) -> Tensor:
        """The error bound of a tensor, float32 in its shape; multiply it by OWN_ROUNDING before use."""
        error = self.of(tensor).error
        return torch.zeros(()).expand(tensor.shape) if error is None else error

    def mark_exact(self, tensor: Tensor, grid: int | None) -> Tensor:
        """Note that a tensor has no error, such as spikes; return it."""
        self[tensor] = Bound(None, grid)
        return tensor

    def mark_input(self, tensor: Tensor) -> None:
        """Note that backends are given this tensor, rounded to float32, or to float16 if that is what they store."""
        given = tensor.half() if self.arithmetic.stored > FLOAT32.stored else tensor.to(torch.float32)
        error = (given.to(tensor.dtype) - tensor).abs_().to(torch.float32)
        self[tensor] = Bound(error, None) if error.any() else Bound(None, coarsest_grid(tensor))

    def grid(self, tensor: Tensor) -> int | None:
        """The grid of a tensor's values. That of a weight is found by looking at its values, once."""
        if tensor in self:
            return self.of(tensor).grid
        if tensor not in self._grids:
            self._grids[tensor] = coarsest_grid(tensor)
        found: int | None = self._grids[tensor]
        return found

    def largest(self, tensor: Tensor) -> Tensor:
        """|x| + e_x: the largest magnitude that a backend may hold in place of x."""
        error = self.of(tensor).error
        return magnitude(tensor) if error is None else magnitude(tensor) + error

    @property
    def result_unit(self) -> float:
        """The unit roundoff of a sum after it is stored."""
        return max(self.arithmetic.total, self.arithmetic.stored)

    def after_storing(self, value: Tensor, error: Tensor) -> Tensor:
        """The error of a result after it was rounded to the format that results are stored in.

        Args:
            value: the exact result.
            error: its error before it is stored.
        """
        extra = self.arithmetic.stored - self.arithmetic.total
        return error + extra * (magnitude(value) + error) + self.arithmetic.stored_tiny if extra > 0 else error

    def operand_error(self, tensor: Tensor, *, weight_axis: int | None = None) -> Tensor | None:
        """The error of a tensor after it was rounded to be multiplied; None if it has none.

        Args:
            tensor: the tensor to multiply.
            weight_axis: the axis of the output channels, if the tensor is a weight.
        """
        arithmetic, (error, grid) = self.arithmetic, self.of(tensor)
        size = magnitude(tensor)
        rounding: Tensor | None = None
        if arithmetic.levels and grid != 0:  # spikes and counts are integers, whose scale is 1
            axes = [i for i in range(size.ndim) if i != weight_axis] if weight_axis is not None else None
            largest = size.amax(axes, keepdim=True) if axes else size.max()
            rounding = torch.broadcast_to(largest * (0.5 / arithmetic.levels), size.shape)
        elif arithmetic.operand and not self._is_held(tensor, arithmetic.operand):
            rounding = arithmetic.operand * (size if error is None else size + error) + arithmetic.operand_tiny
        if error is None or rounding is None:
            return error if rounding is None else rounding
        return error + rounding

    def estimate(self, name: str, operation: Operation) -> Bound:
        """The bound of an operation without a rule: an estimate. Its name is added to `estimated`.

        Args:
            name: the name of the operation, for people.
            operation: the call.
        """
        self.estimated.add(name)
        given = [value for value in flattened((*operation.args, *operation.kwargs.values())) if _is_tensor(value)]
        errors = [float(error.max()) for error in (self.of(value).error for value in given) if error is not None]
        y = operation.result
        largest = float(magnitude(y).max()) if y.numel() else 0.0
        worst = ESTIMATED * largest + 4 * max(errors, default=0.0)
        return Bound(torch.full_like(y, worst, dtype=torch.float32))

    def _is_held(self, tensor: Tensor, unit: float) -> bool:
        """Whether a tensor has no error and a format of this unit roundoff holds all its values."""
        if self.of(tensor).error is not None or not tensor.numel():
            return False
        return sums_are_exact(self.grid(tensor), magnitude(tensor), unit)


def magnitude(tensor: Tensor) -> Tensor:
    """|x| in float32."""
    return tensor.abs() if tensor.dtype == torch.float32 else tensor.to(torch.float32).abs_()


def coarsest_grid(tensor: Tensor) -> int | None:
    """The smallest g of a few such that all values are multiples of 2^-g; None if there is none."""
    flat = tensor.reshape(-1)
    for grid in _GRIDS:
        # Most tensors are on no grid, and a few values show that.
        if all(bool((part * 2.0**grid).frac().eq(0).all()) for part in (flat[:_FIRST_VALUES], flat)):
            return grid
    return None


def sums_are_exact(grid: int | None, magnitudes: Tensor, unit: float) -> bool:
    """Whether sums of values on a grid need no rounding.

    Args:
        grid: the grid of the terms.
        magnitudes: the sums of the terms' magnitudes.
        unit: the unit roundoff of the format that the sums are computed in.
    """
    return grid is not None and float(magnitudes.max()) * 2.0**grid * unit <= 1.0


def by_parts(parts: Iterable[slice], error: Callable[[slice], Tensor], y: Tensor) -> Tensor:
    """The error of a result, computed in parts of its first axis, so that intermediate tensors stay small.

    Args:
        parts: the parts, which cover the first axis.
        error: computes the error of one part.
        y: the result.
    """
    whole = torch.empty(y.shape, dtype=torch.float32)
    for part in parts:
        whole[part] = error(part)
    return whole


def flattened(values: Iterable[Any]) -> list[Any]:
    """The values, with the items of lists and tuples among them in place of these."""
    return [item for value in values for item in (list(value) if isinstance(value, (list, tuple)) else [value])]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
