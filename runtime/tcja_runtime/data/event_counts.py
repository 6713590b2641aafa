"""Frames: events counted by pixel and polarity, and resized where the network's frames are not as large as the sensor.

    counts[p, y, x] = number of events with that polarity, row and column
    frame[p]        = R counts[p] C^T     if the frames are resized

R [H, rows] and C [W, columns] are the matrices of a triangular filter. R[i, j] is the weight of the sensor's row j in
row i of the frame; C has the weights of columns in the same way. With the scale s = rows / H, the width w = max(s, 1)
and the centre c = (i + 1/2) s of row i,

    R[i, j] = max(0, 1 - |j + 1/2 - c| / w)   for floor(c - w + 1/2) <= j < floor(c + w + 1/2), else 0

Then each row of R is divided by its sum. The same filter is torch's ``interpolate(mode="bilinear", antialias=True)``
and Pillow's BILINEAR for float images.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events

Positions = npt.NDArray[np.unsignedinteger[Any]]
Mask = npt.NDArray[np.bool_]

_MANY = 2**16
"""The number of positions that are kept before they are counted together."""


class Planes:
    """Two planes of event counts, one for each polarity, from which a network's frames are made.

    A plane is as large as the sensor. If the network's frames have another size, the planes are resized to it.

    Args:
        contract: the input contract of the network.

    Attributes:
        rows: the number of rows of the sensor.
        columns: the number of columns of the sensor.
        size: the number of counts in both planes, 2 * rows * columns.
        shape: the shape of a frame after it was resized, (P, H, W).

    Raises:
        BadInput: the network does not take frames, or the rule that cuts recordings into frames is not known.
    """

    def __init__(self, contract: InputContract) -> None:
        if contract.name != "frames":
            raise BadInput(f"the network takes {contract.name}, not events; give it a data file (.npz)")
        if contract.split is None:
            raise BadInput(
                "the rule that cuts recordings into frames is not known for this network; export it again with `split` "
                "number, or the rule of its training"
            )
        self.rows, self.columns = contract.pixels
        self.size = 2 * self.rows * self.columns
        self.shape = contract.shape[1:]
        self._on_is_second = contract.polarity == ("off", "on")
        self._type: type[np.unsignedinteger[Any]] = np.uint16 if self.size <= 2**16 else np.uint32

    @functools.cached_property
    def _resize(self) -> tuple[Floats, Floats] | None:
        """The matrices R and C^T; None if frames are as large as the sensor."""
        if (self.rows, self.columns) == self.shape[1:]:
            return None
        return _triangles(self.rows, self.shape[1]), _triangles(self.columns, self.shape[2]).T

    def outside(self, events: Events) -> Mask | None:
        """The mask of the events outside the sensor, bool [E]; None if no event is outside."""
        if not len(events) or (int(events.y.max()) < self.rows and int(events.x.max()) < self.columns):
            return None
        mask: Mask = (events.y >= self.rows) | (events.x >= self.columns)
        return mask

    def positions(self, events: Events) -> Positions:
        """The index of each event in the flattened counts, [E]. All events must be on the sensor."""
        at: Positions = events.y.astype(self._type)
        at *= self._type(self.columns)
        at += events.x
        second = events.p if self._on_is_second else ~events.p
        at += second * self._type(self.rows * self.columns)
        return at

    def count(self, positions: Positions) -> npt.NDArray[np.int64]:
        """The number of events at each index of the flattened counts, int64 [size]."""
        return np.bincount(positions, minlength=self.size)

    def frame(self, counts: npt.NDArray[np.int64]) -> Floats:
        """The frame that is made from flattened counts [size]: float32 [P, H, W], resized if the network needs it."""
        plane: Floats = counts.astype(np.float32).reshape(2, self.rows, self.columns)
        if self._resize is None:
            return plane
        rows, columns = self._resize
        resized: Floats = np.matmul(rows @ plane, columns, dtype=np.float32)
        return resized


class Counts:
    """Counts the events of a frame, then those of the next frame. Memory does not grow with the number of events.

    Attributes:
        events: the number of events in the present frame.
    """

    def __init__(self, planes: Planes) -> None:
        self._planes = planes
        self._held: list[Positions] = []
        self._waiting = 0
        self._counted: npt.NDArray[np.int64] | None = None
        self.events = 0

    def add(self, positions: Positions) -> None:
        """Count the events of the present frame whose positions are given (`Planes.positions`)."""
        self._held.append(positions)
        self._waiting += len(positions)
        self.events += len(positions)
        if self._waiting >= _MANY:
            self._count()

    def frame(self) -> Floats:
        """Returns the present frame, float32 [P, H, W], and begins the next frame with counts of 0."""
        if not self.events:
            return np.zeros(self._planes.shape, np.float32)
        counts = self._count()
        self._counted, self.events = None, 0
        return self._planes.frame(counts)

    def _count(self) -> npt.NDArray[np.int64]:
        """The counts of all events of the present frame, including those that were kept until now."""
        counts = self._counted
        if self._held or counts is None:
            more = self._planes.count(self._held[0] if len(self._held) == 1 else np.concatenate(self._held))
            counts = more if counts is None else counts + more
        self._counted, self._held, self._waiting = counts, [], 0
        return counts


def _triangles(before: int, after: int) -> Floats:
    """The matrix [after, before] that resizes an axis from `before` to `after` elements with a triangular filter."""
    scale = before / after
    width = max(scale, 1.0)
    centre = ((np.arange(after) + 0.5) * scale)[:, None]
    at = np.arange(before)
    within = (at >= np.floor(centre - width + 0.5)) & (at < np.floor(centre + width + 0.5))
    weights = np.where(within, np.maximum(0.0, 1.0 - np.abs(at + 0.5 - centre) / width), 0.0)
    matrix: Floats = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return matrix


class KeptEvents:
    """The positions of the events of a window that is cut by number, kept until the window has ended.

    Args:
        planes: the planes of counts of the network.
        most: the most events that are kept.

    Attributes:
        events: the number of events that are kept.
    """

    def __init__(self, planes: Planes, most: int) -> None:
        self._planes, self._most = planes, most
        self._positions = planes.positions(Events.none())
        self.events = 0

    def add(self, positions: Positions) -> int:
        """Keep events until there are `most` of them. Returns the number of events that were not kept."""
        taken = min(len(positions), self._most - self.events)
        wanted = self.events + taken
        if wanted > len(self._positions):
            room = min(self._most, max(wanted, 2 * len(self._positions), 1024))
            held, self._positions = self._positions, np.empty(room, self._positions.dtype)
            self._positions[: self.events] = held[: self.events]
        self._positions[self.events : wanted] = positions[:taken]
        self.events = wanted
        return len(positions) - taken

    def frame(self, begin: int, end: int) -> Floats:
        """The frame of the kept events with the indices [begin, end), float32 [P, H, W]."""
        return self._planes.frame(self._planes.count(self._positions[begin:end]))
