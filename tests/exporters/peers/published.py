"""The published networks, put together from other people's layers as an oracle for the rebuilt ones.

The neurons and containers of SpikingJelly are its own; those of TET's code, which is no package, are written here step
by step as its text says. Every network returns what the published one does, before any mean over time.
"""

from __future__ import annotations

import torch
from spikingjelly.clock_driven import functional, layer, neuron
from torch import Tensor, nn

from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.shared.event_sizes import EventSizes


class TCJA(nn.Module):
    """The attention block with torch's own padding, on [T, N, C, H, W]."""

    def __init__(self, k_t: int, k_c: int, time_steps: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(time_steps, time_steps, k_t, padding="same", bias=False)
        self.conv_c = nn.Conv1d(channels, channels, k_c, padding="same", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        z = x.mean(dim=(3, 4)).transpose(0, 1)
        over_channels = self.conv(z)
        over_time = self.conv_c(z.transpose(1, 2)).transpose(1, 2)
        return x * torch.sigmoid(over_channels * over_time).transpose(0, 1)[..., None, None]


class TetTCJA(TCJA):
    """On [N, T, C, H, W], with TET's keys."""

    def __init__(self, k_t: int, k_c: int, time_steps: int, channels: int) -> None:
        super().__init__(k_t, k_c, time_steps, channels)
        self.conv = nn.Sequential(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(0, 1)).transpose(0, 1)


def lif() -> nn.Module:
    return neuron.MultiStepLIFNode(tau=2.0, detach_reset=True)


def steps(*layers: nn.Module) -> nn.Module:
    return layer.SeqToANNContainer(*layers)


def conv_norm(inputs: int, outputs: int, stride: int = 1, *, bias: bool = False) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias), nn.BatchNorm2d(outputs)]


class CextNet(nn.Module):
    def __init__(self, sizes: EventSizes, *, voters: int = 1, fires: bool = True) -> None:
        super().__init__()
        attention = sizes.attention
        conv: list[nn.Module] = []
        inputs = 2
        for i, width in enumerate(sizes.widths):
            conv += [steps(*conv_norm(inputs, width)), lif()]
            if i > 2:
                conv.append(TCJA(*attention.kernels[i - 3], attention.time_steps, width))
            conv.append(steps(nn.MaxPool2d(2, 2)))
            inputs = width
        self.conv = nn.Sequential(*conv)
        self.fc = nn.Sequential(
            nn.Flatten(2),
            layer.MultiStepDropout(0.5),
            steps(nn.Linear(inputs * (sizes.height // 32) * (sizes.width // 32), sizes.hidden, bias=False)),
            lif(),
            layer.MultiStepDropout(0.5),
            steps(nn.Linear(sizes.hidden, sizes.classes * voters, bias=False)),
            *([lif()] if fires else []),
        )
        self.vote = nn.AvgPool1d(voters, voters)

    def forward(self, frames: Tensor) -> Tensor:
        functional.reset_net(self)
        return self.fc(self.conv(frames.transpose(0, 1)))


class Dvs128(CextNet):
    def __init__(self, sizes: EventSizes) -> None:
        super().__init__(sizes, voters=10)

    def forward(self, frames: Tensor) -> Tensor:
        return self.vote(super().forward(frames).mean(0).unsqueeze(1)).squeeze(1)


class Cifar10Dvs(nn.Module):
    def __init__(self, sizes: EventSizes) -> None:
        super().__init__()
        attention, w = sizes.attention, sizes.widths
        conv: list[nn.Module] = [steps(nn.AdaptiveAvgPool2d((sizes.height, sizes.width)))]
        for i, (inputs, outputs) in enumerate(zip((2, *w), w, strict=False)):
            conv += [steps(*conv_norm(inputs, outputs, bias=True)), lif()]
            if i in (5, 7):
                conv.append(TCJA(*attention.kernels[i == 7], attention.time_steps, outputs))
            if i % 2:
                conv.append(steps(nn.AvgPool2d(2)))
        self.conv = nn.Sequential(*conv)
        self.fc = nn.Sequential(nn.Flatten(2), steps(nn.Linear(w[-1] * (sizes.height // 16) ** 2, sizes.classes)))

    def forward(self, frames: Tensor) -> Tensor:
        functional.reset_net(self)
        return self.fc(self.conv(frames.transpose(0, 1))).mean(0)


class FashionMnist(nn.Module):
    def __init__(self, sizes) -> None:
        super().__init__()
        c, attention = sizes.channels, sizes.attention
        self.time_steps = attention.time_steps
        self.static_conv = nn.Sequential(*conv_norm(sizes.inputs, c))
        self.conv = nn.Sequential(
            lif(),
            steps(nn.MaxPool2d(2, 2), *conv_norm(c, c)),
            lif(),
            TCJA(*attention.kernels[0], attention.time_steps, c),
            steps(nn.MaxPool2d(2, 2), nn.Flatten()),
        )
        self.fc = nn.Sequential(
            layer.MultiStepDropout(0.5),
            steps(nn.Linear(c * (sizes.side // 4) ** 2, sizes.hidden, bias=False)),
            lif(),
            layer.MultiStepDropout(0.5),
            steps(nn.Linear(sizes.hidden, sizes.classes, bias=False)),
            lif(),
        )

    def forward(self, images: Tensor) -> Tensor:
        functional.reset_net(self)
        current = self.static_conv(images).repeat(self.time_steps, 1, 1, 1, 1)
        return self.fc(self.conv(current)).mean(0)


class LIFSpike(nn.Module):
    """TET's neuron over [N, T, ...]: the membrane halves, the input is added, it fires above (not at) the threshold."""

    def __init__(self, decay: float = 0.5, threshold: float = 1.0) -> None:
        super().__init__()
        self.decay, self.threshold = decay, threshold

    def forward(self, x: Tensor) -> Tensor:
        membrane, spikes = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            membrane = membrane * self.decay + x[:, t]
            spikes.append((membrane - self.threshold > 0).to(x.dtype))
            membrane = (1 - spikes[-1]) * membrane
        return torch.stack(spikes, dim=1)


class TetSteps(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.module = layers[0] if len(layers) == 1 else nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.module(x[:, t]) for t in range(x.shape[1])], dim=1)


class TetLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.fwd = TetSteps(*conv_norm(inputs, outputs, stride, bias=True))
        self.act = LIFSpike()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.fwd(x))


def tet_tcja(attention: Attention, block: int, channels: int) -> nn.Module:
    return TetTCJA(*attention.kernels[block], attention.time_steps, channels)


class TetCifar10Dvs(nn.Module):
    """VGGSNN_TCJA, or VGGSNN and VGGSNNwoAP without attention."""

    def __init__(self, sizes) -> None:
        super().__init__()
        event = sizes.event
        w, attention = event.widths, event.attention
        pool = [TetSteps(nn.AvgPool2d(2))] if sizes.pooling == "average" else []
        stride = 1 if pool else 2
        self.features = nn.Sequential(
            TetLayer(2, w[0]),
            TetLayer(w[0], w[1], stride),
            *([tet_tcja(attention, 0, w[1])] if attention.kind == "tcja" else []),
            *pool,
            TetLayer(w[1], w[2]),
            TetLayer(w[2], w[3], stride),
            *pool,
            TetLayer(w[3], w[4]),
            TetLayer(w[4], w[5], stride),
            *pool,
            TetLayer(w[5], w[6]),
            TetLayer(w[6], w[7], stride),
            *pool,
        )
        self.classifier = TetSteps(nn.Linear(w[7] * (event.height // 16) ** 2, event.classes))

    def forward(self, frames: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(frames), 2)).mean(1)


class TetNCaltech101Vgg(nn.Module):
    def __init__(self, sizes: EventSizes) -> None:
        super().__init__()
        w, attention = sizes.widths, sizes.attention

        def pool() -> nn.Module:
            return TetSteps(nn.MaxPool2d(2))

        self.features = nn.Sequential(
            TetLayer(2, w[0]),
            pool(),
            TetLayer(w[0], w[1]),
            pool(),
            TetLayer(w[1], w[2]),
            pool(),
            TetLayer(w[2], w[3]),
            tet_tcja(attention, 0, w[3]),
            pool(),
            TetLayer(w[3], w[4]),
            tet_tcja(attention, 1, w[4]),
            pool(),
        )
        units = w[4] * (sizes.height // 32) * (sizes.width // 32)
        self.act = LIFSpike()
        self.classifier_1 = nn.Sequential(TetSteps(nn.Dropout(0.5), nn.Linear(units, sizes.hidden)))
        self.classifier_2 = nn.Sequential(nn.Dropout(0.5), TetSteps(nn.Linear(sizes.hidden, sizes.classes)))

    def forward(self, frames: Tensor) -> Tensor:
        hidden = self.act(self.classifier_1(torch.flatten(self.features(frames), 2)))
        return self.classifier_2(hidden).mean(1)
