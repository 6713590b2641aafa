"""Bounds hold for arithmetics that are imitated here, and are tight enough to be worth something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tcja_exporters.modules.attention import CLA, TCJA, TLA
from tcja_exporters.modules.layers import Voting
from tcja_exporters.reference.bounds import OWN_ROUNDING, Bound, Bounds, coarsest_grid
from tcja_exporters.reference.propagation import Propagation
from tcja_runtime.evidence.rounding import (
    BFLOAT16,
    FLOAT16,
    FLOAT16_SUMS,
    FLOAT16_VALUES,
    FLOAT32,
    INT8,
    TF32,
    Arithmetic,
)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.b = nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.a(x) + self.b(x) - 0.25) * 0.3


class Attended(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.reshape(4, -1, *x.shape[1:])).flatten(0, 1)


class Concatenated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        up = functional.interpolate(functional.avg_pool2d(x, 2), scale_factor=2.0)
        return torch.cat([torch.tanh(x), up.flip(1), x.mean((2, 3), keepdim=True).expand_as(x) / 3.0], 1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Conv2d(6, 8, 3, padding=1),
    "groups": lambda: nn.Conv2d(6, 12, 3, groups=3),
    "transposed": lambda: nn.ConvTranspose2d(6, 5, 3, stride=2, padding=1, output_padding=1),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(6, 8, 3)),
    "norm": lambda: nn.Sequential(nn.Conv2d(6, 8, 3, bias=False), nn.BatchNorm2d(8)),
    "two layers": lambda: nn.Sequential(nn.Conv2d(6, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 4, 3)),
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6 * 8 * 8, 30), Voting(5)),
    "average": lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1), nn.AdaptiveAvgPool2d(2), nn.Conv2d(6, 3, 1)),
    "residual": Residual,
    "concatenated": Concatenated,
    "tcja": lambda: Attended(TCJA(3, 2, 4, 6)),
    "tcja sum": lambda: Attended(TCJA(2, 3, 4, 6, combine="sum")),
    "cla": lambda: Attended(CLA(3, 4)),
    "tla": lambda: nn.Sequential(Attended(TLA(3, 6)), nn.Conv2d(6, 5, 3)),
}


def made(name: str) -> nn.Module:
    torch.manual_seed(3)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                values.data.uniform_(0.3, 1.7)
    return network.eval()


def spikes(rate: float = 0.4) -> Tensor:
    return (torch.rand(12, 6, 8, 8, generator=torch.Generator().manual_seed(1)) < rate).double()


def bounded(network: nn.Module, x: Tensor, arithmetic: Arithmetic = FLOAT32) -> tuple[Tensor, Tensor, Bounds]:
    """The exact output and its bound."""
    bounds = Bounds(arithmetic)
    grid = coarsest_grid(x)
    with torch.no_grad(), Propagation(bounds):
        y = network.double()(bounds.mark_exact(x, grid))
        error = bounds.error(y) * OWN_ROUNDING
    return y, error, bounds


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("real", [False, True], ids=["spikes", "numbers"])
def test_float32_is_within_its_bounds(name, real):
    x = spikes() * torch.linspace(0.1, 3.7, 8).double() if real else spikes()
    x = x.float().double()
    exact, bound, bounds = bounded(made(name), x)
    with torch.no_grad():
        found = made(name).float()(x.float())
    difference = (found.double() - exact).abs()
    assert (difference <= bound).all()
    assert not bounds.estimated
    # Worst cases are not average ones, but a bound of thousands of roundings would explain anything.
    assert float(bound.max()) < 2000 * 2.0**-24 * float(exact.abs().max())


def to_float16(x: Tensor) -> Tensor:
    return x.half().float()


def to_tf32(x: Tensor) -> Tensor:
    """Cut off to 10 bits behind the leading one."""
    return (x.float().view(torch.int32) & ~0x1FFF).view(torch.float32)


def to_bfloat16(x: Tensor) -> Tensor:
    return x.bfloat16().float()


def to_int8(x: Tensor, axis: int | None = None) -> Tensor:
    """Symmetric, rounded to 127 steps of the largest magnitude, of each index of an axis or of all."""
    if bool((x == x.round()).all()):
        return x.float()
    axes = [i for i in range(x.ndim) if i != axis]
    scale = (x.abs().amax(axes, keepdim=True) if axis is not None else x.abs().max()) / 127
    return ((x / scale).round() * scale).float()


OPERANDS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    TF32.name: (to_tf32, lambda y: y),
    FLOAT16.name: (to_float16, to_float16),
    FLOAT16_SUMS.name: (to_float16, to_float16),
    FLOAT16_VALUES.name: (to_float16, to_float16),
    BFLOAT16.name: (to_bfloat16, to_bfloat16),
}


@pytest.mark.parametrize(
    "arithmetic",
    [TF32, FLOAT16, FLOAT16_VALUES, FLOAT16_SUMS, BFLOAT16, INT8],
    ids=lambda arithmetic: arithmetic.name,
)
@pytest.mark.parametrize("gated", [False, True], ids=["spikes", "gated"])
def test_lower_precisions_are_within_their_bounds(arithmetic, gated):
    """Two convolutions as such a backend computes them; the second is fed what the first stored."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(6, 8, 3, bias=False).double(), nn.Conv2d(8, 5, 3, bias=False).double()
    if arithmetic is FLOAT16_VALUES:
        for layer in (first, second):
            layer.weight.data = layer.weight.data.half().double()
    x = spikes() * (0.731 if gated else 1.0)
    exact, bound, _ = bounded(nn.Sequential(first, second), x, arithmetic)

    def convolved(x: Tensor, weight: Tensor) -> Tensor:
        if arithmetic is INT8:
            return functional.conv2d(to_int8(x), to_int8(weight, 0))
        operand, stored = OPERANDS[arithmetic.name]
        columns = functional.unfold(operand(x), 3).transpose(1, 2)
        flat = operand(weight).flatten(1).T
        if arithmetic is FLOAT16_SUMS:
            total = torch.zeros(*columns.shape[:2], flat.shape[1])
            for k in range(flat.shape[0]):
                total = to_float16(total + to_float16(columns[..., k, None] * flat[k]))
        else:
            total = columns @ flat
        side = x.shape[-1] - 2
        return stored(total.transpose(1, 2).reshape(len(x), -1, side, side))

    with torch.no_grad():
        found = convolved(convolved(x.float(), first.weight), second.weight)
    difference = (found.double() - exact).abs()
    assert (difference <= bound).all()
    assert float(difference.max()) > float(bound.max()) / 300


@pytest.mark.parametrize("order", ["as it is", "ascending", "positive first", "largest last"])
def test_any_order_of_summation_is_within_the_bound(order):
    """Up to CONFIDENCE^2 terms, no matter how unkind the order; beyond, for orders that the data does not choose."""
    rng = np.random.default_rng(0)
    for n in (3, 30, 99) if order != "as it is" else (3, 99, 1000, 20000):
        weight = rng.standard_normal((200, n)).astype(np.float32)
        network = nn.Linear(n, 200, bias=False)
        network.weight.data = torch.from_numpy(weight)
        exact, bound, _ = bounded(network, torch.ones(1, n).double())
        terms = weight.copy()
        if order == "ascending":
            terms.sort(axis=1)
        elif order == "positive first":
            terms = -np.sort(-terms, axis=1)
        elif order == "largest last":
            terms = np.take_along_axis(terms, np.abs(terms).argsort(axis=1), axis=1)
        total = np.zeros(200, np.float32)
        for term in terms.T:
            total += term
        assert (np.abs(total - exact[0].numpy()) <= bound[0].numpy()).all()


def test_zeros_cost_nothing():
    """What does not fire adds no rounding, so sparse sums have small bounds."""
    few, many = torch.zeros(1, 500).double(), torch.ones(1, 500).double()
    few[0, :4] = 1
    bounds = [float(bounded(nn.Linear(500, 1, bias=False), x)[1]) for x in (few, many)]
    assert bounds[0] < bounds[1] / 100


@pytest.mark.parametrize("arithmetic", [FLOAT32, TF32, FLOAT16], ids=lambda arithmetic: arithmetic.name)
def test_sums_on_a_grid_are_exact(arithmetic):
    network = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.AvgPool2d(2))
    network[1].weight.data = torch.randint(-3, 4, (8, 6, 3, 3)) / 8.0
    network[1].bias.data.zero_()
    _, bound, _ = bounded(network, spikes(), arithmetic)
    assert not bound.any()
    network[1].weight.data[0, 0, 0, 0] = 1 / 3
    _, bound, _ = bounded(network, spikes(), arithmetic)
    assert bound.any()


def test_sums_too_large_for_the_grid_are_not_exact():
    network = nn.Linear(4096, 1, bias=False)
    network.weight.data = torch.full((1, 4096), 4096.0) + torch.arange(4096) / 8.0
    assert bounded(network, torch.ones(1, 4096).double())[1].any()


def test_operations_without_a_rule_are_estimated_and_named():
    class Hyperbolic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sinh(x)

    exact, bound, bounds = bounded(nn.Sequential(nn.Conv2d(6, 8, 3), Hyperbolic()), spikes())
    assert bounds.estimated == {"aten.sinh.default"}
    assert (bound >= 2.0**-14 * exact.abs().max() * 0.99).all()


def test_spiking_attention_is_exact():
    """Products of spikes are sums of integers; a factor that is a power of two and another product keep them exact."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.rand(3, 2, 8, 196, 16, generator=generator) < 0.3).double()

    def attention(q: Tensor, scale: float) -> Tensor:
        bounds.mark_exact(k, 0), bounds.mark_exact(v, 0)
        return q @ k.transpose(-2, -1) @ v * scale

    for scale, exact in ((0.125, True), (0.3, False)):
        bounds = Bounds(FLOAT32)
        with torch.no_grad(), Propagation(bounds):
            y = attention(bounds.mark_exact(q, 0), scale)
        assert (bounds.of(y).error is None) == exact
        assert bounds.grid(y) == (3 if exact else None)
    bounds = Bounds(FLOAT16)  # sums above 2048 are rounded
    with torch.no_grad(), Propagation(bounds):
        assert bounds.of(attention(bounds.mark_exact(q, 0) * 16, 0.125)).error.any()


def test_both_factors_of_attention_may_have_errors():
    """Spikes that may be 0 or 1 in a backend, as in a network that runs on its own."""
    generator = torch.Generator().manual_seed(1)
    spikes = (torch.rand(3, 100, 8, 8, generator=generator) < 0.4).double()
    is_open = torch.rand(spikes.shape, generator=generator) < 0.2
    bounds = Bounds(FLOAT32)
    q, k, v = spikes
    for tensor, doubtful in zip((q, k, v), is_open, strict=True):
        bounds[tensor] = Bound(doubtful.float(), None)
    with torch.no_grad(), Propagation(bounds):
        y = q @ k.mT @ v * 0.125
        bound = bounds.error(y) * OWN_ROUNDING
    worst = torch.zeros_like(y)
    for _ in range(50):
        other = torch.where(is_open & (torch.rand(spikes.shape, generator=generator) < 0.5), 1 - spikes, spikes)
        worst = torch.maximum(worst, (other[0] @ other[1].mT @ other[2] * 0.125 - y).abs())
    assert (worst <= bound).all()
    assert worst.max() > bound.max() / 20


def test_a_comparison_that_rounding_decides():
    """A network's own firing class: its spikes are not exact, where the membrane is near the threshold."""
    weight = torch.full((1, 6, 1, 1), 1 / 3).double()

    def fired(x: Tensor) -> tuple[Tensor, Tensor]:
        h = functional.conv2d(x, weight.to(x.dtype))
        return h, torch.where((h >= 1.0) & (h < 3.0), 1.0, 0.0).to(x.dtype) + (h > 0.5).to(x.dtype)

    bounds, x = Bounds(FLOAT32), spikes()
    with torch.no_grad(), Propagation(bounds):
        h, y = fired(bounds.mark_exact(x, 0))
    undecided = bounds.error(y) > 0.5
    assert undecided.equal((h - 1.0).abs() < 1e-6)  # three spikes of six
    assert undecided.any()
    assert not undecided.all()


def test_a_place_that_rounding_decides_is_no_place():
    """What depends on the index of a maximum is estimated, and named."""
    bounds, x = Bounds(FLOAT32), spikes()
    with torch.no_grad(), Propagation(bounds):
        h = functional.conv2d(bounds.mark_exact(x, 0), torch.full((2, 6, 1, 1), 1 / 3).double())
        h.gather(1, h.argmax(1, keepdim=True))
    assert bounds.estimated == {"gather by a rounded index"}


def test_views_have_the_bounds_of_what_was_written_behind_them():
    """Also views that were made before, and that overlap with the one that was written."""
    bounds, x = Bounds(FLOAT32), torch.full((2, 3), 0.25, dtype=torch.float64)
    bounds[x] = Bound(torch.full((2, 3), 0.5), None)
    with torch.no_grad(), Propagation(bounds):
        whole = torch.zeros(2, 3, dtype=torch.float64)
        row = whole[0]
        whole.add_(x)
        assert (bounds.error(row) >= 0.5).all()
        line = torch.zeros(4, dtype=torch.float64)
        first, second = line[:2], line[1:3]
        first += x[0, :2]
        assert (bounds.error(second) >= 0.5).tolist() == [True, False]
        assert bounds.grid(second) is None
        copied = x.clone()
        turned = copied.view(3, 2)
        copied.zero_()
        assert not bounds.error(turned).any()
        table = torch.zeros(2, 2, dtype=torch.float64)
        assert bounds.grid(table) == 0
        table[:, 0].fill_(0.3)
        assert bounds.grid(table) is None


def test_in_place_operations_are_followed():
    def network(x: Tensor) -> Tensor:
        y = functional.conv2d(x, torch.full((1, 6, 1, 1), 1 / 3, dtype=x.dtype))
        y.mul_(0.7)
        y += x[:, :1]
        return functional.relu_(y)

    bounds, x = Bounds(FLOAT32), spikes()
    with torch.no_grad(), Propagation(bounds):
        y = network(bounds.mark_exact(x, 0))
        bound = bounds.error(y) * OWN_ROUNDING
    with torch.no_grad():
        found = network(spikes().float())
    assert ((found.double() - y).abs() <= bound).all()
    assert not bounds.estimated
