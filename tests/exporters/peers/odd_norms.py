"""Small networks with norms, most of them in a loop over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .odd_layers import Odd, Together, Window, chain, conv, flat, leaky, lif, then


def _norms_of_snntorch() -> Any:
    import snntorch

    return snntorch.BatchNormTT2d(4, 3)


def _spikingjelly() -> nn.Module:
    from spikingjelly.activation_based import layer

    return Window(
        lambda n, x: n.fc(n.lif(n.norm(n.conv(x.transpose(0, 1)))).flatten(2)).mean(0),
        conv=layer.Conv2d(2, 4, 3, padding=1, step_mode="m"),
        norm=layer.BatchNorm2d(4, step_mode="m"),
        lif=lif("m"),
        fc=layer.Linear(100, 3, step_mode="m"),
    )


NORMS: dict[str, Callable[[], nn.Module]] = {
    "batch norm": lambda: Odd(chain("conv", "norm", "lif"), conv=conv(), norm=nn.BatchNorm2d(4), lif=lif(), fc=flat()),
    "batch norm of snnTorch": lambda: Odd(
        chain("conv", "norm", "lif"), conv=conv(), norm=nn.BatchNorm2d(4), lif=leaky(), fc=flat()
    ),
    "batch norm, T = 1": lambda: Odd(
        chain("conv", "norm", "lif"), steps=1, conv=conv(), norm=nn.BatchNorm2d(4), lif=lif(), fc=flat()
    ),
    "batch norm, T = 2": lambda: Odd(
        chain("conv", "norm", "lif"), steps=2, conv=conv(), norm=nn.BatchNorm2d(4), lif=lif(), fc=flat()
    ),
    "batch norm, T = 4, TN": lambda: Odd(
        chain("conv", "norm", "lif"), steps=4, layout="TN", conv=conv(), norm=nn.BatchNorm2d(4), lif=lif(), fc=flat()
    ),
    "batch norm, step": lambda: Odd(
        chain("conv", "norm", "lif"), layout="step", conv=conv(), norm=nn.BatchNorm2d(4), lif=lif(), fc=flat()
    ),
    "batch norm, no bias": lambda: Odd(
        chain("conv", "norm", "lif"), conv=conv(bias=False), norm=nn.BatchNorm2d(4), lif=lif(), fc=flat()
    ),
    "batch norm without affine": lambda: Odd(
        chain("conv", "norm", "lif"), conv=conv(), norm=nn.BatchNorm2d(4, affine=False), lif=lif(), fc=flat()
    ),
    "batch norm, other epsilon": lambda: Odd(
        chain("conv", "norm", "lif"), conv=conv(), norm=nn.BatchNorm2d(4, eps=0.1), lif=lif(), fc=flat()
    ),
    "batch norm after Linear": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.norm(n.linear(x.flatten(1))))),
        linear=nn.Linear(50, 8),
        norm=nn.BatchNorm1d(8),
        lif=lif(),
        fc=flat(8),
    ),
    "batch norm after Linear without bias": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.norm(n.linear(x.flatten(1))))),
        linear=nn.Linear(50, 8, bias=False),
        norm=nn.BatchNorm1d(8),
        lif=lif(),
        fc=flat(8),
    ),
    "batch norm after Conv1d": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.norm(n.conv(x.flatten(2)))).flatten(1)),
        conv=nn.Conv1d(2, 4, 3, padding=1),
        norm=nn.BatchNorm1d(4),
        lif=lif(),
        fc=flat(),
    ),
    "batch norm after Conv3d": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.norm(n.conv(x[:, None]))).flatten(1)),
        conv=nn.Conv3d(1, 2, 3, padding=1),
        norm=nn.BatchNorm3d(2),
        lif=lif(),
        fc=flat(),
    ),
    "batch norm after ConvTranspose2d": lambda: Odd(
        chain("conv", "norm", "lif"),
        conv=nn.ConvTranspose2d(2, 4, 3, padding=1),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "batch norm of depthwise convolution": lambda: Odd(
        chain("conv", "norm", "lif"), conv=conv(2, 4, groups=2), norm=nn.BatchNorm2d(4), lif=lif(), fc=flat()
    ),
    "batch norm first": lambda: Odd(
        chain("norm", "conv", "lif"), conv=conv(), norm=nn.BatchNorm2d(2), lif=lif(), fc=flat()
    ),
    "batch norm of spikes": lambda: Odd(
        chain("conv", "lif", "norm"), conv=conv(), norm=nn.BatchNorm2d(4), lif=lif(), fc=flat()
    ),
    "batch norm between pooling and convolution": lambda: Odd(
        chain("pool", "norm", "conv", "lif"),
        pool=nn.AvgPool2d(2),
        conv=conv(),
        norm=nn.BatchNorm2d(2),
        lif=lif(),
        fc=flat(16),
    ),
    "two batch norms": lambda: Odd(
        chain("conv", "a", "b", "lif"), conv=conv(), a=nn.BatchNorm2d(4), b=nn.BatchNorm2d(4), lif=lif(), fc=flat()
    ),
    "one batch norm of two convolutions": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.norm(n.b(n.norm(n.a(x))))).flatten(1)),
        a=conv(),
        b=conv(4),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "one batch norm of a convolution and of spikes": lambda: Odd(
        lambda n, x, _: n.fc(n.norm(n.lif(n.norm(n.conv(x)))).flatten(1)),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "one convolution with and without batch norm": lambda: Odd(
        then(lambda n, x, _: n.norm(n.conv(x)) + n.conv(x.flip(-1))),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "one convolution, two batch norms": lambda: Odd(
        then(lambda n, x, _: n.a(n.conv(x)) + n.b(n.conv(x.flip(-1)))),
        conv=conv(),
        a=nn.BatchNorm2d(4),
        b=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "a batch norm for each step": lambda: Odd(
        then(lambda n, x, t: n.norms[t](n.conv(x))),
        conv=conv(),
        norms=nn.ModuleList(nn.BatchNorm2d(4) for _ in range(3)),
        lif=lif(),
        fc=flat(),
    ),
    "a batch norm for each step of snnTorch": lambda: Odd(
        then(lambda n, x, t: n.norms[t](n.conv(x))),
        conv=conv(bias=False),
        norms=_norms_of_snntorch(),
        lif=leaky(),
        fc=flat(),
    ),
    "batch norm at the first step only": lambda: Odd(
        then(lambda n, x, t: n.norm(n.conv(x)) if t == 0 else n.conv(x)),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "convolution and batch norm in one module": lambda: Odd(
        chain("both", "lif"), both=Together(), lif=lif(), fc=flat()
    ),
    "batch norm with a computed scale": lambda: Odd(
        then(
            lambda n, x, _: functional.batch_norm(
                n.conv(x), n.norm.running_mean, n.norm.running_var, n.norm.weight * 2.0, n.norm.bias
            )
        ),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "batch norm by hand": lambda: Odd(
        then(
            lambda n, x, _: (
                (n.conv(x) - n.norm.running_mean[:, None, None])
                / torch.sqrt(n.norm.running_var[:, None, None] + 1e-5)
                * n.norm.weight[:, None, None]
                + n.norm.bias[:, None, None]
            )
        ),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "batch norm without tracking of its statistics is an instance norm": lambda: Odd(
        chain("conv", "norm", "lif"), conv=conv(), norm=nn.InstanceNorm2d(4), lif=lif(), fc=flat()
    ),
    "instance norm with tracked statistics": lambda: Odd(
        chain("conv", "norm", "lif"),
        conv=conv(),
        norm=nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
        lif=lif(),
        fc=flat(),
    ),
    "layer norm": lambda: Odd(
        chain("conv", "norm", "lif"), conv=conv(), norm=nn.LayerNorm([4, 5, 5]), lif=lif(), fc=flat()
    ),
    "layer norm of features": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.norm(n.linear(x.flatten(1))))),
        linear=nn.Linear(50, 8),
        norm=nn.LayerNorm(8),
        lif=lif(),
        fc=flat(8),
    ),
    "RMS norm": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.norm(n.linear(x.flatten(1))))),
        linear=nn.Linear(50, 8),
        norm=nn.RMSNorm(8),
        lif=lif(),
        fc=flat(8),
    ),
    "group norm": lambda: Odd(chain("conv", "norm", "lif"), conv=conv(), norm=nn.GroupNorm(2, 4), lif=lif(), fc=flat()),
    "group norm of one group": lambda: Odd(
        chain("conv", "norm", "lif"), conv=conv(), norm=nn.GroupNorm(1, 4), lif=lif(), fc=flat()
    ),
    "local response norm": lambda: Odd(
        chain("conv", "norm", "lif"), conv=conv(), norm=nn.LocalResponseNorm(2), lif=lif(), fc=flat()
    ),
    "batch norm of a whole window": lambda: Window(
        lambda n, x: n.fc(n.lif(n.norm(n.conv(x.transpose(0, 1).flatten(0, 1))).unflatten(0, (3, -1))).flatten(2)).mean(
            0
        ),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif("m"),
        fc=flat(),
    ),
    "BatchNorm3d of a whole window": lambda: Window(
        lambda n, x: n.fc(
            n.lif(n.norm(n.conv(x.flatten(0, 1)).unflatten(0, (-1, 3)).transpose(1, 2)).movedim(2, 0)).flatten(2)
        ).mean(0),
        conv=conv(),
        norm=nn.BatchNorm3d(4),
        lif=lif("m"),
        fc=flat(),
    ),
    "SpikingJelly's layers with batch norm": _spikingjelly,
    "snnTorch in a Sequential, step": lambda: Odd(
        lambda n, x, _: n.all(x),
        layout="step",
        all=nn.Sequential(
            conv(), nn.BatchNorm2d(4), leaky(), nn.Flatten(), nn.Linear(100, 8), nn.BatchNorm1d(8), leaky(), flat(8)
        ),
    ),
    "two blocks with batch norm": lambda: Odd(
        chain("conv1", "norm1", "lif1", "conv2", "norm2", "lif2"),
        conv1=conv(),
        norm1=nn.BatchNorm2d(4),
        lif1=lif(),
        conv2=conv(4, bias=False),
        norm2=nn.BatchNorm2d(4),
        lif2=lif(),
        fc=flat(),
    ),
    "residual block with batch norm": lambda: Odd(
        then(lambda n, x, _: n.norm2(n.conv2(n.lif1(n.norm1(n.conv1(x))))) + n.shortcut(x)),
        conv1=conv(),
        norm1=nn.BatchNorm2d(4),
        lif1=lif(),
        conv2=conv(4),
        norm2=nn.BatchNorm2d(4),
        shortcut=nn.Sequential(conv(2, 4, 1), nn.BatchNorm2d(4)),
        lif=lif(),
        fc=flat(),
    ),
}
