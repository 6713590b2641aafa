"""The architecture of dvs128, ncaltech101 and tet_ncaltech101 (``CextNet`` in ridgerchu/TCJA)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from tcja_exporters.modules.attention import attention
from tcja_exporters.modules.dialects import SPIKINGJELLY
from tcja_exporters.modules.layers import PerStep, Readout, Voting, WindowDropout
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.networks.base import Network, ShapeReader, named_or_numbered
from tcja_exporters.networks.shared.event_sizes import EventKeys, EventSizes, read_sizes
from tcja_runtime.data.contract import InputContract

LIF = SPIKINGJELLY.neuron
POOLINGS = 5
KEYS = EventKeys(
    first="conv.0.0.weight",
    second="conv.3.0.weight",
    attention=("conv.11", "conv.15"),
    flat="fc.2.0.weight",
    last="fc.5.0.weight",
)


class Head(NamedTuple):
    """The output layer of a CextNet: whether it fires, and how many of its units belong to a class."""

    fires: bool
    """Whether the output layer fires."""
    voters: int
    """The number of output units of each class; their mean is the output."""


class CextNet(nn.Module):
    """Event counts [N, T, 2, H, W] -> firing rates or logits [N, classes].

    The layers: five blocks of convolution, batch norm, neuron and max pooling, the last two with attention before the
    pooling; a fully connected spiking layer; an output layer, which fires if `head.fires`.
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


class CextNetwork(Network[EventSizes]):
    """The base class of the registry entries with this architecture; a subclass defines `published` and `head`."""

    dialect = SPIKINGJELLY
    published: ClassVar[EventSizes]
    """The sizes of the published network."""
    head: ClassVar[Head]
    """The output layer."""
    class_names: ClassVar[tuple[str, ...]] = ()
    """The class names of the data set in the order of the output; empty if they are not known."""

    def sizes(self, reader: ShapeReader) -> EventSizes:
        return read_sizes(reader, self.published, KEYS, shrink=2**POOLINGS, voters=self.head.voters)

    def build(self, sizes: EventSizes) -> nn.Module:
        return CextNet(sizes, self.head)

    def contract(self, sizes: EventSizes) -> InputContract:
        return InputContract.frames(sizes.time_steps, sizes.height, sizes.width)

    def classes(self, sizes: EventSizes) -> tuple[str, ...]:
        return named_or_numbered(self.class_names, sizes.classes)
