"""Cuts a stream of events into windows of T frames while the events arrive. The stream need not have an end.

    window k = [t_0 + k hop, t_0 + k hop + length)     for lengths in microseconds; t_0 is the time of the first event
    window k = events [k hop, k hop + length)          for lengths in events, counted from 0

A window whose length is a number of events is cut by number: each frame has floor(length / T) events. A window whose
length is a time is cut by the rule of the network (`InputContract.split`). A rule by events gives each frame the same
number of events, and the frames are complete when the window has ended. A rule by times gives each frame the same
duration,

    frame i = [t_0 + k hop + i dt, t_0 + k hop + (i + 1) dt),   dt = floor(length / T)

and a frame is complete as soon as an event at its end or after its end has arrived. The last frame also has the rest of
the window, unless the rule drops it. Overlapping windows share no frames.

Times may go back. An event whose time is before the latest time so far is counted at that latest time. If its own time
is before the begin of every open window, the event is late and is left out. A window without an event gives no frames.

Events that a rate limit drops are in no frame, but they are in the stream: a frame is complete when one of them has
come at its end or after it, and a window whose events were all dropped is not without events.
"""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from tcja_runtime.counting import counted
from tcja_runtime.data.camera import check_on_sensor
from tcja_runtime.data.contract import FARTHEST, InputContract
from tcja_runtime.data.event_counts import Counts, Frame, KeptEvents, Planes, Positions
from tcja_runtime.data.split_rules import LONGEST, microseconds
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events
from tcja_runtime.events.rate_limit import RateLimit

MOST_OVERLAP = 64
"""The most windows that one event may be in, when windows overlap."""
_BLOCK = 2**16
"""The number of events that are processed at a time; they fit into the cache of the processor."""
Times = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Window:
    """How a stream is cut into windows.

    Attributes:
        length: the length of a window, in microseconds or events.
        unit: the unit of length and hop, "us" or "events".
        hop: the distance between the begins of two successive windows, in the same unit. If it is given as 0, it
            becomes `length`, so that windows do not overlap.

    Raises:
        BadInput: the length or the hop is out of range.
    """

    length: int = 500_000
    unit: Literal["us", "events"] = "us"
    hop: int = 0

    def __post_init__(self) -> None:
        if not self.hop:
            object.__setattr__(self, "hop", self.length)
        if not 1 <= self.length <= LONGEST:
            raise BadInput(f"`window` {self.length:,} {self.unit} must be 1 to {LONGEST:,} {self.unit} long")
        if not 1 <= self.hop <= self.length:
            raise BadInput(
                f"`hop` {self.hop:,} {self.unit} must be 1 to {self.length:,} {self.unit}, the length of a window: "
                "events between windows would be lost"
            )
        if self.overlap > MOST_OVERLAP:
            raise BadInput(
                f"`hop` {self.hop:,} {self.unit} puts an event into {self.overlap:,} windows of {self.length:,}; an "
                f"event can be in {MOST_OVERLAP} windows at most, so take a longer hop"
            )

    @property
    def overlap(self) -> int:
        """The number of windows that one event can be in: 1 if windows do not overlap."""
        return -(-self.length // self.hop)

    @classmethod
    def parse(cls, length: str, hop: str | None = None) -> Window:
        """Windows from texts such as "500ms", "1s", "20000us" or "50000events".

        Args:
            length: the length of a window.
            hop: the distance between the begins of two windows; None for windows that do not overlap.

        Raises:
            BadInput: a text has another form, or its value is out of range.
        """
        size, unit = _size("window", length)
        step, hop_unit = (size, unit) if hop is None else _size("hop", hop)
        if hop_unit != unit:
            raise BadInput(
                f"`window` {length} and `hop` {hop} have different units; give both in time, or both in events"
            )
        return cls(size, unit, step)


def _size(argument: str, text: str) -> tuple[int, Literal["us", "events"]]:
    """The number and the unit in the text of an argument, such as "500ms" or "50000events"."""
    events = re.fullmatch(r"([0-9]{1,13})events", text)
    if events:
        return int(events[1]), "events"
    time = microseconds(text)
    if time is None:
        raise BadInput(f"`{argument}` '{text}' must be a time or a number of events, such as 500ms or 50000events")
    return time, "us"


@dataclasses.dataclass(eq=False)
class _Open:
    """A window that has an event and has not ended.

    Attributes:
        number: the number of the window.
        begin: the place where the window begins: microseconds since the first event, or the number of an event.
        content: the counts of the present frame; or all events of the window so far, if its length is a time and it is
            cut by number.
        step: the number of the present frame.
        since: the time of the first event of the present frame; None while the frame has no event.
        latest: the latest time of an event of the window.
    """

    number: int
    begin: int
    content: Counts | KeptEvents
    step: int = 0
    since: int | None = None
    latest: int = -(2**63)


class Cutter:
    """Cuts a stream into frames.

    Args:
        contract: the input contract of the network.
        window: how the stream is cut into windows.
        most: the most events of a window whose length is a time and that is cut by number; later events of the window
            are dropped.
        title: the name of the stream, for messages.
        limit: the limit of the rate of events; None for no limit.

    Attributes:
        most, limit: as given.
        events: the number of events so far, including those that were left out.
        late: the number of events older than every open window, which are left out.
        dropped: the number of events that were dropped because a window had `most` events already. An event that two
            windows dropped counts twice.
        silent: the number of windows without an event.
        emptied: the number of windows of which the limit dropped all events. They give no frames.

    Raises:
        BadInput: the network takes no frames that are cut from recordings; or the windows are too short for T frames;
            or the number of events of a frame is fixed, and windows of this length would give it another one.
    """

    def __init__(
        self,
        contract: InputContract,
        window: Window,
        most: int = 2**24,
        title: str = "the stream",
        limit: RateLimit | None = None,
    ) -> None:
        self._title, self.limit = title, limit
        self._contract, self._planes, self._window, self.most = contract, Planes(contract), window, most
        self._steps = contract.shape[0]
        self._timed = window.unit == "us"
        self._keeps = self._timed and contract.cut.by_events
        self._drops_rest = contract.cut.drops_rest
        if window.length < self._steps:
            raise BadInput(
                f"`window` {window.length:,} {window.unit} cannot be cut into {self._steps} frames; take a longer one"
            )
        if contract.count and (self._timed or window.length // self._steps != contract.count):
            raise BadInput(
                f"the network's frames have {counted(contract.count, 'event')} each, so `window` must be "
                f"{self._steps * contract.count}events"
            )
        self.events = self.late = self.dropped = self.silent = self.emptied = 0
        self._origin: int | None = None
        self._clock = 0  # the number of the next event, or the latest time since the first event
        self._next = 0  # the number of the first window that was not opened yet
        self._open: list[_Open] = []
        self._thinned: collections.deque[int] = collections.deque()  # windows not opened yet that have dropped events

    def push(self, events: Events) -> Iterator[Frame]:
        """Take the next events of the stream.

        Yields:
            The frames that these events complete. The events are processed while the frames are read, so read all
            frames before the next call.

        Raises:
            BadInput: a time is out of range, or an event is outside the picture that the network takes.
        """
        if self.limit is None:
            yield from self._blocks(events, None)
        else:
            thinned = self.limit.push(events)
            yield from self._blocks(thinned.events, thinned.kept)

    def finish(self) -> Iterator[Frame]:
        """End the stream. Yields the remaining frames of the windows that have not ended, with `whole` False."""
        if self.limit is not None:
            thinned = self.limit.finish()
            yield from self._blocks(thinned.events, thinned.kept)
            self.emptied += len(self._thinned)
            self._thinned.clear()
        while self._open:
            window = min(self._open, key=self._end)
            yield from self._frames(window, whole=False)

    def _blocks(self, events: Events, kept: Mask | None) -> Iterator[Frame]:
        """Take events and whether the limit keeps each, a block at a time. Yields the frames that they complete."""
        for at in range(0, len(events), _BLOCK):
            block = slice(at, at + _BLOCK)
            yield from self._push(events[block], None if kept is None else kept[block])

    def _push(self, events: Events, kept: Mask | None) -> Iterator[Frame]:
        """Take one block of events. Yields the frames that it completes."""
        check_on_sensor(self._contract, events, self._title, self.events)
        self.events += len(events)
        kept = None if kept is None else kept[self._planes.takes(events)]
        events = self._planes.taken(events)
        if len(events) and self._timed:
            events, clock, kept = self._in_time(events, kept)
        else:
            events, kept = events if kept is None else events.where(kept), None
            clock = np.arange(self._clock, self._clock + len(events))
        if not len(events):
            return
        now = int(clock[-1])
        if kept is not None:
            self._note_dropped(clock[~kept])
            events, clock = events.where(kept), clock[kept]
        yield from self._taken(events, clock)
        self._clock = now if self._timed else now + 1
        self._pass_over(self._first(self._clock))
        yield from self._until(self._clock)

    def _taken(self, events: Events, clock: Times) -> Iterator[Frame]:
        """Put events into windows, each at its place in `clock`. Yields the frames that end at these places."""
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

    def _in_time(self, events: Events, kept: Mask | None) -> tuple[Events, Times, Mask | None]:
        """The events that are not late, the time since the first event at which each is counted, and their `kept`."""
        times = events.t
        least, most = int(times.min()), int(times.max())
        if not -FARTHEST < least <= most < FARTHEST:
            raise BadInput(f"times from {least:,} to {most:,} us are out of range; the stream is damaged")
        if self._origin is None:
            self._origin = int(times[0])
        since = times - self._origin
        if since[0] >= self._clock and (since[1:] >= since[:-1]).all():
            return events, since, kept
        clock: Times = np.maximum(np.maximum.accumulate(since), self._clock)
        oldest = np.maximum((clock - self._window.length) // self._window.hop + 1, 0) * self._window.hop
        late = (since < oldest) & (True if kept is None else kept)  # what the limit drops counts only as dropped
        self.late += int(np.count_nonzero(late))
        return events.where(~late), clock[~late], None if kept is None else kept[~late]

    def _note_dropped(self, clock: Times) -> None:
        """Note the windows that are not open and had events at these times, which the limit dropped."""
        first, last = np.maximum((clock - self._window.length) // self._window.hop + 1, 0), clock // self._window.hop
        new = (np.diff(first, prepend=-1) | np.diff(last, prepend=-1)) != 0
        for begin, end in zip(first[new].tolist(), last[new].tolist(), strict=True):
            unknown = self._thinned[-1] + 1 if self._thinned else self._next
            self._thinned.extend(range(max(begin, unknown), end + 1))

    def _pass_over(self, until: int) -> None:
        """Count the windows before window `until` that were not opened. They have ended."""
        emptied = self._forget(until)
        self.emptied += emptied
        self.silent += max(until - self._next, 0) - emptied
        self._next = max(self._next, until)

    def _forget(self, until: int) -> int:
        """Forget the noted windows before window `until`. Returns their number."""
        noted = len(self._thinned)
        while self._thinned and self._thinned[0] < until:
            self._thinned.popleft()
        return noted - len(self._thinned)

    def _add(self, window: _Open, positions: Positions, first: int, latest: int) -> None:
        """Put events into a window; `first` is the time of the first of these events, `latest` their latest time."""
        if isinstance(window.content, KeptEvents):
            self.dropped += window.content.add(positions)
        else:
            window.content.add(positions)
        window.since = first if window.since is None else window.since
        window.latest = max(window.latest, latest)

    def _begin(self, now: int) -> None:
        """Open the windows that contain the place `now`: a time since the first event, or the number of an event."""
        hop, last = self._window.hop, now // self._window.hop
        self._pass_over(self._first(now))
        for number in range(self._next, last + 1):
            content = KeptEvents(self._planes, self.most) if self._keeps else Counts(self._planes)
            self._open.append(_Open(number, number * hop, content))
        self._next = max(self._next, last + 1)
        self._forget(self._next)

    def _first(self, now: int) -> int:
        """The number of the first window that has not ended at the place `now`."""
        return max((now - self._window.length) // self._window.hop + 1, 0)

    def _until(self, now: int) -> Iterator[Frame]:
        """Yields the frames that end at the place `now` or before it, in the order of their ends."""
        while self._open:
            window = min(self._open, key=self._end)
            if self._end(window) > now:
                break
            yield from self._frames(window, whole=True)

    def _end(self, window: _Open) -> int:
        """The place where the present frame ends; where the window ends, if its events are kept until its end."""
        return window.begin + self._window.length if self._keeps else self._edge(window, window.step + 1)

    def _edge(self, window: _Open, step: int) -> int:
        """The place where a frame begins; for step T, the place where the last frame ends."""
        length = self._window.length
        rest = step == self._steps and not self._drops_rest
        return window.begin + (length if rest else step * (length // self._steps))

    def _frames(self, window: _Open, *, whole: bool) -> Iterator[Frame]:
        """End the present frame and yield it; if the window's events were kept, end it and yield all its frames."""
        if isinstance(window.content, Counts):
            yield self._counted_frame(window, window.content, whole=whole)
        else:
            self._open.remove(window)
            yield from self._kept_frames(window, window.content, whole=whole)

    def _counted_frame(self, window: _Open, content: Counts, *, whole: bool) -> Frame:
        """End the present frame of a window and return it."""
        events, step = content.events, window.step
        begin, end = self._between(window, step, step + 1)
        window.step, window.since = step + 1, None
        last = step + 1 == self._steps
        if last:
            self._open.remove(window)
        return Frame(
            window=window.number,
            step=step,
            counts=content.frame(),
            begin=begin,
            end=end,
            events=events,
            last=last,
            whole=whole,
        )

    def _kept_frames(self, window: _Open, content: KeptEvents, *, whole: bool) -> Iterator[Frame]:
        """Yields the frames of a window whose events were kept, each with the same number of events."""
        begin = window.begin + (self._origin or 0)
        each = content.events // self._steps
        for step in range(self._steps):
            last = step + 1 == self._steps
            rest = last and not self._drops_rest
            counts, events = content.frame(step * each, content.events if rest else (step + 1) * each)
            yield Frame(
                window=window.number,
                step=step,
                counts=counts,
                begin=begin,
                end=begin + self._window.length,
                events=events,
                last=last,
                whole=whole,
            )

    def _between(self, window: _Open, first: int, behind: int) -> tuple[int, int]:
        """The time where frame `first` begins, and the time where frame `behind` - 1 ends, in microseconds."""
        if not self._timed:
            return window.latest if window.since is None else window.since, window.latest
        origin = self._origin or 0
        return origin + self._edge(window, first), origin + self._edge(window, behind)
