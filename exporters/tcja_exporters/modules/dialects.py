"""The training codes that checkpoints come from. A dialect fixes the neuron's constants, which no checkpoint stores."""

from __future__ import annotations

import dataclasses

from tcja_runtime.neuron import NeuronSpec


@dataclasses.dataclass(frozen=True)
class Dialect:
    """A training code.

    Attributes:
        name: the name of the dialect in manifests.
        neuron: the constants of the neuron in the networks that this code trained.
    """

    name: str
    neuron: NeuronSpec


SPIKINGJELLY = Dialect("spikingjelly", NeuronSpec.leaky(decay_input=True, tau=2.0))
"""SpikingJelly's MultiStepLIFNode as ridgerchu/TCJA ``src/`` uses it: tau 2, fires at h >= 1, resets to 0."""

TET = Dialect("tet", NeuronSpec.linear(decay=0.5, strict=True))
"""TET's LIFSpike, as ridgerchu/TCJA ``src/tet/models/layers.py`` and bollossom/GAC have it: fires at h > 1."""

MS_RESNET = Dialect("ms_resnet", NeuronSpec.linear(decay=0.25, threshold=0.5, strict=True))
"""mem_update of Ariande1/MS-ResNet: fires at h > 0.5."""

FSVAE = Dialect("fsvae", NeuronSpec.linear(decay=0.25, threshold=0.2, strict=True))
"""LIFSpike of kamata1729/FullySpikingVAE: fires at h > 0.2."""
