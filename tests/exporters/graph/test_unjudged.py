"""Which modules of a network fire without being known neurons: forty small modules that do, or only look alike."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tcja_exporters.graph.export import export_onnx
from tcja_exporters.graph.exported import Exported
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_runtime.bundle.network_signature import UnjudgedLayer
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec

from ... import networks

T, UNITS = 3, 6


class Piece(nn.Module):
    """Calls a function on values [T, N, UNITS], of which it returns the like."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class ParallelNeuron(nn.Module):
    """A PSN: all time steps at once."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(T))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.einsum("st,tnc->snc", self.weight, x) >= 0.5).to(x.dtype)


class LoopNeuron(nn.Module):
    """A neuron with a hard reset that loops over time, as users write it."""

    def forward(self, x: Tensor) -> Tensor:
        v, fired = torch.zeros_like(x[0]), []
        for step in x:
            v = 0.5 * v + step
            s = torch.where(v > 0.4, 1.0, 0.0)
            v = v * (1 - s)
            fired.append(s)
        return torch.stack(fired)


class Surrogate(torch.autograd.Function):
    """A step with a gradient."""

    @staticmethod
    def forward(_ctx, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(_ctx, gradient: Tensor) -> Tensor:
        return gradient


def squeezed(x: Tensor) -> Tensor:
    """Spikes and the gate of a squeeze-and-excitation block, which is computed from the values before."""
    return (x > 0.1).to(x.dtype) * torch.sigmoid(x.mean(0, keepdim=True))


def excited(x: Tensor) -> Tensor:
    """Spikes and a gate that is computed from them."""
    s = (x > 0.1).to(x.dtype)
    return s * (s.mean(0, keepdim=True) * 0.7 + x.mean())


def masked_mean(x: Tensor) -> Tensor:
    busy = (x.abs().sum(2, keepdim=True) > 0.3).to(x.dtype)
    return (x * busy).sum(0, keepdim=True) / busy.sum(0, keepdim=True).clamp(min=1) + x


def attended(x: Tensor) -> Tensor:
    """Attention between time steps that leaves quiet steps out."""
    y = x.transpose(0, 1)
    scores = y @ y.transpose(1, 2)
    quiet = (y.sum(2) < 0.1).to(x.dtype)
    return (torch.softmax(scores + (quiet * -1e9)[:, None], -1) @ y).transpose(0, 1)


def attended_where(x: Tensor) -> Tensor:
    y = x.transpose(0, 1)
    scores = (y @ y.transpose(1, 2)).masked_fill((y.sum(2) < 0.1)[:, None], -1e9)
    return (torch.softmax(scores, -1) @ y).transpose(0, 1)


def causal(x: Tensor) -> Tensor:
    y = x.transpose(0, 1)
    scores = (y @ y.transpose(1, 2)).masked_fill(torch.ones(T, T).tril() == 0, float("-inf"))
    return (torch.softmax(scores, -1) @ y).transpose(0, 1)


FIRING = {
    "parallel": ParallelNeuron,
    "loop": LoopNeuron,
    "surrogate": lambda: Piece(Surrogate.apply),
    "cast": lambda: Piece(lambda x: (x >= 0.3).float()),
    "greater": lambda: Piece(lambda x: (x - 0.3).gt(0).float()),
    "not_less": lambda: Piece(lambda x: (~(x < 0.3)).float()),
    "times_one": lambda: Piece(lambda x: (x > 0.2) * 1.0),
    "where": lambda: Piece(lambda x: torch.where(x > 0.2, torch.ones_like(x), torch.zeros_like(x))),
    "ternary": lambda: Piece(lambda x: (x > 0.5).float() - (x < -0.5).float()),
    "sign": lambda: Piece(torch.sign),
    "sign_as_step": lambda: Piece(lambda x: 0.5 * (torch.sign(x) + 1)),
    "ceiling": lambda: Piece(lambda x: torch.ceil(x.clamp(0, 1))),
    "floor": lambda: Piece(lambda x: torch.floor(x / 0.5).clamp(0, 4)),
    "integers": lambda: Piece(lambda x: torch.round(x.clamp(0, 4)) / 4),
    "integers_after": lambda: Piece(lambda x: torch.round(x).clamp(0, 4)),
    "straight_through": lambda: Piece(lambda x: (x > 0.2).float() - torch.sigmoid(x).detach() + torch.sigmoid(x)),
    "amplitude": lambda: Piece(lambda x: (x > 0.2).float() * 0.7),
    "residual": lambda: Piece(lambda x: x + (x > 0.2).float()),
    "squeezed": lambda: Piece(squeezed),
    "excited": lambda: Piece(excited),
    "pooled": lambda: Piece(lambda x: functional.max_pool1d((x > 0.2).float(), 3, 1, 1)),
}
ALIKE = {
    "relu": lambda: Piece(torch.relu),
    "relu_by_where": lambda: Piece(lambda x: torch.where(x > 0, x, torch.zeros_like(x))),
    "relu_by_mask": lambda: Piece(lambda x: x * (x > 0)),
    "leaky": lambda: Piece(lambda x: torch.where(x > 0, x, 0.1 * x)),
    "threshold": lambda: Piece(lambda x: functional.threshold(x, 0.1, 0.0)),
    "shrink": lambda: Piece(lambda x: torch.sign(x) * torch.relu(x.abs() - 0.1)),
    "gelu": lambda: Piece(functional.gelu),
    "clip": lambda: Piece(lambda x: x.clamp(-1, 1)),
    "quantiser": lambda: Piece(lambda x: torch.round(x / 0.05).clamp(-128, 127) * 0.05),
    "quantiser_before": lambda: Piece(lambda x: torch.round((x / 0.05).clamp(-128, 127)) * 0.05),
    "straight_through_quantiser": lambda: Piece(lambda x: x + (torch.round(x * 16) / 16 - x).detach()),
    "largest": lambda: Piece(lambda x: x * (x >= x.amax(2, keepdim=True))),
    "top": lambda: Piece(lambda x: torch.where(x >= x.topk(3, 2).values[..., -1:], x, 0.0)),
    "argmax": lambda: Piece(lambda x: x.gather(2, x.argmax(2, keepdim=True)) + x),
    "masked_mean": lambda: Piece(masked_mean),
    "attended": lambda: Piece(attended),
    "attended_where": lambda: Piece(attended_where),
    "causal": lambda: Piece(causal),
    "unused": lambda: Piece(lambda x: (x, (x > 0.2).float())[0]),
    "pool": lambda: Piece(lambda x: functional.max_pool1d(x, 3, 1, 1)),
}


class Pieces(nn.Module):
    """Frames [N, T, 1, 2, 3] -> [N, UNITS]: a spiking layer, and behind it all pieces side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.lif = nn.Linear(UNITS, UNITS), SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=False))
        self.into = nn.Linear(UNITS, UNITS)
        self.pieces = nn.ModuleDict({name: make() for name, make in {**FIRING, **ALIKE}.items()})
        self.after = nn.ModuleDict({name: nn.Linear(UNITS, UNITS) for name in self.pieces})

    def forward(self, frames: Tensor) -> Tensor:
        counts = frames.transpose(0, 1).flatten(2)
        binary = (counts > 0).to(counts.dtype)  # of counts, which are exact
        x = self.into(self.lif(self.first(binary)))
        return sum(self.after[name](piece(x)) for name, piece in self.pieces.items()).mean(0)


@functools.cache
def exported() -> Exported:
    return export_onnx(Pieces(), InputContract.of((T, 1, 2, 3)), "rates", {"producer": "tests"})


@pytest.mark.parametrize("name", FIRING)
def test_a_module_that_fires_is_found(name):
    kinds = {"parallel": "ParallelNeuron", "loop": "LoopNeuron"}
    layer = UnjudgedLayer(name=f"pieces.{name}", kind=kinds.get(name, "Piece"))
    assert layer in exported().unjudged
    assert str(layer) == f"pieces.{name} ({layer.kind})"


@pytest.mark.parametrize("name", [*ALIKE, ""])
def test_a_module_that_only_looks_alike_is_not(name):
    found = {layer.name for layer in exported().unjudged}
    assert f"pieces.{name}".rstrip(".") not in found
    assert "" not in found


def test_they_are_named_in_the_order_in_which_they_fire():
    assert [layer.name for layer in exported().unjudged] == [f"pieces.{name}" for name in FIRING]


class Returned(nn.Module):
    """Frames [N, T, 1, 2, 3] -> spikes [N, UNITS], which the network itself makes of the last layer's values."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(UNITS, 9), nn.Linear(9, UNITS)
        self.lif = SpikingNeuron(NeuronSpec.linear(decay=0.5, strict=True))

    def forward(self, frames: Tensor) -> Tensor:
        x = self.last(self.lif(self.first(frames.transpose(0, 1).flatten(2))))
        return (x > 0.1).to(x.dtype).mean(0)


def test_steps_that_the_network_returns_are_found():
    found = export_onnx(Returned(), InputContract.of((T, 1, 2, 3)), "rates", {"producer": "tests"}).unjudged
    assert list(map(str, found)) == ["Returned"]


@pytest.mark.parametrize("network", networks.SMALL)
def test_networks_of_the_registry_have_none(network, exports):
    assert exports[network][0].unjudged == []
