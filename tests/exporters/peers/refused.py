"""Networks as users write them that no export can take, each for a reason of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tcja_exporters.libraries import register
from tcja_runtime.neuron import NeuronSpec

from . import own


class Recurrent(nn.Module):
    def __init__(self, lif: nn.Module) -> None:
        super().__init__()
        self.fc, self.back, self.lif = nn.Linear(128, 8), nn.Linear(8, 8), lif

    def forward(self, x: Tensor) -> Tensor:
        s, fired = torch.zeros(x.shape[1], 8, dtype=x.dtype), []
        for frame in x:
            s = self.lif(self.fc(frame.flatten(1)) + self.back(s))
            fired.append(s)
        return torch.stack(fired)


class Membrane(nn.Module):
    def __init__(self, lif: nn.Module) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(128, 8), lif

    def forward(self, x: Tensor) -> Tensor:
        mem, seen = None, []
        for frame in x:
            _, mem = self.lif(self.fc(frame.flatten(1)), mem)
            seen.append(mem)
        return torch.stack(seen)


class Shared(nn.Module):
    def __init__(self, lif: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2, self.a, self.b = nn.Linear(128, 8), nn.Linear(8, 8), lif, lif

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.fc2(self.a(self.fc1(x.flatten(2)))))


class Dead(own.Window):
    """Two spiking heads, of which one is not used."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.n1(own.merged(self.conv1, x))
        x = self.n3(self.fc1(own.merged(self.conv2, x).flatten(2)))
        self.n2(self.fc2(x))
        return self.n4(self.fc2(x))


class Branching(own.Window):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() > 3 else 2 * x)


class Exotic(own.Window):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + torch.linalg.eigvals(torch.eye(2, dtype=x.dtype)).real.sum())


class Dropping(own.Window):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(x, 0.5))


def _with_other_neurons() -> nn.Module:
    """Two neurons of SpikingJelly that have more states than a membrane, beside two known ones."""
    from spikingjelly.activation_based import neuron

    known = own.activation_based("m")
    return own.Window(known[0], neuron.QIFNode(step_mode="m"), neuron.EIFNode(step_mode="m"), known[3])


def _recurrent() -> nn.Module:
    from spikingjelly.activation_based import neuron

    return Recurrent(neuron.LIFNode())


def _membrane() -> nn.Module:
    import snntorch

    return Membrane(snntorch.Leaky(beta=0.9, reset_mechanism="zero"))


def _shared() -> nn.Module:
    from spikingjelly.activation_based import neuron

    return Shared(neuron.LIFNode(step_mode="m"))


def _synaptic() -> nn.Module:
    import snntorch

    return own.Loop(snntorch.Leaky(beta=0.9), snntorch.Synaptic(alpha=0.9, beta=0.8), snntorch.Leaky(beta=0.9))


def _lif_of_norse() -> nn.Module:
    from norse.torch.module.lif import LIFCell

    return own.Loop(LIFCell(), LIFCell(), LIFCell())


class Soft(nn.Module):
    """A neuron that is registered with another reset than it has."""

    def forward(self, x: Tensor) -> Tensor:
        v, fired = torch.zeros_like(x[0]), []
        for step in x:
            v = 0.5 * v + step
            fired.append((v >= 1).to(x.dtype))
            v = v - fired[-1]
        return torch.stack(fired)


def _with_wrong_constants() -> nn.Module:
    register(Soft, NeuronSpec.linear(decay=0.5, strict=False), calls="window", time_axis=0)
    known = own.activation_based("m")
    return own.Window(known[0], Soft(), known[2], Soft())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a recurrent layer": (_recurrent, "TN"),
    "a membrane as output": (_membrane, "TN"),
    "a neuron for two layers": (_shared, "TN"),
    "a spiking layer that leads nowhere": (lambda: Dead(*own.activation_based("m")), "TN"),
    "a branch on values": (lambda: Branching(*own.activation_based("m")), "TN"),
    "an operation that ONNX does not have": (lambda: Exotic(*own.activation_based("m")), "TN"),
    "random numbers": (lambda: Dropping(*own.activation_based("m")), "TN"),
    "two neurons that are not supported": (_with_other_neurons, "TN"),
    "two neurons with other equations": (_with_wrong_constants, "TN"),
    "Synaptic of snnTorch": (_synaptic, "TN"),
    "LIF of norse": (_lif_of_norse, "TN"),
    "the wrong layout": (lambda: own.Window(*own.activation_based("m")), "NT"),
    "no known neuron": (lambda: own.Step(*(nn.ReLU() for _ in range(4))), "step"),
}
"""Functions that make the networks, and the layout that is given, by name. All take windows of `own.SHAPE`."""
