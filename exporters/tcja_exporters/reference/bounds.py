r"""The rounding error bounds of tensors, and the functions that the bounds of operations share.

The error bound e of a tensor x is a tensor of the same shape. A backend that computes the same function in an
`Arithmetic` gets a value that differs from the exact value x by at most e. Rounding a value to a format adds an error
of at most the format's unit roundoff times the magnitude of the value. `stored`, `total` and `operand` are the unit
roundoffs of an `Arithmetic`: of stored results, of sums, and of the operands of products.

    stored result      e' = e + (stored - total) (|y| + e) + stored_tiny          if stored results are coarser than
    sums operand            d  = e + operand (|x| + e) + operand_tiny                  floating point
                       d  = e + max |x| / (2 levels)                              integers; no rounding for integer x

Sums of numbers on a common grid are exact: if all terms are multiples of 2^-g, and the sum of their magnitudes is at
most 2^-g / u (u: the unit roundoff of sums), no order of additions rounds anything. Spikes are on a grid, and so are
the weights of the exact stimulus (`tcja_runtime.evidence.stimulus`). So a `Bound` also stores the grid g of a tensor,
if it is known.

The bounds are computed in float32 and must be multiplied by OWN_ROUNDING to cover their own rounding. The errors of the
float64 reference, about 1e-16, are far smaller. `tcja_exporters.reference.propagation` derives the bounds of all
tensors that a network computes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from tcja_runtime.evidence.rounding import CONFIDENCE, FLOAT32, Arithmetic

ESTIMATED = 2.0**-14
"""The estimated error of an operation without a rule, relative to its largest result (`Bounds.estimated`)."""
OWN_ROUNDING = 1.0 + 2.0**-8
"""The factor by which bounds must be multiplied, because they are themselves rounded to float32."""
_GRIDS = (0, 3, 6, 12, 24)
"""The grids g that are tried."""
_FIRST_VALUES = 64


class Bound(NamedTuple):
    """The error bound of a tensor, and the grid of its values.

    Attributes:
        error: the largest error of each element, float32 in the shape of the tensor; None if the tensor has no error.
        grid: the number g such that all values are multiples of 2^-g; None if it is not known.
    """

    error: Tensor | None = None
    grid: int | None = None


EXACT = Bound()
"""The bound of a tensor without error and with an unknown grid."""


@dataclasses.dataclass(frozen=True)
class Operation:
    """One call of a PyTorch operation.

    Attributes:
        args: the positional arguments.
        kwargs: the keyword arguments.
        result: the first tensor that the operation returned.
        name: the name of the operation, as "clamp_min".
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Tensor
    name: str = ""

    def argument(self, position: int, name: str, default: Any) -> Any:
        """Return an argument that may be given by position or by name; `default` if it is not given."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


class Bounds:
    """The error bounds of tensors, for the backends of one arithmetic.

    Args:
        arithmetic: the arithmetic of the backends: the unit roundoffs of their operations.

    Attributes:
        estimated: the names of the operations without a rule, whose error was estimated. The caller empties this set.
    """

    def __init__(self, arithmetic: Arithmetic) -> None:
        self.arithmetic = arithmetic
        self.estimated: set[str] = set()
        self._bounds: Any = WeakTensorKeyDictionary()
        self._grids: Any = WeakTensorKeyDictionary()
        self._writes = 0
        self._stored: Any = WeakTensorKeyDictionary()
        self._written: Any = WeakTensorKeyDictionary()

    def __contains__(self, tensor: Tensor) -> bool:
        """Whether the tensor has a stored bound, because it was computed or marked. Weights have no stored bound."""
        self._follow(tensor)
        return tensor in self._bounds

    def __setitem__(self, tensor: Tensor, bound: Bound) -> None:
        self._bounds[tensor] = bound
        self._stored[tensor] = self._writes

    def forget(self, tensor: Tensor) -> None:
        """Remove the bound of a tensor that was set to a number: it has no error and is as a weight."""
        self._writes += 1
        self._drop(tensor)
        self._written[tensor] = self._writes

    def _drop(self, tensor: Tensor) -> None:
        self._bounds.pop(tensor, None)
        self._grids.pop(tensor, None)
        self._stored[tensor] = self._writes

    def of(self, tensor: Tensor) -> Bound:
        """Return the bound of a tensor; EXACT if the tensor was neither computed nor marked, as a weight."""
        self._follow(tensor)
        found: Bound = self._bounds.get(tensor, EXACT)
        return found

    def write(self, base: Tensor, bound: Bound) -> None:
        """Store the bound of a tensor that was changed in place. From now on, it is also that of all views of it."""
        self._writes += 1
        self[base] = bound
        self._written[base] = self._writes

    def _follow(self, tensor: Tensor) -> None:
        """Store the bound of a view anew if the tensor that it is a view of was changed in place since."""
        base = tensor._base
        written = None if base is None else self._written.get(base)
        if base is None or written is None or self._stored.get(tensor, -1) >= written:
            return
        if base not in self._bounds:
            self._drop(tensor)
            return
        error, grid = self._bounds[base]
        if error is not None:
            whole = torch.empty_strided(base.shape, base.stride(), dtype=torch.float32).copy_(error)
            error = whole.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset() - base.storage_offset())
        self[tensor] = Bound(error, grid)

    def error(self, tensor: Tensor) -> Tensor:
        """Return the error bound of a tensor, float32 in its shape. Multiply it by OWN_ROUNDING before use."""
        error = self.of(tensor).error
        return torch.zeros(()).expand(tensor.shape) if error is None else error

    def held_error(self, tensor: Tensor) -> Tensor:
        """Return the error bound of a tensor; for a number that no format holds exactly, also that of its rounding.

        Args:
            tensor: a tensor, or a number of the network's own code as a tensor, which has no stored bound.
        """
        if tensor in self or not tensor.is_floating_point() or tensor.dtype == torch.float32:
            return self.error(tensor)
        given = tensor.half() if self.arithmetic.stored > FLOAT32.stored else tensor.to(torch.float32)
        return (given.to(tensor.dtype) - tensor).abs_().nan_to_num_(nan=0.0).to(torch.float32)

    def steps(self, n: Tensor) -> Tensor:
        """Return the roundings that count in sums of n terms: steps of `tcja_runtime.evidence.rounding`, float32."""
        n = n.to(torch.float32)
        return torch.minimum(n, CONFIDENCE * n.sqrt()) if self.arithmetic.unbiased else n

    def steps_of(self, x: Tensor, y: Tensor) -> float:
        """Return the roundings that count in sums over axes; x has the terms and y the sums."""
        return float(self.steps(torch.tensor(x.numel() / max(y.numel(), 1))))

    def viewed(self, tensor: Tensor, view: Callable[[Tensor], Tensor]) -> Tensor:
        """Return a view of a tensor, with the same view of its error; that of a weight has no stored bound.

        Args:
            tensor: the tensor.
            view: the function that returns a view of a tensor.
        """
        found = view(tensor)
        if tensor in self:
            error, grid = self.of(tensor)
            self[found] = Bound(None if error is None else view(error), grid)
        return found

    def mark_exact(self, tensor: Tensor, grid: int | None) -> Tensor:
        """Store that a tensor, such as spikes, has no error; return the tensor."""
        self[tensor] = Bound(None, grid)
        return tensor

    def mark_input(self, tensor: Tensor) -> None:
        """Store that backends get this tensor as input, rounded to float32, or to float16 if they store float16."""
        given = tensor.half() if self.arithmetic.stored > FLOAT32.stored else tensor.to(torch.float32)
        error = (given.to(tensor.dtype) - tensor).abs_().to(torch.float32)
        self[tensor] = Bound(error, None) if error.any() else Bound(None, coarsest_grid(tensor))

    def grid(self, tensor: Tensor) -> int | None:
        """Return the grid of a tensor's values; None if it is not known. For a weight, it is found from the values."""
        if tensor in self:
            return self.of(tensor).grid
        if tensor not in self._grids:
            self._grids[tensor] = coarsest_grid(tensor)
        found: int | None = self._grids[tensor]
        return found

    def largest(self, tensor: Tensor) -> Tensor:
        """Return |x| + e_x: the largest magnitude that a backend may have in place of x."""
        error = self.of(tensor).error
        return magnitude(tensor) if error is None else magnitude(tensor) + error

    @property
    def result_unit(self) -> float:
        """The unit roundoff of a sum that is then stored: the larger one of both."""
        return max(self.arithmetic.total, self.arithmetic.stored)

    def after_storing(self, value: Tensor, error: Tensor) -> Tensor:
        """Return the error of a result after it is rounded to the format in which results are stored.

        Args:
            value: the exact result.
            error: the error of the result before it is stored.
        """
        extra = self.arithmetic.stored - self.arithmetic.total
        return error + extra * (magnitude(value) + error) + self.arithmetic.stored_tiny if extra > 0 else error

    def operand_error(self, tensor: Tensor, *, weight_axis: int | None = None) -> Tensor | None:
        """Return the error of a tensor after it is rounded to an operand of a product; None if it has no error.

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
        """Return an estimated bound for an operation without a rule, and add the operation's name to `estimated`.

        Args:
            name: the name of the operation, for messages.
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
        """Whether a tensor has no error, and a format with this unit roundoff holds all its values exactly."""
        if self.of(tensor).error is not None or not tensor.numel():
            return False
        return sums_are_exact(self.grid(tensor), magnitude(tensor), unit)


def magnitude(tensor: Tensor) -> Tensor:
    """Return |x| in float32."""
    return tensor.abs() if tensor.dtype == torch.float32 else tensor.to(torch.float32).abs_()


def coarsest_grid(tensor: Tensor) -> int | None:
    """Return the smallest g in _GRIDS such that all values are multiples of 2^-g; None if there is none."""
    flat = tensor.reshape(-1)
    for grid in _GRIDS:
        # Most tensors are on no grid, and their first values show it.
        if all(bool((part * 2.0**grid).frac().eq(0).all()) for part in (flat[:_FIRST_VALUES], flat)):
            return grid
    return None


def finest_grid(grids: Iterable[int | None]) -> int | None:
    """Return the finest of some grids, on which all their values are; None if one of the grids is not known.

    A grid g has the multiples of 2^-g, so the finest grid is the largest g. Example: 3 for the grids 0 and 3.
    """
    found = list(grids)
    known = [grid for grid in found if grid is not None]
    return max(known, default=None) if len(known) == len(found) else None


def sums_are_exact(grid: int | None, magnitudes: Tensor, unit: float) -> bool:
    """Whether sums of values on a grid are exact, in any order of additions.

    Args:
        grid: the grid g of the terms; None if it is not known, and then the result is false.
        magnitudes: for each sum, the sum of the magnitudes of its terms.
        unit: the unit roundoff of the format in which the sums are computed.
    """
    return grid is not None and float(magnitudes.max()) * 2.0**grid * unit <= 1.0


def by_parts(parts: Iterable[slice], error: Callable[[slice], Tensor], y: Tensor) -> Tensor:
    """Compute the error of a result in parts along the first axis, so that intermediate tensors stay small.

    Args:
        parts: slices that together cover the first axis of the result.
        error: a function that returns the error of one part.
        y: the result.

    Returns:
        The error, float32 in the shape of y.
    """
    whole = torch.empty(y.shape, dtype=torch.float32)
    for part in parts:
        whole[part] = error(part)
    return whole


def flattened(values: Iterable[Any]) -> list[Any]:
    """Return the values as a list; a value that is a list or tuple is replaced by its items."""
    return [item for value in values for item in (list(value) if isinstance(value, (list, tuple)) else [value])]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)
