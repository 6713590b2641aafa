"""The published DVS128-Gesture network (ridgerchu/TCJA, ``src/dvs128.py``)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from tcja_exporters.attention import TCJA
from tcja_exporters.dialects import SPIKINGJELLY
from tcja_exporters.layers import PerStep, Voting, WindowDropout
from tcja_exporters.networks.network import Network, ShapeReader, named_or_numbered
from tcja_exporters.neurons import SpikingNeuron
from tcja_runtime.frames import InputContract

LIF = SPIKINGJELLY.neuron
VOTERS = 10
ATTENTION = ("conv.11", "conv.15")

# The training reads its classes from folders named 0..10, which sort as text: 0, 1, 10, 2, ...
CLASSES = (
    "hand clapping",
    "right hand wave",
    "other gestures",
    "left hand wave",
    "right arm clockwise",
    "right arm counter-clockwise",
    "left arm clockwise",
    "left arm counter-clockwise",
    "arm roll",
    "air drums",
    "air guitar",
)


class Sizes(NamedTuple):
    """What a checkpoint's shapes decide; the defaults are the published network's."""

    time_steps: int = 20
    channels: int = 128
    side: int = 128
    hidden: int = 512
    classes: int = 11
    kernels: tuple[tuple[int, int], tuple[int, int]] = ((4, 4), (4, 4))
    """(k_t, k_c) of each attention block."""


class Dvs128Net(nn.Module):
    """Event counts [N, T, 2, side, side] -> firing rates [N, classes].

    Five times convolution, batch norm, neuron and max pooling, with attention before the last two poolings; two
    fully connected spiking layers; the mean over T of ten units a class.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        c = sizes.channels

        def spiking(inputs: int) -> list[nn.Module]:
            return [
                PerStep(nn.Conv2d(inputs, c, 3, padding=1, bias=False), nn.BatchNorm2d(c)),
                SpikingNeuron(LIF),
            ]

        def pool() -> nn.Module:
            return PerStep(nn.MaxPool2d(2, 2))

        conv = [*spiking(2), pool(), *spiking(c), pool(), *spiking(c), pool()]
        for k_t, k_c in sizes.kernels:
            conv += [*spiking(c), TCJA(k_t, k_c, sizes.time_steps, c), pool()]
        self.conv = nn.Sequential(*conv)
        self.fc = nn.Sequential(
            nn.Flatten(2),
            WindowDropout(0.5),
            PerStep(nn.Linear(c * (sizes.side // 32) ** 2, sizes.hidden, bias=False)),
            SpikingNeuron(LIF),
            WindowDropout(0.5),
            PerStep(nn.Linear(sizes.hidden, sizes.classes * VOTERS, bias=False)),
            SpikingNeuron(LIF),
        )
        self.vote = Voting(VOTERS)

    def forward(self, frames: Tensor) -> Tensor:
        spikes: Tensor = self.fc(self.conv(frames.transpose(0, 1)))
        rates: Tensor = self.vote(spikes.mean(0))
        return rates


class Dvs128(Network[Sizes]):
    """Registry entry."""

    name = "dvs128"
    summary = "DVS128-Gesture: five spiking convolutions, TCJA twice, voting over firing rates"
    dialect = SPIKINGJELLY
    output = "rates"

    def sizes(self, reader: ShapeReader) -> Sizes:
        published = Sizes()
        channels = reader.size("channels", ("conv.0.0.weight", 0), ("conv.3.0.weight", 0), default=published.channels)
        return Sizes(
            time_steps=reader.time_steps(ATTENTION, published.time_steps),
            channels=channels,
            side=32 * reader.side("fc.2.0.weight", channels, published.side // 32),
            hidden=reader.size("hidden units", ("fc.2.0.weight", 0), ("fc.5.0.weight", 1), default=published.hidden),
            classes=reader.voted_classes("fc.5.0.weight", VOTERS, published.classes),
            kernels=(
                reader.kernels(ATTENTION[0], published.kernels[0]),
                reader.kernels(ATTENTION[1], published.kernels[1]),
            ),
        )

    def build(self, sizes: Sizes) -> Dvs128Net:
        return Dvs128Net(sizes)

    def contract(self, sizes: Sizes) -> InputContract:
        return InputContract.frames(sizes.time_steps, sizes.side, sizes.side)

    def classes(self, sizes: Sizes) -> tuple[str, ...]:
        return named_or_numbered(CLASSES, sizes.classes)
