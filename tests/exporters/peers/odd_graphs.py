"""Small networks with odd operators, names and readouts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .odd_layers import Odd, Window, chain, conv, flat, lif, then


def _attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q @ k.transpose(-1, -2) @ v * 0.25


def _named(convolution: str, norm: str) -> nn.Module:
    layers = nn.ModuleDict({convolution: conv(), norm: nn.BatchNorm2d(4)})
    return Odd(then(lambda n, x, _: n.layers[norm](n.layers[convolution](x))), layers=layers, lif=lif(), fc=flat())


GRAPHS: dict[str, Callable[[], nn.Module]] = {
    "PReLU before the neuron": lambda: Odd(
        chain("conv", "act", "lif"), conv=conv(), act=nn.PReLU(4), lif=lif(), fc=flat()
    ),
    "maximum pooling": lambda: Odd(
        chain("conv", "norm", "lif", "pool"),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        pool=nn.MaxPool2d(2),
        lif=lif(),
        fc=flat(16),
    ),
    "pooling before the neuron": lambda: Odd(
        chain("conv", "norm", "pool", "lif"),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        pool=nn.AvgPool2d(2),
        lif=lif(),
        fc=flat(16),
    ),
    "global pooling": lambda: Odd(
        chain("conv", "norm", "lif", "pool"),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        pool=nn.AdaptiveAvgPool2d(1),
        lif=lif(),
        fc=flat(4),
    ),
    "upsampling": lambda: Odd(
        chain("up", "conv", "norm", "lif"),
        up=nn.Upsample(scale_factor=2),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(400),
    ),
    "pixel shuffle": lambda: Odd(
        chain("conv", "norm", "shuffle", "lif"),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        shuffle=nn.PixelShuffle(2),
        lif=lif(),
        fc=flat(),
    ),
    "concatenation": lambda: Odd(
        then(lambda n, x, _: torch.cat([n.norm(n.a(x)), n.b(x)], 1)),
        a=conv(),
        b=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(200),
    ),
    "channel shuffle": lambda: Odd(
        chain("conv", "norm", "shuffle", "lif"),
        conv=conv(2, 4, groups=2),
        norm=nn.BatchNorm2d(4),
        shuffle=nn.ChannelShuffle(2),
        lif=lif(),
        fc=flat(),
    ),
    "names with slashes": lambda: _named("a/Conv", "a/b"),
    "names like operators": lambda: _named("Conv", "BatchNormalization"),
    "names with numbers": lambda: _named("conv_2", "Conv_2"),
    "a dropout in eval": lambda: Odd(
        chain("conv", "norm", "drop", "lif"),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        drop=nn.Dropout(0.5),
        lif=lif(),
        fc=flat(),
    ),
    "batch norm of the output": lambda: Odd(
        lambda n, x, _: n.last(n.fc(n.lif(n.conv(x)).flatten(1))),
        conv=conv(),
        lif=lif(),
        fc=flat(),
        last=nn.BatchNorm1d(3),
    ),
    "spikes of the output": lambda: Odd(
        lambda n, x, _: n.lif2(n.last(n.fc(n.lif(n.conv(x)).flatten(1)))),
        conv=conv(),
        lif=lif(),
        lif2=lif(),
        fc=flat(),
        last=nn.BatchNorm1d(3),
    ),
    "frames of the step before": lambda: Window(
        lambda n, x: torch.stack(
            [n.fc(n.lif(n.norm(n.conv(torch.cat([x[:, t], x[:, max(t - 1, 0)]], 1)))).flatten(1)) for t in range(3)]
        ).mean(0),
        conv=conv(4),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "a static image's convolution": lambda: Window(
        lambda n, x: torch.stack([n.fc(n.lif(n.norm(n.conv(x[:, 0]))).flatten(1)) for _ in range(3)]).mean(0),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "a decoder that every step adds to": lambda: Window(
        lambda n, x: sum(n.fc(n.lif(n.norm(n.conv(x[:, t]))).flatten(1)) * 0.5**t for t in range(3)),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "the last step only": lambda: Window(
        lambda n, x: [n.fc(n.lif(n.norm(n.conv(x[:, t]))).flatten(1)) for t in range(3)][-1],
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "the largest of the steps": lambda: Window(
        lambda n, x: torch.stack([n.fc(n.lif(n.norm(n.conv(x[:, t]))).flatten(1)) for t in range(3)]).amax(0),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "a softmax": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.norm(n.conv(x))).flatten(1)).softmax(1),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "spiking self-attention": lambda: Odd(
        lambda n, x, _: n.fc(
            (
                n.q(n.wq(x.flatten(2))) @ n.k(n.wk(x.flatten(2))).transpose(1, 2) @ n.v(n.wv(x.flatten(2))) * 0.25
            ).flatten(1)
        ),
        wq=nn.Linear(25, 8),
        wk=nn.Linear(25, 8),
        wv=nn.Linear(25, 8),
        q=lif(),
        k=lif(),
        v=lif(),
        fc=flat(16),
    ),
    "one projection for queries, keys and values": lambda: Odd(
        lambda n, x, _: n.fc(_attended(*n.lif(n.qkv(x.flatten(2))).chunk(3, -1)).flatten(1)),
        qkv=nn.Linear(25, 24),
        lif=lif(),
        fc=flat(16),
    ),
}
