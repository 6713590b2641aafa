"""Small networks whose weights are shared, computed, transposed, parametrised or used in other ways too."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from .odd_layers import (
    Kernel,
    Misnamed,
    Odd,
    alike,
    binary,
    chain,
    conv,
    flat,
    halved,
    lif,
    shared,
    standardised,
    then,
    weight,
)


def _equal() -> nn.Module:
    first = conv()
    return Odd(then(lambda n, x, _: n.a(x) + n.b(x) * 0.5), a=first, b=alike(first), lif=lif(), fc=flat())


def _equal_blocks() -> nn.Module:
    first, norm = conv(), nn.BatchNorm2d(4)
    return Odd(
        then(lambda n, x, _: n.c(n.a(x)) + n.d(n.b(x))),
        a=first,
        b=alike(first),
        c=norm,
        d=alike(norm),
        lif=lif(),
        fc=flat(),
    )


def _two_names() -> nn.Module:
    first = conv(2, 2)
    return Odd(
        lambda n, x, _: n.fc(n.lif2(n.b(n.lif(n.a(x)))).flatten(1)),
        a=first,
        b=first,
        lif=lif(),
        lif2=lif(),
        fc=flat(50),
    )


def _shared_bias() -> nn.Module:
    first, second = conv(2, 4), conv(4, 4)
    second.bias = first.bias
    return Odd(
        lambda n, x, _: n.fc(n.lif2(n.b(n.lif(n.a(x)))).flatten(1)), a=first, b=second, lif=lif(), lif2=lif(), fc=flat()
    )


WEIGHTS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: Odd(chain("conv", "lif"), conv=conv(), lif=lif(), fc=flat()),
    "weight norm": lambda: Odd(
        chain("conv", "lif"),
        conv=parametrizations.weight_norm(conv()),
        lif=lif(),
        fc=parametrizations.weight_norm(flat()),
    ),
    "spectral norm": lambda: Odd(
        chain("conv", "lif"),
        conv=parametrizations.spectral_norm(conv()),
        lif=lif(),
        fc=parametrizations.spectral_norm(flat()),
    ),
    "orthogonal": lambda: Odd(chain("conv", "lif"), conv=conv(), lif=lif(), fc=parametrizations.orthogonal(flat())),
    "a parametrisation of one's own": lambda: Odd(
        chain("conv", "lif"), conv=halved(conv()), lif=lif(), fc=halved(flat())
    ),
    "weight norm and batch norm": lambda: Odd(
        chain("conv", "norm", "lif"),
        conv=parametrizations.weight_norm(conv()),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "standardised weight": lambda: Odd(chain("conv", "lif"), conv=Kernel(standardised), lif=lif(), fc=flat()),
    "standardised weight and batch norm": lambda: Odd(
        chain("conv", "norm", "lif"), conv=Kernel(standardised), norm=nn.BatchNorm2d(4), lif=lif(), fc=flat()
    ),
    "binary weight": lambda: Odd(chain("conv", "lif"), conv=Kernel(binary), lif=lif(), fc=flat()),
    "scaled weight": lambda: Odd(chain("conv", "lif"), conv=Kernel(lambda n: n.weight * n.scale), lif=lif(), fc=flat()),
    "negative weight": lambda: Odd(chain("conv", "lif"), conv=Kernel(lambda n: -n.weight), lif=lif(), fc=flat()),
    "absolute weight": lambda: Odd(chain("conv", "lif"), conv=Kernel(lambda n: n.weight.abs()), lif=lif(), fc=flat()),
    "clamped weight": lambda: Odd(
        chain("conv", "lif"), conv=Kernel(lambda n: n.weight.clamp(-0.2, 0.2)), lif=lif(), fc=flat()
    ),
    "masked weight": lambda: Odd(
        chain("conv", "lif"), conv=Kernel(lambda n: n.weight * (n.weight > 0)), lif=lif(), fc=flat()
    ),
    "flipped weight": lambda: Odd(chain("conv", "lif"), conv=Kernel(lambda n: n.weight.flip(-1)), lif=lif(), fc=flat()),
    "weight with its axes exchanged": lambda: Odd(
        chain("conv", "lif"), conv=Kernel(lambda n: n.weight.transpose(2, 3)), lif=lif(), fc=flat()
    ),
    "weight with channels exchanged": lambda: Odd(
        chain("first", "conv", "lif"),
        first=conv(),
        conv=Kernel(lambda n: n.weight.transpose(0, 1), 4),
        lif=lif(),
        fc=flat(),
    ),
    "weight reshaped": lambda: Odd(
        then(lambda n, x, _: functional.conv2d(x, n.kernel.reshape(4, 2, 3, 3), padding=1)),
        kernel=weight(4, 18, scale=0.4),
        lif=lif(),
        fc=flat(),
    ),
    "linear weight as a convolution": lambda: Odd(
        then(lambda n, x, _: functional.conv2d(x, n.linear.weight[:, :, None, None], n.linear.bias)),
        linear=nn.Linear(2, 4),
        lif=lif(),
        fc=flat(),
    ),
    "half of a weight": lambda: Odd(
        then(lambda n, x, _: functional.conv2d(x, n.kernel[:4], padding=1) + n.kernel[4:].sum()),
        kernel=weight(8, 2, 3, 3, scale=0.3),
        lif=lif(),
        fc=flat(),
    ),
    "weight of another name": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.odd(n.linear(x.flatten(1))))),
        linear=nn.Linear(50, 4),
        odd=Misnamed(),
        lif=lif(),
        fc=flat(4),
    ),
    "matmul with a parameter": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(x.flatten(1) @ n.weight + n.bias)),
        weight=weight(50, 8, scale=0.2),
        bias=weight(8),
        lif=lif(),
        fc=flat(8),
    ),
    "matmul with a transposed parameter": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(x.flatten(1) @ n.weight.t())), weight=weight(8, 50, scale=0.2), lif=lif(), fc=flat(8)
    ),
    "square weight, transposed and not": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.linear(x.flatten(1)) @ n.weight + n.linear(x.flatten(1)) @ n.weight.t())),
        linear=nn.Linear(50, 8),
        weight=weight(8, 8, scale=0.2),
        lif=lif(),
        fc=flat(8),
    ),
    "tied encoder and decoder": lambda: Odd(
        lambda n, x, _: n.fc(n.lif2(functional.linear(n.lif(n.linear(x.flatten(1))), n.linear.weight.t()))),
        linear=nn.Linear(50, 8),
        lif=lif(),
        lif2=lif(),
        fc=flat(50),
    ),
    "one module twice in a step": lambda: Odd(
        lambda n, x, _: n.fc(n.lif2(n.conv(n.lif(n.conv(x)))).flatten(1)),
        conv=conv(2, 2),
        lif=lif(),
        lif2=lif(),
        fc=flat(50),
    ),
    "one module twice, with batch norms": lambda: Odd(
        lambda n, x, _: n.fc(n.lif2(n.b(n.conv(n.lif(n.a(n.conv(x)))))).flatten(1)),
        conv=conv(2, 2),
        a=nn.BatchNorm2d(2),
        b=nn.BatchNorm2d(2),
        lif=lif(),
        lif2=lif(),
        fc=flat(50),
    ),
    "two modules of one parameter": lambda: Odd(
        lambda n, x, _: n.fc(n.lif2(n.both[1](n.lif(n.both[0](x)))).flatten(1)),
        both=shared(conv(2, 2), conv(2, 2)),
        lif=lif(),
        lif2=lif(),
        fc=flat(50),
    ),
    "two modules of one parameter, with batch norms": lambda: Odd(
        lambda n, x, _: n.fc(n.lif2(n.b(n.both[1](n.lif(n.a(n.both[0](x)))))).flatten(1)),
        both=shared(conv(2, 2), conv(2, 2)),
        a=nn.BatchNorm2d(2),
        b=nn.BatchNorm2d(2),
        lif=lif(),
        lif2=lif(),
        fc=flat(50),
    ),
    "two modules of equal values": _equal,
    "two blocks of equal values": _equal_blocks,
    "one module of two names": _two_names,
    "one convolution with other paddings": lambda: Odd(
        then(lambda n, x, t: functional.conv2d(functional.pad(x, (t, 2 - t, 1, 1)), n.conv.weight, n.conv.bias)),
        conv=conv(),
        lif=lif(),
        fc=flat(),
    ),
    "one convolution with other paddings, with batch norm": lambda: Odd(
        then(
            lambda n, x, t: n.norm(functional.conv2d(functional.pad(x, (t, 2 - t, 1, 1)), n.conv.weight, n.conv.bias))
        ),
        conv=conv(),
        norm=nn.BatchNorm2d(4),
        lif=lif(),
        fc=flat(),
    ),
    "one convolution with other dilations": lambda: Odd(
        then(lambda n, x, t: functional.conv2d(x, n.conv.weight, padding=1 + t, dilation=1 + t)),
        conv=conv(),
        lif=lif(),
        fc=flat(),
    ),
    "circular padding": lambda: Odd(chain("conv", "lif"), conv=conv(padding_mode="circular"), lif=lif(), fc=flat()),
    "reflecting padding": lambda: Odd(chain("conv", "lif"), conv=conv(padding_mode="reflect"), lif=lif(), fc=flat()),
    "convolution without batch axis of weights: grouped": lambda: Odd(
        chain("conv", "lif"), conv=conv(2, 4, groups=2), lif=lif(), fc=flat()
    ),
    "Bilinear": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.mix(x[:, 0].flatten(1), x[:, 1].flatten(1)))),
        mix=nn.Bilinear(25, 25, 8),
        lif=lif(),
        fc=flat(8),
    ),
    "einsum": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(torch.einsum("npi,oi->npo", x.flatten(2), n.weight)).flatten(1)),
        weight=weight(8, 25, scale=0.3),
        lif=lif(),
        fc=flat(16),
    ),
    "Linear of the last axis": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.linear(x)).flatten(1)), linear=nn.Linear(5, 6), lif=lif(), fc=flat(60)
    ),
    "Linear of the last axis, without bias": lambda: Odd(
        lambda n, x, _: n.fc(n.lif(n.linear(x)).flatten(1)), linear=nn.Linear(5, 6, bias=False), lif=lif(), fc=flat(60)
    ),
    "a bias used twice": lambda: Odd(
        then(lambda n, x, _: n.conv(x) + n.conv.bias[:, None, None]), conv=conv(), lif=lif(), fc=flat()
    ),
    "a computed bias": lambda: Odd(
        then(lambda n, x, _: functional.conv2d(x, n.conv.weight, n.conv.bias + 0.5, padding=1)),
        conv=conv(),
        lif=lif(),
        fc=flat(),
    ),
    "a shared bias": _shared_bias,
    "a weight used as a scale too": lambda: Odd(
        then(lambda n, x, _: n.conv(x) * n.conv.weight.abs().mean()), conv=conv(), lif=lif(), fc=flat()
    ),
    "weights added up": lambda: Odd(
        then(lambda n, x, _: functional.conv2d(x, n.a.weight + n.b.weight, padding=1)),
        a=conv(),
        b=conv(),
        lif=lif(),
        fc=flat(),
    ),
    "a parameter list": lambda: Odd(
        then(lambda n, x, t: functional.conv2d(x, n.kernels[t], padding=1)),
        kernels=nn.ParameterList(weight(4, 2, 3, 3, scale=0.4) for _ in range(3)),
        lif=lif(),
        fc=flat(),
    ),
    "a convolution for each step": lambda: Odd(
        then(lambda n, x, t: n.convs[t](x)), convs=nn.ModuleList(conv() for _ in range(3)), lif=lif(), fc=flat()
    ),
    "a scale for each channel": lambda: Odd(
        then(lambda n, x, _: n.conv(x) * n.scale + n.shift),
        conv=conv(),
        scale=weight(4, 1, 1),
        shift=weight(4, 1, 1),
        lif=lif(),
        fc=flat(),
    ),
    "a scale for each step": lambda: Odd(
        then(lambda n, x, t: n.conv(x) * n.scale[t]), conv=conv(), scale=weight(3), lif=lif(), fc=flat()
    ),
    "a learnt input scale": lambda: Odd(
        then(lambda n, x, _: n.conv(x * torch.sigmoid(n.scale))), conv=conv(), scale=weight(1), lif=lif(), fc=flat()
    ),
    "squeeze and excitation": lambda: Odd(
        then(lambda n, x, _: n.conv(x) * torch.sigmoid(n.gate(n.conv(x).mean((2, 3))))[:, :, None, None]),
        conv=conv(),
        gate=nn.Linear(4, 4),
        lif=lif(),
        fc=flat(),
    ),
    "a weight made by a network": lambda: Odd(
        then(lambda n, x, _: functional.conv2d(x, n.hyper(n.code).reshape(4, 2, 3, 3), padding=1)),
        code=weight(6),
        hyper=nn.Linear(6, 72),
        lif=lif(),
        fc=flat(),
    ),
    "an embedding of the step": lambda: Odd(
        then(lambda n, x, t: n.conv(x) + n.embedding(torch.tensor(t, device=x.device))[:, None, None]),
        conv=conv(),
        embedding=nn.Embedding(3, 4),
        lif=lif(),
        fc=flat(),
    ),
}
