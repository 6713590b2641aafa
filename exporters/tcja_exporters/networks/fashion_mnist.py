"""A TCJA-SNN for static images.

The TCJA paper reports results on Fashion-MNIST, but its network was not published. This network follows code that the
authors' group published for the same task: the ``conv_fashion_mnist`` example of SpikingJelly with LIF neurons and an
attention block, as in RisingEntropy/PFA ``FMNIST/run.py``. Here the block is TCJA, after the second spiking layer.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from tcja_exporters.modules.attention import attention
from tcja_exporters.modules.dialects import SPIKINGJELLY
from tcja_exporters.modules.layers import PerStep, Readout, WindowDropout
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.networks.base import Attention, Network, ShapeReader, named_or_numbered
from tcja_runtime.data.contract import InputContract

LIF = SPIKINGJELLY.neuron
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
    """The sizes of the network. The defaults are those of the full network; a checkpoint may have others.

    Attributes:
        attention: the attention block.
        inputs: the channels of an image; 1 for grey values.
        channels: the output channels of each convolution.
        side: the height and width of an image, in pixels.
        hidden: the units of the hidden fully connected layer.
        classes: the number of classes.
    """

    attention: Attention = Attention("tcja", "product", 8, ((4, 4),))
    inputs: int = 1
    channels: int = 128
    side: int = 28
    hidden: int = 2048
    classes: int = 10

    @property
    def time_steps(self) -> int:
        """The number of time steps, T."""
        return self.attention.time_steps


class FashionMnistNet(nn.Module):
    """Images [N, inputs, side, side] -> firing rates [N, classes].

    The first convolution and its batch norm encode the image once. Their result is the current of the first spiking
    layer at each of the T time steps.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        c = sizes.channels
        kind, combine, time_steps, (kernels,) = sizes.attention
        self.time_steps = time_steps
        self.static_conv = nn.Sequential(
            nn.Conv2d(sizes.inputs, c, 3, padding=1, bias=False),
            nn.BatchNorm2d(c),
        )
        self.conv = nn.Sequential(
            SpikingNeuron(LIF),
            PerStep(nn.MaxPool2d(2, 2), nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)),
            SpikingNeuron(LIF),
            *attention(kind, kernels, time_steps, c, combine=combine),
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
        self.readout = Readout()

    def forward(self, images: Tensor) -> Tensor:
        current = self.static_conv(images)
        current = current.unsqueeze(0).expand(self.time_steps, -1, -1, -1, -1)
        rates: Tensor = self.readout(self.fc(self.conv(current)))
        return rates


class FashionMnist(Network[Sizes]):
    """The registry entry. The network encodes an image once; the result is the current at every time step."""

    name = "fashion_mnist"
    summary = "static images: one encoding convolution, two spiking convolutions, TCJA, firing rates"
    dialect = SPIKINGJELLY
    output = "rates"

    def sizes(self, reader: ShapeReader) -> Sizes:
        full = Sizes()
        channels = reader.size("channels", ("static_conv.0.weight", 0), ("conv.1.1.weight", 0), default=full.channels)
        return Sizes(
            attention=reader.attention(["conv.3"], full.attention),
            inputs=reader.size("image channels", ("static_conv.0.weight", 1), default=full.inputs),
            channels=channels,
            side=4 * reader.map_side("fc.1.0.weight", channels, (full.side // 4, full.side // 4))[0],
            hidden=reader.size("hidden units", ("fc.1.0.weight", 0), ("fc.4.0.weight", 1), default=full.hidden),
            classes=reader.size("classes", ("fc.4.0.weight", 0), default=full.classes),
        )

    def build(self, sizes: Sizes) -> FashionMnistNet:
        return FashionMnistNet(sizes)

    def contract(self, sizes: Sizes) -> InputContract:
        return InputContract.images(sizes.inputs, sizes.side, sizes.side)

    def classes(self, sizes: Sizes) -> tuple[str, ...]:
        return named_or_numbered(CLASSES, sizes.classes)


NETWORK = FashionMnist()
