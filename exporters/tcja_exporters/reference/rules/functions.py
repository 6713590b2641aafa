r"""Error bounds of functions of each element, such as exp, log, pow, erf, GELU and SiLU.

A backend has x + d in place of x, with |d| <= e_x. It computes f(x + d) with an own error of `own`:

    f monotone                  e_y = max(|f(x + e_x) - y|, |y - f(x - e_x)|) + own
    f with the largest slope L  e_y = L e_x + own

The own errors, with X = |x| + e_x and with Y the largest |y| that a backend may have before its own error:

    exp, exp2, expm1    u (EXP + EXP_SLOPE X) exp(x + e_x)                            expm1: + w (Y + 1)
    log                 LOG u max(1, Y)                                               log1p: + w
    log2, log10         LOG u max(1, ln 2 Y) / ln 2 + 5 w Y                           log10: ln 10
    sqrt                ROOT u Y + 2^-63
    rsqrt               (ROOT + DIVISION) u Y + 2 w Y                                 as 1 / sqrt(x)
    x^p, p^x            u (16 + P (3 + 5 |log2 B|)) Y                                 P = |exponent|, B = |base|
    erf, sigmoid        FUNCTION u
    tanh                TANH u
    atan                FUNCTION u max(1, Y)
    sin, cos            u (8 + 2.5 X)
    GELU                (X / 2) (FUNCTION u + 6 w) + 3 w Y                            x (1 + erf(x / sqrt 2)) / 2
    GELU (tanh)         (X / 2) ((TANH + 4) u + 6 w) + 3 w Y                          x (1 + tanh(...)) / 2
    SiLU                X (FUNCTION u + w) + 2 w Y                                    x sigmoid(x)
    Mish                X (34 u + 3 w) + 2 w Y                                        x tanh(softplus(x))
    softplus            (u (11 + 2.4 b X + 7 b Y) + 2 w + exp(-threshold)) / b + 5 w Y,    b = beta
    ELU, SELU, CELU     |scale alpha| (5 u + 3 w) + 3 w Y                             scale alpha (exp(x) - 1) below 0
    hard sigmoid        3 w (X / 6 + 1 / 2)
    hard swish          3 w X + 2 w Y
    leaky ReLU, PReLU   2 w Y
    soft shrink         2 w (Y + lambda)
    hard shrink, threshold, floor, round, sign     0

u is the unit roundoff of sums. w is that of stored results, if it is larger: a backend may compute such a function by
several operators, as the exported models do, and store every intermediate value. An n-ulp error is at most 2 n u. A
number p of x^p or p^x that is rounded by d adds d |log2 x| Y, or (d / p) |x| Y.

Sources of the constants. NVIDIA's functions: CUDA C++ Programming Guide, "Mathematical Functions", both tables: expf 2
ulp, and __expf, to which the fast-math option maps it, 2 + 1.173 |x| ulp; __logf 2^-21.41 = 6.02 u absolute from 0.5 to
2, and 3 ulp elsewhere; __powf is exp2f(p __log2f(x)), where __log2f errs by 2^-22 from 0.5 to 2, and by 2 ulp
elsewhere; powf up to 8 ulp; erff and tanhf 2 ulp; sqrtf 1 ulp, rsqrtf 2 ulp; __fdividef 2 ulp. PTX ISA: sin.approx errs
by 2^-20.5 to 2 pi and by 2^-14.7 to 100 pi. ONNX Runtime (onnxruntime/core/mlas/lib, erf.cpp, logistic.cpp, tanh.cpp,
compute.cpp) computes erf, sigmoid, tanh and exp by polynomials without a stated error; a test measures them at less
than half of these constants.

The terms of composed functions are slopes: z erf'(z) is at most 0.484 and t tanh'(t) at most 0.448, so the relative
errors of z and t, of five or six w, become less than 3 w; the rest are the roundings of 1 + erf and of the products.
The bounds do not hold for __tanhf, whose relative error is 2^-11.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tcja_exporters.reference.bounds import OWN_ROUNDING, Bound, Bounds, Operation

FUNCTION = 8
"""The error of a sigmoid or erf, in units of u."""
TANH = 12
"""The error of a tanh, in units of u."""
EXP, EXP_SLOPE = 4, 2.4
"""The relative error of exp(x) in units of u is at most EXP + EXP_SLOPE |x|."""
LOG = 7
"""The error of log(x) in units of u max(1, |log(x)|)."""
ROOT = 4
"""The relative error of a square root in units of u."""
DIVISION = 5
"""The relative error of a division, of which the divisor may be a rounded constant, in units of u."""
_SMALLEST = 2.0**-126
"""The smallest normal number of float32. Smaller results may become 0."""
_ROOT_OF_SMALLEST = 2.0**-63
_LARGEST_LOG = 150.0
"""The largest |log2 x| of a float32 number."""

Rule = Callable[[Bounds, Operation], Bound]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the own error of a function depends on.

    Attributes:
        x: the largest magnitude of the argument, float64.
        y: the largest magnitude of the result, float64.
        u: the unit roundoff of sums.
        w: the unit roundoff of an operation whose result is stored.
    """

    x: Tensor
    y: Tensor
    u: float
    w: float


Own = Callable[[Sizes], Tensor]
"""The own error of a function."""


def bound_monotone(compute: Callable[[Tensor], Tensor], own: Own, lowest: float | None = None) -> Rule:
    """Return the rule for a monotone function.

    Args:
        compute: the function.
        own: its own error.
        lowest: the smallest argument of the function; None if it has none.
    """
    return lambda bounds, operation: _monotone(bounds, operation, compute, own, lowest)


def bound_slope(slope: float, own: Own, largest: float = math.inf) -> Rule:
    """Return the rule for a function with a largest slope.

    Args:
        slope: the largest magnitude of the slope.
        own: the own error.
        largest: the largest difference of two results.
    """

    def rule(bounds: Bounds, operation: Operation) -> Bound:
        error = bounds.of(operation.args[0]).error
        change = None if error is None else (slope * error.double()).clamp_(max=largest)
        return _bound(bounds, operation, change, own)

    return rule


def _monotone(
    bounds: Bounds, operation: Operation, compute: Callable[[Tensor], Tensor], own: Own, lowest: float | None = None
) -> Bound:
    x, y = operation.args[0], operation.result
    error = bounds.of(x).error
    if error is None:
        return _bound(bounds, operation, None, own)
    reach = error.to(x.dtype) * OWN_ROUNDING
    low = x - reach if lowest is None else (x - reach).clamp_(min=lowest)
    change = torch.maximum((compute(x + reach) - y).abs_(), (compute(low) - y).abs_())
    return _bound(bounds, operation, change, own)


def _bound(bounds: Bounds, operation: Operation, change: Tensor | None, own: Own) -> Bound:
    """Return the bound of a function.

    Args:
        bounds: the bounds known so far.
        operation: the call; its first argument is x.
        change: the largest change of the result by the error of x, float64; None without an error.
        own: the own error of the function.
    """
    x, y = operation.args[0], operation.result
    error = bounds.of(x).error
    size_x = x.abs() if error is None else x.abs() + error
    size_y = y.abs() if change is None else y.abs() + change
    made = own(Sizes(size_x.double(), size_y.double(), bounds.arithmetic.total, bounds.result_unit))
    total = (made if change is None else made + change).to(torch.float32).expand(y.shape)
    return Bound(bounds.after_storing(y, total))


def _constant(error: float) -> Own:
    """Return an own error of a constant number of units u."""
    return lambda sizes: torch.full_like(sizes.y, error * sizes.u)


def _exp(sizes: Sizes) -> Tensor:
    return sizes.u * (EXP + EXP_SLOPE * sizes.x) * sizes.y + _SMALLEST


def _expm1(sizes: Sizes) -> Tensor:
    return (sizes.u * (EXP + EXP_SLOPE * sizes.x) + sizes.w) * (sizes.y + 1)


def _log(base: float, composed: bool) -> Own:
    """Return the own error of a logarithm; `composed` if it is computed as log(x) / log(base)."""
    scale = math.log(base)
    extra = 5 if composed else 0
    return lambda sizes: LOG * sizes.u * (scale * sizes.y).clamp(min=1) / scale + extra * sizes.w * sizes.y


def _gelu(bounds: Bounds, operation: Operation) -> Bound:
    units = TANH + 4 if operation.kwargs.get("approximate", "none") == "tanh" else FUNCTION

    def own(sizes: Sizes) -> Tensor:
        return sizes.x / 2 * (units * sizes.u + 6 * sizes.w) + 3 * sizes.w * sizes.y

    return bound_slope(1.13, own)(bounds, operation)


def _softplus(bounds: Bounds, operation: Operation) -> Bound:
    beta, threshold = float(operation.argument(1, "beta", 1)), float(operation.argument(2, "threshold", 20))
    if beta <= 0:
        return bounds.estimate("softplus with a negative beta", operation)

    def softplus(x: Tensor) -> Tensor:
        found: Tensor = functional.softplus(x, beta, threshold)
        return found

    def own(sizes: Sizes) -> Tensor:
        inner = sizes.u * (11 + EXP_SLOPE * beta * sizes.x + 7 * beta * sizes.y) + 2 * sizes.w + math.exp(-threshold)
        return inner / beta + 5 * sizes.w * sizes.y

    return _monotone(bounds, operation, softplus, own)


def _elu(bounds: Bounds, operation: Operation) -> Bound:
    alpha, scale, inner = (operation.argument(i, name, 1) for i, name in _ELU)
    return _exponential_unit(bounds, operation, (float(alpha), float(scale), float(inner)))


_ELU = ((1, "alpha"), (2, "scale"), (3, "input_scale"))


def _celu(bounds: Bounds, operation: Operation) -> Bound:
    alpha = float(operation.argument(1, "alpha", 1.0))
    return _exponential_unit(bounds, operation, (alpha, 1.0, 1.0 / alpha))


def _exponential_unit(bounds: Bounds, operation: Operation, constants: tuple[float, float, float]) -> Bound:
    """Return the bound of scale x above 0, and scale alpha (exp(inner x) - 1) below.

    Args:
        bounds: the bounds known so far.
        operation: the call.
        constants: alpha, scale and inner.
    """
    alpha, scale, inner = constants
    if min(constants) <= 0:
        return bounds.estimate("elu with a negative constant", operation)

    def own(sizes: Sizes) -> Tensor:
        return scale * alpha * (5 * sizes.u + 3 * sizes.w) + 3 * sizes.w * sizes.y

    return _monotone(
        bounds, operation, lambda x: scale * torch.where(x > 0, x, alpha * torch.expm1(inner * x.clamp(max=0))), own
    )


def _leaky_relu(bounds: Bounds, operation: Operation) -> Bound:
    slope = abs(operation.argument(1, "negative_slope", 0.01))
    return bound_slope(max(1.0, slope), _two_roundings)(bounds, operation)


def _prelu(bounds: Bounds, operation: Operation) -> Bound:
    x, slopes = operation.args
    if bounds.of(slopes).error is not None:
        return bounds.estimate("prelu with rounded slopes", operation)
    error = bounds.of(x).error
    return _bound(bounds, operation, None if error is None else error * slopes.abs().clamp(min=1), _two_roundings)


def _two_roundings(sizes: Sizes) -> Tensor:
    return 2 * sizes.w * sizes.y


def _threshold(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of x above a threshold, and of a number below it; it is monotone if the number is not larger."""
    limit, value = (float(operation.argument(i, name, 0)) for i, name in ((1, "threshold"), (2, "value")))
    if value > limit:
        return bounds.estimate("threshold with a larger value", operation)
    held = float(bounds.held_error(torch.tensor(value, dtype=torch.float64)))
    near = _near(bounds, operation, limit)
    return _monotone(bounds, near, lambda x: torch.where(x > limit, x, value), _constant_error(held))


def _hard_shrink(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of x where |x| is above a limit, and of 0 elsewhere."""
    limit = float(operation.argument(1, "lambd", 0.5))
    near = _near(bounds, operation, limit)
    return _monotone(bounds, near, lambda x: torch.where(x.abs() > limit, x, 0.0), _constant(0))


def _near(bounds: Bounds, operation: Operation, limit: float) -> Operation:
    """Return an operation whose argument has the rounding of a limit as a further error."""
    held = bounds.held_error(torch.tensor(limit, dtype=torch.float64))
    if not held:
        return operation
    x = operation.args[0].detach()
    bounds[x] = Bound(bounds.error(operation.args[0]) + held)
    return dataclasses.replace(operation, args=(x, *operation.args[1:]))


def _soft_shrink(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of x, nearer to 0 by a limit."""
    limit = float(operation.argument(1, "lambd", 0.5))
    return bound_slope(1.0, lambda sizes: 2 * sizes.w * (sizes.y + limit))(bounds, operation)


def _constant_error(error: float) -> Own:
    """Return an own error of a number."""
    return lambda sizes: torch.full_like(sizes.y, error)


def _pow(bounds: Bounds, operation: Operation) -> Bound:
    """Return the bound of x^p or p^x for a number p, or an estimate if both are tensors."""
    base, exponent = operation.args[:2]
    if isinstance(base, Tensor) and isinstance(exponent, Tensor):
        return bounds.estimate("pow of two tensors", operation)
    if isinstance(base, Tensor):
        return _power(bounds, operation, float(exponent))
    if base <= 0:
        return bounds.estimate("pow of a negative number", operation)
    number = float(base)
    scale = 3 + 5 * abs(math.log2(number))
    held = float(bounds.held_error(torch.tensor(number, dtype=torch.float64))) / number

    def own(sizes: Sizes) -> Tensor:
        return (sizes.u * (16 + scale * sizes.x) + 1.01 * held * sizes.x) * sizes.y

    return _monotone(
        bounds, Operation((exponent,), {}, operation.result), lambda x: torch.exp(math.log(number) * x), own
    )


def _power(bounds: Bounds, operation: Operation, exponent: float) -> Bound:
    """Return the bound of x^p.

    For a whole p >= 1, |(x + d)^p - x^p| <= (|x| + |d|)^p - |x|^p, as all terms of the binomial theorem are positive.
    For other p, x is positive, and x^p is monotone.
    """
    x = operation.args[0]
    if exponent == 1:
        return bounds.of(x)
    error = bounds.of(x).error
    size = x.abs().double()
    held = float(bounds.held_error(torch.tensor(exponent, dtype=torch.float64)))

    def own(sizes: Sizes) -> Tensor:
        logarithm = sizes.x.clamp(min=_SMALLEST).log2().abs().clamp(max=_LARGEST_LOG)
        units = sizes.u * (16 + abs(exponent) * (3 + 5 * logarithm)) + held * logarithm
        return torch.where(sizes.y == 0, 0.0, units * sizes.y)

    if error is None:
        return _bound(bounds, operation, None, own)
    reach = error.double() * OWN_ROUNDING
    there = size**exponent
    ends = (size + reach) ** exponent, (size - reach).clamp_(min=0) ** exponent
    return _bound(bounds, operation, torch.maximum(*((end - there).abs() for end in ends)), own)


FUNCTIONS: dict[str, Rule] = {
    "exp": bound_monotone(torch.exp, _exp),
    "exp2": bound_monotone(torch.exp2, _exp),
    "expm1": bound_monotone(torch.expm1, _expm1),
    "log": bound_monotone(torch.log, _log(math.e, composed=False), lowest=0.0),
    "log1p": bound_monotone(torch.log1p, lambda sizes: LOG * sizes.u * sizes.y.clamp(min=1) + 2 * sizes.w, lowest=-1.0),
    "log2": bound_monotone(torch.log2, _log(2, composed=True), lowest=0.0),
    "log10": bound_monotone(torch.log10, _log(10, composed=True), lowest=0.0),
    "sqrt": bound_monotone(torch.sqrt, lambda sizes: ROOT * sizes.u * sizes.y + _ROOT_OF_SMALLEST, lowest=0.0),
    "rsqrt": bound_monotone(
        torch.rsqrt, lambda sizes: ((ROOT + DIVISION) * sizes.u + 2 * sizes.w) * sizes.y, lowest=0.0
    ),
    "pow": _pow,
    "square": lambda bounds, operation: _power(bounds, operation, 2.0),
    "erf": bound_monotone(torch.erf, _constant(FUNCTION)),
    "sigmoid": bound_monotone(torch.sigmoid, _constant(FUNCTION)),
    "tanh": bound_monotone(torch.tanh, _constant(TANH)),
    "atan": bound_monotone(torch.atan, lambda sizes: FUNCTION * sizes.u * sizes.y.clamp(min=1)),
    "sin": bound_slope(1.0, lambda sizes: sizes.u * (8 + 2.5 * sizes.x), largest=2.0),
    "cos": bound_slope(1.0, lambda sizes: sizes.u * (8 + 2.5 * sizes.x), largest=2.0),
    "gelu": _gelu,
    "silu": bound_slope(1.1, lambda sizes: sizes.x * (FUNCTION * sizes.u + sizes.w) + 2 * sizes.w * sizes.y),
    "mish": bound_slope(1.09, lambda sizes: sizes.x * (34 * sizes.u + 3 * sizes.w) + 2 * sizes.w * sizes.y),
    "softplus": _softplus,
    "elu": _elu,
    "celu": _celu,
    "hardsigmoid": bound_monotone(functional.hardsigmoid, lambda sizes: 3 * sizes.w * (sizes.x / 6 + 0.5).clamp(max=1)),
    "hardswish": bound_slope(1.5, lambda sizes: 3 * sizes.w * sizes.x + 2 * sizes.w * sizes.y),
    "leaky_relu": _leaky_relu,
    "_prelu_kernel": _prelu,
    "threshold": _threshold,
    "hardshrink": _hard_shrink,
    "softshrink": _soft_shrink,
    "floor": bound_monotone(torch.floor, _constant(0)),
    "ceil": bound_monotone(torch.ceil, _constant(0)),
    "round": bound_monotone(torch.round, _constant(0)),
    "trunc": bound_monotone(torch.trunc, _constant(0)),
    "sign": bound_monotone(torch.sign, _constant(0)),
}
"""The rules, by the names of the operations."""
