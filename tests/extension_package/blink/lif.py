"""The neuron, and a network of it. They know nothing of tcja-deploy."""

import torch
from torch import Tensor, nn


class BlinkLIF(nn.Module):
    """A neuron over [T, N, ...]: its membrane decays by `decay`, and is set to 0 where it reaches 1."""

    def __init__(self, decay: float = 0.75) -> None:
        super().__init__()
        self.decay = decay

    def forward(self, x: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(x[0]), []
        for current in x:
            v = v * self.decay + current
            spikes.append((v >= 1.0).to(x.dtype))
            v = v * (1.0 - spikes[-1])
        return torch.stack(spikes)


class BlinkNet(nn.Module):
    """Frames [T, N, 2, 4, 4] -> scores [N, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.lif, self.outer, self.blink = nn.Linear(32, 8), BlinkLIF(), nn.Linear(8, 3), BlinkLIF(0.5)

    def forward(self, frames: Tensor) -> Tensor:
        return self.blink(self.outer(self.lif(self.inner(frames.flatten(2))))).mean(0)
