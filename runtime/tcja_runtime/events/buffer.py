"""A bounded queue between a source of events and a network that may be slower.

A camera cannot be paused. When the queue is full, it drops its oldest events, so that predictions are about the
present. The first events after the dropped ones carry a `Gap`: the number and the times of the dropped events. A source
that can be paused, such as a file, is paused instead.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import operator
import threading
import time

from tcja_runtime.events.event import CHUNK, Events

MOST_GAPS = 64
"""The largest number of gaps that are kept; further ones are joined with the last."""
LIMIT = 2**22
"""The most events that wait in the queue, unless the user chooses another limit."""

_SMALL = 1024  # events; shorter runs are joined in the queue, because a `Run` object takes as much memory as 50 events


@dataclasses.dataclass(frozen=True)
class Gap:
    """A gap in a stream: the number and the times of events that were dropped.

    Attributes:
        events: the number of dropped events.
        begin: the earliest time of the dropped events, in microseconds.
        end: the latest time of the dropped events, in microseconds.
    """

    events: int
    begin: int
    end: int

    @classmethod
    def of(cls, events: Events) -> Gap:
        """The gap that is left if all of the given events are dropped; there must be at least one event."""
        return cls(len(events), int(events.t.min()), int(events.t.max()))

    def __or__(self, other: Gap) -> Gap:
        return Gap(self.events + other.events, min(self.begin, other.begin), max(self.end, other.end))


@dataclasses.dataclass(frozen=True)
class Run:
    """Events that were put into the queue together, or shortly after one another.

    Attributes:
        events: the events, at least one.
        arrived: the time when the first of the events were put into the queue, in seconds of `time.monotonic`.
        gap: the gap between these events and the run before them; None if no events were dropped there.
    """

    events: Events
    arrived: float
    gap: Gap | None = None


class Gaps:
    """The gaps in a stream: events that were dropped because the queue was full or a window had no room for them."""

    def __init__(self) -> None:
        self._gaps: list[Gap] = []

    def __len__(self) -> int:
        return len(self._gaps)

    def add(self, gap: Gap) -> None:
        """Add a gap. If there are `MOST_GAPS` gaps already, it is joined with the last of them."""
        if len(self._gaps) == MOST_GAPS:
            gap |= self._gaps.pop()
        self._gaps.append(gap)

    def within(self, begin: int, end: int) -> int:
        """Returns the largest number of events from `begin` to `end` that may have been dropped.

        Gaps before `begin` are forgotten, so call it for windows in the order of their begin.
        """
        self._gaps = [gap for gap in self._gaps if gap.end >= begin]
        return sum(gap.events for gap in self._gaps if gap.begin < end)


class Buffer:
    """A queue of events from one thread to another.

    Args:
        limit: the most events in the queue.
        waits: whether `put` waits while the queue is full; if False, the oldest events are dropped.

    Attributes:
        limit: as given.
        arrived: the number of events that were put in.
        dropped: the number of events that were dropped.
        held: the number of events in the queue now.
    """

    def __init__(self, limit: int, *, waits: bool) -> None:
        self.limit, self.arrived, self.dropped, self.held = limit, 0, 0, 0
        self._waits, self._closed = waits, False
        self._runs: collections.deque[Run] = collections.deque()
        self._failed: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, events: Events) -> bool:
        """Add events. Returns False if the queue is closed, so that the source can stop; else True."""
        at = 0
        with self._changed:
            while at < len(events) and not self._closed:
                most = self.limit - self.held if self._waits else self.limit
                if most:
                    self._append(events[at : at + min(most, CHUNK)])
                    at += min(most, CHUNK)
                    self._shorten()
                    self._changed.notify_all()
                else:
                    self._changed.wait()
            return not self._closed

    def take(self, seconds: float) -> Run | None:
        """Remove and return the oldest run.

        Returns None if the queue stays empty for `seconds`, or at once if it is closed and empty (`over`).
        """
        with self._changed:
            self._changed.wait_for(lambda: self._runs or self._closed, seconds)
            if not self._runs:
                return None
            run = self._runs.popleft()
            self.held -= len(run.events)
            self._changed.notify_all()
            return run

    @property
    def over(self) -> bool:
        """Whether the queue is closed and empty.

        Raises:
            BaseException: the queue is empty and was closed with an error; this error is raised.
        """
        with self._changed:
            if self._failed and not self._runs:
                raise self._failed
            return self._closed and not self._runs

    def close(self, failed: BaseException | None = None) -> None:
        """Close the queue. It takes no more events; the events in it can still be taken out.

        Args:
            failed: the error that ended the source; None if the source ended without an error, or was stopped.
        """
        with self._changed:
            self._closed, self._failed = True, failed
            self._changed.notify_all()

    def _append(self, events: Events) -> None:
        """Put a run into the queue; a short run is joined to the last one."""
        self.arrived += len(events)
        self.held += len(events)
        run = Run(events, time.monotonic())
        if self._runs and len(self._runs[-1].events) + len(events) <= _SMALL:
            last = self._runs.pop()
            run = dataclasses.replace(last, events=Events.joined([last.events, events]))
        self._runs.append(run)

    def _shorten(self) -> None:
        """Drop the oldest events until the queue has no more events than the limit."""
        gap: Gap | None = None
        while (excess := self.held - self.limit) > 0:
            run = self._runs.popleft()
            lost = run.events[:excess]
            gap = functools.reduce(operator.or_, filter(None, (gap, run.gap, Gap.of(lost))))
            self.held -= len(lost)
            self.dropped += len(lost)
            if len(lost) < len(run.events):
                self._runs.appendleft(dataclasses.replace(run, events=run.events[excess:]))
        if gap:
            self._runs[0] = dataclasses.replace(self._runs[0], gap=gap)
