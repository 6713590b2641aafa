from typing import NamedTuple

from torch import nn

from tcja_exporters.modules.dialects import Dialect
from tcja_exporters.modules.layers import PerStep, Readout
from tcja_exporters.modules.neurons import SpikingNeuron
from tcja_exporters.networks.base import Network
from tcja_runtime.data.contract import InputContract
from tcja_runtime.neuron import NeuronSpec

BLINK = Dialect("blink", NeuronSpec.linear(decay=0.75, threshold=1.0, strict=False))


class Sizes(NamedTuple):
    time_steps: int
    hidden: int


class Net(nn.Module):
    """Frames [N, T, 2, 4, 4] -> rates [N, 3]; the keys are those of the checkpoints, inner.weight and so on."""

    def __init__(self, sizes):
        super().__init__()
        self.inner, self.outer = nn.Linear(32, sizes.hidden), nn.Linear(sizes.hidden, 3)
        self.lif, self.blink, self.readout = SpikingNeuron(BLINK.neuron), SpikingNeuron(BLINK.neuron), Readout()

    def forward(self, frames):
        currents = PerStep(nn.Flatten(), self.inner)(frames.transpose(0, 1))
        return self.readout(self.blink(self.outer(self.lif(currents))))


class BlinkNetwork(Network[Sizes]):
    name, summary, dialect, output = "blink_net", "two layers of Blink's neurons", BLINK, "rates"
    variants, settings = {}, {}

    def sizes(self, reader):
        return Sizes(reader.time_steps([], default=5), reader.size("hidden units", ("inner.weight", 0), default=8))

    def build(self, sizes):
        return Net(sizes)

    def contract(self, sizes):
        return InputContract.frames(sizes.time_steps, 4, 4)

    def classes(self, _):
        return ("left", "right", "none")


NETWORK = BlinkNetwork()
