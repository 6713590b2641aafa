"""Temporal-channel joint attention (TCJA) and its two halves alone.

Input x[t,n,c,h,w]; two bias-free one-dimensional convolutions with stored weights Wt [T, T, k_t] and Wc [C, C, k_c]:

    z[t,n,c]     = mean over h,w of x[t,n,c,h,w]
    a[t,n,c]     = sum over t',j of Wt[t,t',j] * z[t', n, c + j - (k_t - 1) // 2]     slides over channels, mixes all T
    b[t,n,c]     = sum over c',j of Wc[c,c',j] * z[t + j - (k_c - 1) // 2, n, c']     slides over time, mixes all C
    y[t,n,c,h,w] = x[t,n,c,h,w] * sigmoid(b[t,n,c] * a[t,n,c])

Values outside the range are 0, so an even kernel is padded by one more on the right. `CLA` keeps a alone, `TLA` keeps
b alone. The published code calls a's kernel ``kernel_size_t`` although it slides over channels; the names here are
those of its weights: k_t belongs to ``conv``, k_c to ``conv_c``.

Sources: Zhu et al., "TCJA-SNN: Temporal-Channel Joint Attention for Spiking Neural Networks", IEEE TNNLS (2024),
arXiv:2206.10177; ridgerchu/TCJA, ``src/layers.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SameConv1d(nn.Conv1d):
    """A bias-free Conv1d whose output is as long as its input: (k-1)//2 zeros on the left, the rest on the right.

    Shapes: [N, C, L] -> [N, C, L]. The same sums as ``padding='same'``, without torch's warning about even kernels.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__(channels, channels, kernel_size, bias=False)
        left = (kernel_size - 1) // 2
        self.sides = (left, kernel_size - 1 - left)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, self.sides))


class _Gate(nn.Module):
    """x [T, N, C, H, W] times a gate in (0, 1) that is constant over H and W."""

    def logits(self, z: Tensor) -> Tensor:
        """The gate before the sigmoid, [T, N, C], from the spatial mean z [T, N, C]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.logits(x.mean(dim=(3, 4))))
        return x * gate.reshape(*gate.shape, 1, 1)


def _over_channels(conv: nn.Module, z: Tensor) -> Tensor:
    out: Tensor = conv(z.permute(1, 0, 2))  # [N, T, C]
    return out.permute(1, 0, 2)


def _over_time(conv: nn.Module, z: Tensor) -> Tensor:
    out: Tensor = conv(z.permute(1, 2, 0))  # [N, C, T]
    return out.permute(2, 0, 1)


class TCJA(_Gate):
    """Joint attention: one sigmoid of the product of both halves. Shapes: [T, N, C, H, W] -> the same."""

    def __init__(self, k_t: int, k_c: int, time_steps: int, channels: int) -> None:
        super().__init__()
        self.conv = SameConv1d(time_steps, k_t)
        self.conv_c = SameConv1d(channels, k_c)

    def logits(self, z: Tensor) -> Tensor:
        return _over_time(self.conv_c, z) * _over_channels(self.conv, z)


class CLA(_Gate):
    """Channel-wise local attention alone (``conv`` slides over channels). Shapes: [T, N, C, H, W] -> the same."""

    def __init__(self, k_t: int, time_steps: int) -> None:
        super().__init__()
        self.conv = SameConv1d(time_steps, k_t)

    def logits(self, z: Tensor) -> Tensor:
        return _over_channels(self.conv, z)


class TLA(_Gate):
    """Temporal-wise local attention alone (``conv_c`` slides over time). Shapes: [T, N, C, H, W] -> the same."""

    def __init__(self, k_c: int, channels: int) -> None:
        super().__init__()
        self.conv_c = SameConv1d(channels, k_c)

    def logits(self, z: Tensor) -> Tensor:
        return _over_time(self.conv_c, z)
