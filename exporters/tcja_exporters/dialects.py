"""The training codes that checkpoints come from. A dialect fixes the neuron's constants, which no checkpoint stores."""

from __future__ import annotations

import dataclasses

from tcja_runtime.neuron import NeuronSpec


@dataclasses.dataclass(frozen=True)
class Dialect:
    """A training code.

    Attributes:
        name: what manifests call it.
        neuron: of its published networks.
    """

    name: str
    neuron: NeuronSpec


SPIKINGJELLY = Dialect("spikingjelly", NeuronSpec.decayed_input(tau=2.0))
"""SpikingJelly's MultiStepLIFNode as ridgerchu/TCJA ``src/`` uses it: tau 2, fires at h >= 1, resets to 0."""
