"""Cuts whole recordings into frames, exactly as SpikingJelly integrates them (``spikingjelly.datasets``).

Events 0 .. N-1 in the order of the recording, at times t_0 <= .. <= t_{N-1}; T frames in a window; d a duration:

    number          frame i = events [i n, (i+1) n),  n = floor(N / T),                        the last: to the end
    time            frame i = [t_0 + i dt, t_0 + (i+1) dt),  dt = floor((t_{N-1} - t_0) / T),  the last: to the end
    duration        frame i = [u_i, u_i + d], both included;  u_0 = t_0, u_{i+1} = the first time after u_i + d
    duration-grid   frame i = [t_0 + i d, t_0 + (i+1) d),  i < ceil((t_{N-1} - t_0) / d),      the last: to the end

The rules "number" and "time" make one window. With a duration, the number of frames depends on the length of the
recording, and every T frames are a window. A frame without an event has only zeros. (SpikingJelly's "time" raises an
IndexError for such a frame.)

A recording is read twice: first for N and the edges between frames, then for the counts. The memory holds the events of
one chunk, or all events if they are few.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import FARTHEST, LARGEST, Floats, InputContract, spoken
from tcja_runtime.data.event_counts import Counts, Planes
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events
from tcja_runtime.events.event import Recording

_FEW = 2**21
"""The most events that are kept in memory between the two passes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Integrated:
    """The windows of a recording, or of a segment of it.

    Attributes:
        windows: the windows, float32 [K, T, P, H, W]; K is 1 for "number" and "time".
        times: the time where each window begins and the first time after it, in microseconds, int64 [K, 2]. The one
            window of "number" and "time" is as long as the segment; without a segment, it goes from the first event to
            the last.
        counts: the number of events in each window, int64 [K].
        events: the number of events in the recording or segment.
        remarks: notes for the user about the recording, a line each.
    """

    windows: Floats
    times: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    events: int
    remarks: list[str]


def integrate(
    recording: Recording, contract: InputContract, begin: int | None = None, end: int | None = None
) -> Integrated:
    """Cut a recording into frames by the rule of a network.

    Args:
        recording: the recording, which is read twice.
        contract: the input contract of the network, with the rule.
        begin: the time where a segment begins, in microseconds; None for the begin of the recording.
        end: the first time after the segment, in microseconds; None for the end of the recording.

    Raises:
        BadInput: the contract has no rule; or there are no events, or too few for a window; or an event is outside the
            sensor; or the frames are too many for memory; or times go back and the rule cuts by time.
        Damaged: the recording is damaged.
    """
    planes = Planes(contract)
    segment = _Segment(recording, planes, begin, end)
    times = _Times(str(segment), contract)
    kept: list[Events] | None = []
    for chunk in segment.chunks():
        times.add(chunk.t)
        if kept is not None:
            kept.append(chunk)
            kept = kept if times.events <= _FEW else None
    times.check()
    windows, counts = _counted(segment.chunks() if kept is None else kept, contract, planes, times)
    return Integrated(
        windows=windows,
        times=times.windows(begin, end),
        counts=counts.sum(1),
        events=times.events,
        remarks=_remarks(segment, contract, times, int(np.count_nonzero(counts))),
    )


def _counted(
    chunks: Iterable[Events], contract: InputContract, planes: Planes, times: _Times
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The second pass: the windows [K, T, P, H, W], and the number of events in each of their frames, [K, T]."""
    frames = np.zeros((times.frames - times.left, *planes.shape), np.float32)
    held = np.zeros(len(frames), np.int64)
    edges, counts = times.edges(), Counts(planes)
    at = first = 0
    for chunk in chunks:
        positions = planes.positions(chunk)
        cuts = edges[at:] - first if contract.split == "number" else np.searchsorted(chunk.t, edges[at:])
        done = 0
        for cut in cuts[: len(frames) - at]:
            if cut >= len(chunk):
                break
            counts.add(positions[done:cut])
            held[at] = counts.events
            frames[at] = counts.frame()
            done, at = int(cut), at + 1
        if at == len(frames):
            break
        counts.add(positions[done:])
        first += len(chunk)
    else:
        if first != times.events:
            raise BadInput(f"{times.name} changed while it was read; wait until it is written, then try again")
        held[at] = counts.events
        frames[at] = counts.frame()
    return frames.reshape(-1, *contract.shape), held.reshape(-1, contract.shape[0])


class _Segment:
    """The events of a recording from one time to another. Its text is its name in messages."""

    def __init__(self, recording: Recording, planes: Planes, begin: int | None, end: int | None) -> None:
        self._recording, self._planes, self._begin, self._end = recording, planes, begin, end
        self.sensor = recording.sensor

    def __str__(self) -> str:
        path: Path = self._recording.path
        if self._begin is None and self._end is None:
            return str(path)
        since = "" if self._begin is None else f" from {self._begin:,} us"
        until = "" if self._end is None else f" to {self._end:,} us"
        return f"{path}{since}{until}"

    def chunks(self) -> Iterator[Events]:
        """The events of the segment, in chunks that are not empty.

        Raises:
            BadInput: an event is outside the sensor.
        """
        first = 0
        for chunk in self._recording.chunks():
            events = chunk
            if self._begin is not None:
                events = events.where(events.t >= self._begin)
            if self._end is not None:
                events = events.where(events.t < self._end)
            outside = self._planes.outside(events)
            if outside is not None:
                at = int(outside.argmax())
                raise BadInput(
                    f"{self}: event {first + at:,} is at row {events.y[at]}, column {events.x[at]}; the network's "
                    f"sensor is {self._planes.rows} x {self._planes.columns}; give a recording of such a sensor"
                )
            if len(events):
                yield events
            first += len(events)


class _Times:
    """The first pass: the times of all events, and the edges between frames that follow from them.

    Args:
        name: the name of the recording or segment in messages.
        contract: the input contract of the network, with the rule.

    Attributes:
        name: as given.
        events: the number of events, N.
        backs: the number of events whose time is before the time of the previous event.
        first_back: the index of the first of these events; 0 if there are none.
    """

    def __init__(self, name: str, contract: InputContract) -> None:
        self.name, self._split, self._steps = name, contract.split, contract.shape[0]
        self._duration = contract.duration or 0
        self._most = max(self._steps, LARGEST // math.prod(contract.shape[1:]))
        self.events = self.backs = self.first_back = 0
        self._begin = self._end = 0  # the times of the first and the last event
        self._earliest = self._latest = 0
        self._starts: list[int] = []  # the times where the frames of "duration" begin

    def add(self, times: npt.NDArray[np.int64]) -> None:
        """Add the times of the next events."""
        if not self.events:
            self._begin = self._end = self._earliest = self._latest = int(times[0])
            self._starts.append(self._begin)
        later = np.empty(len(times), np.bool_)
        later[0], later[1:] = times[0] >= self._end, times[1:] >= times[:-1]
        if not later.all():
            self._goes_back(times, later)
        self._end = int(times[-1])
        self._earliest, self._latest = min(self._earliest, int(times.min())), max(self._latest, int(times.max()))
        if self._split != "number" and not -FARTHEST < self._begin <= self._end < FARTHEST:
            raise BadInput(
                f"{self.name}: times from {self._begin:,} to {self._end:,} us are out of range; record it again"
            )
        if self._split == "duration":
            self._begin_frames(times)
        self.events += len(times)

    def _goes_back(self, times: npt.NDArray[np.int64], later: npt.NDArray[np.bool_]) -> None:
        """Count the times that go back.

        Args:
            times: the times of the next events.
            later: a mask that is False for each time that is before the previous one; at least one is False.

        Raises:
            BadInput: the rule cuts by time, not by number.
        """
        at = int(later.argmin())
        if self._split != "number":
            before = int(times[at - 1]) if at else self._end
            raise BadInput(
                f"{self.name}: time goes back from {before:,} to {int(times[at]):,} us at event {self.events + at:,}, "
                f"so it cannot be cut by {self._split}; sort its events, or export with `split` number"
            )
        if not self.backs:
            self.first_back = self.events + at
        self.backs += int(np.count_nonzero(~later))

    def _begin_frames(self, times: npt.NDArray[np.int64]) -> None:
        """Note the times where the frames of the rule "duration" begin.

        It stops at one frame more than memory allows; `check` refuses the recording then.
        """
        at = int(np.searchsorted(times, self._starts[-1] + self._duration, side="right"))
        while at < len(times) and len(self._starts) <= self._most:
            self._starts.append(int(times[at]))
            at += int(np.searchsorted(times[at:], self._starts[-1] + self._duration, side="right"))

    @property
    def frames(self) -> int:
        """The number of frames, including those after the last whole window."""
        if self._split == "duration":
            return len(self._starts)
        if self._split == "duration-grid":
            return -((self._begin - self._end) // self._duration)
        return self._steps

    @property
    def left(self) -> int:
        """The number of frames after the last whole window."""
        return self.frames % self._steps

    def edges(self) -> npt.NDArray[np.int64]:
        """The places where frames 1, 2, .. begin, int64 [frames - 1].

        A place is the index of an event for the rule "number", and a time in microseconds for any other rule.
        """
        inner = np.arange(1, self.frames)
        if self._split == "number":
            return inner * (self.events // self._steps)
        if self._split == "time":
            return self._begin + inner * ((self._end - self._begin) // self._steps)
        if self._split == "duration":
            return np.array(self._starts[1:], np.int64)
        return self._begin + inner * self._duration

    def windows(self, begin: int | None, end: int | None) -> npt.NDArray[np.int64]:
        """The time where each window begins and the first time after it, int64 [K, 2] (`Integrated.times`)."""
        if self._split in ("number", "time"):
            first = self._earliest if begin is None else begin
            return np.array([[first, self._latest + 1 if end is None else end]], np.int64)
        begins = np.array(self._starts, np.int64)
        ends = begins + self._duration + 1  # a frame of "duration" includes both of its ends
        if self._split == "duration-grid":
            begins = self._begin + np.arange(self.frames) * self._duration
            ends = begins + self._duration
            ends[-1] = max(ends[-1], self._end + 1)  # an event exactly at the end is in the last frame
        firsts = np.arange(0, self.frames - self.left, self._steps)
        return np.stack([begins[firsts], ends[firsts + self._steps - 1]], 1)

    def check(self) -> None:
        """Check that the events make at least one window, and no more frames than memory allows.

        Raises:
            BadInput: they do not.
        """
        steps, each = self._steps, spoken(self._duration)
        if not self.events:
            raise BadInput(f"{self.name} has no events; give another")
        if self.frames > self._most:
            raise BadInput(
                f"{self.name} makes more than {self._most:,} frames of {each}, too many for memory; cut it into "
                "segments, or stream it"
            )
        if self.frames < steps:
            raise BadInput(
                f"{self.name}: {spoken(self._end - self._begin)} of events make {self.frames} frames of {each}, the "
                f"network takes {steps} ({spoken(steps * self._duration)}); give a longer recording, or export with a "
                "shorter `split`"
            )


def _remarks(segment: _Segment, contract: InputContract, times: _Times, occupied: int) -> list[str]:
    """The remarks on a recording, a line each; `occupied` is the number of frames that have an event."""
    steps, sensor, pixels = contract.shape[0], segment.sensor, contract.pixels
    frames = times.frames - times.left
    remarks = []
    if times.backs:
        remarks.append(
            f"time goes back at {times.backs:,} events, first at event {times.first_back:,}; frames are cut by number, "
            "in the order of the recording"
        )
    if sensor is not None and sensor != pixels:
        remarks.append(
            f"recorded with {sensor[0]} x {sensor[1]} pixels; the network's sensor has {pixels[0]} x {pixels[1]}, and "
            "all events are within it"
        )
    if contract.split == "number" and times.events < steps:
        remarks.append(f"{times.events} events are fewer than the {steps} frames: all of them are in the last frame")
    elif occupied < frames:
        remarks.append(f"{frames - occupied} of {frames} frames have no event")
    if times.left:
        remarks.append(
            f"{times.left} frames of {spoken(contract.duration or 0)} after the last whole window are left out"
        )
    return remarks
