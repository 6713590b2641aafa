"""Events as SpikingJelly stores them: an .npz of t, x, y and p, each an array [E] of whole numbers.

The four arrays are read in step, so memory does not grow with them. Checksums of the archive are compared on the way:
whatever is damaged is found, at the latest at the end of an array.

Source: `np_savez` in `spikingjelly.datasets`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput
from tcja_runtime.events.event import CHUNK, Events
from tcja_runtime.files import npz
from tcja_runtime.files.npz import Array

KEYS = ("t", "x", "y", "p")
_MOST = {"t": 2**63 - 1, "x": 2**16 - 1, "y": 2**16 - 1, "p": 1}
_STEP = CHUNK // 4


@dataclasses.dataclass(frozen=True)
class SpikingJelly:
    """A `Recording` in an .npz."""

    path: Path
    format: str = "spikingjelly"
    sensor: tuple[int, int] | None = None

    def chunks(self) -> Iterator[Events]:
        found = npz.arrays(self.path)
        arrays = [self._checked(found[key]) for key in KEYS]
        if len({array.shape for array in arrays}) > 1:
            counts = ", ".join(f"{array.shape[0]:,} {array.name}" for array in arrays)
            raise BadInput(f"{self.path}: its arrays are of different lengths: {counts}")
        at = 0
        for runs in zip(*(array.rows(_STEP) for array in arrays), strict=True):
            t, x, y, p = (self._within(key, run, at) for key, run in zip(KEYS, runs, strict=True))
            yield Events(t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.bool_))
            at += len(t)

    def _checked(self, array: Array) -> Array:
        if array.dtype.kind not in "iub":
            raise BadInput(f"{self.path}: {array.name} is of type {array.dtype}; events are whole numbers")
        if len(array.shape) != 1:
            raise BadInput(f"{self.path}: {array.name} has shape {list(array.shape)}; events are one number each")
        return array

    def _within(self, key: str, values: npt.NDArray[Any], at: int) -> npt.NDArray[Any]:
        """Values of the events from `at` on, all of which must be such as an event can have."""
        if int(values.min()) < 0 or int(values.max()) > _MOST[key]:
            event = int(np.argmax((values < 0) | (values > _MOST[key])))
            what = f"{key} of event {at + event:,} is {values[event]}; it can be 0 to {_MOST[key]:,}"
            raise BadInput(f"{self.path}: {what}")
        return values
