"""The published CIFAR10-DVS network of TET's code (ridgerchu/TCJA, ``src/tet/models/VGG_models.py``: VGGSNN_TCJA).

Without attention it is VGGSNN of the same file. If it also has convolutions of stride 2 in place of the poolings, it is
VGGSNNwoAP.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from tcja_exporters.modules.attention import ATTENTIONS
from tcja_exporters.modules.dialects import TET
from tcja_exporters.modules.layers import Readout, TetPerStep
from tcja_exporters.networks.base import Attention, Network, ShapeReader, named_or_numbered
from tcja_exporters.networks.cifar10dvs import BLOCKS, CLASSES, SENSOR
from tcja_exporters.networks.shared.event_sizes import EventKeys, EventSizes, read_sizes
from tcja_exporters.networks.shared.vggsnn import SpikingConv, tet_attention
from tcja_runtime.data.contract import InputContract

POOLINGS = ("average", "stride")
"""The ways to halve a map: average pooling, or a stride of 2 in the convolution before."""
PUBLISHED = EventSizes(
    attention=Attention("tcja", "product", 10, ((2, 2),)),
    widths=(64, 128, 256, 256, 512, 512, 512, 512),
    height=48,
    width=48,
    hidden=0,
    classes=10,
)
KEYS = EventKeys(
    first="features.0.fwd.module.0.weight",
    second="features.1.fwd.module.0.weight",
    attention=("features.2",),
    attention_conv="conv.0",
    flat="classifier.module.weight",
    last="classifier.module.weight",
)


class Sizes(NamedTuple):
    """The sizes of the network."""

    event: EventSizes = PUBLISHED
    """The sizes of the layers and of the frames."""
    pooling: str = POOLINGS[0]
    """The way to halve a map, one of POOLINGS."""

    @property
    def time_steps(self) -> int:
        """The number of time steps, T."""
        return self.event.time_steps


class TetCifar10DvsNet(nn.Module):
    """Event counts [N, T, 2, 48, 48] -> logits [N, classes].

    The layers: four blocks of two spiking convolutions and average pooling, the first with attention before the
    pooling; one fully connected layer that does not fire.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        event, pooled = sizes.event, sizes.pooling == "average"
        features: list[nn.Module] = []
        inputs = 2
        for block in range(BLOCKS):
            first, second = event.widths[2 * block : 2 * block + 2]
            features += [SpikingConv(inputs, first), SpikingConv(first, second, stride=1 if pooled else 2)]
            if block == 0:
                features += tet_attention(event.attention, 0, second)
            if pooled:
                features.append(TetPerStep(nn.AvgPool2d(2)))
            inputs = second
        shrink = 2**BLOCKS
        units = inputs * (event.height // shrink) * (event.width // shrink)
        self.features = nn.Sequential(*features)
        self.classifier = TetPerStep(nn.Linear(units, event.classes))
        self.readout = Readout()

    def forward(self, frames: Tensor) -> Tensor:
        answer: Tensor = self.readout(self.classifier(self.features(frames.transpose(0, 1)).flatten(2)))
        return answer


class TetCifar10Dvs(Network[Sizes]):
    """The registry entry. The network takes frames resized from 128x128 to 48x48 (``src/data_loaders.py``).

    The training code resizes 8-bit images. The code that made these images from event counts is not published, so
    frames that are made from recordings may differ from the training data, even in scale.
    """

    name = "tet_cifar10dvs"
    summary = "CIFAR10-DVS at 48x48, TET's neuron: eight spiking convolutions, TCJA before the first pooling, logits"
    dialect = TET
    output = "logits"
    variants: ClassVar = {"attention": ATTENTIONS, "pooling": POOLINGS}

    def sizes(self, reader: ShapeReader) -> Sizes:
        event = read_sizes(reader, PUBLISHED, KEYS, shrink=2**BLOCKS)
        return Sizes(event, reader.choice("pooling", POOLINGS))

    def build(self, sizes: Sizes) -> nn.Module:
        return TetCifar10DvsNet(sizes)

    def contract(self, sizes: Sizes) -> InputContract:
        event = sizes.event
        published = (event.height, event.width) == (PUBLISHED.height, PUBLISHED.width)
        sensor = (SENSOR, SENSOR) if published else None
        return InputContract.frames(sizes.time_steps, event.height, event.width, sensor=sensor)

    def classes(self, sizes: Sizes) -> tuple[str, ...]:
        return named_or_numbered(CLASSES, sizes.event.classes)


NETWORK = TetCifar10Dvs()
