"""Frames: events counted by pixel and polarity, and resized where the network's frames are not as large as the picture.

counts[p, y, x] = number of events with that polarity, row and column of the picture, or of the part that is taken
frame           = the counts, resized (`tcja_runtime.data.resizing`) if the network needs it
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.camera import cropped, inside
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.data.resizing import resize_matrix, summed_index
from tcja_runtime.events import Events

Positions = npt.NDArray[np.unsignedinteger[Any]]

_MANY = 2**16
"""The number of positions that are kept before they are counted together."""


class Planes:
    """Two planes of event counts, one for each polarity, from which a network's frames are made.

    A plane is as large as the part of the camera's picture that is taken. If the network's frames have another size,
    the planes are resized to it. The method "sum" moves events instead, so that its planes are as large as the frames.

    Args:
        contract: the input contract of the network.

    Attributes:
        size: the number of counts in both planes.
        shape: the shape of a frame, (P, H, W).

    Raises:
        BadInput: the network does not take frames, or the rule that cuts recordings into frames is not known.
    """

    def __init__(self, contract: InputContract) -> None:
        rule = contract.cut
        self._contract = contract
        self._sums = contract.resize == "sum"
        self._rows, self._columns = contract.shape[-2:] if self._sums else contract.area
        self.size = 2 * self._rows * self._columns
        self.shape = contract.shape[1:]
        self._on_is_second = contract.polarity == ("off", "on")
        # Events that are cut into frames before they are cropped keep a position: the one after all counts.
        self._crops_first, self._crops_last = (
            contract.crop if crops else None for crops in (rule.crops_first, not rule.crops_first)
        )
        most = self.size - (self._crops_last is None)
        self._type: type[np.unsignedinteger[Any]] = np.uint16 if most < 2**16 else np.uint32

    @functools.cached_property
    def _moves(self) -> tuple[Positions, Positions]:
        """The row and the column of the frame for each row and column of the picture, for the method "sum"."""
        rows, columns = (
            summed_index(before, after).astype(self._type)
            for before, after in zip(self._contract.area, self.shape[1:], strict=True)
        )
        return rows, columns

    @functools.cached_property
    def _resize(self) -> tuple[Floats, Floats] | None:
        """The matrices of rows and, transposed, of columns; None if planes are as large as frames."""
        method = self._contract.resize
        if method is None or (self._rows, self._columns) == self.shape[1:]:
            return None
        return resize_matrix(method, self._rows, self.shape[1]), resize_matrix(method, self._columns, self.shape[2]).T

    def taken(self, events: Events) -> Events:
        """The events that are cut into frames: without those outside the crop, if the rule crops first."""
        return cropped(events, self._crops_first)

    def takes(self, events: Events) -> npt.NDArray[np.bool_]:
        """Whether each event is `taken`, bool [E]."""
        return inside(events, self._crops_first)

    def positions(self, events: Events) -> Positions:
        """The index of each event in the flattened counts, [E]; `size` for an event outside the crop.

        Without a crop, all events must be within the picture that the network takes
        (`tcja_runtime.data.camera.check_on_sensor`). If the rule crops first, the events must be `taken`.
        """
        if self._crops_last is None:
            return self._positions(events)
        x, y, width, height = self._crops_last
        inside = (events.x - x < width) & (events.y - y < height)  # columns before x wrap around to large ones
        at: Positions = np.full(len(events), self.size, self._type)
        at[inside] = self._positions(cropped(events, self._crops_last))
        return at

    def _positions(self, events: Events) -> Positions:
        at: Positions
        if self._sums:
            rows, columns = self._moves
            at = rows[events.y] * self._type(self._columns)
            at += columns[events.x]
        else:
            at = events.y.astype(self._type)
            at *= self._type(self._columns)
            at += events.x
        second = events.p if self._on_is_second else ~events.p
        at += second * self._type(self._rows * self._columns)
        return at

    def within(self, positions: Positions) -> int:
        """The number of events that are not outside the crop."""
        return len(positions) if self._crops_last is None else int(np.count_nonzero(positions < self.size))

    def count(self, positions: Positions) -> npt.NDArray[np.int64]:
        """The number of events at each index of the flattened counts, int64 [size]."""
        return np.bincount(positions, minlength=self.size)[: self.size]

    def frame(self, counts: npt.NDArray[np.int64]) -> Floats:
        """The frame that is made from flattened counts [size]: float32 [P, H, W], resized if the network needs it."""
        plane: Floats = counts.astype(np.float32).reshape(2, self._rows, self._columns)
        if self._resize is None:
            return plane
        rows, columns = self._resize
        resized: Floats = np.matmul(rows @ plane, columns, dtype=np.float32)
        return resized


class Counts:
    """Counts the events of a frame, then those of the next frame. Memory does not grow with the number of events.

    Attributes:
        events: the number of events in the present frame, without those outside the crop.
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
        self.events += self._planes.within(positions)
        if self._waiting >= _MANY:
            self._count()

    def frame(self) -> Floats:
        """Returns the present frame, float32 [P, H, W], and begins the next frame with counts of 0."""
        if not self.events:
            self._counted, self._held, self._waiting = None, [], 0
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


class KeptEvents:
    """The positions of the events of a window that is cut by number, kept until the window has ended.

    Args:
        planes: the planes of counts of the network.
        most: the most events that are kept.

    Attributes:
        events: the number of events that are kept, with those outside the crop.
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

    def frame(self, begin: int, end: int) -> tuple[Floats, int]:
        """The frame of the kept events with the indices [begin, end), float32 [P, H, W], and its number of events."""
        positions = self._positions[begin:end]
        return self._planes.frame(self._planes.count(positions)), self._planes.within(positions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame of a window.

    What `begin` and `end` mean depends on the window (`tcja_runtime.data.sliding_windows`):

    * Length in microseconds, all frames with the same duration: the time where the frame begins, and the first time
      after the frame.
    * Length in microseconds, all frames with the same number of events: the time where the window begins, and the first
      time after the window. All frames of the window have these same times.
    * Length in events: the time of the first event of the frame, and the latest time of all events of the window so
      far.

    Attributes:
        window: the number of the window, from 0. Windows without an event have a number too, but no frames.
        step: the number of the frame in its window, 0 .. T-1.
        counts: the counts of events as the network takes them, float32 [P, H, W].
        begin: the time where the frame or its window begins, in microseconds.
        end: the time where the frame or its window ends, in microseconds.
        events: the number of events in the frame.
        last: whether the frame is the last one of its window.
        whole: whether the stream went on to the end of the frame; False if the stream ended before it.
    """

    window: int
    step: int
    counts: Floats
    begin: int
    end: int
    events: int
    last: bool
    whole: bool

    def after(self, earlier: Frame | None) -> Frame:
        """Returns this frame with the begin, the number of events and `whole` of its window until now.

        Args:
            earlier: the result for the previous frame of the window; None for its first frame.
        """
        if earlier is None:
            return self
        whole, events = earlier.whole and self.whole, earlier.events + self.events
        return dataclasses.replace(self, begin=earlier.begin, events=events, whole=whole)


class Collector:
    """Joins frames into windows, for networks that take a whole window.

    Args:
        contract: the input contract of the network.
    """

    def __init__(self, contract: InputContract) -> None:
        self._shape = contract.shape
        self._held: dict[int, Floats] = {}

    def add(self, frame: Frame) -> Floats | None:
        """Add a frame. Returns its window, float32 [T, P, H, W], if it is the last frame of the window; else None."""
        if not frame.step:
            self._held[frame.window] = np.empty(self._shape, np.float32)
        self._held[frame.window][frame.step] = frame.counts
        return self._held.pop(frame.window) if frame.last else None
