"""Endless streams cut into windows of T frames, as the events come.

    window k = [t_0 + k hop, t_0 + k hop + length)     in microseconds, t_0 the time of the first event; or
    window k = events [k hop, k hop + length)          in events, counted from 0

A window of events is cut by number: length / T events a frame, rounded down, and the rest in the last. One of time is
cut by the network's rule: "number" likewise, which is known when the window is over; any other at equal times,

    frame i = [t_0 + k hop + i dt, .. + dt),   dt = floor(length / T),   the last: to the window's end

each of which is given as soon as an event at its end or behind it has come. Windows that overlap have frames of their
own.

Clocks jump. Time that goes back is held: an event counts as of the latest time seen, unless its own is older than every
window that is open then; such events are late, and left out. Windows without an event are passed over, however many.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import FARTHEST, LONGEST, Floats, InputContract, microseconds
from tcja_runtime.data.event_counts import Counts, Planes, Positions
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events

MOST_OVERLAP = 64
"""Windows that an event may be in."""

_BLOCK = 2**16
"""Events worked on at a time; they stay in the processor's cache."""

Times = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Window:
    """How a stream is cut into windows.

    Attributes:
        length: of a window, in microseconds or events.
        unit: "us" or "events".
        hop: from one window's begin to the next one's; 0 for the length, so that each event is in one window.

    Raises:
        BadInput: there are no such windows.
    """

    length: int = 500_000
    unit: Literal["us", "events"] = "us"
    hop: int = 0

    def __post_init__(self) -> None:
        if not self.hop:
            object.__setattr__(self, "hop", self.length)
        if not 1 <= self.length <= LONGEST:
            raise BadInput(f"a window of {self.length:,} {self.unit} must be 1 to {LONGEST:,} {self.unit} long")
        if not 1 <= self.hop <= self.length:
            raise BadInput(
                f"a hop of {self.hop:,} {self.unit} must be 1 to the window's {self.length:,}: events between windows "
                "would be lost"
            )
        if self.overlap > MOST_OVERLAP:
            raise BadInput(
                f"a hop of {self.hop:,} {self.unit} puts an event into {self.overlap:,} windows of {self.length:,}, at "
                f"most {MOST_OVERLAP} are possible; take a longer hop"
            )

    @property
    def overlap(self) -> int:
        """Windows that an event is in at most."""
        return -(-self.length // self.hop)

    @classmethod
    def parse(cls, length: str, hop: str | None = None) -> Window:
        """Windows said as "500ms", "1s", "20000us" or "50000events".

        Raises:
            BadInput: they are not said so, or there are no such windows.
        """
        size, unit = _size(length)
        step, of = (size, unit) if hop is None else _size(hop)
        if of != unit:
            raise BadInput(f"windows of {length} cannot begin every {hop}; give both in time, or both in events")
        return cls(size, unit, step)


def _size(said: str) -> tuple[int, Literal["us", "events"]]:
    events = re.fullmatch(r"([0-9]{1,13})events", said)
    if events:
        return int(events[1]), "events"
    time = microseconds(said)
    if time is None:
        raise BadInput(
            f"a window or hop of '{said}' must be a time or a number of events, such as 500ms or 50000events"
        )
    return time, "us"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame of a window.

    Attributes:
        window: its number, from 0; numbers of windows without an event are left out.
        step: of the frame in the window, 0 .. T-1.
        counts: as the network takes them, float32 [P, H, W].
        begin: of the frame in microseconds. Where a window of time is cut by number that of the window, and of a window
            of events the time of its first event since the frame before.
        end: behind the frame in microseconds, or behind the window; of a window of events its latest time until then.
        events: how many it has.
        last: whether it is the window's last.
        whole: False if the stream ended before the frame did.
    """

    window: int
    step: int
    counts: Floats
    begin: int
    end: int
    events: int
    last: bool
    whole: bool


class _Kept:
    """The positions of a window's events, for frames that are known when it is over."""

    def __init__(self, planes: Planes, most: int) -> None:
        self._planes, self._most = planes, most
        self._positions = planes.positions(Events.none())
        self.events = 0

    def add(self, positions: Positions) -> int:
        """Keep as many as there is room for; how many there was none for."""
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
        """The frame of events [begin, end)."""
        return self._planes.frame(self._planes.count(self._positions[begin:end]))


@dataclasses.dataclass(eq=False)
class _Open:
    """A window that has an event and has not ended.

    Attributes:
        number: of the window.
        begin: of the window, in what it is cut by.
        tray: what its events are counted or kept in.
        step: of the frame that is being counted.
        since: time of the first event of that frame.
        latest: time that an event of the window has.
    """

    number: int
    begin: int
    tray: Counts | _Kept
    step: int = 0
    since: int | None = None
    latest: int = -(2**63)


class Cutter:
    """Cuts a stream into frames.

    Args:
        contract: of the network that is to take the frames.
        window: how the stream is cut.
        most: events that a window of time holds if it is cut by number; those behind them are dropped.

    Attributes:
        most: as given.
        events: how many came.
        outside: how many of them are not on the sensor; left out.
        late: how many are older than every window that was open; left out.
        dropped: how many a window had no room for, once for each such window.
        silent: how many windows had no event.

    Raises:
        BadInput: the network takes no frames that are cut from recordings, or the windows are too short.
    """

    def __init__(self, contract: InputContract, window: Window, most: int = 2**24) -> None:
        self._planes, self._window, self.most = Planes(contract), window, most
        self._steps = contract.shape[0]
        self._timed = window.unit == "us"
        self._kept = self._timed and contract.split == "number"
        if window.length < self._steps:
            raise BadInput(
                f"a window of {window.length:,} {window.unit} cannot be cut into {self._steps} frames; take a "
                "longer one"
            )
        self.events = self.outside = self.late = self.dropped = self.silent = 0
        self._origin: int | None = None
        self._clock = 0  # of the next event, in events; else the latest time since the origin
        self._next = 0  # no window from it on was opened
        self._open: list[_Open] = []

    def push(self, events: Events) -> Iterator[Frame]:
        """The frames that are known with these events. They are taken as the frames are asked for, to the last.

        Raises:
            BadInput: an event's time is none.
        """
        for at in range(0, len(events), _BLOCK):
            yield from self._push(events[at : at + _BLOCK])

    def finish(self) -> Iterator[Frame]:
        """Say that there are no more events: what there is of windows that have not ended."""
        while self._open:
            window = min(self._open, key=self._end)
            yield from self._given(window, whole=False)

    def _push(self, events: Events) -> Iterator[Frame]:
        self.events += len(events)
        outside = self._planes.outside(events)
        if outside is not None:
            self.outside += int(np.count_nonzero(outside))
            events = events.where(~outside)
        if len(events) and self._timed:
            events, clock = self._in_time(events)
        else:
            clock = np.arange(self._clock, self._clock + len(events))
        if not len(events):
            return
        positions = self._planes.positions(events)
        at = 0
        while at < len(events):
            now = int(clock[at])
            self._begin(now)
            yield from self._until(now)
            mark = min([self._next * self._window.hop, *map(self._end, self._open)])
            to = at + int(np.searchsorted(clock[at:], mark))
            first, latest = int(events.t[at]), int(events.t[at:to].max())
            for window in self._open:
                self._add(window, positions[at:to], first, latest)
            at = to
        self._clock = int(clock[-1])
        if not self._timed:
            self._clock += 1
            yield from self._until(self._clock)

    def _in_time(self, events: Events) -> tuple[Events, Times]:
        """The events that are not late, and when they count as of, since the origin."""
        times = events.t
        least, most = int(times.min()), int(times.max())
        if not -FARTHEST < least <= most < FARTHEST:
            raise BadInput(f"times from {least:,} to {most:,} us are none; the stream is damaged")
        if self._origin is None:
            self._origin = int(times[0])
        since = times - self._origin
        if since[0] >= self._clock and (since[1:] >= since[:-1]).all():
            return events, since
        clock: Times = np.maximum(np.maximum.accumulate(since), self._clock)
        oldest = np.maximum((clock - self._window.length) // self._window.hop + 1, 0) * self._window.hop
        late = since < oldest
        self.late += int(np.count_nonzero(late))
        return events.where(~late), clock[~late]

    def _add(self, window: _Open, positions: Positions, first: int, latest: int) -> None:
        if isinstance(window.tray, _Kept):
            self.dropped += window.tray.add(positions)
        else:
            window.tray.add(positions)
        window.since = first if window.since is None else window.since
        window.latest = max(window.latest, latest)

    def _begin(self, now: int) -> None:
        """Open the windows that an event is in."""
        length, hop = self._window.length, self._window.hop
        first, last = max((now - length) // hop + 1, 0), now // hop
        self.silent += max(first - self._next, 0)
        for number in range(max(first, self._next), last + 1):
            tray = _Kept(self._planes, self.most) if self._kept else Counts(self._planes)
            self._open.append(_Open(number, number * hop, tray))
        self._next = max(self._next, last + 1)

    def _until(self, now: int) -> Iterator[Frame]:
        """The frames that ended by now, in the order of their ends."""
        while self._open:
            window = min(self._open, key=self._end)
            if self._end(window) > now:
                break
            yield from self._given(window, whole=True)

    def _end(self, window: _Open) -> int:
        """Of the frame that is being counted; of the window if its frames are known when it is over."""
        return self._edge(window, self._steps if self._kept else window.step + 1)

    def _edge(self, window: _Open, step: int) -> int:
        """Where a frame begins; that of step T is where the window ends."""
        length = self._window.length
        return window.begin + (length if step == self._steps else step * (length // self._steps))

    def _given(self, window: _Open, *, whole: bool) -> Iterator[Frame]:
        """The frame that was being counted, or all of a window that is over."""
        if isinstance(window.tray, Counts):
            events, counts = window.tray.events, window.tray.frame()
            begin, end = self._between(window, window.step, window.step + 1)
            window.step, window.since = window.step + 1, None
            if window.step == self._steps:
                self._open.remove(window)
            yield self._frame(window, window.step - 1, counts, begin, end, events, whole=whole)
            return
        self._open.remove(window)
        begin, end = self._between(window, 0, self._steps)
        events, each = window.tray.events, window.tray.events // self._steps
        for step in range(self._steps):
            first, behind = step * each, (step + 1) * each if step + 1 < self._steps else events
            yield self._frame(window, step, window.tray.frame(first, behind), begin, end, behind - first, whole=whole)

    def _between(self, window: _Open, first: int, behind: int) -> tuple[int, int]:
        """When frames from one step to another began and ended."""
        if not self._timed:
            return window.latest if window.since is None else window.since, window.latest
        origin = self._origin or 0
        return origin + self._edge(window, first), origin + self._edge(window, behind)

    def _frame(
        self, window: _Open, step: int, counts: Floats, begin: int, end: int, events: int, *, whole: bool
    ) -> Frame:
        return Frame(
            window=window.number,
            step=step,
            counts=counts,
            begin=begin,
            end=end,
            events=events,
            last=step + 1 == self._steps,
            whole=whole,
        )


class Collector:
    """Puts frames together to whole windows, for networks that are not streamed frame by frame."""

    def __init__(self, contract: InputContract) -> None:
        self._shape = contract.shape
        self._held: dict[int, Floats] = {}

    def add(self, frame: Frame) -> Floats | None:
        """The window [T, P, H, W] whose last frame it is; None for any other."""
        if not frame.step:
            self._held[frame.window] = np.empty(self._shape, np.float32)
        self._held[frame.window][frame.step] = frame.counts
        return self._held.pop(frame.window) if frame.last else None
