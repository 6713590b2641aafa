"""MS-ResNet for CIFAR-10 and CIFAR-100 with an attention block in every residual block.

A residual block maps real values x to real values y. It adds x after the last BN (its "membrane shortcut"):

    y = BN(conv(spike(BN(conv(spike(x)))))) + shortcut(x)        shortcut: nothing, or 1x1 convolution and BN

    attention    start     the spikes of the first neuron, which the first convolution takes
    acts on      middle    the spikes of the second neuron, which the second convolution takes
                 end       the result of the second BN, before the shortcut is added

The TCJA paper reports results on CIFAR-10 and CIFAR-100 with MS-ResNet, but its network was not published. So the
position of attention in the block and the neuron's constants are settings. The kernel sizes are read from the
checkpoint.

GAC's data loader standardises each colour channel of the images (``CODE/CIFAR/data_loaders.py``); the network does not.
So images must be standardised in the same way before the network gets them.

Sources: Hu et al., "Advancing Spiking Neural Networks towards Deep Residual Learning", IEEE TNNLS (2024),
arXiv:2112.08954, and Ariande1/MS-ResNet, for the block and the neuron; msresnet18 of bollossom/GAC
(``CODE/CIFAR/models/MS_ResNet.py``, with ``using_GAC=False``) for the layout and the keys.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from tcja_exporters.modules.attention import COMBINATIONS, Kernels, attention
from tcja_exporters.modules.dialects import MS_RESNET, TET, Dialect
from tcja_exporters.modules.layers import Readout
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.networks.base import Attention, Network, ShapeReader, named_or_numbered
from tcja_exporters.networks.cifar10dvs import CLASSES
from tcja_runtime.data.contract import InputContract

SIDE = 32
"""The height and width of the images in pixels. (The network would also run on other sizes.)"""
BLOCKS = (3, 3, 2)
"""The number of blocks in each stage; the keys of the stages are ``layer1``, ``layer2`` and ``layer3``."""
GATES = tuple(f"layer{stage}.{block}.tcja" for stage, blocks in enumerate(BLOCKS, 1) for block in range(blocks))
"""The prefixes of the keys of the attention blocks, one for each residual block."""
POSITIONS = ("end", "middle", "start")
"""The positions of attention in a residual block (the module's docstring)."""
NEURONS = {dialect.name: dialect for dialect in (MS_RESNET, TET)}
"""The dialects by name: MS-ResNet's own neuron, which is the default, and the neuron that GAC's code uses."""

_COPIES = (
    (re.compile(r"\bseqbn\.module\."), "bn."),
    (re.compile(r"\bconv(\d)_s\.bn\."), r"bn\1."),
    (re.compile(r"\b(conv\d|fc\d)_s\.layer\.module\."), r"\1."),
)
"""Pairs (pattern, replacement) that turn the key of a copied tensor into its canonical key; applied in this order."""


class Sizes(NamedTuple):
    """The sizes and settings of the network; the defaults are those of the published layout."""

    attention: Attention = Attention("tcja", "product", 6, ((4, 4),) * len(GATES))
    """The attention blocks, one in each residual block."""
    width: int = 64
    """The output channels of the first convolution; those of the stages are this number times 2, 4 and 8."""
    inputs: int = 3
    """The number of channels of the images."""
    classes: int = 10
    """The number of classes."""
    neuron: str = MS_RESNET.name
    """The neuron's dialect, one of NEURONS."""
    position: str = POSITIONS[0]
    """The position of attention in a residual block, one of POSITIONS."""

    @property
    def time_steps(self) -> int:
        """The number of time steps, T."""
        return self.attention.time_steps


class Block(nn.Module):
    """A residual block: [T, N, inputs, H, W] -> [T, N, outputs, H / stride, W / stride]."""

    def __init__(self, sizes: Sizes, kernels: Kernels, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        kind, combine, time_steps, _ = sizes.attention
        self.position = sizes.position
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = _norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = _norm(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = _named(layer=_named(module=conv), bn=_norm(outputs))
        channels = inputs if sizes.position == "start" else outputs
        gates = attention(kind, kernels, time_steps, channels, combine=combine)
        self.tcja = gates[0] if gates else nn.Identity()
        # The published block calls one neuron module twice. The module keeps no state, so two modules compute the same.
        self.spike1 = _neuron(sizes)
        self.spike2 = _neuron(sizes)

    def forward(self, x: Tensor) -> Tensor:
        y = self._attend("start", self.spike1(x))
        y = self._attend("middle", self.spike2(_per_step(y, self.conv1, self.bn1)))
        y = self._attend("end", _per_step(y, self.conv2, self.bn2))
        return y + (x if self.downsample is None else _per_step(x, self.downsample))

    def _attend(self, position: str, y: Tensor) -> Tensor:
        attended: Tensor = self.tcja(y) if position == self.position else y
        return attended


class MsResNet(nn.Module):
    """Images [N, inputs, 32, 32] -> logits [N, classes].

    The first convolution and its batch norm encode the image once, without firing. Their result is the input of the
    first residual block at each of the T time steps. Three stages of residual blocks follow; the second and the third
    stage halve the map. Then come a neuron, the mean over the map, and one fully connected layer.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.time_steps = sizes.time_steps
        self.conv1 = nn.Conv2d(sizes.inputs, sizes.width, 3, padding=1, bias=False)
        self.bn1 = _norm(sizes.width)
        self.layer1 = _stage(sizes, 0)
        self.layer2 = _stage(sizes, 1)
        self.layer3 = _stage(sizes, 2)
        self.spike = _neuron(sizes)
        self.fc1 = nn.Linear(sizes.width * 2 ** len(BLOCKS), sizes.classes)
        self.readout = Readout()

    def forward(self, images: Tensor) -> Tensor:
        current = self.bn1(self.conv1(images))
        x = current.unsqueeze(0).expand(self.time_steps, -1, -1, -1, -1)
        x = self.spike(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.readout(_per_step(x.mean(dim=(3, 4)), self.fc1))
        return logits


def _stage(sizes: Sizes, stage: int) -> nn.Sequential:
    """Return the residual blocks of a stage; stages count from 0. The first block of a stage doubles the channels."""
    first = sum(BLOCKS[:stage])
    inputs = sizes.width * 2**stage
    outputs = 2 * inputs
    stride = 1 if stage == 0 else 2
    blocks = []
    for kernels in sizes.attention.kernels[first : first + BLOCKS[stage]]:
        blocks.append(Block(sizes, kernels, inputs, outputs, stride))
        inputs, stride = outputs, 1
    return nn.Sequential(*blocks)


def _neuron(sizes: Sizes) -> SpikingNeuron:
    return SpikingNeuron(NEURONS[sizes.neuron].neuron)


def _norm(channels: int) -> nn.Module:
    return _named(bn=nn.BatchNorm2d(channels))


def _named(**layers: nn.Module) -> nn.Module:
    """Return a Sequential of these layers; the keys of a layer begin with its name."""
    return nn.Sequential(OrderedDict(layers))


def _per_step(x: Tensor, *layers: nn.Module) -> Tensor:
    """Apply stateless layers to each time step of x [T, N, ...]. Unlike `PerStep`, this adds nothing to the keys."""
    y = x.flatten(0, 1)
    for layer in layers:
        y = layer(y)
    return y.reshape(*x.shape[:2], *y.shape[1:])


class MsResNetCifar(Network[Sizes]):
    """The registry entry. Containers of the published code share layers, so a tensor may have up to four keys."""

    name = "ms_resnet"
    summary = "static images, CIFAR-10 or CIFAR-100: MS-ResNet, TCJA in each of its eight residual blocks, logits"
    dialect = MS_RESNET
    output = "logits"
    settings: ClassVar = {"combine": COMBINATIONS, "neuron": tuple(NEURONS), "position": POSITIONS}

    def sizes(self, reader: ShapeReader) -> Sizes:
        full = Sizes()
        gates = reader.attention(GATES, full.attention)
        width = reader.size("channels", ("conv1.weight", 0), ("bn1.bn.weight", 0), default=full.width)
        position = full.position if gates.kind == "none" else reader.setting("position", POSITIONS)
        over_time = f"{GATES[0]}.conv_c.weight"
        # The first block doubles the channels, so only attention at the start of the block has the smaller number.
        if position != "start" and reader.size("channels of the first attention", (over_time, 0), default=0) == width:
            reader.conflicts.append(f"{over_time} is for {width} channels, as with `settings` position=start")
        return Sizes(
            attention=gates,
            width=width,
            inputs=reader.size("image channels", ("conv1.weight", 1), default=full.inputs),
            classes=reader.size("classes", ("fc1.weight", 0), ("fc1.bias", 0), default=full.classes),
            neuron=reader.setting("neuron", tuple(NEURONS)),
            position=position,
        )

    def build(self, sizes: Sizes) -> MsResNet:
        return MsResNet(sizes)

    def contract(self, sizes: Sizes) -> InputContract:
        return InputContract.images(sizes.inputs, SIDE, SIDE)

    def classes(self, sizes: Sizes) -> tuple[str, ...]:
        return named_or_numbered(CLASSES, sizes.classes)

    def dialect_of(self, sizes: Sizes) -> Dialect:
        return NEURONS[sizes.neuron]

    def canonical(self, key: str) -> str:
        for copy, original in _COPIES:
            key = copy.sub(original, key)
        return key


NETWORK = MsResNetCifar()
