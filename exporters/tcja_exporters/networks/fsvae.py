r"""The generator of the fully spiking variational autoencoder (kamata1729/FullySpikingVAE), with TCJA.

It computes an image [N, channels, H, W] in [-1, 1] from the spikes z [N, T, latent] of the latent units:

    s     = fire(norm(W z_t + b))                        as maps [widths[0], 2, 2]
    s     = fire(norm(transposed convolution(s)))        one a further width, then one more; each doubles H and W
    x_t   = transposed convolution(s) + b                does not fire
    y     = TCJA(x)                                      gates x_t; see below
    image = tanh(mean over t of y_t)                     readout "mean"
    image = tanh(sum over t of coef_t y_t)               readout "membrane", coef_t = 0.8^(T-t) for t = 1..T
    norm(u) = alpha * threshold * (u - mean) / sqrt(var + eps) * weight + bias       threshold 0.2, alpha 1

norm is the threshold-dependent batch norm; no checkpoint stores its factor alpha * threshold. The published network has
no attention, and its readout is "membrane": the membrane of a neuron that never fires.

The variant with TCJA was not published. The TCJA paper averages over time after a TCJA block, but does not say where in
the generator the block is. Here the block is the last layer before the mean; bollossom's ICLR_TINY_SNN also has a block
there, in place of the membrane. The keys of the block are ``tcja.conv.weight`` and ``tcja.conv_c.weight``.

Sources: Kamata, Mukuta, Harada, "Fully Spiking Variational Autoencoder", AAAI 2022, and its code,
``fsvae_models/fsvae.py`` and ``fsvae_models/snn_layers.py``; Zheng et al., "Going Deeper With Directly-Trained Larger
Spiking Neural Networks", AAAI 2021 (the norm); Zhu et al., "TCJA-SNN", IEEE TNNLS (2024).
"""

from __future__ import annotations

import itertools
import math
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from tcja_exporters.modules.attention import ATTENTIONS, attention
from tcja_exporters.modules.dialects import FSVAE
from tcja_exporters.modules.layers import Readout
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.networks.base import Attention, Network, ShapeReader
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.data.contract import InputContract

READOUTS = ("mean", "membrane")
"""The readouts of the module's docstring."""
START = 2
"""The height and width of the first maps, in pixels."""
LEAK = 0.8
"""The factor by which the membrane decays in each time step, in the readout "membrane"."""


class Sizes(NamedTuple):
    """The sizes of the network; the defaults are those published for Fashion-MNIST at 32x32."""

    attention: Attention = Attention("tcja", "product", 16, ((4, 4),))
    """The attention block."""
    readout: str = READOUTS[0]
    """The readout, one of READOUTS."""
    latent: int = 128
    """The number of latent units."""
    widths: tuple[int, ...] = (256, 128, 64, 32)
    """The channels of the maps, from the smallest map to the largest; (512, 256, ...) for 64x64 images (FSVAELarge)."""
    channels: int = 1
    """The number of channels of the image."""

    @property
    def time_steps(self) -> int:
        """The number of time steps, T."""
        return self.attention.time_steps


class ThresholdNorm(nn.BatchNorm2d):
    """The batch norm `norm` of the module's docstring, over [T * N, features] or [T * N, features, H, W]."""

    def __init__(self, features: int, alpha: float = 1.0) -> None:
        super().__init__(features)
        self.factor = alpha * float(array_of(FSVAE.neuron.threshold))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.factor * self.weight,
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )


class SpikingLinear(nn.Linear):
    """A fully connected layer, norm and neuron: [T, N, inputs] -> spikes [T, N, outputs]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.bn = ThresholdNorm(outputs)
        self.spike = SpikingNeuron(FSVAE.neuron)

    def forward(self, x: Tensor) -> Tensor:
        current = self.bn(super().forward(x.flatten(0, 1)))
        spikes: Tensor = self.spike(current.reshape(*x.shape[:2], -1))
        return spikes


class TransposedConv(nn.Module):
    """A 3x3 transposed convolution: [T, N, inputs, H, W] -> [T, N, outputs, H, W].

    Its weight is [inputs, outputs, 3, 3, 1]: in the published code the last axis is time, and its length is 1.
    """

    stride = 1

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs, 3, 3, 1))
        self.bias = nn.Parameter(torch.empty(outputs))
        # The same initial values as those of torch.nn.ConvTranspose2d.
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.conv_transpose2d(
            x.flatten(0, 1), self.weight[..., 0], self.bias, self.stride, 1, output_padding=self.stride - 1
        )
        return y.reshape(*x.shape[:2], *y.shape[1:])


class SpikingTransposedConv(TransposedConv):
    """A transposed convolution of stride 2, norm, neuron: [T, N, inputs, H, W] -> spikes [T, N, outputs, 2H, 2W]."""

    stride = 2

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.bn = ThresholdNorm(outputs)
        self.spike = SpikingNeuron(FSVAE.neuron)

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        spikes: Tensor = self.spike(self.bn(y.flatten(0, 1)).reshape(y.shape))
        return spikes


class MembraneReadout(nn.Module):
    """The tanh of the last membrane of a neuron that leaks and never fires: [T, N, ...] -> [N, ...]."""

    coef: Tensor

    def __init__(self, time_steps: int) -> None:
        super().__init__()
        self.register_buffer("coef", (LEAK ** torch.arange(time_steps - 1.0, -1.0, -1.0)).reshape(1, 1, 1, 1, -1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh((x * self.coef.reshape(-1, 1, 1, 1, 1)).sum(0))


class FsvaeGenerator(nn.Module):
    """Latent spikes [N, T, latent] -> images [N, channels, H, W] in [-1, 1]; H and W are START * 2^len(widths)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        kind, combine, time_steps, (kernels,) = sizes.attention
        first, last = sizes.widths[0], sizes.widths[-1]
        self.first = first
        self.decoder_input = SpikingLinear(sizes.latent, first * START**2)
        self.decoder = nn.Sequential(*itertools.starmap(SpikingTransposedConv, itertools.pairwise(sizes.widths)))
        self.final_layer = nn.Sequential(SpikingTransposedConv(last, last), TransposedConv(last, sizes.channels))
        gates = attention(kind, kernels, time_steps, sizes.channels, combine=combine)
        self.tcja = gates[0] if gates else nn.Identity()
        mean = sizes.readout == "mean"
        self.membrane_output_layer = Readout(nn.Tanh()) if mean else MembraneReadout(time_steps)

    def forward(self, latents: Tensor) -> Tensor:
        maps = self.decoder_input(latents.transpose(0, 1)).unflatten(2, (self.first, START, START))
        images: Tensor = self.membrane_output_layer(self.tcja(self.final_layer(self.decoder(maps))))
        return images


class Fsvae(Network[Sizes]):
    """The registry entry. Only the generator is deployed; the latent spikes are drawn from the prior outside of it."""

    name = "fsvae"
    summary = "image generator of the fully spiking VAE: four or more spiking transposed convolutions, TCJA, mean, tanh"
    dialect = FSVAE
    output = "image"
    variants: ClassVar = {"attention": ATTENTIONS, "readout": READOUTS}
    undeployed = ("encoder.", "before_latent_layer.", "prior.", "posterior.")

    def sizes(self, reader: ShapeReader) -> Sizes:
        published = Sizes()
        readout = reader.choice("readout", READOUTS)
        coef = [("membrane_output_layer.coef", 4)] if readout == "membrane" else []
        return Sizes(
            attention=reader.attention(["tcja"], published.attention, time_steps=coef),
            readout=readout,
            latent=reader.size("latent units", ("decoder_input.weight", 1), default=published.latent),
            widths=_widths(reader, published.widths),
            channels=reader.size(
                "image channels", ("final_layer.1.weight", 1), ("final_layer.1.bias", 0), default=published.channels
            ),
        )

    def build(self, sizes: Sizes) -> FsvaeGenerator:
        return FsvaeGenerator(sizes)

    def contract(self, sizes: Sizes) -> InputContract:
        return InputContract.latents(sizes.time_steps, sizes.latent)

    def classes(self, sizes: Sizes) -> tuple[str, ...]:  # noqa: ARG002  # it does not classify
        return ()


def _widths(reader: ShapeReader, published: tuple[int, ...]) -> tuple[int, ...]:
    """Return the channels of the first map, then those of the output of each decoder layer in the checkpoint."""
    further: list[int] = []
    while width := reader.size(
        f"maps {len(further) + 2}",
        (f"decoder.{len(further)}.weight", 1),
        (f"decoder.{len(further)}.bn.weight", 0),
        (f"decoder.{len(further)}.bias", 0),
        default=0,
    ):
        further.append(width)
    if not further:
        return published
    return reader.size("maps 1", ("decoder.0.weight", 0), default=published[0]), *further


NETWORK = Fsvae()
