"""The layers of TCJA networks that are neither neuron nor attention. Arrays are [T, N, ...]: time first, then batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PerStep(nn.Sequential):
    """Layers without state, applied to each time step on its own: [T, N, ...] -> [T, N, ...].

    Children are numbered as in a Sequential, so a checkpoint of SpikingJelly's ``SeqToANNContainer`` (releases since
    0.0.0.0.8) has its keys.
    """

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(0, 1)
        for layer in self:
            y = layer(y)
        return y.reshape(len(x), -1, *y.shape[1:])


class WindowDropout(nn.Module):
    """Dropout that drops the same elements at every time step of a window: [T, N, ...] -> the same."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * nn.functional.dropout(torch.ones_like(x[0]), self.p)


class Voting(nn.Module):
    """Mean of each `voters` consecutive units: [N, classes * voters] -> [N, classes]."""

    def __init__(self, voters: int) -> None:
        super().__init__()
        self.voters = voters

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1, self.voters).mean(2)
