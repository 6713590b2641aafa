"""The behaviour of a trained network on windows: the margins of its neurons, and the gates of its attention.

The margin of a neuron at a time step is the distance |h_t - threshold| of its membrane, as a share of |threshold|; of 1
if the threshold is 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tcja_exporters.precision.advice import Advice
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.trace import Reference
from tcja_runtime.neuron import membranes

MARGIN_EDGES = 10.0 ** (np.arange(-16, 5) / 2)
"""The edges of the bins of margins, from 1e-8 to 100. One more bin is below the first edge, and one above the last."""

_GATE = ".gate"  # the end of a gate's name, after the name of its attention block


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkProfile:
    """The behaviour of a network on some windows.

    Attributes:
        windows: the number of windows.
        margins: by layer, the number of sampled margins in each of the len(MARGIN_EDGES) + 1 bins.
        gates: by attention block, the mean of its gate over the windows, [T][C].
        advice: the advice for each lower precision; empty if there is none.
    """

    windows: int
    margins: dict[str, list[int]]
    gates: dict[str, list[list[float]]]
    advice: list[Advice] = dataclasses.field(default_factory=list)

    @classmethod
    def joined(cls, parts: Sequence[NetworkProfile], advice: list[Advice]) -> NetworkProfile:
        """Return one profile of all the windows of several profiles of the same network.

        Args:
            parts: the profiles; if there are none, the profile has no margins and no gates.
            advice: the advice for each lower precision.
        """
        return cls(
            windows=sum(part.windows for part in parts),
            margins={
                layer: np.sum([part.margins[layer] for part in parts], axis=0).tolist()
                for layer in (parts[0].margins if parts else ())
            },
            gates={
                name: np.average(
                    [part.gates[name] for part in parts], axis=0, weights=[p.windows for p in parts]
                ).tolist()
                for name in (parts[0].gates if parts else ())
            },
            advice=advice,
        )


def profile(reference: Reference, layers: Sequence[Layer]) -> NetworkProfile:
    """Return the profile of a network on recorded windows, without advice.

    Args:
        reference: the recording of the trained network on the windows. Its witnesses, the elements of signals whose
            values are kept, are some neurons of each layer, and all elements of the gates.
        layers: the spiking layers of the network.
    """
    blocks = [name.removesuffix(_GATE) for name in reference.witnesses if name.endswith(_GATE)]
    return NetworkProfile(
        windows=len(reference),
        margins={layer.name: _margins(reference, layer) for layer in layers},
        gates={name: reference.whole(name + _GATE).mean(axis=1).tolist() for name in blocks},
    )


def _margins(reference: Reference, layer: Layer) -> list[int]:
    witnesses = reference.witnesses[layer.name]
    fired = witnesses.of(reference.spikes[layer.name])
    neurons = layer.neurons(witnesses.element)
    h = membranes(neurons, witnesses.values, fired)
    # The other witnesses were kept because they are undecided. With them, small margins would seem more frequent.
    most = stimulus.most_places(layer.shape, len(witnesses.values), stimulus.WINDOW_PLACES)
    sampled = np.isin(witnesses.element, stimulus.places(layer.shape, most))
    margins = (np.abs(h - array_of(neurons.threshold)) / neurons.unit)[:, sampled]
    bins = np.searchsorted(MARGIN_EDGES, margins.reshape(-1), side="right")
    counts: list[int] = np.bincount(bins, minlength=len(MARGIN_EDGES) + 1).tolist()
    return counts
