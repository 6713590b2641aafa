"""What a network did with some windows: its outputs and every spike. Both sides of a comparison are traces."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Spikes = npt.NDArray[np.bool_]
Decisions = npt.NDArray[np.int64]


def decisions(output: npt.NDArray[Any]) -> Decisions | None:
    """The predicted class of each window, [N]; None where the output is an image.

    The output is [N, classes], or [N, T, classes], whose mean over time decides.
    """
    if output.ndim > 3:
        return None
    return np.asarray((output if output.ndim == 2 else output.mean(1)).argmax(1))


@dataclasses.dataclass(frozen=True)
class Trace:
    """One run of a network over N windows.

    Attributes:
        output: what the network returns, [N, ...].
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
