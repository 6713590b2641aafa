"""Every rule on 10,000 random cases: what PyTorch and ONNX Runtime compute is within the bound, which is not silly.

The exact results are computed in float64. The arguments have errors, too: a backend gets other values within them.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tcja_exporters.reference.bounds import OWN_ROUNDING, Bound, Bounds, coarsest_grid
from tcja_exporters.reference.propagation import Propagation
from tcja_exporters.reference.rules.functions import EXP, EXP_SLOPE, FUNCTION, LOG, ROOT, TANH
from tcja_runtime.evidence.rounding import FLOAT16_VALUES, FLOAT32, Arithmetic

CASES, TERMS = 10_000, 16
LOG2_E = 1.4426950408889634


class Case(NamedTuple):
    """An operation with its steps.

    Attributes:
        compute: the operation of PyTorch, on [CASES, TERMS].
        values: the arguments: "numbers", "positive", "small", "spikes" or "offset".
        steps: other ways to compute the same, of which each step may be stored.
        orders: other ways to compute the same, within one operator of a model.
        ratio: the largest median ratio of bound and error that is accepted for float32. It is large for functions
            with an absolute error, as many values are near 0.
    """

    compute: Callable[[Tensor], Tensor]
    values: str = "numbers"
    steps: tuple[Callable[[Tensor], Tensor], ...] = ()
    orders: tuple[Callable[[Tensor], Tensor], ...] = ()
    ratio: float = 100


def summed(x: Tensor) -> Tensor:
    """The sum of the last axis as a half backend computes it, in float32, and one after the other."""
    total = torch.zeros(x.shape[:-1], dtype=torch.float32 if x.dtype == torch.float16 else x.dtype)
    for k in range(x.shape[-1]):
        total = total + x[..., k].to(total.dtype)
    return total.to(x.dtype)[..., None]


def fast_exp(x: Tensor) -> Tensor:
    """exp as __expf computes it: the product with log2(e) is rounded, and exp2 errs by one more ulp."""
    y = torch.exp2((x * LOG2_E).float())
    noise = torch.randint(-1, 2, y.shape, generator=torch.Generator().manual_seed(5))
    return (y * (1 + noise * 2.0**-23)).to(x.dtype)


def softmax_steps(x: Tensor) -> Tensor:
    terms = fast_exp(x - x.amax(-1, keepdim=True))
    return terms / summed(terms)


def log_softmax_steps(x: Tensor) -> Tensor:
    largest = x.amax(-1, keepdim=True)
    return x - (largest + summed(fast_exp(x - largest)).log())


SCALE = torch.linspace(0.2, 3, TERMS)
SHIFT = torch.linspace(-1, 2, TERMS)


def layer_norm(x: Tensor) -> Tensor:
    return functional.layer_norm(x, (TERMS,), SCALE.to(x.dtype), SHIFT.to(x.dtype), 1e-5)


def layer_norm_in_one_pass(x: Tensor) -> Tensor:
    x = x.float()  # the norm is one operator of a model
    mean = summed(x) / TERMS
    factor = SCALE / (summed(x * x) / TERMS - mean * mean + 1e-5).sqrt()
    return x * factor + (SHIFT - mean * factor)


def layer_norm_in_two_passes(x: Tensor) -> Tensor:
    x = x.float()
    centred = x - summed(x) / TERMS
    return centred * (summed(centred * centred) / TERMS + 1e-5).rsqrt() * SCALE + SHIFT


def group_norm(x: Tensor) -> Tensor:
    return functional.group_norm(x.reshape(-1, 8, 2), 2, SCALE[:8].to(x.dtype), SHIFT[:8].to(x.dtype)).flatten(1)


def instance_norm(x: Tensor) -> Tensor:
    return functional.instance_norm(x.reshape(-1, 2, 8)).flatten(1)


def gelu_steps(x: Tensor) -> Tensor:
    return 0.5 * (x * (1 + torch.erf(x / math.sqrt(2.0))))


def gelu_tanh_steps(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softplus_steps(x: Tensor) -> Tensor:
    return x.clamp(min=0) + (fast_exp(-x.abs()) + 1).log()


def var_steps(x: Tensor) -> Tensor:
    mean = summed(x.float()) / TERMS
    return ((summed(x.float() ** 2) / TERMS - mean * mean) * (TERMS / (TERMS - 1))).clamp(min=0)[..., 0]


def var_steps_twice(x: Tensor) -> Tensor:
    centred = x - summed(x) / TERMS
    return (summed(centred * centred) / (TERMS - 1))[..., 0]


def attention(x: Tensor) -> Tensor:
    q = x.reshape(-1, 2, 4, 2)
    return functional.scaled_dot_product_attention(q, q.flip(2), q.flip(3)).flatten(1)


def products(x: Tensor) -> Tensor:
    a = x.reshape(-1, 4, 4)
    return (a @ a.flip(1)).flatten(1)


def added_products(x: Tensor) -> Tensor:
    a = x.reshape(-1, 4, 4)
    return torch.baddbmm(a.flip(2), a, a.flip(1), beta=0.3, alpha=-1.7).flatten(1)


def cubes(x: Tensor) -> Tensor:
    return x.reshape(-1, 1, 4, 2, 2)


def squares(x: Tensor) -> Tensor:
    return x.reshape(-1, 1, 4, 4)


OPERATIONS: dict[str, Case] = {
    "amax": Case(lambda x: x.amax(1)),
    "amin": Case(lambda x: x.amin(1, keepdim=True)),
    "max": Case(lambda x: x.max(1)[0]),
    "min": Case(lambda x: x.min(1)[0]),
    "maximum": Case(lambda x: torch.maximum(x, x.flip(1))),
    "max pool 1d": Case(lambda x: functional.max_pool1d(x.unsqueeze(1), 2)),
    "max pool 3d": Case(lambda x: functional.max_pool3d(cubes(x), (2, 2, 2))),
    "adaptive max pool 2d": Case(lambda x: functional.adaptive_max_pool2d(squares(x), 1)),
    "adaptive max pool 3d": Case(lambda x: functional.adaptive_max_pool3d(cubes(x), 1)),
    "topk": Case(lambda x: x.topk(3, 1)[0]),
    "average pool 1d": Case(lambda x: functional.avg_pool1d(x.unsqueeze(1), 4)),
    "average pool 3d": Case(lambda x: functional.avg_pool3d(cubes(x), (2, 2, 2))),
    "adaptive average pool 3d": Case(lambda x: functional.adaptive_avg_pool3d(cubes(x), (2, 1, 1))),
    "average pool of spikes": Case(
        lambda x: functional.avg_pool2d(squares(x), 4, 2, 1, count_include_pad=False), "spikes"
    ),
    "adaptive average pool of spikes": Case(
        lambda x: functional.adaptive_avg_pool2d(x[:, :15].reshape(-1, 1, 3, 5), (1, 2)), "spikes"
    ),
    "where": Case(lambda x: torch.where(x > 0.3, x * 0.7, x.flip(1))),
    "masked fill": Case(lambda x: x.masked_fill(x < -0.3, 0.7)),
    "clip": Case(lambda x: x.clamp(-0.3, 0.7)),
    "step": Case(lambda x: (x > 0.1).to(x.dtype) * x),
    "floor": Case(lambda x: torch.floor(x)),
    "softmax": Case(lambda x: x.softmax(-1), orders=(softmax_steps,), ratio=100),
    "log softmax": Case(lambda x: x.log_softmax(-1), orders=(log_softmax_steps,), ratio=100),
    "log sum exp": Case(lambda x: x.logsumexp(1), "small", orders=(lambda x: summed(fast_exp(x)).log()[..., 0],)),
    "layer norm": Case(layer_norm, steps=(layer_norm_in_one_pass, layer_norm_in_two_passes), ratio=200),
    "layer norm far from 0": Case(layer_norm, "offset", (layer_norm_in_one_pass, layer_norm_in_two_passes), ratio=5000),
    "layer norm of spikes": Case(layer_norm, "spikes", (layer_norm_in_one_pass, layer_norm_in_two_passes)),
    "group norm": Case(group_norm, ratio=200),
    "instance norm": Case(instance_norm, ratio=200),
    "var": Case(lambda x: x.var(1), steps=(var_steps, var_steps_twice), ratio=200),
    "std": Case(lambda x: x.std(1), steps=(lambda x: var_steps(x).sqrt(),), ratio=200),
    "gelu": Case(lambda x: functional.gelu(x), steps=(gelu_steps,)),
    "gelu tanh": Case(lambda x: functional.gelu(x, approximate="tanh"), steps=(gelu_tanh_steps,)),
    "silu": Case(lambda x: functional.silu(x), steps=(lambda x: x * torch.sigmoid(x),)),
    "mish": Case(lambda x: functional.mish(x), orders=(lambda x: x * torch.tanh(softplus_steps(x)),), ratio=1000),
    "softplus": Case(lambda x: functional.softplus(x), orders=(softplus_steps,)),
    "elu": Case(
        lambda x: functional.elu(x, 0.7), orders=(lambda x: torch.where(x > 0, x, 0.7 * (fast_exp(x) - 1)),), ratio=1000
    ),
    "selu": Case(lambda x: functional.selu(x), ratio=1000),
    "celu": Case(lambda x: functional.celu(x, 0.7), ratio=1000),
    "hard sigmoid": Case(
        lambda x: functional.hardsigmoid(x), orders=(lambda x: (x * 0.16666667 + 0.5).clamp(0, 1),), ratio=100
    ),
    "hard swish": Case(
        lambda x: functional.hardswish(x), orders=(lambda x: x * (x * 0.16666667 + 0.5).clamp(0, 1),), ratio=200
    ),
    "leaky relu": Case(lambda x: functional.leaky_relu(x, 0.3)),
    "prelu": Case(lambda x: functional.prelu(x, SCALE.to(x.dtype))),
    "sigmoid": Case(lambda x: torch.sigmoid(x), orders=(lambda x: 1 / (1 + fast_exp(-x)),)),
    "tanh": Case(lambda x: torch.tanh(x), ratio=1000),
    "erf": Case(lambda x: torch.erf(x), ratio=1000),
    "exp": Case(lambda x: torch.exp(x), "small", orders=(fast_exp,)),
    "expm1": Case(lambda x: torch.expm1(x), "small", orders=(lambda x: fast_exp(x) - 1,), ratio=1000),
    "log": Case(lambda x: torch.log(x), "positive"),
    "log1p": Case(lambda x: torch.log1p(x), "positive", (lambda x: (1 + x).log(),), ratio=1000),
    "log2": Case(lambda x: torch.log2(x), "positive", (lambda x: x.log() / math.log(2),)),
    "sqrt": Case(lambda x: torch.sqrt(x), "positive"),
    "rsqrt": Case(lambda x: torch.rsqrt(x), "positive", (lambda x: 1 / x.sqrt(),)),
    "square": Case(lambda x: x**2, orders=(lambda x: x * x,), ratio=300),
    "cube": Case(lambda x: x**3, orders=(lambda x: x * x * x,), ratio=300),
    "power": Case(lambda x: x**1.7, "positive", orders=(lambda x: torch.exp2(1.7 * torch.log2(x)),), ratio=200),
    "power of 2": Case(lambda x: 2**x, "small", orders=(lambda x: torch.exp2(x),), ratio=200),
    "sin": Case(lambda x: torch.sin(x), ratio=1000),
    "cos": Case(lambda x: torch.cos(x)),
    "sum with a factor": Case(lambda x: torch.add(x, x.flip(1), alpha=-0.3), steps=(lambda x: x - x.flip(1) * 0.3,)),
    "difference from a number": Case(lambda x: 0.3 - x),
    "difference from numbers": Case(lambda x: x - torch.full_like(x, 0.3)),
    "reversed difference": Case(lambda x: torch.rsub(x, x.flip(1), alpha=0.3), steps=(lambda x: x.flip(1) - x * 0.3,)),
    "division": Case(lambda x: x / (x.flip(1).abs() + 0.1)),
    "reciprocal": Case(lambda x: torch.reciprocal(x), "positive"),
    "sum": Case(lambda x: x.sum(1), orders=(lambda x: summed(x)[..., 0],)),
    "cumulated sum": Case(lambda x: x.cumsum(1)),
    "product": Case(lambda x: x[:, :5].prod(1)),
    "vector norm": Case(lambda x: x.norm(dim=1), orders=(lambda x: summed(x * x).sqrt()[..., 0],), ratio=100),
    "normalize": Case(lambda x: functional.normalize(x, dim=1), ratio=200),
    "interpolation": Case(lambda x: functional.interpolate(squares(x), scale_factor=2.0, mode="bilinear")),
    "other interpolation": Case(
        lambda x: functional.interpolate(squares(x), size=(7, 5), mode="bilinear", align_corners=True), ratio=1000
    ),
    "products of activations": Case(products),
    "added products": Case(added_products),
    "vectors": Case(lambda x: x @ x[0]),
    "attention": Case(attention, "small", ratio=200),
    "var and mean": Case(lambda x: torch.stack(torch.var_mean(x, 1)), ratio=200),
    "gated unit": Case(lambda x: functional.glu(x, 1), steps=(lambda x: x[:, :8] * torch.sigmoid(x[:, 8:]),)),
    "threshold": Case(lambda x: functional.threshold(x, 0.2, -0.3)),
    "hard shrink": Case(lambda x: functional.hardshrink(x, 0.3)),
    "soft shrink": Case(lambda x: functional.softshrink(x, 0.3)),
    "fold": Case(lambda x: functional.fold(x.reshape(-1, 4, 4), (3, 3), 2)),
    "buffer": Case(lambda x: filled(x)),
}


NOT_IN_HALF = {"average pool 3d", "adaptive average pool 3d", "product"}
"""PyTorch has no half operator that sums, or multiplies, in float32."""


def filled(x: Tensor) -> Tensor:
    """A buffer that is filled step by step, as in many loops over time."""
    buffer = torch.zeros_like(x)
    for k in range(x.shape[1]):
        buffer[:, k] = x[:, k] * 0.3
    return buffer


@functools.cache
def sample(kind: str) -> Tensor:
    """Values [CASES, TERMS] of very different sizes, float64."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(CASES, TERMS, generator=generator, dtype=torch.float64)
    if kind == "spikes":
        return (x > 0.5).double()
    size = 10 ** (torch.rand(CASES, 1, generator=generator, dtype=torch.float64) * 4 - 3)
    if kind == "small":
        return x * size.clamp(max=3)
    x = x * size
    if kind == "offset":
        return x / size + 30.0
    return x.abs() + 1e-3 if kind == "positive" else x


@functools.cache
def arguments(kind: str, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The exact arguments, their error bounds, and the arguments of the backend, which are within them."""
    generator = torch.Generator().manual_seed(9)
    x = sample(kind)
    if kind == "spikes":
        return x, torch.zeros_like(x), x.to(dtype)
    relative = 10 ** (torch.rand(CASES, 1, generator=generator, dtype=torch.float64) * 6 - 9)
    given = (x * (1 + relative * (2 * torch.rand(x.shape, generator=generator, dtype=torch.float64) - 1))).to(dtype)
    return x, (given.double() - x).abs() * (1 + torch.rand(x.shape, generator=generator)), given


def bounded(compute: Callable[[Tensor], Tensor], x: Tensor, error: Tensor, arithmetic: Arithmetic) -> Any:
    bounds = Bounds(arithmetic)
    bounds[x] = Bound(error.float() if error.any() else None, coarsest_grid(x))
    with torch.no_grad(), Propagation(bounds):
        y = compute(x)
        return y, bounds.error(y).double() * OWN_ROUNDING, bounds.estimated


def judged(found: Tensor, y: Tensor, bound: Tensor) -> float:
    """The median ratio of the bound and the error, where there is one; all errors must be within their bounds."""
    error = (found.double().reshape(y.shape) - y).abs()
    wrong = ~(error <= bound) & found.isfinite().reshape(y.shape)
    assert not wrong.any(), f"{int(wrong.sum())} errors up to {float((error / bound)[wrong].max())} times the bound"
    seen = error > 0
    return float((bound / error)[seen].median()) if seen.any() else 1.0


QUICK = {"adaptive max pool 3d", "where", "softmax", "layer norm", "gelu", "power", "attention", "buffer"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in OPERATIONS]
)
def test_float32_is_within_the_bound(name):
    case = OPERATIONS[name]
    x, error, given = arguments(case.values, torch.float32)
    for e, start, values in ((error, x, given), (torch.zeros_like(x), given.double(), given)):
        y, bound, estimated = bounded(case.compute, start, e, FLOAT32)
        assert not estimated
        for compute in (case.compute, *case.steps, *case.orders):
            ratio = judged(compute(values), y, bound)
            assert ratio < case.ratio


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPERATIONS.keys() - NOT_IN_HALF))
def test_float16_is_within_the_bound(name):
    """Every step rounds to float16; sums are in float32."""
    case = OPERATIONS[name]
    x, error, given = arguments(case.values, torch.float16)
    y, bound, estimated = bounded(case.compute, x, error, FLOAT16_VALUES)
    assert not estimated
    for compute in (case.compute, *case.steps):
        judged(compute(given), y, bound)


class Everything(nn.Module):
    """All operations, by the kinds of their arguments."""

    def forward(self, *given: Tensor) -> list[Tensor]:
        arguments = dict(zip(KINDS, given, strict=True))
        return [case.compute(arguments[case.values]) for name, case in OPERATIONS.items() if name not in NOT_IN_ONNX]


NOT_IN_ONNX = ("adaptive average pool 3d", "adaptive average pool of spikes")
KINDS = ("numbers", "positive", "small", "spikes", "offset")


@pytest.mark.slow
def test_onnxruntime_is_within_the_bound():
    given = [arguments(kind, torch.float32)[2] for kind in KINDS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Everything(), tuple(given), dynamo=True, optimize=False, verbose=False, opset_version=18
        )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, {name: x.numpy() for name, x in zip(names, given, strict=True)})
    exported = [case for name, case in OPERATIONS.items() if name not in NOT_IN_ONNX]
    for case, result in zip(exported, found, strict=True):
        x, error, _ = arguments(case.values, torch.float32)
        y, bound, _ = bounded(case.compute, x, error, FLOAT32)
        judged(torch.from_numpy(result), y, bound)


GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
functions (float[n] x, float[n] positive)
=> (float[n] sigmoid, float[n] tanh, float[n] erf, float[n] exp, float[n] log, float[n] sqrt, float[n] softplus)
{
    sigmoid = Sigmoid(x)
    tanh = Tanh(x)
    erf = Erf(x)
    exp = Exp(x)
    log = Log(positive)
    sqrt = Sqrt(positive)
    softplus = Softplus(x)
}
"""
ALLOWED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "sigmoid": (torch.sigmoid, lambda _x, y: torch.full_like(y, FUNCTION)),
    "tanh": (torch.tanh, lambda _x, y: torch.full_like(y, TANH)),
    "erf": (torch.erf, lambda _x, y: torch.full_like(y, FUNCTION)),
    "exp": (torch.exp, lambda x, y: (EXP + EXP_SLOPE * x.abs()) * y),
    "log": (torch.log, lambda _x, y: LOG * y.abs().clamp(min=1)),
    "sqrt": (torch.sqrt, lambda _x, y: ROOT * y),
    "softplus": (functional.softplus, lambda x, y: 13 + EXP_SLOPE * x.abs() + 12 * y),
}
"""By function: PyTorch's, and the own error that is allowed, in units of u."""


def test_functions_err_by_less_than_half_of_what_is_allowed():
    """ONNX Runtime's and PyTorch's, on a dense range."""
    x = torch.cat([torch.linspace(-80, 80, 400_001), torch.linspace(-4, 4, 400_001)])
    positive = torch.cat([torch.logspace(-30, 30, 400_002), torch.linspace(0.4, 2.1, 400_000)])
    session = onnxruntime.InferenceSession(onnx.parser.parse_model(GRAPH).SerializeToString())
    found = session.run(None, {"x": x.numpy(), "positive": positive.numpy()})
    for (name, (compute, allowed)), theirs in zip(ALLOWED.items(), found, strict=True):
        given = positive if name in ("log", "sqrt") else x
        exact = compute(given.double())
        within = allowed(given.double(), exact) * FLOAT32.total / 2 + 2.0**-126
        for result in (torch.from_numpy(theirs), compute(given)):
            assert ((result.double() - exact).abs() <= within).all(), name
