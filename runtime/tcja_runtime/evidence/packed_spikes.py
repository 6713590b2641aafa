"""The spikes of a layer in one bit each, as golden vectors hold them."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from tcja_runtime.evidence.trace import Spikes


@dataclasses.dataclass(frozen=True)
class PackedSpikes:
    """The spikes of one layer, one bit each.

    Attributes:
        shape: the shape [T, ...] of the spikes of a window.
        rows: the packed spikes, a row for each window, uint8 [N, bytes].
    """

    shape: tuple[int, ...]
    rows: npt.NDArray[np.uint8]

    @classmethod
    def pack(cls, spikes: Spikes) -> PackedSpikes:
        """Returns the packed spikes, from spikes [T, N, ...]."""
        windows = np.moveaxis(spikes, 1, 0)
        return cls(windows.shape[1:], np.packbits(windows.reshape(len(windows), -1), axis=1))

    def unpack(self, part: slice) -> Spikes:
        """Returns the spikes [T, N, ...] of a part of the windows."""
        bits = np.unpackbits(self.rows[part], axis=1, count=int(np.prod(self.shape)))
        return np.moveaxis(bits.view(np.bool_).reshape(-1, *self.shape), 0, 1)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """The number of spikes for each window and time step, int64 [N, T]."""
        spikes = self.unpack(slice(None))
        return np.asarray(np.count_nonzero(spikes.reshape(*spikes.shape[:2], -1), axis=2).T, np.int64)
