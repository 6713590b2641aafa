r"""How far rounding may move what a network computes: a bound for every tensor, derived as the tensor is computed.

Within `Bounds`, every operation of PyTorch on float64 tensors also yields an error tensor e, such that a backend which
computes the same function in an `Arithmetic` differs from the exact value by no more than e. With X = |x|, primes for
what a backend may hold instead (X' = X + e_x, rounded to operands), u the unit roundoff of sums, and n the number of
terms that are not zero (`tcja_runtime.evidence.rounding` has the theorem):

    convolution, product     e_y = d_x * W' + X * d_w + u (SINGLE A + steps(n) (A + |y|) / 2),   A = X' * W' + |bias|
        d_x = e_x + rounding of X + e_x to an operand,  d_w = e_w + rounding of W;  SINGLE is for what every product
        goes through on its own: its own rounding, and that of a batch norm that is multiplied into the weights
    batch norm               e_y = F e_x + NORM u (F (X + e_x + |mean|) + |shift|),   F = |scale| / sqrt(var + epsilon)
    sum, mean of n           e_y = the same of e_x, + (n + 1) u the same of X + e_x
    x + y, x - y             e   = e_x + e_y + u |result|
    x y                      e   = X e_y + Y e_x + e_x e_y + u |result|
    max, max pooling         e_y = the largest e_x among them
    sigmoid, tanh            e_y = e_x / 4 or e_x, + FUNCTION u     (the largest slope; the functions' own error)
    quantiser q              e_y = max(q(x + e) - q(x), q(x) - q(x - e)),   e = e_x + DIVISION X   (it only rises)

What is stored in less than float64 is rounded once more. Sums of numbers on a common grid are exact: if all terms are
multiples of 2^-g and their magnitudes add up to at most 2^-g / u, nothing is rounded, in any order. Spikes are such
numbers, and so are the weights of `tcja_runtime.evidence.stimulus`.

The bounds hold for backends that add up products, in any order, fused or not; not for Winograd's or Fourier transforms.
They are computed in float32; OWN_ROUNDING makes up for that. The float64 values' own errors, some 1e-16,
lie far below.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from tcja_exporters.modules.quantizer import quantized
from tcja_exporters.reference.convolution import batches, convolution, frames
from tcja_runtime.evidence.rounding import CONFIDENCE, FLOAT32, Arithmetic

SINGLE = 5
NORM = 8
FUNCTION = 8
"""Roundings' worth of error of a sigmoid or tanh; ONNX Runtime's errs by 3 at most, as a test measures."""
ESTIMATED = 2.0**-14
"""Error of an operation without a rule, in units of its largest result: a guess, which is said (`Bounds.estimated`)."""
OWN_ROUNDING = 1.0 + 2.0**-8
"""By how much the bounds must be enlarged for their own rounding."""
DIVISION = 2.0**-22
"""Relative error of what is quantised, after it is divided by the scale."""
_GRIDS = (0, 3, 6, 12, 24)
_FEW = 64


def steps(n: Tensor, arithmetic: Arithmetic) -> Tensor:
    """Roundings that count in a sum of n terms (`tcja_runtime.evidence.rounding`)."""
    return torch.minimum(n, CONFIDENCE * n.sqrt()) if arithmetic.unbiased else n


class Shadow(NamedTuple):
    """What is known of a tensor besides its value.

    Attributes:
        error: how far a backend's value may be from it, float32 of its shape; None where it cannot be.
        grid: g, where all its values are multiples of 2^-g; None where that is not known.
    """

    error: Tensor | None = None
    grid: int | None = None


EXACT = Shadow()
Rule = Callable[["Bounds", tuple[Any, ...], dict[str, Any], Any], Shadow]


class Bounds(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Derives the bounds of all that is computed within it, without gradients.

    Args:
        arithmetic: of the backends that the bounds are for.

    Attributes:
        estimated: operations that there is no rule for, by name, since it was last emptied.
    """

    def __init__(self, arithmetic: Arithmetic) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arithmetic = arithmetic
        self.estimated: set[str] = set()
        self._shadows: Any = WeakTensorKeyDictionary()
        self._grids: Any = WeakTensorKeyDictionary()

    def of(self, tensor: Tensor) -> Shadow:
        """What is known of a tensor; of one that was not computed here, such as a weight, that it is exact."""
        found: Shadow = self._shadows.get(tensor, EXACT)
        return found

    def error(self, tensor: Tensor) -> Tensor:
        """How far rounding may move a tensor, up to a factor of OWN_ROUNDING."""
        error = self.of(tensor).error
        return torch.zeros(()).expand(tensor.shape) if error is None else error

    def exact(self, tensor: Tensor, grid: int | None) -> Tensor:
        """Take a tensor for exact, such as inputs and spikes."""
        self._shadows[tensor] = Shadow(None, grid)
        return tensor

    def given(self, tensor: Tensor) -> None:
        """Take a tensor for one that backends are given, and may round to float32, or to float16 if they store that."""
        given = tensor.half() if self.arithmetic.stored > FLOAT32.stored else tensor.to(torch.float32)
        error = (given.to(tensor.dtype) - tensor).abs_().to(torch.float32)
        self._shadows[tensor] = Shadow(error, None) if error.any() else Shadow(None, grid_of(tensor))

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        changes_in_place = func._schema.is_mutable and name.endswith("_")
        before = (_copy(self, args[0]), *args[1:]) if changes_in_place else args
        result = convolution(args[0], args[1], args[2], args[3:]) if name == "convolution" else func(*args, **kwargs)
        values = [value for value in _flat(result) if isinstance(value, Tensor) and value.is_floating_point()]
        if name in _FRESH or not values:
            return result
        name = name.removesuffix("_") if changes_in_place else name
        if name in _MOVES:
            _move(self, func, before, kwargs, values)
            return result
        rule = _RULES.get(name, _unknown(str(func)))
        self._shadows[values[0]] = rule(self, before, kwargs, values[0])
        return result

    @property
    def coarsest(self) -> float:
        """The unit roundoff of a sum that is stored."""
        return max(self.arithmetic.total, self.arithmetic.stored)

    def stored(self, value: Tensor, error: Tensor) -> Tensor:
        """The error of a result after it was rounded to what is stored."""
        extra = self.arithmetic.stored - self.arithmetic.total
        return error + extra * (_size(value) + error) + self.arithmetic.stored_tiny if extra > 0 else error

    def grid_of(self, tensor: Tensor) -> int | None:
        """The grid of a tensor's values, looked at once if it was not computed here."""
        if tensor in self._shadows:
            return self.of(tensor).grid
        if tensor not in self._grids:
            self._grids[tensor] = grid_of(tensor)
        found: int | None = self._grids[tensor]
        return found

    def is_exact(self, grid: int | None, magnitude: Tensor, unit: float) -> bool:
        """Whether sums on a grid whose terms' magnitudes add up to these need no rounding."""
        return grid is not None and float(magnitude.max()) * 2.0**grid * unit <= 1.0

    def operand(self, tensor: Tensor, *, weight_axis: int | None = None) -> Tensor | None:
        """How far what is multiplied may be from a tensor: its error, and the rounding to an operand; None for none.

        Args:
            tensor: what is multiplied.
            weight_axis: of the output channels, if the tensor is a weight.
        """
        arithmetic, (error, grid) = self.arithmetic, self.of(tensor)
        size = _size(tensor)
        rounding: Tensor | None = None
        if arithmetic.levels and grid != 0:  # spikes and counts are integers, whose scale is 1
            axes = [i for i in range(size.ndim) if i != weight_axis] if weight_axis is not None else None
            largest = size.amax(axes, keepdim=True) if axes else size.max()
            rounding = torch.broadcast_to(largest * (0.5 / arithmetic.levels), size.shape)
        elif arithmetic.operand and not _held(self, tensor, arithmetic.operand):
            rounding = arithmetic.operand * (size if error is None else size + error) + arithmetic.operand_tiny
        if error is None or rounding is None:
            return error if rounding is None else rounding
        return error + rounding


def _flat(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _size(tensor: Tensor) -> Tensor:
    return tensor.abs() if tensor.dtype == torch.float32 else tensor.to(torch.float32).abs_()


def _copy(bounds: Bounds, tensor: Tensor) -> Tensor:
    copy = tensor.clone()
    bounds._shadows[copy] = bounds.of(tensor)
    return copy


def grid_of(tensor: Tensor) -> int | None:
    """The coarsest grid of powers of two that a tensor's values lie on; None if it would be very fine."""
    flat = tensor.reshape(-1)
    for grid in _GRIDS:
        # Most tensors lie on none, and a few values tell.
        if all(bool((part * 2.0**grid).frac().eq(0).all()) for part in (flat[:_FEW], flat)):
            return grid
    return None


def _held(bounds: Bounds, tensor: Tensor, unit: float) -> bool:
    """Whether a format of a unit roundoff holds an exact tensor's values."""
    if bounds.of(tensor).error is not None or not tensor.numel():
        return False
    return bounds.is_exact(bounds.grid_of(tensor), _size(tensor), unit)


def _over(bounds: Bounds, x: Tensor) -> Tensor:
    """|x| + e_x."""
    error = bounds.of(x).error
    return _size(x) if error is None else _size(x) + error


# Sums of products


@dataclasses.dataclass(frozen=True)
class _Products:
    """A sum of products: its operands, how to compute it of others, and how many terms each result has.

    It is looked at in parts of its first axis, where they are given.
    """

    x: Tensor
    weight: Tensor
    weight_axis: int
    compute: Callable[[Tensor, Tensor], Tensor]
    terms: Callable[[Tensor, Tensor], Tensor]
    bias: Tensor | None
    parts: Sequence[slice] = (slice(None),)


def _products(bounds: Bounds, of: _Products, y: Tensor) -> Shadow:
    unit, grids = bounds.arithmetic.total, (bounds.grid_of(of.weight), bounds.of(of.x).grid)
    x, weight = _size(of.x), _size(of.weight)
    d_x = bounds.operand(of.x)
    d_w = bounds.operand(of.weight, weight_axis=of.weight_axis)
    grown_x = x if d_x is None else x + d_x
    grown_w = weight if d_w is None else weight + d_w
    bias = None if of.bias is None else _size(of.bias)
    if None not in grids and d_x is None and d_w is None and (of.bias is None or not of.bias.any()):
        grid = sum(g for g in grids if g is not None)
        if all(bounds.is_exact(grid, of.compute(x[part], weight), bounds.coarsest) for part in of.parts):
            return Shadow(None, grid)

    def error(part: slice) -> Tensor:
        total = of.compute(grown_x[part], grown_w)
        if bias is not None:
            total += bias
        counted = steps(of.terms(grown_x[part], grown_w), bounds.arithmetic)
        size = y[part].to(torch.float32).abs_()
        error = total.mul_(unit * (SINGLE + counted / 2)).addcmul_(size, unit * counted / 2)
        if d_x is not None:
            error += of.compute(d_x[part], grown_w)
        if d_w is not None:
            error += of.compute(x[part], d_w)
            if bias is not None:
                error += bounds.arithmetic.operand * bias
        return bounds.stored(y[part], error)

    return Shadow(_by_parts(of.parts, error, y))


def _by_parts(parts: Iterable[slice], error: Callable[[slice], Tensor], y: Tensor) -> Tensor:
    """The error of a result, part by part of its first axis, so that what it takes on the way stays small."""
    whole = torch.empty(y.shape, dtype=torch.float32)
    for part in parts:
        whole[part] = error(part)
    return whole


def _convolution(bounds: Bounds, args: tuple[Any, ...], _kwargs: dict[str, Any], y: Tensor) -> Shadow:
    x, weight, bias, *options, groups = args
    transposed = options[3]

    def compute(x: Tensor, weight: Tensor, groups: int = groups) -> Tensor:
        return convolution(x, weight, None, (*options, groups))

    def terms(x: Tensor, weight: Tensor) -> Tensor:
        if groups > 1:  # at most all of a group
            return torch.tensor(float(weight[:, 0].numel() if transposed else weight[0].numel()))
        kernel = torch.ones(1, 1, *weight.shape[2:])
        return compute((x != 0).sum(1, keepdim=True, dtype=torch.float32), kernel, 1)

    along = (-1, *(1,) * (y.ndim - 2))
    shaped, parts = None if bias is None else bias.reshape(along), list(frames(x, weight))
    return _products(bounds, _Products(x, weight, int(transposed), compute, terms, shaped, parts), y)


def _matmul(bounds: Bounds, a: Tensor, b: Tensor, bias: Tensor | None, y: Tensor) -> Shadow:
    def terms(a: Tensor, b: Tensor) -> Tensor:
        rows = (a != 0).sum(-1, keepdim=True, dtype=torch.float32)
        columns = (b != 0).sum(-2, keepdim=True, dtype=torch.float32)
        return torch.minimum(rows, columns)

    if a not in bounds._shadows and b in bounds._shadows:  # the weight on the left
        swapped = _Products(b, a, a.ndim - 2, lambda x, w: w @ x, lambda x, w: terms(w, x), bias)
        return _products(bounds, swapped, y)
    return _products(bounds, _Products(a, b, b.ndim - 1, torch.matmul, terms, bias), y)


def _mm(bounds: Bounds, args: tuple[Any, ...], _kwargs: dict[str, Any], y: Tensor) -> Shadow:
    return _matmul(bounds, args[0], args[1], None, y)


def _addmm(bounds: Bounds, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> Shadow:
    bias, a, b = args
    if kwargs.get("alpha", 1) != 1 or kwargs.get("beta", 1) != 1 or bounds.of(bias).error is not None:
        return _unknown("addmm with factors")(bounds, args, kwargs, y)
    return _matmul(bounds, a, b, bias, y)


# Batch norm, pooling, sums


def _batch_norm(bounds: Bounds, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> Shadow:
    x, scale, shift, mean, variance = args[:5]
    training, epsilon = (False, args[-1]) if len(args) == 7 else (args[5], args[-1])
    if training:
        return _unknown("batch_norm in training mode")(bounds, args, kwargs, y)
    along = (-1, *(1,) * (x.ndim - 2))

    def sized(values: Tensor | None, default: float) -> Tensor:
        return torch.tensor(default) if values is None else _size(values).reshape(along)

    factor = sized(scale, 1.0) / (variance + epsilon).sqrt().to(torch.float32).reshape(along)
    own = NORM * bounds.arithmetic.total + bounds.arithmetic.operand
    error, fixed = bounds.of(x).error, own * (factor * sized(mean, 0.0) + sized(shift, 0.0))

    def moved(part: slice) -> Tensor:
        found = torch.addcmul(fixed, own * factor, _size(x[part]))
        return bounds.stored(y[part], found if error is None else found.addcmul_((1 + own) * factor, error[part]))

    return Shadow(_by_parts(batches(y), moved, y))


def _max_pool(bounds: Bounds, args: tuple[Any, ...], _kwargs: dict[str, Any], _y: Tensor) -> Shadow:
    error, grid = bounds.of(args[0])
    return Shadow(None if error is None else functional.max_pool2d(error, *args[1:]), grid)


def _averaged(bounds: Bounds, x: Tensor, y: Tensor, average: Callable[[Tensor], Tensor], terms: float) -> Shadow:
    """A mean of at most `terms` values; of a whole grid cell's worth, if it is a power of two."""
    unit, (error, grid) = bounds.arithmetic.total, bounds.of(x)
    size = average(_over(bounds, x))
    if error is None and bounds.is_exact(grid, size * terms, unit):
        shift = math.log2(terms)
        if grid is not None and shift.is_integer() and bounds.is_exact(grid + int(shift), size, bounds.coarsest):
            return Shadow(None, grid + int(shift))
        return Shadow(bounds.stored(y, 2 * unit * size))
    own = (terms + 1) * unit * size
    return Shadow(bounds.stored(y, own if error is None else own + average(error)))


def _mean(bounds: Bounds, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> Shadow:
    x = args[0]
    axes: Any = args[1] if len(args) > 1 and args[1] else list(range(x.ndim))
    keepdim = args[2] if len(args) > 2 else kwargs.get("keepdim", False)
    return _averaged(bounds, x, y, lambda v: v.mean(axes, keepdim=keepdim), x.numel() / max(y.numel(), 1))


def _sum(bounds: Bounds, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> Shadow:
    x = args[0]
    axes: Any = args[1] if len(args) > 1 and args[1] else list(range(x.ndim))
    keepdim = args[2] if len(args) > 2 else kwargs.get("keepdim", False)
    unit, (error, grid) = bounds.arithmetic.total, bounds.of(x)
    size = _over(bounds, x).sum(axes, keepdim=keepdim)
    if error is None and bounds.is_exact(grid, size, bounds.coarsest):
        return Shadow(None, grid)
    own = x.numel() / max(y.numel(), 1) * unit * size
    return Shadow(bounds.stored(y, own if error is None else own + error.sum(axes, keepdim=keepdim)))


def _avg_pool(bounds: Bounds, args: tuple[Any, ...], _kwargs: dict[str, Any], y: Tensor) -> Shadow:
    x, kernel = args[0], args[1]
    padded = len(args) > 3 and any(args[3])
    terms = math.prod(kernel) if len(kernel) > 1 else kernel[0] ** 2
    shadow = _averaged(bounds, x, y, lambda v: functional.avg_pool2d(v, *args[1:]), terms)
    return shadow._replace(grid=None) if padded else shadow


def _adaptive_pool(bounds: Bounds, args: tuple[Any, ...], _kwargs: dict[str, Any], y: Tensor) -> Shadow:
    x, size = args
    whole = all(i % o == 0 for i, o in zip(x.shape[-2:], size, strict=True))
    terms = math.prod(-(-i // o) + (0 if whole else 1) for i, o in zip(x.shape[-2:], size, strict=True))
    shadow = _averaged(bounds, x, y, lambda v: functional.adaptive_avg_pool2d(v, tuple(size)), terms)
    return shadow if whole else shadow._replace(grid=None)


# Elementwise


def _parts(bounds: Bounds, value: Any) -> tuple[Tensor, Tensor | float, int | None]:
    """Size, error and grid of an operand, which may be a number."""
    if isinstance(value, Tensor):
        error = bounds.of(value).error
        return _size(value), 0.0 if error is None else error, bounds.grid_of(value)
    number = torch.tensor(abs(float(value)))
    return number, 0.0, grid_of(number)


def _add(bounds: Bounds, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> Shadow:
    (_, e_a, grid_a), (_, e_b, grid_b) = _parts(bounds, args[0]), _parts(bounds, args[1])
    alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    exact = isinstance(e_a, float) and isinstance(e_b, float)
    if exact and alpha == 1 and grid_a is not None and grid_b is not None:
        grid = max(grid_a, grid_b)
        if bounds.is_exact(grid, _size(y), bounds.coarsest):
            return Shadow(None, grid)
    error = max(abs(alpha), 1) * (e_a + e_b)
    return Shadow(bounds.stored(y, error + 3 * bounds.arithmetic.total * (_size(y) + error)))


def _mul(bounds: Bounds, args: tuple[Any, ...], _kwargs: dict[str, Any], y: Tensor) -> Shadow:
    (a, e_a, _), (b, e_b, _) = _parts(bounds, args[0]), _parts(bounds, args[1])
    exact = isinstance(e_a, float) and isinstance(e_b, float)
    if exact and not isinstance(args[1], Tensor) and math.frexp(float(args[1]))[0] in (0.5, -0.5):
        return Shadow(None, None)
    error = a * e_b + b * e_a + e_a * e_b if not exact else torch.zeros(())
    return Shadow(bounds.stored(y, error + 2 * bounds.arithmetic.total * (_size(y) + error)))


def _div(bounds: Bounds, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> Shadow:
    (_, e_a, _), (b, e_b, _) = _parts(bounds, args[0]), _parts(bounds, args[1])
    if not isinstance(e_b, float) or kwargs.get("rounding_mode"):
        return _unknown("div by what is rounded")(bounds, args, kwargs, y)
    if isinstance(e_a, float) and b.ndim == 0 and math.frexp(float(b))[0] == 0.5:
        return Shadow(None, None)
    error = e_a / b
    return Shadow(bounds.stored(y, error + 3 * bounds.arithmetic.total * (_size(y) + error)))


def _same(bounds: Bounds, args: tuple[Any, ...], _kwargs: dict[str, Any], _y: Tensor) -> Shadow:
    return bounds.of(args[0])


def _quantized(bounds: Bounds, args: tuple[Any, ...], _kwargs: dict[str, Any], y: Tensor) -> Shadow:
    """A quantiser, which only ever rises."""
    x, scale = args
    error, grid = bounds.of(x)
    if error is None and bool((y == x).all()):
        return Shadow(None, grid)
    e = (_size(x) * DIVISION + (0.0 if error is None else error) * OWN_ROUNDING).to(x.dtype)
    high, low = quantized(x + e, scale), quantized(x - e, scale)
    return Shadow(torch.maximum(high.sub_(y), y - low).to(torch.float32))


def _function(slope: float) -> Rule:
    def rule(bounds: Bounds, args: tuple[Any, ...], _kwargs: dict[str, Any], y: Tensor) -> Shadow:
        error = bounds.of(args[0]).error
        own = torch.full_like(y, FUNCTION * bounds.arithmetic.total, dtype=torch.float32)
        return Shadow(bounds.stored(y, own if error is None else own + slope * error))

    return rule


def _unknown(name: str) -> Rule:
    """An operation without a rule: its error is estimated, and its name remembered."""

    def rule(bounds: Bounds, args: tuple[Any, ...], kwargs: dict[str, Any], y: Tensor) -> Shadow:
        bounds.estimated.add(name)
        given = [value for value in (*_each(args), *_each(tuple(kwargs.values()))) if isinstance(value, Tensor)]
        errors = [float(error.max()) for error in (bounds.of(value).error for value in given) if error is not None]
        largest = float(_size(y).max()) if y.numel() else 0.0
        worst = ESTIMATED * largest + 4 * max(errors, default=0.0)
        return Shadow(torch.full_like(y, worst, dtype=torch.float32))

    return rule


def _each(args: Sequence[Any]) -> list[Any]:
    return [value for arg in args for value in _flat(arg)]


# What only moves values


def _move(bounds: Bounds, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: list[Tensor]) -> None:
    """Move errors as their values were moved. What is moved of weights alone stays unknown, as weights are."""
    given = [value for value in _each(args) if isinstance(value, Tensor) and value.is_floating_point()]
    if not any(value in bounds._shadows for value in given):
        return
    pads = func.overloadpacket.__name__ == "constant_pad_nd"
    grids = [bounds.grid_of(value) for value in given]
    grid = None if pads and len(args) > 2 and args[2] else _finest(grids)

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
        errors = _flat(func(*(moved[:2] if pads else moved), **{**kwargs, **as_float32}))
    for value, its in zip(results, errors, strict=True):
        bounds._shadows[value] = Shadow(its, grid)


def _finest(grids: list[int | None]) -> int | None:
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
"""Operations that move values, and leave out, repeat or pad them with zeros, but change none."""

_RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "mm": _mm,
    "bmm": _mm,
    "addmm": _addmm,
    "native_batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "max_pool2d_with_indices": _max_pool,
    "avg_pool2d": _avg_pool,
    "_adaptive_avg_pool2d": _adaptive_pool,
    "mean": _mean,
    "sum": _sum,
    "add": _add,
    "sub": _add,
    "rsub": _add,
    "mul": _mul,
    "div": _div,
    "neg": _same,
    "abs": _same,
    "relu": _same,
    "hardtanh": _same,
    "clamp": _same,
    "quantized": _quantized,
    "sigmoid": _function(0.25),
    "tanh": _function(1.0),
}
