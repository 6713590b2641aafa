"""The networks of `zoo` that step through time in their forward: of snnTorch's tutorials, and of norse's README.

snnTorch ships no networks. Those of its tutorials 5, 6 and 7 are written anew from what the tutorials say: the layers,
their sizes, the constants of the neurons and the loop over time.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn


def module(name: str, unused: Sequence[str] = ()) -> Any:
    """Import a module of a library.

    Args:
        name: the name of the module.
        unused: modules that it imports and that are left out.
    """
    if name not in sys.modules:
        absent = [each for each in unused if each not in sys.modules]
        sys.modules.update({each: mock.MagicMock() for each in absent})
        try:
            importlib.import_module(name)
        finally:
            for each in absent:
                del sys.modules[each]
    return sys.modules[name]


class Leaky5(nn.Module):
    """snnTorch's tutorial 5: two fully connected layers of Leaky, in a loop over 25 steps."""

    def __init__(self) -> None:
        super().__init__()
        snn = module("snntorch")
        self.fc1, self.lif1 = nn.Linear(28 * 28, 1000), snn.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(1000, 10), snn.Leaky(beta=0.95)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, membranes = [], []
        x = x.flatten(1)
        for _ in range(25):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            membranes.append(mem2)
        return torch.stack(spikes, dim=0), torch.stack(membranes, dim=0)


class Convolutional6(nn.Module):
    """snnTorch's tutorial 6: 12C5-MP2-64C5-MP2-1024FC10 of Leaky, whose pooling comes before the neurons."""

    def __init__(self) -> None:
        super().__init__()
        snn = module("snntorch")
        self.conv1, self.lif1 = nn.Conv2d(1, 12, 5), snn.Leaky(beta=0.5)
        self.conv2, self.lif2 = nn.Conv2d(12, 64, 5), snn.Leaky(beta=0.5)
        self.fc1, self.lif3 = nn.Linear(64 * 4 * 4, 10), snn.Leaky(beta=0.5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, mem3 = self.lif1.init_leaky(), self.lif2.init_leaky(), self.lif3.init_leaky()
        spikes, membranes = [], []
        for _ in range(50):
            spk1, mem1 = self.lif1(nn.functional.max_pool2d(self.conv1(x), 2), mem1)
            spk2, mem2 = self.lif2(nn.functional.max_pool2d(self.conv2(spk1), 2), mem2)
            spk3, mem3 = self.lif3(self.fc1(spk2.flatten(1)), mem3)
            spikes.append(spk3)
            membranes.append(mem3)
        return torch.stack(spikes), torch.stack(membranes)


class Sequential7(nn.Module):
    """snnTorch's tutorial 7, for N-MNIST: one Sequential with hidden states, called once for each frame."""

    def __init__(self, *, learn: bool = False) -> None:
        super().__init__()
        snn, utils = module("snntorch"), module("snntorch.utils")
        kind: dict[str, Any] = {"beta": 0.5, "init_hidden": True}
        if learn:
            kind |= {"learn_beta": True, "learn_threshold": True}
        self.reset = utils.reset
        self.net = nn.Sequential(
            *(nn.Conv2d(2, 12, 5), nn.MaxPool2d(2), snn.Leaky(**kind)),
            *(nn.Conv2d(12, 32, 5), nn.MaxPool2d(2), snn.Leaky(**kind)),
            *(nn.Flatten(), nn.Linear(32 * 5 * 5, 10), snn.Leaky(**kind, output=True)),
        )

    def forward(self, frames: Tensor) -> Tensor:
        self.reset(self.net)
        return torch.stack([self.net(frame)[0] for frame in frames])


class Synaptic2(nn.Module):
    """Two layers of snnTorch's Synaptic, the neuron of its tutorial 4, in the loop of tutorial 5."""

    def __init__(self) -> None:
        super().__init__()
        snn = module("snntorch")
        self.fc1, self.lif1 = nn.Linear(28 * 28, 100), snn.Synaptic(alpha=0.9, beta=0.8)
        self.fc2, self.lif2 = nn.Linear(100, 10), snn.Synaptic(alpha=0.9, beta=0.8)

    def forward(self, x: Tensor) -> Tensor:
        (syn1, mem1), (syn2, mem2) = self.lif1.init_synaptic(), self.lif2.init_synaptic()
        spikes = []
        for _ in range(25):
            spk1, syn1, mem1 = self.lif1(self.fc1(x.flatten(1)), syn1, mem1)
            spk2, syn2, mem2 = self.lif2(self.fc2(spk1), syn2, mem2)
            spikes.append(spk2)
        return torch.stack(spikes)


class Membrane(nn.Module):
    """The network of tutorial 5 with the read-out of snnTorch's regression tutorial: a membrane that is never reset."""

    def __init__(self) -> None:
        super().__init__()
        snn = module("snntorch")
        self.fc1, self.lif1 = nn.Linear(28 * 28, 100), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(100, 10), snn.Leaky(beta=0.9, reset_mechanism="none")

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        membranes = []
        for _ in range(25):
            spk1, mem1 = self.lif1(self.fc1(x.flatten(1)), mem1)
            _, mem2 = self.lif2(self.fc2(spk1), mem2)
            membranes.append(mem2)
        return torch.stack(membranes)


class NorseSequential(nn.Module):
    """The network of norse's README: a SequentialState of LIF cells with a leaky integrator, in a loop over time."""

    def __init__(self) -> None:
        super().__init__()
        norse = module("norse.torch")
        self.net = norse.SequentialState(
            *(nn.Conv2d(1, 20, 5, 1), norse.LIFCell(), nn.MaxPool2d(2, 2)),
            *(nn.Conv2d(20, 50, 5, 1), norse.LIFCell(), nn.MaxPool2d(2, 2), nn.Flatten()),
            *(nn.Linear(800, 10), norse.LICell()),
        )

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = None, []
        for _ in range(16):
            out, state = self.net(x, state)
            outputs.append(out)
        return torch.stack(outputs).amax(0)
