"""The layers of TCJA networks that are neither neuron nor attention.

Tensors are [T, N, ...] (SpikingJelly's order) or [N, T, ...] (TET's order). A layer that treats time and batch
differently takes the argument `time_axis`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class PerStep(nn.Sequential):
    """Layers without a state, in a row, applied to each time step separately.

    Shapes: [T, N, ...] -> [T, N, ...], or [N, T, ...] -> [N, T, ...].

    Its layers are numbered as in a Sequential, so the keys of their weights are those of SpikingJelly's
    ``SeqToANNContainer`` (releases since 0.0.0.0.8).
    """

    def forward(self, x: Tensor) -> Tensor:
        return _per_step(super().forward, x)


class TetPerStep(nn.Module):
    """`PerStep` with the keys of TET's ``SeqToANNContainer``: ``module``, or ``module.0``, ... for several layers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.module = layers[0] if len(layers) == 1 else nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return _per_step(self.module, x)


def _per_step(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a layer to x [T, N, ...], reshaped to [T * N, ...]; return the result as [T, N, ...]."""
    y = layer(x.flatten(0, 1))
    return y.reshape(*x.shape[:2], *y.shape[1:])


class WindowDropout(nn.Module):
    """Dropout that drops the same elements at every time step of a window. In eval mode it changes nothing."""

    def __init__(self, p: float, *, time_axis: int = 0) -> None:
        super().__init__()
        self.p = p
        self.time_axis = time_axis

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        one_step = x.narrow(self.time_axis, 0, 1)
        return x * nn.functional.dropout(torch.ones_like(one_step), self.p)


class Voting(nn.Module):
    """The mean of each `voters` consecutive units: [..., classes * voters] -> [..., classes]."""

    def __init__(self, voters: int) -> None:
        super().__init__()
        self.voters = voters

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:-1], -1, self.voters).mean(-1)


class Readout(nn.Module):
    """The output of a network: the mean over time of its last layer, then `head`.

    Shapes: [T, N, units], or [N, T, units] if `time_axis` is 1, -> [N, classes]. If `per_step` is true, there is no
    mean: `head` is applied to each time step, and the result is [N, T, classes].
    """

    def __init__(self, head: nn.Module | None = None, *, time_axis: int = 0) -> None:
        super().__init__()
        self.head = head or nn.Identity()
        self.time_axis = time_axis
        self.per_step = False

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.head(x.movedim(self.time_axis, 1) if self.per_step else x.mean(self.time_axis))
        return answer
