"""A TCJA-SNN for static images.

The paper reports Fashion-MNIST, but its network was not published. This one is the layout that the authors' group
published around it: the ``conv_fashion_mnist`` example of SpikingJelly with LIF neurons and an attention block, as in
RisingEntropy/PFA ``FMNIST/run.py``, the block being TCJA behind the second spiking layer.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from tcja_exporters.attention import TCJA
from tcja_exporters.dialects import SPIKINGJELLY
from tcja_exporters.layers import PerStep, WindowDropout
from tcja_exporters.networks.network import Network, ShapeReader, named_or_numbered
from tcja_exporters.neurons import SpikingNeuron
from tcja_runtime.frames import InputContract

LIF = SPIKINGJELLY.neuron
ATTENTION = "conv.3"
CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


class Sizes(NamedTuple):
    """What a checkpoint's shapes decide; the defaults are the full-width network's."""

    time_steps: int = 8
    inputs: int = 1
    channels: int = 128
    side: int = 28
    hidden: int = 2048
    classes: int = 10
    kernels: tuple[int, int] = (4, 4)
    """(k_t, k_c) of the attention block."""


class FashionMnistNet(nn.Module):
    """Images [N, inputs, side, side] -> firing rates [N, classes].

    The first convolution and its batch norm encode the image once; what they return is the current of the first
    spiking layer at each of the T steps.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        c = sizes.channels
        self.time_steps = sizes.time_steps
        self.static_conv = nn.Sequential(
            nn.Conv2d(sizes.inputs, c, 3, padding=1, bias=False),
            nn.BatchNorm2d(c),
        )
        self.conv = nn.Sequential(
            SpikingNeuron(LIF),
            PerStep(nn.MaxPool2d(2, 2), nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)),
            SpikingNeuron(LIF),
            TCJA(*sizes.kernels, sizes.time_steps, c),
            PerStep(nn.MaxPool2d(2, 2), nn.Flatten()),
        )
        self.fc = nn.Sequential(
            WindowDropout(0.5),
            PerStep(nn.Linear(c * (sizes.side // 4) ** 2, sizes.hidden, bias=False)),
            SpikingNeuron(LIF),
            WindowDropout(0.5),
            PerStep(nn.Linear(sizes.hidden, sizes.classes, bias=False)),
            SpikingNeuron(LIF),
        )

    def forward(self, images: Tensor) -> Tensor:
        current = self.static_conv(images)
        current = current.unsqueeze(0).expand(self.time_steps, -1, -1, -1, -1)
        spikes: Tensor = self.fc(self.conv(current))
        return spikes.mean(0)


class FashionMnist(Network[Sizes]):
    """Registry entry."""

    name = "fashion_mnist"
    summary = "static images: one encoding convolution, two spiking convolutions, TCJA, firing rates"
    dialect = SPIKINGJELLY
    output = "rates"

    def sizes(self, reader: ShapeReader) -> Sizes:
        full = Sizes()
        channels = reader.size("channels", ("static_conv.0.weight", 0), ("conv.1.1.weight", 0), default=full.channels)
        return Sizes(
            time_steps=reader.time_steps([ATTENTION], full.time_steps),
            inputs=reader.size("image channels", ("static_conv.0.weight", 1), default=full.inputs),
            channels=channels,
            side=4 * reader.side("fc.1.0.weight", channels, full.side // 4),
            hidden=reader.size("hidden units", ("fc.1.0.weight", 0), ("fc.4.0.weight", 1), default=full.hidden),
            classes=reader.size("classes", ("fc.4.0.weight", 0), default=full.classes),
            kernels=reader.kernels(ATTENTION, full.kernels),
        )

    def build(self, sizes: Sizes) -> FashionMnistNet:
        return FashionMnistNet(sizes)

    def contract(self, sizes: Sizes) -> InputContract:
        return InputContract.images(sizes.inputs, sizes.side, sizes.side)

    def classes(self, sizes: Sizes) -> tuple[str, ...]:
        return named_or_numbered(CLASSES, sizes.classes)
