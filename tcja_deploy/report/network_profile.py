"""What a trained network is like on windows: how near its neurons come to their thresholds, and what it attends to.

Both are read off the witnesses of a recording: a sample of every layer's neurons, and all of every gate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcja_exporters.precision.advice import Advice
from tcja_runtime.bundle.manifest import Layer
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.trace import Reference
from tcja_runtime.neuron import membranes

MARGIN_EDGES = 10.0 ** (np.arange(-16, 5) / 2)
"""Edges of the margins' histogram, 1e-8 to 100; there is a bin below them and one above."""


@dataclasses.dataclass(kw_only=True)
class Portrait:
    """A network on some windows.

    Attributes:
        margins: by layer, how many sampled membranes were |h_t - threshold| / |threshold| away from the threshold, in
            each of the len(MARGIN_EDGES) + 1 bins.
        gates: by attention block, its gate [T][C], the mean over the windows.
        advice: what lower precisions would do.
    """

    margins: dict[str, list[int]]
    gates: dict[str, list[list[float]]]
    advice: list[Advice] = dataclasses.field(default_factory=list)


class Painter:
    """Makes a portrait from the references of successive batches."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._margins = {layer.name: np.zeros(len(MARGIN_EDGES) + 1, np.int64) for layer in layers}
        self._gates: dict[str, npt.NDArray[np.float64]] = {}
        self._windows = 0

    def add(self, reference: Reference) -> None:
        """Look at a batch."""
        self._windows += len(reference)
        for layer in self._layers:
            found = reference.witnesses[layer.name]
            fired = found.of(reference.spikes[layer.name])
            h = membranes(layer.neuron, found.values, fired)
            # Neurons that are witnesses because they are near would be counted too often.
            sampled = np.isin(found.element, stimulus.places(layer.shape, stimulus.REAL_PLACES))
            margins = np.abs(h[:, sampled] - layer.neuron.threshold) / abs(layer.neuron.threshold)
            self._margins[layer.name] += np.bincount(
                np.searchsorted(MARGIN_EDGES, margins.reshape(-1), side="right"), minlength=len(MARGIN_EDGES) + 1
            )
        for name, found in reference.witnesses.items():
            if name.endswith(".gate"):
                values = found.values.reshape(len(found.values), len(reference), -1).sum(axis=1)
                self._gates[name] = self._gates.get(name, 0.0) + values

    def portrait(self, advice: list[Advice]) -> Portrait:
        """The portrait of all windows looked at, with the advice that goes with it."""
        return Portrait(
            margins={layer: counts.tolist() for layer, counts in self._margins.items()},
            gates={name: (values / self._windows).tolist() for name, values in self._gates.items()},
            advice=advice,
        )
