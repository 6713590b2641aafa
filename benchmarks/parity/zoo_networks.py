"""The networks of `zoo`: classes of published libraries, built with small constructor arguments and drawn weights.

The classes are those of the libraries, of the examples that the libraries ship, or of `zoo_loops`. A remark says what
is smaller than published; all else is as published.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.parity.zoo_loops import (
    Convolutional6,
    Leaky5,
    Membrane,
    NorseSequential,
    Sequential7,
    Synaptic2,
    module,
)
from tcja_exporters import libraries

Build = Callable[[], nn.Module]

_UNUSED = (
    *("torchvision", "torchvision.models", "torchvision.models.utils"),
    *("matplotlib", "matplotlib.pyplot", "torch.utils.tensorboard", "pytorch_lightning"),
)
"""Modules that those of networks import to load data, to draw and to fetch weights. No network computes with them."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A network of the table.

    Attributes:
        name: its name.
        home: the package that its class comes from, such as "spikingjelly 2.0".
        build: makes it.
        shape: the shape of a window: T,P,H,W, or C,H,W for images.
        layout: the axes that its forward takes (`tcja_runtime.choices.LAYOUTS`).
        remark: what is smaller than published, or other than in the library.
        gain: the factor of the weights that are drawn: as large that every layer fires.
        options: further options of the export.
    """

    name: str
    home: str
    build: Build
    shape: tuple[int, ...]
    layout: str = "TN"
    remark: str = ""
    gain: float = 4.0
    options: dict[str, Any] = dataclasses.field(default_factory=dict)


def drawn(row: Row) -> nn.Module:
    """Make a network with weights that are drawn anew, such that its layers fire.

    Weights are normal, with currents of the size of `Row.gain` for inputs of size 1. Batch norms have the means and
    variances of two random windows, and weights and shifts that are drawn around 1.5 and 0.25.
    """
    torch.manual_seed(0)
    net = row.build().eval()
    norms = [part for part in net.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for part in net.modules():
        if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            nn.init.normal_(part.weight, std=row.gain / part.weight[0].numel() ** 0.5)
            if part.bias is not None:
                nn.init.uniform_(part.bias, 0.0, 0.2)
    for norm in norms:
        nn.init.uniform_(norm.weight, 1.0, 2.0)
        nn.init.uniform_(norm.bias, 0.0, 0.5)
        norm.momentum = 1.0
        norm.train()
    if norms:
        windows = torch.randint(0, 3, (2, *row.shape)).float() if len(row.shape) == 4 else torch.rand(2, *row.shape)
        with torch.no_grad():
            net(windows.transpose(0, 1) if row.layout == "TN" else windows)
    libraries.reset(net)
    return net.eval()


def _jelly(path: str) -> Any:
    return module(f"spikingjelly.{path}", _UNUSED)


def _windowed(net: nn.Module) -> nn.Module:
    for part in net.modules():
        if hasattr(part, "step_mode"):
            part.step_mode = "m"
    return net


def _zoo(model: str, name: str, *arguments: Any, neuron: str | None = None, **options: Any) -> Build:
    """A network of SpikingJelly's `activation_based.model`, which takes all time steps at once."""

    def build() -> nn.Module:
        kind = {"spiking_neuron": getattr(_jelly("activation_based.neuron"), neuron)} if neuron else {}
        return _windowed(getattr(_jelly(f"activation_based.model.{model}"), name)(*arguments, **kind, **options))

    return build


def _masked() -> nn.Module:
    """The N-MNIST network with masked PSN as after training, which ends with the mask applied (lambda_ = 1)."""
    net = _zoo("parametric_lif_net", "NMNISTNet", 8, neuron="MaskedPSN", k=2, T=4, step_mode="m")()
    for part in net.modules():
        if type(part).__name__ == "MaskedPSN":
            part.lambda_ = 1.0
    return net


def _vgg() -> nn.Module:
    """Spiking-VGG with narrow layers. Its published classifier has 119 million weights at any width."""
    jelly, kind = _jelly("activation_based.model.spiking_vgg"), _jelly("activation_based.neuron").LIFNode
    widths = [8, "M", 16, "M", 32, 32, "M", 32, 32, "M", 32, 32, "M"]
    net = jelly.SpikingVGG(widths, batch_norm=True, spiking_neuron=kind, init_weights=False)
    linear = jelly.layer.Linear
    net.classifier = nn.Sequential(linear(32 * 7 * 7, 64), kind(), linear(64, 10))
    return _windowed(net)


def _example(path: str, name: str, *arguments: Any, **options: Any) -> Build:
    return lambda: getattr(_jelly(f"activation_based.examples.{path}"), name)(*arguments, **options)


class Images(nn.Module):
    """A network that takes T copies of an image, [N, C, H, W]."""

    def __init__(self, net: nn.Module, time_steps: int) -> None:
        super().__init__()
        self.net, self.time_steps = net, time_steps

    def forward(self, images: Tensor) -> Tensor:
        rates: Tensor = self.net(images.unsqueeze(0).expand(self.time_steps, -1, -1, -1, -1)).mean(0)
        return rates


def _norse(path: str, name: str, *arguments: Any, **options: Any) -> Build:
    return lambda: getattr(module(f"norse.{path}"), name)(*arguments, **options)


def _over(time_steps: int, build: Build) -> Build:
    return lambda: Images(build(), time_steps)


SECOND, FIRST, SNNTORCH, NORSE = "spikingjelly 2.0", "spikingjelly 0.0.0.0.14", "snntorch", "norse"
_SMALL = "8 channels"
_DIGIT, _PHOTO, _DVS = (1, 28, 28), (3, 32, 32), (4, 2, 128, 128)

ROWS: Sequence[Row] = (
    Row("Spiking-VGG11", SECOND, _over(4, _vgg), _PHOTO, "NT", "8 to 32 channels, a classifier of 64 units, T = 4"),
    Row(
        "SEW-ResNet18",
        SECOND,
        _over(4, _zoo("sew_resnet", "sew_resnet18", cnf="ADD", neuron="IFNode", num_classes=10)),
        _PHOTO,
        "NT",
        "32x32 images, T = 4",
    ),
    Row(
        "Spiking-ResNet18",
        SECOND,
        _over(4, _zoo("spiking_resnet", "spiking_resnet18", neuron="IFNode", num_classes=10)),
        _PHOTO,
        "NT",
        "32x32 images, T = 4",
    ),
    Row(
        "MS-ResNet18",
        SECOND,
        _zoo("ms_resnet", "MSResNet", T=4, base_channels=8, num_classes=10),
        _PHOTO,
        "NT",
        f"{_SMALL}, 32x32 images, T = 4",
    ),
    Row(
        "Max-ResNet18",
        SECOND,
        _zoo(
            "ms_resnet",
            "MaxResNet",
            T=4,
            base_channels=8,
            layers=(3, 3, 2),
            stage_channels=(8, 16, 32),
            stem_kernel_size=3,
            stem_stride=1,
            num_classes=10,
        ),
        _PHOTO,
        "NT",
        f"{_SMALL}, T = 4",
    ),
    Row(
        "PLIF N-MNIST net",
        SECOND,
        _zoo("parametric_lif_net", "NMNISTNet", 8, neuron="ParametricLIFNode"),
        (4, 2, 34, 34),
        "TN",
        f"{_SMALL}, T = 4",
    ),
    Row(
        "PLIF CIFAR10-DVS net",
        SECOND,
        _zoo("parametric_lif_net", "CIFAR10DVSNet", 8, neuron="ParametricLIFNode"),
        _DVS,
        "TN",
        f"{_SMALL}, T = 4",
    ),
    Row(
        "DVSGestureNet",
        SECOND,
        _zoo("parametric_lif_net", "DVSGestureNet", 8, neuron="LIFNode"),
        _DVS,
        "TN",
        f"{_SMALL}, T = 4",
    ),
    Row(
        "CSNN, Fashion-MNIST example",
        SECOND,
        _example("conv_fashion_mnist", "CSNN", T=4, channels=8),
        _DIGIT,
        "NT",
        _SMALL,
    ),
    Row(
        "SNN, MNIST example",
        SECOND,
        _example("lif_fc_mnist", "SNN", tau=2.0),
        (16, 1, 28, 28),
        "step",
        "T = 16, frames for random encoding",
    ),
    Row(
        "DSQN, Atari example",
        SECOND,
        _example("dsqn.utils.model", "DSQN", (4, 84, 84), 6),
        (4, 84, 84),
        "NT",
        "nothing",
    ),
    Row(
        "Spikformer",
        SECOND,
        _zoo(
            "spikformer",
            "Spikformer",
            T=4,
            img_size_h=32,
            img_size_w=32,
            patch_size=4,
            num_classes=10,
            embed_dims=32,
            num_heads=4,
            depths=2,
        ),
        _PHOTO,
        "NT",
        "32 dimensions, 2 blocks",
    ),
    Row(
        "QKFormer",
        SECOND,
        _zoo("qkformer", "QKFormer", T=4, num_classes=10, embed_dims=32, num_heads=(2, 2, 2), depths=(1, 1, 1)),
        _PHOTO,
        "NT",
        "32 dimensions, 3 blocks, 32x32 images",
    ),
    Row(
        "MaxFormer",
        SECOND,
        _zoo("maxformer", "MaxFormer", T=4, num_classes=10, embed_dims=32, depths=(1, 1, 1), cifar=True),
        _PHOTO,
        "NT",
        "32 dimensions, 3 blocks",
    ),
    Row(
        "Spike-driven Transformer",
        SECOND,
        _zoo(
            "spike_driven_transformer",
            "SpikeDrivenTransformer",
            T=4,
            num_classes=10,
            embed_dims=32,
            num_heads=4,
            depths=2,
            pooling_stat="0011",
        ),
        _PHOTO,
        "NT",
        "32 dimensions, 2 blocks, 32x32 images",
    ),
    Row(
        "MA-SNN, DVS128 Gesture",
        SECOND,
        _zoo("masnn", "MASNN", T=10, channels=(8, 16, 16), fc_hidden=32),
        (10, 2, 32, 32),
        "TN",
        "8 to 16 channels, T = 10",
    ),
    Row(
        "Att-MS-ResNet18",
        SECOND,
        _zoo("masnn", "AttMSResNet", T=1, base_channels=8, num_classes=10),
        _PHOTO,
        "NT",
        f"{_SMALL}, 32x32 images",
    ),
    Row(
        "PLIF net of PSN",
        SECOND,
        _over(4, _zoo("parametric_lif_net", "CIFAR10Net", 8, neuron="PSN", T=4)),
        _PHOTO,
        "NT",
        f"{_SMALL}, T = 4",
    ),
    Row(
        "N-MNIST net of masked PSN",
        SECOND,
        _masked,
        (4, 2, 34, 34),
        "TN",
        f"{_SMALL}, T = 4",
    ),
    Row(
        "N-MNIST net of sliding PSN",
        SECOND,
        _zoo("parametric_lif_net", "NMNISTNet", 8, neuron="SlidingPSN", k=2, step_mode="m"),
        (4, 2, 34, 34),
        "TN",
        f"{_SMALL}, T = 4",
    ),
    Row(
        "N-MNIST net of KLIF",
        SECOND,
        _zoo("parametric_lif_net", "NMNISTNet", 8, neuron="KLIFNode"),
        (4, 2, 34, 34),
        "TN",
        f"{_SMALL}, T = 4",
    ),
    Row(
        "PLIF CIFAR10 net",
        FIRST,
        _over(4, _zoo("parametric_lif_net", "CIFAR10Net", 8, neuron="ParametricLIFNode")),
        _PHOTO,
        "NT",
        f"{_SMALL}, T = 4",
    ),
    Row(
        "SEW-ResNet18, connect by IAND",
        FIRST,
        _over(4, _zoo("sew_resnet", "sew_resnet18", cnf="IAND", neuron="LIFNode", num_classes=10)),
        _PHOTO,
        "NT",
        "32x32 images, T = 4",
    ),
    Row("tutorial 5", SNNTORCH, Leaky5, _DIGIT, "NT", "nothing"),
    Row("tutorial 6", SNNTORCH, Convolutional6, _DIGIT, "NT", "nothing"),
    Row("tutorial 7", SNNTORCH, Sequential7, (10, 2, 34, 34), "TN", "T = 10"),
    Row(
        "tutorial 7, learned beta and threshold",
        SNNTORCH,
        lambda: Sequential7(learn=True),
        (10, 2, 34, 34),
        "TN",
        "T = 10",
    ),
    Row("two layers of Synaptic", SNNTORCH, Synaptic2, _DIGIT, "NT", "100 hidden units"),
    Row("membrane as the answer", SNNTORCH, Membrane, _DIGIT, "NT", "100 hidden units"),
    Row("ConvNet", NORSE, _norse("torch.models.conv", "ConvNet"), (8, 1, 28, 28), "TN", "T = 8", gain=20.0),
    Row("ConvNet4", NORSE, _norse("torch.models.conv", "ConvNet4"), (8, 1, 28, 28), "TN", "T = 8", gain=20.0),
    Row("README, SequentialState", NORSE, NorseSequential, _DIGIT, "NT", "nothing", gain=20.0),
)
