"""Temporal-channel joint attention (TCJA), its two halves alone, and their sum.

Input x[t,n,c,h,w]; two bias-free one-dimensional convolutions with stored weights Wt [T, T, k_t] and Wc [C, C, k_c]:

    z[t,n,c]     = mean over h,w of x[t,n,c,h,w]
    a[t,n,c]     = sum over t',j of Wt[t,t',j] * z[t', n, c + j - (k_t - 1) // 2]     slides over channels, mixes all T
    b[t,n,c]     = sum over c',j of Wc[c,c',j] * z[t + j - (k_c - 1) // 2, n, c']     slides over time, mixes all C
    y[t,n,c,h,w] = x[t,n,c,h,w] * sigmoid(g[t,n,c])

    g = b * a  (TCJA)      b + a  (TCJA, combine = "sum")      a  (CLA)      b  (TLA)

Values outside the range are 0, so an even kernel is padded by one more on the right. The published code calls a's
kernel ``kernel_size_t`` although it slides over channels; the names here are those of its weights: k_t belongs to
``conv``, k_c to ``conv_c``.

Sources: Zhu et al., "TCJA-SNN: Temporal-Channel Joint Attention for Spiking Neural Networks", IEEE TNNLS (2024),
arXiv:2206.10177, the sum and the halves being its ablations; ridgerchu/TCJA, ``src/layers.py`` and
``src/tet/models/layers.py``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

ATTENTIONS = ("tcja", "cla", "tla", "none")
"""The kinds of attention blocks. The keys of a checkpoint show which kind its network has."""
COMBINATIONS = ("product", "sum")
"""The ways in which TCJA can combine its two halves. No checkpoint stores which one was trained."""

Kernels = tuple[int, int]
"""The kernel sizes (k_t, k_c) of a block."""


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
    """Multiplies x by a gate in (0, 1) that is constant over H and W.

    Shapes: x is [T, N, C, H, W], or [N, T, C, H, W] if `time_axis` is 1; the result has the same shape.
    """

    def __init__(self, time_axis: int) -> None:
        super().__init__()
        self.time_axis = time_axis
        self.gate = nn.Sigmoid()

    def logits(self, z: Tensor) -> Tensor:
        """Return the gate before the sigmoid, [N, T, C], from the spatial mean z [N, T, C]."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        z = x.mean(dim=(3, 4))
        if self.time_axis == 0:
            gate = self.gate(self.logits(z.transpose(0, 1))).transpose(0, 1)
        else:
            gate = self.gate(self.logits(z))
        y: Tensor = x * gate.reshape(*gate.shape, 1, 1)
        return y


def _over_time(conv: nn.Module, z: Tensor) -> Tensor:
    """Return the convolution of z [N, T, C] over time, [N, T, C]."""
    out: Tensor = conv(z.transpose(1, 2))  # [N, C, T]
    return out.transpose(1, 2)


class TCJA(_Gate):
    """Joint attention: one sigmoid of the product, or the sum, of both halves."""

    def __init__(
        self, k_t: int, k_c: int, time_steps: int, channels: int, *, time_axis: int = 0, combine: str = "product"
    ) -> None:
        super().__init__(time_axis)
        self.combine = combine
        self.conv: nn.Module = SameConv1d(time_steps, k_t)
        self.conv_c = SameConv1d(channels, k_c)

    def logits(self, z: Tensor) -> Tensor:
        a: Tensor = self.conv(z)
        b = _over_time(self.conv_c, z)
        return b * a if self.combine == "product" else b + a


class CLA(_Gate):
    """Channel-wise local attention alone: ``conv`` slides over channels."""

    def __init__(self, k_t: int, time_steps: int, *, time_axis: int = 0) -> None:
        super().__init__(time_axis)
        self.conv: nn.Module = SameConv1d(time_steps, k_t)

    def logits(self, z: Tensor) -> Tensor:
        a: Tensor = self.conv(z)
        return a


class TLA(_Gate):
    """Temporal-wise local attention alone: ``conv_c`` slides over time."""

    def __init__(self, k_c: int, channels: int, *, time_axis: int = 0) -> None:
        super().__init__(time_axis)
        self.conv_c = SameConv1d(channels, k_c)

    def logits(self, z: Tensor) -> Tensor:
        return _over_time(self.conv_c, z)


def parts(model: nn.Module) -> dict[str, tuple[int, int, int]]:
    """Return the convolutions and gates of all attention blocks of a model.

    Returns:
        A dictionary: the name of the submodule, such as "conv.11.conv_c" -> the axes of time, batch and channels in
        the output of the submodule, such as (2, 0, 1) for [batch, channels, time].
    """
    found = {}
    for name, block in model.named_modules():
        if isinstance(block, _Gate):
            axes = {"conv": (1, 0, 2), "conv_c": (2, 0, 1), "gate": (1, 0, 2)}
            found.update({f"{name}.{part}": axes[part] for part, _ in block.named_children() if part in axes})
    return found


def attention(
    kind: str, kernels: Kernels, time_steps: int, channels: int, *, time_axis: int = 0, combine: str = "product"
) -> list[nn.Module]:
    """Return a list with one attention block of a kind; an empty list for the kind "none".

    Args:
        kind: one of ATTENTIONS.
        kernels: the kernel sizes (k_t, k_c).
        time_steps: the number of time steps, T.
        channels: the number of channels, C.
        time_axis: the axis of time in the block's input, 0 or 1.
        combine: one of COMBINATIONS.
    """
    k_t, k_c = kernels
    if kind == "tcja":
        return [TCJA(k_t, k_c, time_steps, channels, time_axis=time_axis, combine=combine)]
    if kind == "cla":
        return [CLA(k_t, time_steps, time_axis=time_axis)]
    if kind == "tla":
        return [TLA(k_c, channels, time_axis=time_axis)]
    return []
