"""Networks as users write them, with the real libraries' layers, of random weights with which every layer fires."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from tcja_runtime.data.contract import InputContract

T = 4
SHAPE = (T, 2, 8, 8)
CONTRACT = InputContract.of(SHAPE)


def windows(n: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(1.0, (n, *SHAPE)).astype(np.float32)


class TCJA(nn.Module):
    """Attention as published, for [T, N, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(T, T, 4, padding="same", bias=False)
        self.conv_c = nn.Conv1d(channels, channels, 2, padding="same", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z = x.mean(dim=(3, 4)).transpose(0, 1)
        gate = self.conv(z) * self.conv_c(z.transpose(1, 2)).transpose(1, 2)
        return x * torch.sigmoid(gate).transpose(0, 1)[..., None, None]


def awake(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 3 / parameter[0].numel() ** 0.5
    generator.manual_seed(1)
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
            drawn = torch.rand(module.bias.shape, generator=generator) * 2 - 1
            module.bias.data = drawn / module.weight[0].numel() ** 0.5
    return net.eval()


def merged(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Window(nn.Module):
    """Convolution, neuron, TCJA, convolution, neuron, two fully connected spiking layers, on [T, N, 2, 8, 8]."""

    def __init__(self, *neurons: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1, stride=2)
        self.fc1, self.fc2 = nn.Linear(96, 20), nn.Linear(20, 5)
        self.attention = TCJA(6)
        self.n1, self.n2, self.n3, self.n4 = neurons

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention(self.n1(merged(self.conv1, x)))
        x = self.n2(merged(self.conv2, x))
        return self.n4(self.fc2(self.n3(self.fc1(x.flatten(2)))))


class Step(nn.Module):
    """The same without attention, for one time step [N, 2, 8, 8]."""

    def __init__(self, *neurons: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1, stride=2)
        self.fc1, self.fc2 = nn.Linear(96, 20), nn.Linear(20, 5)
        self.n1, self.n2, self.n3, self.n4 = neurons

    def forward(self, x: Tensor) -> Tensor:
        x = self.n2(self.conv2(self.n1(self.conv1(x))))
        return self.n4(self.fc2(self.n3(self.fc1(x.flatten(1)))))


class Loop(nn.Module):
    """A loop over time with the states in its hands, on [T, N, 2, 8, 8]; the spikes of each step, and a membrane."""

    def __init__(self, *neurons: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(128, 30), nn.Linear(30, 20), nn.Linear(20, 5)
        self.n1, self.n2, self.n3 = neurons

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = b = c = None
        fired = []
        for frame in x:
            s, a = self.n1(self.fc1(frame.flatten(1)), a)
            s, b = self.n2(self.fc2(s), b)
            s, c = self.n3(self.fc3(s), c)
            fired.append(s)
        return torch.stack(fired), c


def activation_based(mode: str) -> list[nn.Module]:
    from spikingjelly.activation_based import neuron

    return [
        neuron.IFNode(v_reset=None, step_mode=mode),
        neuron.LIFNode(tau=3.0, decay_input=False, v_threshold=0.8, step_mode=mode),
        neuron.ParametricLIFNode(init_tau=1.7, v_reset=-0.2, step_mode=mode),
        neuron.LIFNode(tau=1.5, v_reset=None, v_threshold=0.5, step_mode=mode),
    ]


def clock_driven(prefix: str) -> list[nn.Module]:
    from spikingjelly.clock_driven import neuron

    return [
        getattr(neuron, f"{prefix}IFNode")(),
        getattr(neuron, f"{prefix}LIFNode")(tau=2.0, v_reset=None, v_threshold=0.7),
        getattr(neuron, f"{prefix}ParametricLIFNode")(init_tau=2.5, decay_input=False),
        getattr(neuron, f"{prefix}LIFNode")(tau=1.5, decay_input=False, v_reset=-0.1, v_threshold=0.5),
    ]


def snntorch_loop() -> nn.Module:
    import snntorch

    return Loop(
        snntorch.Leaky(beta=0.9, reset_mechanism="subtract"),
        snntorch.Leaky(beta=0.5, reset_mechanism="zero", threshold=0.5),
        snntorch.Leaky(beta=0.7, reset_mechanism="none", threshold=0.3),
    )


def snntorch_hidden() -> nn.Module:
    import snntorch

    resets = ("subtract", "zero", "subtract", "none")
    return Step(*(snntorch.Leaky(beta=0.8, init_hidden=True, reset_mechanism=reset, threshold=0.6) for reset in resets))


def norse_loop() -> nn.Module:
    from norse.torch.functional.iaf import IAFParameters
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.module.iaf import IAFCell
    from norse.torch.module.lif_box import LIFBoxCell

    parameters = LIFBoxParameters(v_th=torch.as_tensor(0.2), tau_mem_inv=torch.as_tensor(300.0))
    return Loop(LIFBoxCell(p=parameters), IAFCell(p=IAFParameters(v_th=torch.as_tensor(0.5))), LIFBoxCell(p=parameters))


NETWORKS = {
    "SpikingJelly activation_based, windows": (lambda: Window(*activation_based("m")), "TN"),
    "SpikingJelly activation_based, steps": (lambda: Step(*activation_based("s")), "step"),
    "SpikingJelly clock_driven, windows": (lambda: Window(*clock_driven("MultiStep")), "TN"),
    "SpikingJelly clock_driven, steps": (lambda: Step(*clock_driven("")), "step"),
    "snnTorch, loop": (snntorch_loop, "TN"),
    "snnTorch, hidden states": (snntorch_hidden, "step"),
    "norse, loop": (norse_loop, "TN"),
}


class Altered(Window):
    """A network that does something to its windows."""

    def __init__(self, alter) -> None:
        super().__init__(*activation_based("m"))
        self.alter = alter

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(self.alter(x))


class Returning(nn.Module):
    """A spiking layer whose output is arranged as a test wants it."""

    def __init__(self, arranged) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron

        self.fc, self.lif, self.arranged = nn.Linear(128, 6), neuron.IFNode(step_mode="m"), arranged

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.arranged(self.lif(self.fc(x.flatten(2))))
