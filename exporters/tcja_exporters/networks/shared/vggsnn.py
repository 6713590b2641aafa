"""The layers of TET's networks (``VGGSNN...`` in ridgerchu/TCJA, ``src/tet/models/``).

Tensors are [T, N, ...]; in the published code they are [N, T, ...]. Neurons run over the first axis. For a layer that
acts on each time step separately, the order of both axes makes no difference. The keys of a spiking convolution are
``fwd.module.0`` (convolution) and ``fwd.module.1`` (batch norm).
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
    """Return a layer of TET's neurons."""
    return SpikingNeuron(TET.neuron)


def tet_attention(sizes: Attention, block: int, channels: int) -> list[nn.Module]:
    """Return a list with one attention block; an empty list for a network without attention.

    The block has the keys of TET's code, in which ``conv`` is a Sequential of one layer.

    Args:
        sizes: the attention blocks of the network.
        block: the number of the block, from 0.
        channels: the number of channels, C.
    """
    kind, combine, time_steps, kernels = sizes
    blocks = attention(kind, kernels[block], time_steps, channels, combine=combine)
    for gate in blocks:
        if isinstance(gate, (TCJA, CLA)):
            gate.conv = nn.Sequential(gate.conv)
    return blocks
