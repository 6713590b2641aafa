"""The published N-Caltech101 network of TET's code (ridgerchu/TCJA, ``VGG_models.py``: VGGSNN_TCJA_NCAL)."""

from __future__ import annotations

from torch import Tensor, nn

from tcja_exporters.modules.dialects import TET
from tcja_exporters.modules.layers import Readout, TetPerStep, WindowDropout
from tcja_exporters.networks.base import Attention, Network, ShapeReader, named_or_numbered
from tcja_exporters.networks.shared.event_sizes import EventKeys, EventSizes, read_sizes
from tcja_exporters.networks.shared.vggsnn import SpikingConv, lif, tet_attention
from tcja_runtime.data.contract import InputContract

POOLINGS = 5
PUBLISHED = EventSizes(
    attention=Attention("tcja", "product", 14, ((4, 4), (4, 4))),
    widths=(64, 128, 256, 256, 512),
    height=180,
    width=240,
    hidden=1024,
    classes=101,
)
KEYS = EventKeys(
    first="features.0.fwd.module.0.weight",
    second="features.2.fwd.module.0.weight",
    attention=("features.7", "features.10"),
    attention_conv="conv.0",
    flat="classifier_1.0.module.1.weight",
    last="classifier_2.1.module.weight",
)


class TetNCaltech101VggNet(nn.Module):
    """Event counts [N, T, 2, H, W] -> logits [N, classes].

    The layers: five blocks of spiking convolution and max pooling, the last two with attention before the pooling; a
    fully connected spiking layer; an output layer that does not fire.
    """

    def __init__(self, sizes: EventSizes) -> None:
        super().__init__()
        features: list[nn.Module] = []
        inputs = 2
        for i, width in enumerate(sizes.widths):
            features.append(SpikingConv(inputs, width))
            if i >= POOLINGS - 2:
                features += tet_attention(sizes.attention, i - POOLINGS + 2, width)
            features.append(TetPerStep(nn.MaxPool2d(2)))
            inputs = width
        shrink = 2**POOLINGS
        units = inputs * (sizes.height // shrink) * (sizes.width // shrink)
        dropout = WindowDropout(0.5)
        self.features = nn.Sequential(*features)
        # The published container also holds the dropout, so the key of the linear layer ends in 1.
        self.classifier_1 = nn.Sequential(TetPerStep(nn.Dropout(0.5), nn.Linear(units, sizes.hidden)))
        self.act = lif()
        self.classifier_2 = nn.Sequential(dropout, TetPerStep(nn.Linear(sizes.hidden, sizes.classes)))
        self.readout = Readout()

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.act(self.classifier_1(self.features(frames.transpose(0, 1)).flatten(2)))
        answer: Tensor = self.readout(self.classifier_2(hidden))
        return answer


class TetNCaltech101Vgg(Network[EventSizes]):
    """The registry entry: all neurons are TET's."""

    name = "tet_ncaltech101_vgg"
    summary = "N-Caltech101, TET's neuron: five spiking convolutions, TCJA twice, logits"
    dialect = TET
    output = "logits"

    def sizes(self, reader: ShapeReader) -> EventSizes:
        return read_sizes(reader, PUBLISHED, KEYS, shrink=2**POOLINGS)

    def build(self, sizes: EventSizes) -> nn.Module:
        return TetNCaltech101VggNet(sizes)

    def contract(self, sizes: EventSizes) -> InputContract:
        return InputContract.frames(sizes.time_steps, sizes.height, sizes.width)

    def classes(self, sizes: EventSizes) -> tuple[str, ...]:
        return named_or_numbered((), sizes.classes)


NETWORK = TetNCaltech101Vgg()
