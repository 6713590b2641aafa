"""Networks with attention as published, with SpikingJelly's neurons, of random weights with which every layer fires."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

T = 4


def lif(threshold: float = 1.0) -> nn.Module:
    from spikingjelly.activation_based import neuron

    return neuron.LIFNode(tau=2.0, v_threshold=threshold, detach_reset=True, step_mode="m")


def normed(outputs: int, *layers: nn.Module) -> nn.Module:
    """Layers and a batch norm for each token or pixel, on [T, N, ...]."""
    norm: nn.Module = nn.BatchNorm1d(outputs) if isinstance(layers[-1], nn.Conv1d) else nn.BatchNorm2d(outputs)
    return nn.Sequential(*layers, norm)


def per_step(layers: nn.Module, x: Tensor) -> Tensor:
    return layers(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class SpikingSelfAttention(nn.Module):
    """Spikformer (Zhou and others, ICLR 2023, section 3.2): q k^T v of spikes, times 0.125, on tokens [T, N, C, L]."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, 0.125
        self.q, self.k, self.v, self.proj = (normed(dim, nn.Conv1d(dim, dim, 1, bias=False)) for _ in range(4))
        self.q_lif, self.k_lif, self.v_lif, self.proj_lif = lif(), lif(), lif(), lif()
        self.attn_lif = lif(0.5)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            fires(per_step(layers, x)).unflatten(2, (self.heads, -1)).transpose(-2, -1)
            for layers, fires in ((self.q, self.q_lif), (self.k, self.k_lif), (self.v, self.v_lif))
        )
        attended = q @ k.transpose(-2, -1) @ v * self.scale
        attended = self.attn_lif(attended.transpose(-2, -1).flatten(2, 3))
        return self.proj_lif(per_step(self.proj, attended))


class Spikformer(nn.Module):
    """A patch stem, one block, and the readout of the mean over tokens and time, on [T, N, 2, 8, 8]."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.stem, self.stem_lif = normed(dim, nn.Conv2d(2, dim, 3, padding=1, bias=False)), lif()
        self.pool = nn.MaxPool2d(2)
        self.position, self.position_lif = normed(dim, nn.Conv2d(dim, dim, 3, padding=1, bias=False)), lif()
        self.attention = SpikingSelfAttention(dim, 2)
        self.fc1, self.fc1_lif = normed(2 * dim, nn.Conv1d(dim, 2 * dim, 1)), lif()
        self.fc2, self.fc2_lif = normed(dim, nn.Conv1d(2 * dim, dim, 1)), lif()
        self.head = nn.Linear(dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = per_step(self.pool, self.stem_lif(per_step(self.stem, x)))
        x = (x + self.position_lif(per_step(self.position, x))).flatten(3)
        x = x + self.attention(x)
        x = x + self.fc2_lif(per_step(self.fc2, self.fc1_lif(per_step(self.fc1, x))))
        return self.head(x.mean(3)).mean(0)


class AxisAttention(nn.Module):
    """MA-SNN (Yao and others, TPAMI 2023): a gate for each time step or channel, on [N, axis, other axis, H, W]."""

    def __init__(self, planes: int, reduction: int) -> None:
        super().__init__()
        self.avg_pool, self.max_pool = nn.AdaptiveAvgPool3d(1), nn.AdaptiveMaxPool3d(1)
        self.shared = nn.Sequential(
            nn.Conv3d(planes, planes // reduction, 1, bias=False),
            nn.ReLU(),
            nn.Conv3d(planes // reduction, planes, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.shared(self.avg_pool(x)) + self.shared(self.max_pool(x)))


class MultiDimensionalAttention(nn.Module):
    """MA-SNN's gates over time, channels and pixels, one after the other, on currents [T, N, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.time, self.channel = AxisAttention(T, 2), AxisAttention(channels, 2)
        self.space = nn.Conv2d(2, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        x = self.time(x) * x
        x = self.channel(x.transpose(1, 2)).transpose(1, 2) * x
        planes = x.flatten(1, 2)
        pooled = torch.cat([planes.mean(1, keepdim=True), planes.max(1, keepdim=True)[0]], 1)
        return functional.relu(torch.sigmoid(self.space(pooled)).unsqueeze(1) * x).transpose(0, 1)


class MultiAttention(nn.Module):
    """Two convolutions whose currents MA-SNN's attention weights, and a readout, on [T, N, 2, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1, stride=2)
        self.attention1, self.attention2 = MultiDimensionalAttention(6), MultiDimensionalAttention(6)
        self.lif1, self.lif2, self.lif3 = lif(0.3), lif(0.3), lif()
        self.fc = nn.Linear(96, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lif1(self.attention1(per_step(self.conv1, x)))
        x = self.lif2(self.attention2(per_step(self.conv2, x)))
        return self.lif3(self.fc(x.flatten(2))).mean(0)


class DenseAttention(nn.Module):
    """A transformer block with layer norms, softmax and GELU, between spiking layers, on [T, N, 2, 8, 8]."""

    def __init__(self, dim: int = 16) -> None:
        super().__init__()
        self.stem, self.stem_lif = nn.Conv2d(2, dim, 4, stride=4), lif(0.5)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.out_lif, self.head = lif(), nn.Linear(dim, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_lif(per_step(self.stem, x)).flatten(3).transpose(2, 3)
        tokens = x.flatten(0, 1)
        normed = self.norm1(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        tokens = tokens + self.mlp(self.norm2(tokens))
        return self.head(self.out_lif(tokens.unflatten(0, x.shape[:2])).mean(2)).mean(0)


def awake(net: nn.Module) -> nn.Module:
    """Draw weights with which all layers fire, and batch norms that are not trivial."""
    generator = torch.Generator().manual_seed(0)
    for name, values in (*net.named_parameters(), *net.named_buffers()):
        if values.ndim > 1:
            values.data = torch.randn(values.shape, generator=generator) * 3 / values[0].numel() ** 0.5
        elif name.endswith(("running_var", "weight")):
            values.data.uniform_(0.5, 1.5, generator=generator)
    return net.eval()


NETWORKS = {"Spikformer": Spikformer, "MA-SNN": MultiAttention, "dense": DenseAttention}
