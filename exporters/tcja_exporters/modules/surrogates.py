"""Surrogate gradients for training. An exported model has the Heaviside step in their place."""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Surrogate(Protocol):
    """A spike function: the Heaviside step in the forward pass, the derivative of a smooth function in the backward."""

    def __call__(self, distance: Tensor, strict: bool) -> Tensor:
        """Return the spikes (0 or 1), in the shape of `distance`.

        Args:
            distance: the membrane minus the threshold, in any shape.
            strict: whether a neuron fires only above its threshold; if false, it also fires at a distance of 0.
        """
        ...


def heaviside(distance: Tensor, strict: bool) -> Tensor:
    """Return 1 where distance > 0 (strict) or >= 0, else 0, in the dtype of distance. The result has no gradient."""
    return (distance > 0 if strict else distance >= 0).to(distance.dtype)


class ATan(nn.Module):
    """The Heaviside step, with the derivative of (1/pi) atan(pi/2 alpha x) + 1/2 in the backward pass.

        d/dx = (alpha / 2) / (1 + (pi/2 alpha x)^2)

    Source: Fang et al., "Incorporating Learnable Membrane Time Constant", ICCV 2021; alpha = 2 is SpikingJelly's.
    """

    def __init__(self, alpha: float = 2.0) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, distance: Tensor, strict: bool) -> Tensor:
        """Return the spikes (0 or 1), in the shape of distance."""
        spikes: Tensor = _ATanStep.apply(distance, self.alpha, strict)  # type: ignore[no-untyped-call]  # torch's
        return spikes


class _ATanStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, alpha: float, strict: bool) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.alpha = alpha
        return heaviside(distance, strict)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (distance,) = ctx.saved_tensors
        slope = (ctx.alpha / 2) / (1 + (math.pi / 2 * ctx.alpha * distance) ** 2)
        return grad_outputs[0] * slope, None, None
