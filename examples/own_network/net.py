"""A small spiking network in SpikingJelly, with multi-step layers."""

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn


class BarNet(nn.Module):
    """Frames [T, N, 2, 16, 16] -> firing rates [N, 4]."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            layer.Conv2d(2, 8, 3, padding=1, bias=False),
            layer.BatchNorm2d(8),
            self.lif(),
            layer.MaxPool2d(2),
            layer.Flatten(),
            layer.Linear(512, 32, bias=False),
            self.lif(),
            layer.Linear(32, 4, bias=False),
            self.lif(),
        )
        functional.set_step_mode(self, "m")

    def lif(self):
        return neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(), detach_reset=True)

    def forward(self, frames):
        return self.body(frames).mean(0)
