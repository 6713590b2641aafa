"""Bounds hold for arithmetics that are imitated here, and are tight enough to be worth something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional

from tcja_exporters.modules.attention import CLA, TCJA, TLA
from tcja_exporters.modules.layers import Voting
from tcja_exporters.reference.bounds import OWN_ROUNDING, Bounds, coarsest_grid
from tcja_exporters.reference.elementwise_bounds import FUNCTION
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
    network = nn.Sequential(nn.Conv2d(6, 8, 3), nn.GELU())
    exact, bound, bounds = bounded(network, spikes())
    assert bounds.estimated == {"aten.gelu.default"}
    assert (bound >= 2.0**-14 * exact.abs().max() * 0.99).all()


def test_sigmoids_err_by_less_than_is_allowed():
    """ONNX Runtime's and PyTorch's, in units of the bound's roundings."""
    x = np.concatenate([np.linspace(-30, 30, 200_001), [-1e30, 1e30, 0]]).astype(np.float32)
    value = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Sigmoid", ["x"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", value, [None])],
        [helper.make_tensor_value_info("y", value, [None])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    with np.errstate(over="ignore"):
        exact = 1 / (1 + np.exp(-x.astype(np.float64)))
    for found in (session.run(None, {"x": x})[0], torch.sigmoid(torch.from_numpy(x)).numpy()):
        assert np.abs(found - exact).max() / FLOAT32.total < FUNCTION / 2


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
