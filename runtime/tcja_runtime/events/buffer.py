"""Between a source of events and a network that may be slower: a queue that is bounded, and counts what it drops.

A camera does not wait. Where the queue is full, the oldest events that it holds make room for those that come, so that
answers are about now; how many, and from when to when, is told with the events behind the gap. A source that can wait,
such as a file, is made to instead.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import operator
import threading
import time

from tcja_runtime.events.event import CHUNK, Events

LIMIT = 2**22
"""Events that wait at most, unless said otherwise."""

_SMALL = 1024  # events: shorter runs are joined while they wait, for a run costs as much memory as fifty events


@dataclasses.dataclass(frozen=True)
class Gap:
    """Events that were dropped.

    Attributes:
        events: how many.
        begin: the earliest of their times, in microseconds.
        end: the latest.
    """

    events: int
    begin: int
    end: int

    @classmethod
    def of(cls, events: Events) -> Gap:
        """All of some events, at least one."""
        return cls(len(events), int(events.t.min()), int(events.t.max()))

    def __or__(self, other: Gap) -> Gap:
        return Gap(self.events + other.events, min(self.begin, other.begin), max(self.end, other.end))


@dataclasses.dataclass(frozen=True)
class Run:
    """Events one after the other.

    Attributes:
        events: at least one.
        arrived: when, as `time.monotonic` counts; where runs were joined, the first of them.
        gap: what was dropped just before them.
    """

    events: Events
    arrived: float
    gap: Gap | None = None


class Buffer:
    """A queue of events from one thread to another.

    Args:
        limit: events that it holds at most.
        waits: whether a full one makes the source wait; else its oldest events are dropped.

    Attributes:
        arrived: events that were put in.
        dropped: of them, how many were dropped.
        held: of them, how many are waiting.
    """

    def __init__(self, limit: int, *, waits: bool) -> None:
        self.limit, self.arrived, self.dropped, self.held = limit, 0, 0, 0
        self._waits, self._closed = waits, False
        self._runs: collections.deque[Run] = collections.deque()
        self._failed: BaseException | None = None
        self._changed = threading.Condition()

    def put(self, events: Events) -> bool:
        """Add events; returns whether more are wanted."""
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
        """The oldest run; None if none comes within these seconds, or will ever (`over`)."""
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
        """Whether it is closed and empty.

        Raises:
            BaseException: why the source could not go on, once all that came before has been taken.
        """
        with self._changed:
            if self._failed and not self._runs:
                raise self._failed
            return self._closed and not self._runs

    def close(self, failed: BaseException | None = None) -> None:
        """Take no more events: the source has ended or failed, or nobody wants them."""
        with self._changed:
            self._closed, self._failed = True, failed
            self._changed.notify_all()

    def _append(self, events: Events) -> None:
        self.arrived += len(events)
        self.held += len(events)
        run = Run(events, time.monotonic())
        if self._runs and len(self._runs[-1].events) + len(events) <= _SMALL:
            last = self._runs.pop()
            run = dataclasses.replace(last, events=Events.joined([last.events, events]))
        self._runs.append(run)

    def _shorten(self) -> None:
        """Drop the oldest events beyond the limit."""
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
