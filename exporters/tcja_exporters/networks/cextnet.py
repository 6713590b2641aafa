"""The architecture of dvs128, ncaltech101 and tet_ncaltech101 (``CextNet`` in ridgerchu/TCJA)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from tcja_exporters.attention import attention
from tcja_exporters.dialects import SPIKINGJELLY
from tcja_exporters.layers import PerStep, Readout, Voting, WindowDropout
from tcja_exporters.networks.event import EventSizes, read_sizes
from tcja_exporters.networks.network import ShapeReader
from tcja_exporters.neurons import SpikingNeuron

LIF = SPIKINGJELLY.neuron
POOLINGS = 5


class Head(NamedTuple):
    """How a CextNet answers."""

    fires: bool
    """Whether the output layer has neurons."""
    voters: int
    """Output units a class, whose mean is the answer."""


class CextNet(nn.Module):
    """Event counts [N, T, 2, H, W] -> firing rates or logits [N, classes].

    Five times convolution, batch norm, neuron and max pooling, with attention before the last two poolings; a fully
    connected spiking layer; an output layer, spiking or not.
    """

    def __init__(self, sizes: EventSizes, head: Head) -> None:
        super().__init__()
        kind, combine, time_steps, kernels = sizes.attention
        conv: list[nn.Module] = []
        inputs = 2
        for i, width in enumerate(sizes.widths):
            conv += [
                PerStep(nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)),
                SpikingNeuron(LIF),
            ]
            if i >= POOLINGS - 2:
                conv += attention(kind, kernels[i - POOLINGS + 2], time_steps, width, combine=combine)
            conv.append(PerStep(nn.MaxPool2d(2, 2)))
            inputs = width
        shrink = 2**POOLINGS
        features = sizes.widths[-1] * (sizes.height // shrink) * (sizes.width // shrink)
        self.conv = nn.Sequential(*conv)
        self.fc = nn.Sequential(
            nn.Flatten(2),
            WindowDropout(0.5),
            PerStep(nn.Linear(features, sizes.hidden, bias=False)),
            SpikingNeuron(LIF),
            WindowDropout(0.5),
            PerStep(nn.Linear(sizes.hidden, sizes.classes * head.voters, bias=False)),
        )
        if head.fires:
            self.fc.append(SpikingNeuron(LIF))
        self.readout = Readout(Voting(head.voters) if head.voters > 1 else None)

    def forward(self, frames: Tensor) -> Tensor:
        answer: Tensor = self.readout(self.fc(self.conv(frames.transpose(0, 1))))
        return answer


def cextnet_sizes(reader: ShapeReader, published: EventSizes, head: Head) -> EventSizes:
    """Sizes from a checkpoint's shapes. Without attention, the layers behind it have lower numbers."""
    return read_sizes(
        reader,
        published,
        first="conv.0.0.weight",
        second="conv.3.0.weight",
        attention=("conv.11", "conv.15"),
        flat="fc.2.0.weight",
        last="fc.5.0.weight",
        voters=head.voters,
        shrink=2**POOLINGS,
    )
