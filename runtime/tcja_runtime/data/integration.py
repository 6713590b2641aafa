"""Cuts whole recordings into frames, exactly as SpikingJelly (``spikingjelly.datasets``) and tonic (``ToFrame``) do.

Events 0 .. N-1 in the order of the recording, at times t_0 <= .. <= t_{N-1}; T frames in a window; d a duration; c a
number of events. SpikingJelly:

    number          frame i = events [i n, (i+1) n),  n = floor(N / T),                        the last: to the end
    time            frame i = [t_0 + i dt, t_0 + (i+1) dt),  dt = floor((t_{N-1} - t_0) / T),  the last: to the end
    duration        frame i = [u_i, u_i + d], both included;  u_0 = t_0, u_{i+1} = the first time after u_i + d
    duration-grid   frame i = [t_0 + i d, t_0 + (i+1) d),  i < ceil((t_{N-1} - t_0) / d),      the last: to the end

tonic, without overlap; the events after the last frame are left out:

    event-bins      frame i = events [i n, (i+1) n),  n = floor(N / T)                         (n_event_bins = T)
    time-bins       frame i = [t_0 + i dt, t_0 + (i+1) dt),  dt = floor((t_{N-1} - t_0) / T)   (n_time_bins = T)
    event-count     frame i = events [i c, (i+1) c),  i < max(1, floor(N / c))                 (event_count = c)
    time-window     frame i = [t_0 + i d, t_0 + (i+1) d),  i < max(1, floor((t_{N-1} - t_0) / d))   (time_window = d)

A rule that has T in its equation makes one window. With d or c, the number of frames depends on the recording, and
every T frames are a window. A frame without an event has only zeros. (SpikingJelly's "time" raises an IndexError for
such a frame.)

If a part of the camera's picture is taken (`InputContract.crop`), the rules of SpikingJelly cut all events of the
camera into frames, then each frame is cropped. The rules of tonic cut the events of the part, as its transforms crop
events.

A recording is read twice: first for N and the edges between frames, then for the counts. The memory holds the events of
one chunk, or all events if they are few.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcja_runtime.counting import agree, counted
from tcja_runtime.data.camera import check_camera, check_on_sensor
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.data.event_counts import Counts, Planes, Positions
from tcja_runtime.data.frame_edges import FrameEdges
from tcja_runtime.data.split_rules import spoken
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events
from tcja_runtime.events.event import Recording

_FEW = 2**21
"""The most events that are kept in memory between the two passes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Integrated:
    """The windows of a recording, or of a segment of it.

    Attributes:
        windows: the windows, float32 [K, T, P, H, W]; K is 1 for rules that have T in their equation.
        times: the time where each window begins and the first time after it, in microseconds, int64 [K, 2]. The one
            window of "number" and "time" is as long as the segment; without a segment, it goes from the first event to
            the last. A window of "event-bins" and "event-count" goes from its earliest event to its latest.
        counts: the number of events in each window, int64 [K]; without those outside the crop.
        events: the number of events in the recording or segment. If the rule crops first, without those outside the
            crop.
        remarks: notes for the user about the recording, a line each.
    """

    windows: Floats
    times: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    events: int
    remarks: list[str]


def integrate(
    recording: Recording,
    contract: InputContract,
    begin: int | None = None,
    end: int | None = None,
    *,
    most: int | None = None,
) -> Integrated:
    """Cut a recording into frames by the rule of a network.

    Args:
        recording: the recording, which is read twice.
        contract: the input contract of the network, with the rule.
        begin: the time where a segment begins, in microseconds; None for the begin of the recording.
        end: the first time after the segment, in microseconds; None for the end of the recording.
        most: the most windows, which is checked before memory is taken for them; None for as many as memory allows.

    Raises:
        BadInput: the contract has no rule; or there are no events, or too few for a window; or there are too many
            windows, or too many frames for memory; or the camera is not that of the network, or an event is outside its
            picture; or times go back and the rule cuts by time.
        Damaged: the recording is damaged.
    """
    planes = Planes(contract)
    segment = _Segment(recording, contract, planes, begin, end)
    smaller = check_camera(contract, recording.sensor, str(segment))
    edges = FrameEdges(str(segment), contract)
    kept: list[Events] | None = []
    for chunk in segment.chunks():
        edges.add(chunk.t)
        if kept is not None:
            kept.append(chunk)
            kept = kept if edges.events <= _FEW else None
    edges.check()
    windows = edges.frames // contract.shape[0]
    if most is not None and windows > most:
        raise BadInput(
            f"{edges.name} has {counted(windows, 'window')} by the rule of the network (`split` {contract.split}); "
            f"give the events of {counted(most, 'window')} at most"
        )
    frames = _Frames(planes, edges, contract.shape[0])
    frames.count(segment.chunks() if kept is None else kept)
    if not frames.events.any():
        raise BadInput(f"{edges.name} has no events in the part of the picture that is taken; take another part")
    return Integrated(
        windows=frames.frames.reshape(-1, *contract.shape),
        times=edges.windows(begin, end) if frames.seen is None else frames.seen,
        counts=frames.events.reshape(-1, contract.shape[0]).sum(1),
        events=edges.events,
        remarks=[smaller] * bool(smaller) + _remarks(contract, edges, frames),
    )


class _Frames:
    """The second pass over a recording: its frames.

    Args:
        planes: the planes of counts of the network.
        edges: the edges between frames.
        steps: the number of frames in a window, T.

    Attributes:
        frames: the frames of whole windows, float32 [K * T, P, H, W].
        events: the number of events in each frame, int64 [K * T].
        rest: whether the recording has events after the last frame.
    """

    def __init__(self, planes: Planes, edges: FrameEdges, steps: int) -> None:
        n = edges.frames - edges.left
        self.frames = np.zeros((n, *planes.shape), np.float32)
        self.events = np.zeros(n, np.int64)
        self.rest = False
        self._planes, self._edges, self._steps = planes, edges, steps
        self._timed = edges.rule.by_events and edges.rule.drops_rest
        self._least = np.full(n, 2**63 - 1, np.int64)  # the earliest and the latest time in each frame
        self._most = np.full(n, -(2**63), np.int64)

    def count(self, chunks: Iterable[Events]) -> None:
        """Count all events.

        Raises:
            BadInput: the number of events is not that of the first pass.
        """
        edges, counts, n = self._edges.edges(), Counts(self._planes), len(self.frames)
        at = first = 0
        for chunk in chunks:
            positions = self._planes.positions(chunk)
            cuts = edges[at:] - first if self._edges.rule.by_events else np.searchsorted(chunk.t, edges[at:])
            done = 0
            for cut in cuts[: n - at].tolist():
                if cut >= len(chunk):
                    break
                self._add(counts, at, positions[done:cut], chunk.t[done:cut])
                self._end(counts, at)
                done, at = cut, at + 1
            if at == n:
                self.rest = True
                return
            self._add(counts, at, positions[done:], chunk.t[done:])
            first += len(chunk)
        if first != self._edges.events:
            raise BadInput(f"{self._edges.name} changed while it was read; wait until it is written, then try again")
        self._end(counts, at)

    @property
    def seen(self) -> npt.NDArray[np.int64] | None:
        """The time of the earliest event of each window, and the first time after its latest, int64 [K, 2].

        It is None for rules whose windows have times that do not depend on their events.
        """
        if not self._timed:
            return None
        return np.stack(
            [self._least.reshape(-1, self._steps).min(1), self._most.reshape(-1, self._steps).max(1) + 1], 1
        )

    def _add(self, counts: Counts, at: int, positions: Positions, times: npt.NDArray[np.int64]) -> None:
        """Add events to frame number `at`."""
        counts.add(positions)
        if self._timed and len(times):
            self._least[at] = min(self._least[at], times.min())
            self._most[at] = max(self._most[at], times.max())

    def _end(self, counts: Counts, at: int) -> None:
        """End frame number `at`."""
        self.events[at] = counts.events
        self.frames[at] = counts.frame()


class _Segment:
    """The events of a recording from one time to another. Its text is its name in messages."""

    def __init__(
        self, recording: Recording, contract: InputContract, planes: Planes, begin: int | None, end: int | None
    ) -> None:
        self._recording, self._contract, self._planes = recording, contract, planes
        self._begin, self._end = begin, end

    def __str__(self) -> str:
        path: Path = self._recording.path
        if self._begin is None and self._end is None:
            return str(path)
        since = "" if self._begin is None else f" from {self._begin:,} us"
        until = "" if self._end is None else f" to {self._end:,} us"
        return f"{path}{since}{until}"

    def chunks(self) -> Iterator[Events]:
        """The events of the segment that are cut into frames, in chunks that are not empty.

        Raises:
            BadInput: an event is outside the picture that the network takes.
        """
        first = 0
        for chunk in self._recording.chunks():
            events = chunk
            if self._begin is not None:
                events = events.where(events.t >= self._begin)
            if self._end is not None:
                events = events.where(events.t < self._end)
            check_on_sensor(self._contract, events, str(self), first)
            first += len(events)
            events = self._planes.taken(events)
            if len(events):
                yield events


def _remarks(contract: InputContract, edges: FrameEdges, frames: _Frames) -> list[str]:
    """The remarks on a recording, a line each."""
    steps, occupied, n = contract.shape[0], int(np.count_nonzero(frames.events)), len(frames.events)
    remarks = []
    if edges.backs:
        remarks.append(
            f"time goes back at {counted(edges.backs, 'event')}, first at event {edges.first_back:,}; frames are cut "
            f"by number, "
            "in the order of the recording"
        )
    if contract.split == "number" and edges.events < steps:
        few = f"{counted(edges.events, 'event')} {agree(edges.events, 'is', 'are')}"
        remarks.append(f"{few} fewer than the {steps} frames: all of them are in the last frame")
    elif occupied < n:
        remarks.append(f"{n - occupied:,} of {counted(n, 'frame')} {agree(n - occupied, 'has', 'have')} no event")
    if edges.left:
        each = counted(contract.count, "event") if contract.count else spoken(contract.duration or 0)
        left = f"{counted(edges.left, 'frame')} of {each} after the last whole window"
        remarks.append(f"{left} {agree(edges.left, 'is', 'are')} left out")
    elif frames.rest:
        remarks.append(f"the events after the last frame are left out, as `split` {contract.split} does")
    return remarks
