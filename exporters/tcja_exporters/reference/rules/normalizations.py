r"""Error bounds of softmax, and of norms by the mean and the variance: layer, group and instance norm, var, std.

**Softmax** of n values x_i, with the maximum m, D_i = m - x_i, and e the errors of x:

    a_i    = e_i + max e                        y_i = 1 / (1 + exp(L_i - x_i)), and L_i - x_i changes by at most a_i
    change = the larger one of     y (1 - y) (exp(a) - 1) / (1 + y (exp(a) - 1))
                                   y (1 - y) (1 - exp(-a)) / (1 - y (1 - exp(-a)))
    r_i    = w (D_i + 1) + u (EXP + EXP_SLOPE D_i)                        the relative error of exp(x_i - m)
    R_i    = r_i + sum_j y_j r_j + u steps(n) + DIVISION w                that of the sum, whose terms are positive
    e_y    = change + y (exp(R) - 1) + the smallest numbers               y and D as backends may have them

    log softmax      e_y = a + w D + R' + LOG u max(1, log S) + 2 w (|x| + |y|)     R' = sum_j y_j r_j + u steps(n)
    log sum exp      e_y = max a + R'' + LOG u max(1, log S, |y|) + 2 w (|m| + |y|)

The y_j of a backend are at most y_j exp(a_j), and their sum is 1, so sum_j y_j r_j is also at most the largest r_j.
S is the sum of exp(x_j - m). L_i is the logarithm of the sum of exp(x_j) over j != i. R'' is R' with D_j + |x_j| in
place of D_j, as a backend may leave out m.

**Norms.** Let q = mean of (|x| + e)^2, k = steps(n), and s = sqrt(v + epsilon), where v is the variance of n values and
mu their mean. A backend computes v in two passes, from x - mu, or in one, as the mean of the squares less mu^2. ONNX
Runtime's LayerNormalization does the latter (onnxruntime/core/providers/cpu/nn/layer_norm_impl.cc), and is so bad where
|mu| is much larger than s. Therefore

    e_mu  = (k + 1) u mean(|x| + e)
    e_v   = (k + 5) u q + 2 (|mu| + mean e) e_mu + e_mu^2                 covers both
    R     = sqrt(mean of e^2)                                             s is a norm of x, so it changes by at most R
    s_low = max(s - R, sqrt epsilon) - e_v / max(s - R, sqrt epsilon) - own,     own = (ROOT + DIVISION) u + w of s
    e_z   = (e + mean e + e_mu + w |x - mu| + |x - mu| (R + e_v / (s - R) + own) / s) / s_low
    e_y   = |scale| min(e_z, |z| + sqrt n) + (NORM w + operand) (|scale| (|x| + e + |mu|) / s_low + |shift|)

where z = (x - mu) / s; |z| is below sqrt(n). The last term covers x (scale / s) + (shift - mu scale / s), too. k is 0
if the sums of x and of its squares are exact, as those of spikes are.

    var       e = n / (n - c) (e_v + 5 w v + (w mean|x|)^2 + 2 tiny) + 2 s R' + R'^2,   R' = sqrt(sum e^2 / (n - c))
    std       e = R' + min(E / s, sqrt E) + (ROOT u + w) s,                     E is the own error of var

c is the correction. Source of the error of sums: `tcja_runtime.evidence.rounding`; of EXP, LOG, ROOT and DIVISION:
`tcja_exporters.reference.rules.functions`; of both ways to compute a variance: Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed. (2002), section 1.9.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from tcja_exporters.reference.bounds import OWN_ROUNDING, Bound, Bounds, Operation, sums_are_exact
from tcja_exporters.reference.rules.functions import DIVISION, EXP, EXP_SLOPE, LOG, ROOT

NORM = 8
"""The number of roundings, in units of w, that are counted for scale, shift and the products of a norm."""
_SMALLEST = 2.0**-126
_FARTHEST = 200.0
"""The largest D that is counted: exp(-200) is 0 in float32."""


@dataclasses.dataclass(frozen=True)
class _Exponentials:
    """The quantities of a softmax (the module's docstring), float64.

    Attributes:
        a: the largest change of a logarithm of a result.
        distance: D, with the errors of x.
        sum_error: R', the relative error of the sum.
        term_error: r, the relative errors of its terms.
    """

    a: Tensor
    distance: Tensor
    sum_error: Tensor
    term_error: Tensor


def bound_softmax(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten._softmax."""
    y = operation.result
    of = _exponentials(bounds, operation.args[0], y.double(), operation.args[1])
    up, down = torch.expm1(of.a), -torch.expm1(-of.a)
    p = y.double()
    rest = p * (1 - p)
    change = torch.maximum(rest * up / (1 + p * up), rest * down / (1 - p * down).clamp(min=_SMALLEST))
    likely = (p + change).clamp(max=1)
    relative = of.term_error + of.sum_error + DIVISION * bounds.result_unit
    tiny = _SMALLEST + bounds.arithmetic.stored_tiny * (1 + y.shape[operation.args[1]] * likely)
    error = change + likely * torch.expm1(1.01 * relative) + tiny
    return Bound(bounds.after_storing(y, error.to(torch.float32)))


def bound_log_softmax(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten._log_softmax."""
    (x, axis), y, w = operation.args[:2], operation.result, bounds.result_unit
    of = _exponentials(bounds, x, y.double().exp(), axis)
    log_sum = -y.amax(axis, keepdim=True) + of.a.amax(axis, keepdim=True)
    error = of.a + w * of.distance + of.sum_error + LOG * bounds.arithmetic.total * log_sum.clamp(min=1)
    error = error + 2 * w * (x.abs() + y.abs() + 2 * of.a).clamp(max=2.0**100)
    return Bound(bounds.after_storing(y, error.to(torch.float32)))


def bound_log_sum_exp(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.logsumexp."""
    x, y = operation.args[0], operation.result
    axes, keepdim = operation.args[1], operation.argument(2, "keepdim", False)
    whole = x.logsumexp(axes, keepdim=True)
    largest = x.amax(axes, keepdim=True)
    of = _exponentials(bounds, x, (x - whole).exp(), axes, unshifted=True)
    size = torch.maximum((whole - largest).abs(), whole.abs()) + of.a.amax(axes, keepdim=True)
    error = of.a.amax(axes, keepdim=True) + of.sum_error + LOG * bounds.arithmetic.total * size.clamp(min=1)
    error = error + 2 * bounds.result_unit * (largest.abs() + size)
    return Bound(bounds.after_storing(y, _reduced(error, axes, keepdim).to(torch.float32)))


def _exponentials(bounds: Bounds, x: Tensor, p: Tensor, axes: Any, unshifted: bool = False) -> _Exponentials:
    """Return the quantities of a softmax.

    Args:
        bounds: the bounds known so far.
        x: the values.
        p: the softmax of the values.
        axes: the axes of the sum.
        unshifted: whether a backend may compute the exponentials without the subtraction of the maximum.
    """
    u, w = bounds.arithmetic.total, bounds.result_unit
    error = bounds.error(x).double() * OWN_ROUNDING
    most = error.amax(axes, keepdim=True)
    a = (error + most).clamp(max=300.0)
    distance = (x.amax(axes, keepdim=True) - x + 2 * most).double().clamp(max=_FARTHEST)
    reach = distance + x.abs().clamp(max=_FARTHEST) if unshifted else distance
    terms = w * (reach + 1) + u * (EXP + EXP_SLOPE * reach)
    likely = (p * torch.exp(a)).clamp(max=1)
    steps = bounds.steps_of(x, most)
    sums = torch.minimum((likely * terms).sum(axes, keepdim=True), terms.amax(axes, keepdim=True)) + u * steps
    return _Exponentials(a, distance, sums, terms)


def bound_layer_norm(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the first result of aten.native_layer_norm."""
    x, shape, weight, bias, epsilon = operation.args
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    return Bound(_norm_error(bounds, _Norm(x, bounds.error(x), axes, weight, bias, epsilon), operation.result))


def bound_group_norm(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the first result of aten.native_group_norm."""
    x, weight, bias, _n, _channels, _area, groups, epsilon = operation.args
    shape = (len(x), groups, x.shape[1] // groups, -1)
    scale, shift = (None if value is None else value.reshape(1, *shape[1:3], 1) for value in (weight, bias))
    norm = _Norm(x.reshape(shape), bounds.error(x).reshape(shape), (2, 3), scale, shift, epsilon)
    norm = dataclasses.replace(norm, exact=_is_exact(bounds, x, norm))
    return Bound(_norm_error(bounds, norm, operation.result.reshape(shape)).reshape(x.shape))


def bound_batch_statistics(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of aten.native_batch_norm with the statistics of its input, as instance norms use it."""
    x, weight, bias, epsilon = operation.args[0], operation.args[1], operation.args[2], operation.args[7]
    along_channels = (-1, *(1,) * (x.ndim - 2))
    scale, shift = (None if value is None else value.reshape(along_channels) for value in (weight, bias))
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    return Bound(_norm_error(bounds, _Norm(x, bounds.error(x), axes, scale, shift, epsilon), operation.result))


@dataclasses.dataclass(frozen=True)
class _Norm:
    """A norm by the mean and the variance.

    Attributes:
        x: the values.
        error: their error bounds, float32.
        axes: the axes of the mean and the variance.
        scale: the factor of the normalised values; None for 1.
        shift: what is added last; None for 0.
        epsilon: what is added to the variance.
        exact: whether the sums of x and of its squares are exact; None if that is to be found from the grid of x.
    """

    x: Tensor
    error: Tensor
    axes: tuple[int, ...]
    scale: Tensor | None = None
    shift: Tensor | None = None
    epsilon: float = 0.0
    exact: bool | None = None


@dataclasses.dataclass(frozen=True)
class _Moments:
    """The mean and the variance of a norm with their own errors (the module's docstring), float64, axes kept."""

    count: int
    mean: Tensor
    variance: Tensor
    mean_error: Tensor
    variance_error: Tensor
    mean_size: Tensor


def _is_exact(bounds: Bounds, x: Tensor, norm: _Norm) -> bool:
    """Whether the sums of x and of its squares are exact."""
    bound = bounds.of(x)
    grid = bounds.grid(x)
    if bound.error is not None or grid is None:
        return False
    sums = (norm.x.abs() ** power for power in (1, 2))
    return all(
        sums_are_exact(grid * power, size.sum(norm.axes), bounds.arithmetic.total)
        for power, size in enumerate(sums, start=1)
    )


def _moments(bounds: Bounds, norm: _Norm) -> _Moments:
    x, error, axes, u = norm.x, norm.error.double() * OWN_ROUNDING, norm.axes, bounds.arithmetic.total
    size = x.abs() + error
    mean = x.mean(axes, keepdim=True)
    count = x.numel() // max(mean.numel(), 1)
    exact = _is_exact(bounds, x, norm) if norm.exact is None else norm.exact
    k = 0.0 if exact else bounds.steps_of(x, mean)
    mean_size, square = size.mean(axes, keepdim=True), (size**2).mean(axes, keepdim=True)
    mean_error = (k + 1) * u * (mean.abs() if exact else mean_size)
    found = mean.abs() + error.mean(axes, keepdim=True)
    variance_error = (k + 5) * u * square + 2 * found * mean_error + mean_error**2
    variance = ((x - mean) ** 2).mean(axes, keepdim=True)
    return _Moments(count, mean, variance, mean_error, variance_error, mean_size)


def _norm_error(bounds: Bounds, norm: _Norm, y: Tensor) -> Tensor:
    """Return the error of the result y of a norm, float32 in its shape."""
    arithmetic, w = bounds.arithmetic, bounds.result_unit
    of, error = _moments(bounds, norm), norm.error.double() * OWN_ROUNDING
    s = (of.variance + norm.epsilon).sqrt()
    change = (error**2).mean(norm.axes, keepdim=True).sqrt()
    least = torch.maximum(s - change, torch.full_like(s, math.sqrt(norm.epsilon)))
    own = (ROOT + DIVISION) * arithmetic.total + w
    low = (least * (1 - own) - of.variance_error / least).clamp(min=0.0)
    centred = (norm.x - of.mean).abs()
    moved = error + error.mean(norm.axes, keepdim=True) + of.mean_error
    spread = change + of.variance_error / least + own * s
    e_z = (moved * (1 + w) + w * centred + centred * spread / s) / low
    e_z = torch.minimum(torch.nan_to_num(e_z, nan=math.inf), centred / s + math.sqrt(of.count))
    scale = torch.ones(()) if norm.scale is None else norm.scale.abs()
    shift = torch.zeros(()) if norm.shift is None else norm.shift.abs()
    sizes = scale * (norm.x.abs() + error + of.mean.abs()) / low + shift
    total = scale * e_z + (NORM * w + arithmetic.operand) * sizes
    return bounds.after_storing(y, total.to(torch.float32))


def bound_variance(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.var, or of the first result of aten.var_mean."""
    spread = _spread(bounds, operation)
    if spread is None:
        return bounds.estimate("var with a correction of all values", operation)
    variance, change, own, axes, keepdim = spread
    error = _reduced(2 * variance.sqrt() * change + change**2 + own, axes, keepdim)
    return Bound(bounds.after_storing(operation.result, error.to(torch.float32)))


def bound_deviation(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of the result of aten.std."""
    spread = _spread(bounds, operation)
    if spread is None:
        return bounds.estimate("std with a correction of all values", operation)
    variance, change, own, axes, keepdim = spread
    s = variance.sqrt()
    root = torch.minimum(own / s, own.sqrt()).nan_to_num(nan=0.0)
    rounding = (ROOT * bounds.arithmetic.total + bounds.result_unit) * (s + change + root)
    return Bound(bounds.after_storing(operation.result, _reduced(change + root + rounding, axes, keepdim).float()))


def _spread(bounds: Bounds, operation: Operation) -> tuple[Tensor, Tensor, Tensor, Any, bool] | None:
    """Return the variance, R', its own error E, the axes, and whether they are kept; None if n is at most c."""
    x, w = operation.args[0], bounds.result_unit
    axes = tuple(operation.argument(1, "dim", None) or range(x.ndim))
    correction, keepdim = operation.kwargs.get("correction"), operation.kwargs.get("keepdim", False)
    norm = _Norm(x, bounds.error(x), axes)
    of = _moments(bounds, norm)
    left = of.count - (1 if correction is None else correction)
    if left <= 0:
        return None
    factor = of.count / left
    error = norm.error.double() * OWN_ROUNDING
    change = ((error**2).sum(axes, keepdim=True) / left).sqrt()
    larger = of.variance + (2 * of.variance.sqrt() * change + change**2)
    own = factor * (of.variance_error + 5 * w * larger + (w * of.mean_size) ** 2 + 2 * bounds.arithmetic.stored_tiny)
    return of.variance * factor, change, own, axes, keepdim


def _reduced(error: Tensor, axes: Any, keepdim: bool) -> Tensor:
    """Return an error without the reduced axes, which have the length 1, unless they are kept."""
    return error if keepdim else error.squeeze(tuple(axes) if isinstance(axes, (list, tuple)) else axes)
