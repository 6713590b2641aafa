"""The layers of TET's networks (``VGGSNN...`` in ridgerchu/TCJA, ``src/tet/models/``).

Arrays are [T, N, ...], where the published code has [N, T, ...]. Neurons run over the first axis; for layers that act
on each step alone the order makes no difference. A spiking convolution has the keys ``fwd.module.0`` and
``fwd.module.1``.
"""

from __future__ import annotations

from torch import Tensor, nn

from tcja_exporters.modules.attention import CLA, TCJA, attention
from tcja_exporters.modules.dialects import TET
from tcja_exporters.modules.layers import TetPerStep
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.networks.base import Attention


class SpikingConv(nn.Module):
    """A convolution, batch norm and neuron: [T, N, inputs, H, W] -> [T, N, outputs, H / stride, W / stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.fwd = TetPerStep(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.BatchNorm2d(outputs))
        self.act = lif()

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.act(self.fwd(x))
        return spikes


def lif() -> SpikingNeuron:
    """A layer of TET's neurons."""
    return SpikingNeuron(TET.neuron)


def tet_attention(sizes: Attention, block: int, channels: int) -> list[nn.Module]:
    """An attention block with TET's keys, in which ``conv`` is a Sequential of one layer; [] for no attention.

    Args:
        sizes: the attention blocks of the network.
        block: the number of the block, from 0.
        channels: C.
    """
    kind, combine, time_steps, kernels = sizes
    blocks = attention(kind, kernels[block], time_steps, channels, combine=combine)
    for gate in blocks:
        if isinstance(gate, (TCJA, CLA)):
            gate.conv = nn.Sequential(gate.conv)
    return blocks
