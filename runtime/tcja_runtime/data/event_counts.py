"""Events of one frame, counted by pixel and polarity as a network takes them.

    counts[p, y, x] = number of events with that polarity, row and column
    frame[p]        = R counts[p] C^T     where the network's frames have another size than the sensor

R [H, rows] and C [W, columns] resize by triangles: with scale s = rows / H and width w = max(s, 1), row i of R has its
centre at c = (i + 1/2) s,

    R[i, j] = max(0, 1 - |j + 1/2 - c| / w)   for floor(c - w + 1/2) <= j < floor(c + w + 1/2), divided by the row's sum

which is torch's ``interpolate(mode="bilinear", antialias=True)`` and Pillow's BILINEAR of float images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events

Positions = npt.NDArray[np.unsignedinteger[Any]]
Mask = npt.NDArray[np.bool_]

_MANY = 2**16
"""Positions that are enough to be counted; fewer wait for more."""


class Planes:
    """How events become a network's frames.

    Args:
        contract: of the network.

    Raises:
        BadInput: it takes no frames that are cut from recordings, or does not say how.
    """

    def __init__(self, contract: InputContract) -> None:
        if contract.name != "frames":
            raise BadInput(f"the network takes {contract.name}, not events; give it a data file (.npz)")
        if contract.split is None:
            raise BadInput(
                "it is not known how the network's training cut recordings into frames; export it again with `split` "
                "number, or whichever it was"
            )
        self.rows, self.columns = contract.pixels
        self.size = 2 * self.rows * self.columns
        """Values of a plane of counts."""
        self.shape = contract.shape[1:]
        """(P, H, W) of a frame."""
        self._second = contract.polarity == ("off", "on")
        self._type: type[np.unsignedinteger[Any]] = np.uint16 if self.size <= 2**16 else np.uint32
        self._resize = None
        if contract.sensor is not None and contract.sensor != self.shape[1:]:
            self._resize = _triangles(self.rows, self.shape[1]), _triangles(self.columns, self.shape[2]).T

    def outside(self, events: Events) -> Mask | None:
        """Which events are not on the sensor, bool [E]; None if all are."""
        if not len(events) or (int(events.y.max()) < self.rows and int(events.x.max()) < self.columns):
            return None
        mask: Mask = (events.y >= self.rows) | (events.x >= self.columns)
        return mask

    def positions(self, events: Events) -> Positions:
        """Where in a plane of counts events are, [E]; all of them must be on the sensor."""
        at: Positions = events.y.astype(self._type)
        at *= self._type(self.columns)
        at += events.x
        second = events.p if self._second else ~events.p
        at += second * self._type(self.rows * self.columns)
        return at

    def count(self, positions: Positions) -> npt.NDArray[np.int64]:
        """Counts int64 [size] of events at these positions."""
        return np.bincount(positions, minlength=self.size)

    def frame(self, counts: npt.NDArray[np.int64]) -> Floats:
        """A frame, float32 [P, H, W], of counts [size]."""
        plane: Floats = counts.astype(np.float32).reshape(2, self.rows, self.columns)
        if self._resize is None:
            return plane
        rows, columns = self._resize
        resized: Floats = np.matmul(rows @ plane, columns, dtype=np.float32)
        return resized


class Counts:
    """Counts the events of one frame after the other, in memory that does not grow with them."""

    def __init__(self, planes: Planes) -> None:
        self._planes = planes
        self._held: list[Positions] = []
        self._waiting = 0
        self._counted: npt.NDArray[np.int64] | None = None
        self.events = 0
        """Of this frame until now."""

    def add(self, positions: Positions) -> None:
        """Count events at these positions (`Planes.positions`)."""
        self._held.append(positions)
        self._waiting += len(positions)
        self.events += len(positions)
        if self._waiting >= _MANY:
            self._count()

    def frame(self) -> Floats:
        """The frame, float32 [P, H, W]. The next begins empty."""
        if not self.events:
            return np.zeros(self._planes.shape, np.float32)
        counts = self._count()
        self._counted, self.events = None, 0
        return self._planes.frame(counts)

    def _count(self) -> npt.NDArray[np.int64]:
        """What is counted of the frame's events with those that were held until now."""
        counts = self._counted
        if self._held or counts is None:
            more = self._planes.count(self._held[0] if len(self._held) == 1 else np.concatenate(self._held))
            counts = more if counts is None else counts + more
        self._counted, self._held, self._waiting = counts, [], 0
        return counts


def _triangles(before: int, after: int) -> Floats:
    """The matrix [after, before] that resizes an axis."""
    scale = before / after
    width = max(scale, 1.0)
    centre = ((np.arange(after) + 0.5) * scale)[:, None]
    at = np.arange(before)
    within = (at >= np.floor(centre - width + 0.5)) & (at < np.floor(centre + width + 0.5))
    weights = np.where(within, np.maximum(0.0, 1.0 - np.abs(at + 0.5 - centre) / width), 0.0)
    matrix: Floats = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return matrix
