"""Whole recordings as frames, exactly as SpikingJelly integrates them (``spikingjelly.datasets``).

Events 0 .. N-1 in the order of the recording, at times t_0 <= .. <= t_{N-1}; T frames a window; d a duration:

    number          frame i = events [i n, (i+1) n),  n = floor(N / T),                        the last: to the end
    time            frame i = [t_0 + i dt, t_0 + (i+1) dt),  dt = floor((t_{N-1} - t_0) / T),  the last: to the end
    duration        frame i = [u_i, u_i + d], both included;  u_0 = t_0, u_{i+1} = the first time behind u_i + d
    duration-grid   frame i = [t_0 + i d, t_0 + (i+1) d),  i < ceil((t_{N-1} - t_0) / d),      the last: to the end

The first two make one window; durations make as many frames as the recording is long, of which every T are a window.
A frame without an event is a frame of zeros, where SpikingJelly's "time" ends with an IndexError.

A recording is gone through twice: first for N and the edges between frames, then for the counts. In memory are the
events of one chunk, or all of them where they are few.
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
"""Events that are kept between the two passes, at most."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Integrated:
    """A recording, or a segment of one, as a network takes it.

    Attributes:
        windows: float32 [K, T, P, H, W]; K is 1 for "number" and "time".
        times: int64 [K, 2], in microseconds: where each begins, and what is behind its end. One window of all is as
            long as the segment where that was asked for, else from its first event to its last.
        counts: int64 [K], events of each.
        events: how many the recording or segment has.
        remarks: what a user should know of it, a line each.
    """

    windows: Floats
    times: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    events: int
    remarks: list[str]


def integrate(
    recording: Recording, contract: InputContract, begin: int | None = None, end: int | None = None
) -> Integrated:
    """Cut a recording into frames by its network's rule.

    Args:
        recording: events from the start, as often as they are asked for.
        contract: of the network that is to take the frames.
        begin: of a segment, in microseconds; None for the recording's.
        end: behind the segment; None for the recording's.

    Raises:
        BadInput: there are no events, some that are not on the sensor, too few for a window or too many for memory, or
            times that go back where frames are cut by time; or the contract does not say how to cut.
        Damaged: the recording is damaged.
    """
    planes = Planes(contract)
    segment = _Segment(recording, planes, begin, end)
    seen = _Seen(str(segment), contract)
    kept: list[Events] | None = []
    for chunk in segment.chunks():
        seen.see(chunk.t)
        if kept is not None:
            kept.append(chunk)
            kept = kept if seen.events <= _FEW else None
    seen.check()
    windows, counts = _counted(segment.chunks() if kept is None else kept, contract, planes, seen)
    return Integrated(
        windows=windows,
        times=seen.times(begin, end),
        counts=counts.sum(1),
        events=seen.events,
        remarks=_remarks(segment, contract, seen, int(np.count_nonzero(counts))),
    )


def _counted(
    chunks: Iterable[Events], contract: InputContract, planes: Planes, seen: _Seen
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """The second pass: whole windows [K, T, P, H, W], and how many events each of their frames has, [K, T]."""
    frames = np.zeros((seen.frames - seen.left, *planes.shape), np.float32)
    held = np.zeros(len(frames), np.int64)
    edges, counts = seen.edges(), Counts(planes)
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
        if first != seen.events:
            raise BadInput(f"{seen.said} changed while it was read; wait until it is written, then try again")
        held[at] = counts.events
        frames[at] = counts.frame()
    return frames.reshape(-1, *contract.shape), held.reshape(-1, contract.shape[0])


class _Segment:
    """The events of a recording from one time to another."""

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
        """Its events, all of them on the sensor."""
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
                    f"{self}: event {first + at:,} is at row {events.y[at]}, column {events.x[at]}; the network takes "
                    f"events of {self._planes.rows} rows and {self._planes.columns} columns; give a recording of such"
                )
            if len(events):
                yield events
            first += len(events)


class _Seen:
    """The first pass: what is found of the times of events.

    Args:
        said: what the events are of, for messages.
        contract: how they are to be cut.

    Attributes:
        events: N.
        backs: before how many of them time goes back.
        first_back: the number of the first of these.
    """

    def __init__(self, said: str, contract: InputContract) -> None:
        self.said, self._split, self._steps = said, contract.split, contract.shape[0]
        self._duration = contract.duration or 0
        self._most = max(self._steps, LARGEST // math.prod(contract.shape[1:]))
        self.events = self.backs = self.first_back = 0
        self._begin = self._end = 0  # by the order of events
        self._earliest = self._latest = 0
        self._starts: list[int] = []  # of the frames of "duration"

    def see(self, times: npt.NDArray[np.int64]) -> None:
        """Take the times of the next events."""
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
            raise BadInput(f"{self.said}: times from {self._begin:,} to {self._end:,} us are none; record it again")
        if self._split == "duration":
            self._begin_frames(times)
        self.events += len(times)

    def _goes_back(self, times: npt.NDArray[np.int64], later: npt.NDArray[np.bool_]) -> None:
        at = int(later.argmin())
        if self._split != "number":
            before = int(times[at - 1]) if at else self._end
            raise BadInput(
                f"{self.said}: time goes back from {before:,} to {int(times[at]):,} us at event {self.events + at:,}, "
                f"so it cannot be cut by {self._split}; sort its events, or export with `split` number"
            )
        if not self.backs:
            self.first_back = self.events + at
        self.backs += int(np.count_nonzero(~later))

    def _begin_frames(self, times: npt.NDArray[np.int64]) -> None:
        """Note where frames of "duration" begin; no more than one too many."""
        at = int(np.searchsorted(times, self._starts[-1] + self._duration, side="right"))
        while at < len(times) and len(self._starts) <= self._most:
            self._starts.append(int(times[at]))
            at += int(np.searchsorted(times[at:], self._starts[-1] + self._duration, side="right"))

    @property
    def frames(self) -> int:
        """How many there are, whole windows or not."""
        if self._split == "duration":
            return len(self._starts)
        if self._split == "duration-grid":
            return -((self._begin - self._end) // self._duration)
        return self._steps

    @property
    def left(self) -> int:
        """How many of them are behind the last whole window."""
        return self.frames % self._steps

    def edges(self) -> npt.NDArray[np.int64]:
        """Where frames 1, 2, .. begin, int64 [frames - 1]: numbers of events for "number", else times."""
        inner = np.arange(1, self.frames)
        if self._split == "number":
            return inner * (self.events // self._steps)
        if self._split == "time":
            return self._begin + inner * ((self._end - self._begin) // self._steps)
        if self._split == "duration":
            return np.array(self._starts[1:], np.int64)
        return self._begin + inner * self._duration

    def times(self, begin: int | None, end: int | None) -> npt.NDArray[np.int64]:
        """When whole windows begin and are over, int64 [K, 2], of a segment from one time to another."""
        if self._split in ("number", "time"):
            first = self._earliest if begin is None else begin
            return np.array([[first, self._latest + 1 if end is None else end]], np.int64)
        begins = np.array(self._starts, np.int64)
        ends = begins + self._duration + 1  # both ends of such a frame are in it
        if self._split == "duration-grid":
            begins = self._begin + np.arange(self.frames) * self._duration
            ends = begins + self._duration
            ends[-1] = max(ends[-1], self._end + 1)  # an event just there is in the last
        firsts = np.arange(0, self.frames - self.left, self._steps)
        return np.stack([begins[firsts], ends[firsts + self._steps - 1]], 1)

    def check(self) -> None:
        """Refuse events that make no window, or too many."""
        steps, each = self._steps, spoken(self._duration)
        if not self.events:
            raise BadInput(f"{self.said} has no events; give another")
        if self.frames > self._most:
            raise BadInput(
                f"{self.said} makes more than {self._most:,} frames of {each}, too many for memory; cut it into "
                "segments, or stream it"
            )
        if self.frames < steps:
            raise BadInput(
                f"{self.said}: {spoken(self._end - self._begin)} of events make {self.frames} frames of {each}, the "
                f"network takes {steps} ({spoken(steps * self._duration)}); give a longer recording, or export with a "
                "shorter `split`"
            )


def _remarks(segment: _Segment, contract: InputContract, seen: _Seen, occupied: int) -> list[str]:
    """What a user should know, a line each."""
    steps, sensor, pixels = contract.shape[0], segment.sensor, contract.pixels
    frames = seen.frames - seen.left
    remarks = []
    if seen.backs:
        remarks.append(
            f"time goes back at {seen.backs:,} events, first at event {seen.first_back:,}; frames are cut by number, "
            "in the order of the recording"
        )
    if sensor is not None and sensor != pixels:
        remarks.append(
            f"recorded with {sensor[0]} x {sensor[1]} pixels, the network's sensor has {pixels[0]} x {pixels[1]}; all "
            "events are on it"
        )
    if contract.split == "number" and seen.events < steps:
        remarks.append(f"{seen.events} events are fewer than the {steps} frames: all of them are in the last")
    elif occupied < frames:
        remarks.append(f"{frames - occupied} of {frames} frames have no event")
    if seen.left:
        remarks.append(
            f"{seen.left} frames of {spoken(contract.duration or 0)} behind the last whole window are left over"
        )
    return remarks
