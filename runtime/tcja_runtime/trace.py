"""What a network did with some windows: its outputs and every spike. Both sides of a comparison are traces."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Spikes = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Trace:
    """One run of a network over N windows.

    Attributes:
        output: what the network returns, [N, classes].
        spikes: by layer name, in the order of the network; each [T, N, ...].
    """

    output: npt.NDArray[np.floating[Any]]
    spikes: Mapping[str, Spikes]

    def spike_counts(self) -> npt.NDArray[np.int64]:
        """Spikes a layer, window and time step: [layers, N, T]."""
        counts = [np.count_nonzero(s.reshape(*s.shape[:2], -1), axis=2).T for s in self.spikes.values()]
        return np.stack(counts).astype(np.int64)

    @classmethod
    def joined(cls, traces: Sequence[Trace]) -> Trace:
        """The trace of all windows of several."""
        spikes = {
            layer: np.concatenate([trace.spikes[layer] for trace in traces], axis=1) for layer in traces[0].spikes
        }
        return cls(np.concatenate([trace.output for trace in traces]), spikes)

    def windows(self, part: slice) -> Trace:
        """The trace of some of the windows."""
        return Trace(self.output[part], {layer: spikes[:, part] for layer, spikes in self.spikes.items()})
