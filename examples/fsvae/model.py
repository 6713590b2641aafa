r"""A fully spiking VAE around the generator that is exported: what it needs to be trained and to be sampled from.

    s       = spiking encoder(image x at each of the T steps)           maps [T, N, last width, 2, 2]
    m, v    = posterior(mean over t of before_latent_layer(s))          of a Gaussian u ~ N(m, exp v), [N, latent]
    r       = prior(u) = sigmoid(W u + b)                               firing rates in (0, 1)
    z_t     = floor(r t + p) - floor(r (t-1) + p)                       latent spikes, p ~ U(0, 1), t = 1..T
    image   = generator(z)

    loss    = mean squared error + beta * KL(N(m, exp v) || N(0, 1))

z is what an integrate-and-fire neuron of threshold 1, soft reset and initial membrane p fires at the constant current
r: E z_t = r, and the count of its spikes is within one of T r. Its gradient by r is taken for 1. Images are generated
from u ~ N(0, 1).

This is simpler than the published latent, a Bernoulli process in time that two spiking networks predict step by step
(Kamata, Mukuta, Harada, "Fully Spiking Variational Autoencoder", AAAI 2022). Rates from a learned layer and a sigmoid
are ESVAE's (Zhan et al., "ESVAE: An Efficient Spiking Variational Autoencoder with Reparameterizable Poisson Spiking
Sampling", 2023). Keys are the published ones where a layer is the published one.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from tcja_exporters.modules.dialects import FSVAE
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.modules.surrogates import heaviside
from tcja_exporters.networks.fsvae import FsvaeGenerator, Sizes, SpikingLinear, ThresholdNorm


class Rectangle(nn.Module):
    """Surrogate: the step forward; backward 1 within 1/2 of the threshold, else 0, which is quick to compute."""

    def forward(self, distance: Tensor, strict: bool) -> Tensor:
        """Spikes, the shape of distance."""
        spikes: Tensor = _RectangleStep.apply(distance, strict)  # type: ignore[no-untyped-call]  # torch's
        return spikes


class _RectangleStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, strict: bool) -> Tensor:
        ctx.save_for_backward(distance.abs() < 0.5)
        return heaviside(distance, strict)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (near,) = ctx.saved_tensors
        return grad_outputs[0] * near, None


class SpikingConv(nn.Conv3d):
    """3x3 convolution of stride 2, norm and neuron: [T, N, inputs, H, W] -> spikes [T, N, outputs, H / 2, W / 2].

    T may be 1 for an input that does not change; `steps` is then how often its current is repeated.
    """

    def __init__(self, inputs: int, outputs: int, steps: int = 1) -> None:
        super().__init__(inputs, outputs, (3, 3, 1))
        self.steps = steps
        self.bn = ThresholdNorm(outputs)
        self.spike = SpikingNeuron(FSVAE.neuron)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(nn.functional.conv2d(x.flatten(0, 1), self.weight[..., 0], self.bias, 2, 1))
        current = y.reshape(*x.shape[:2], *y.shape[1:])
        if self.steps > 1:
            current = current.expand(self.steps, -1, -1, -1, -1)
        spikes: Tensor = self.spike(current)
        return spikes


class Posterior(nn.Module):
    """Rates [N, units] -> mean and logarithm of the variance of u, both [N, latent]."""

    def __init__(self, units: int, latent: int) -> None:
        super().__init__()
        self.mean = nn.Linear(units, latent)
        self.log_variance = nn.Linear(units, latent)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.constant_(self.log_variance.bias, -3.0)

    def forward(self, rates: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(rates), self.log_variance(rates).clamp(-8.0, 4.0)


class Prior(nn.Sequential):
    """u [N, latent] -> firing rates [N, latent]."""

    def __init__(self, latent: int) -> None:
        linear = nn.Linear(latent, latent)
        linear.weight.data = 1.5 * torch.eye(latent)  # else all rates begin near 1/2
        nn.init.zeros_(linear.bias)
        super().__init__(linear, nn.Sigmoid())


class Fsvae(FsvaeGenerator):
    """Images [N, channels, H, W] in [-1, 1] -> reconstructions alike, and the divergence KL [N].

    It is the generator with more modules, so that its state_dict holds the generator under the published keys.
    """

    def __init__(self, sizes: Sizes, units: int = 256) -> None:
        super().__init__(sizes)
        self.time_steps, self.latent = sizes.time_steps, sizes.latent
        widths = (sizes.channels, *reversed(sizes.widths))
        self.encoder = nn.Sequential(
            *(
                SpikingConv(*pair, steps=1 if i else self.time_steps)
                for i, pair in enumerate(itertools.pairwise(widths))
            )
        )
        self.before_latent_layer = SpikingLinear(4 * sizes.widths[0], units)
        self.posterior = Posterior(units, sizes.latent)
        self.prior = Prior(sizes.latent)

    def autoencode(self, images: Tensor, *, noise: bool = True) -> tuple[Tensor, Tensor]:
        """Reconstructions [N, channels, H, W] and KL [N]; without noise, u is the mean and p is 1/2."""
        maps = self.encoder(images[None])
        mean, log_variance = self.posterior(self.before_latent_layer(maps.flatten(2)).mean(0))
        divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        u = mean + (log_variance / 2).exp() * torch.randn_like(mean) if noise else mean
        return self(self.fired(self.prior(u), noise=noise)), divergence

    def fired(self, rates: Tensor, *, noise: bool = True) -> Tensor:
        """Spikes z [N, T, latent] of rates [N, latent]."""
        phase = torch.rand_like(rates) if noise else torch.full_like(rates, 0.5)
        steps = torch.arange(self.time_steps + 1, device=rates.device)[:, None]
        spikes = (rates.detach()[:, None] * steps + phase[:, None]).floor().diff(dim=1)
        rate = rates[:, None]
        return spikes + (rate - rate.detach())

    def draw(self, count: int) -> Tensor:
        """Latent spikes [count, T, latent] from the prior."""
        return self.fired(self.prior(torch.randn(count, self.latent))).detach()
