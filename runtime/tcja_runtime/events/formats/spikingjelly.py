"""Events as SpikingJelly stores them: an .npz with the arrays t, x, y and p, each [E] of integers.

The four arrays are read in parallel, a block at a time, so memory does not grow with their size. The checksums of the
archive are compared while it is read: damage to an array is found at the end of this array at the latest.

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
from tcja_runtime.events.byte_recording import beginning
from tcja_runtime.events.event import CHUNK, Events
from tcja_runtime.files import npz
from tcja_runtime.files.npz import Array

KEYS = ("t", "x", "y", "p")
FIRST = b"PK\x03\x04"
_MOST = {"t": 2**63 - 1, "x": 2**16 - 1, "y": 2**16 - 1, "p": 1}
_STEP = CHUNK // 4


def open_recording(path: Path) -> SpikingJelly:
    """Open an .npz of events.

    Raises:
        BadInput: the file cannot be read, or does not have the four arrays of integers.
        Damaged: one of its arrays is damaged.
    """
    beginning(path, 1)
    found = npz.arrays(path).keys()
    if found >= set(KEYS):
        return SpikingJelly(path)
    if "frames" in found or "images" in found:
        raise BadInput(f"{path} holds frames, not events; give a recording of events")
    raise BadInput(f"{path} must have the arrays t, x, y and p of events; it has {', '.join(sorted(found)) or 'none'}")


@dataclasses.dataclass(frozen=True)
class SpikingJelly:
    """A `Recording` in an .npz.

    Attributes:
        path: the file.
        format: "spikingjelly".
        sensor: None, because files of this format do not store the size of the sensor.
    """

    path: Path
    format: str = "spikingjelly"
    sensor: tuple[int, int] | None = None

    def chunks(self) -> Iterator[Events]:
        """Yields the events from the start (`tcja_runtime.events.Recording.chunks`)."""
        found = npz.arrays(self.path)
        arrays = [self._checked(found[key]) for key in KEYS]
        if len({array.shape for array in arrays}) > 1:
            counts = ", ".join(f"{array.shape[0]:,} {array.name}" for array in arrays)
            raise BadInput(f"{self.path}: its arrays must have the same length; it has {counts}")
        at = 0
        for runs in zip(*(array.rows(_STEP) for array in arrays), strict=True):
            t, x, y, p = (self._within(key, run, at) for key, run in zip(KEYS, runs, strict=True))
            yield Events(t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.bool_))
            at += len(t)

    def _checked(self, array: Array) -> Array:
        """Returns the array if its type and shape fit events.

        Raises:
            BadInput: they do not fit.
        """
        if array.dtype.kind not in "iub":
            raise BadInput(f"{self.path}: array {array.name} has type {array.dtype}; it must have integers")
        if len(array.shape) != 1:
            raise BadInput(f"{self.path}: array {array.name} has shape {list(array.shape)}; it must have one axis")
        return array

    def _within(self, key: str, values: npt.NDArray[Any], at: int) -> npt.NDArray[Any]:
        """Returns the values of the array `key`, for the events from number `at` on, if they are in its range."""
        if int(values.min()) < 0 or int(values.max()) > _MOST[key]:
            event = int(np.argmax((values < 0) | (values > _MOST[key])))
            what = f"{key} of event {at + event:,} is {values[event]}; it must be 0 to {_MOST[key]:,}"
            raise BadInput(f"{self.path}: {what}")
        return values
