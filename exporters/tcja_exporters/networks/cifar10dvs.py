"""The published CIFAR10-DVS network (ridgerchu/TCJA, ``src/cifar10dvs.py``)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tcja_exporters.modules.attention import attention
from tcja_exporters.modules.dialects import SPIKINGJELLY
from tcja_exporters.modules.layers import PerStep, Readout
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.networks.base import Attention, Network, ShapeReader, named_or_numbered
from tcja_exporters.networks.shared.event_sizes import EventKeys, EventSizes, read_sizes
from tcja_runtime.data.contract import InputContract

LIF = SPIKINGJELLY.neuron
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SENSOR = 128
"""The height and width of the frames in pixels. The network first averages them to `height` x `width`."""
BLOCKS = 4
"""The number of blocks, each of two convolutions and a pooling. The last two blocks have attention."""
PUBLISHED = EventSizes(
    attention=Attention("tcja", "product", 10, ((4, 4), (4, 4))),
    widths=(64, 128, 256, 256, 512, 512, 512, 512),
    height=48,
    width=48,
    hidden=0,
    classes=10,
)
KEYS = EventKeys(
    first="conv.1.0.weight",
    second="conv.3.0.weight",
    attention=("conv.15", "conv.21"),
    flat="fc.1.0.weight",
    last="fc.1.0.weight",
)


class AdaptiveAverage(nn.Module):
    """torch's AdaptiveAvgPool2d as matrix products: y[i, j] = (M x M^T)[i, j] / n_i / n_j.

    Shapes: [..., before, before] -> [..., after, after].

    Row i of M has n_i ones, at floor(i before / after) .. ceil((i + 1) before / after) - 1. `before` is not a
    multiple of `after`, so the pooling windows overlap and differ in length, and ONNX has no operator for them. Sums of
    event counts are exact.
    """

    rows: Tensor
    lengths: Tensor

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        rows = torch.zeros(after, before)
        for i in range(after):
            rows[i, i * before // after : -(-(i + 1) * before // after)] = 1
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("lengths", rows.sum(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows @ x @ self.rows.T / self.lengths[:, None] / self.lengths


class Cifar10DvsNet(nn.Module):
    """Event counts [N, T, 2, 128, 128] -> logits [N, classes].

    The layers: adaptive average pooling; four blocks of two spiking convolutions and average pooling, the last two with
    attention before the pooling; one fully connected layer that does not fire.
    """

    def __init__(self, sizes: EventSizes) -> None:
        super().__init__()
        kind, combine, time_steps, kernels = sizes.attention
        conv: list[nn.Module] = [AdaptiveAverage(SENSOR, sizes.height)]
        inputs = 2
        for block in range(BLOCKS):
            for width in sizes.widths[2 * block : 2 * block + 2]:
                conv += [
                    PerStep(nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width)),
                    SpikingNeuron(LIF),
                ]
                inputs = width
            if block >= BLOCKS - 2:
                conv += attention(kind, kernels[block - BLOCKS + 2], time_steps, inputs, combine=combine)
            conv.append(PerStep(nn.AvgPool2d(2)))
        shrink = 2**BLOCKS
        features = inputs * (sizes.height // shrink) * (sizes.width // shrink)
        self.conv = nn.Sequential(*conv)
        self.fc = nn.Sequential(nn.Flatten(2), PerStep(nn.Linear(features, sizes.classes)))
        self.readout = Readout()

    def forward(self, frames: Tensor) -> Tensor:
        answer: Tensor = self.readout(self.fc(self.conv(frames.transpose(0, 1))))
        return answer


class Cifar10Dvs(Network[EventSizes]):
    """The registry entry. The network takes whole frames of the sensor, 128x128, and contains the pooling to 48x48."""

    name = "cifar10dvs"
    summary = "CIFAR10-DVS: adaptive pooling to 48x48, eight spiking convolutions, TCJA twice, logits"
    dialect = SPIKINGJELLY
    output = "logits"

    def sizes(self, reader: ShapeReader) -> EventSizes:
        return read_sizes(reader, PUBLISHED, KEYS, shrink=2**BLOCKS)

    def build(self, sizes: EventSizes) -> nn.Module:
        return Cifar10DvsNet(sizes)

    def contract(self, sizes: EventSizes) -> InputContract:
        return InputContract.frames(sizes.time_steps, SENSOR, SENSOR)

    def classes(self, sizes: EventSizes) -> tuple[str, ...]:
        return named_or_numbered(CLASSES, sizes.classes)


NETWORK = Cifar10Dvs()
