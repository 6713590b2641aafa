"""The published networks, put together from SpikingJelly's own layers as an oracle for the rebuilt ones."""

from __future__ import annotations

import torch
from spikingjelly.clock_driven import functional, layer, neuron
from torch import Tensor, nn


class PublishedTCJA(nn.Module):
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


def lif() -> nn.Module:
    return neuron.MultiStepLIFNode(tau=2.0, detach_reset=True)


def steps(*layers: nn.Module) -> nn.Module:
    return layer.SeqToANNContainer(*layers)


def conv_norm(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]


class PublishedDvs128(nn.Module):
    def __init__(self, time_steps: int, channels: int, side: int, hidden: int, classes: int, kernels) -> None:
        super().__init__()
        c = channels
        conv: list[nn.Module] = []
        for i in range(5):
            conv += [steps(*conv_norm(2 if i == 0 else c, c)), lif()]
            if i > 2:
                conv.append(PublishedTCJA(*kernels[i - 3], time_steps, c))
            conv.append(steps(nn.MaxPool2d(2, 2)))
        self.conv = nn.Sequential(*conv)
        self.fc = nn.Sequential(
            nn.Flatten(2),
            layer.MultiStepDropout(0.5),
            steps(nn.Linear(c * (side // 32) ** 2, hidden, bias=False)),
            lif(),
            layer.MultiStepDropout(0.5),
            steps(nn.Linear(hidden, classes * 10, bias=False)),
            lif(),
        )
        self.vote = nn.AvgPool1d(10, 10)

    def forward(self, frames: Tensor) -> Tensor:
        functional.reset_net(self)
        spikes = self.fc(self.conv(frames.transpose(0, 1)))
        return self.vote(spikes.mean(0).unsqueeze(1)).squeeze(1)


class PublishedFashionMnist(nn.Module):
    def __init__(
        self, time_steps: int, inputs: int, channels: int, side: int, hidden: int, classes: int, kernels
    ) -> None:
        super().__init__()
        c = channels
        self.time_steps = time_steps
        self.static_conv = nn.Sequential(*conv_norm(inputs, c))
        self.conv = nn.Sequential(
            lif(),
            steps(nn.MaxPool2d(2, 2), *conv_norm(c, c)),
            lif(),
            PublishedTCJA(*kernels, time_steps, c),
            steps(nn.MaxPool2d(2, 2), nn.Flatten()),
        )
        self.fc = nn.Sequential(
            layer.MultiStepDropout(0.5),
            steps(nn.Linear(c * (side // 4) ** 2, hidden, bias=False)),
            lif(),
            layer.MultiStepDropout(0.5),
            steps(nn.Linear(hidden, classes, bias=False)),
            lif(),
        )

    def forward(self, images: Tensor) -> Tensor:
        functional.reset_net(self)
        current = self.static_conv(images).repeat(self.time_steps, 1, 1, 1, 1)
        return self.fc(self.conv(current)).mean(0)
