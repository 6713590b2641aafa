"""A limit of the rate of events: of the events of each millisecond at most as many are kept as the rate allows.

Slice i has the events at times [t_0 + i 1000 us, t_0 + (i + 1) 1000 us); t_0 is the time of the first event. An event
whose time goes back is in the slice of the latest time so far. Of the n events of a slice, m may be kept:

    m = ceil((i + 1) rate / 1000) - ceil(i rate / 1000)
    event k is kept   if n <= m, or if floor(k m / n) > floor((k - 1) m / n),   k = 0 .. n-1

So the events that are dropped lie evenly between those that are kept, and the same events are dropped in every run. The
first event is kept, so windows begin where they would without the limit. What a slice does not use is not given to
later slices.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput
from tcja_runtime.events.event import Events

SLICE = 1_000
"""The duration of a slice, in microseconds."""
HIGHEST = 10**10
"""The highest rate that can be given, in events a second: more than any camera sends."""
_PER_SECOND = 1_000_000 // SLICE
_MOST_HELD = 2**22
"""The most events of a slice that are held. If it has more, they are thinned at once, and later ones are dropped."""


@dataclasses.dataclass(frozen=True)
class Thinned:
    """Events, and which of them a limit of the rate keeps.

    Attributes:
        events: the events, E.
        kept: whether each event is kept, bool [E]; the others are dropped.
    """

    events: Events
    kept: npt.NDArray[np.bool_]


class RateLimit:
    """Drops events of a stream beyond a rate.

    The events of a slice are held until an event of a later slice arrives, because their number must be known.

    Args:
        rate: the most events in a second that are kept, on average over a millisecond.

    Attributes:
        arrived: the number of events so far.
        dropped: the number of events that were dropped.
        held: the number of events that are held.

    Raises:
        BadInput: the rate is not from 1 to `HIGHEST`.
    """

    def __init__(self, rate: int) -> None:
        if not 1 <= rate <= HIGHEST:
            raise BadInput(f"`max_rate` {rate:,} must be 1 to {HIGHEST:,} events a second")
        self._rate = rate
        self._origin: int | None = None
        self._latest = 0  # the latest time since the first event
        self._runs: list[Events] = []
        self._slice = self._kept = 0  # the slice of the events that are held, and its events that were returned
        self._drops: collections.deque[tuple[int, int]] = collections.deque()  # the begin of a slice, and its drops
        self.arrived = self.dropped = self.held = 0

    def push(self, events: Events) -> Thinned:
        """Take the next events. Returns the events of all slices that have ended, and which of them are kept."""
        if not len(events):
            return Thinned(events, np.zeros(0, bool))
        self.arrived += len(events)
        if self._origin is None:
            self._origin = int(events.t[0])
        clock = np.maximum(np.maximum.accumulate(events.t - self._origin), self._latest)
        self._latest = int(clock[-1])
        slices = clock // SLICE
        begins = [0, *(np.flatnonzero(np.diff(slices)) + 1).tolist(), len(events)]
        ended: list[Thinned] = []
        for begin, end in itertools.pairwise(begins):
            number = int(slices[begin])
            if number != self._slice:
                ended.append(self.finish())
                self._slice, self._kept = number, 0
            self._runs.append(events[begin:end])
            self.held += end - begin
            if self.held > _MOST_HELD:
                ended.append(self.finish())
        kept = np.concatenate([np.zeros(0, bool), *(each.kept for each in ended)])
        return Thinned(Events.joined(each.events for each in ended if len(each.events)), kept)

    def finish(self) -> Thinned:
        """End the present slice. Returns its events, and which of them are kept."""
        events = Events.joined(self._runs)
        n, i = len(events), self._slice
        self._runs, self.held = [], 0
        most = -(-(i + 1) * self._rate // _PER_SECOND) + -i * self._rate // _PER_SECOND - self._kept
        self._kept += min(n, most)
        if n <= most:
            return Thinned(events, np.ones(n, bool))
        self.dropped += n - most
        self._drops.append(((self._origin or 0) + i * SLICE, n - most))
        return Thinned(events, _even(n, most))

    def dropped_within(self, begin: int, end: int) -> int:
        """The number of events that were dropped in slices that begin at times [begin, end), in microseconds.

        Slices before `begin` are forgotten, so call it for windows in the order of their begin.
        """
        while self._drops and self._drops[0][0] < begin:
            self._drops.popleft()
        return sum(self._before(end))

    def _before(self, end: int) -> Iterator[int]:
        for at, n in self._drops:
            if at >= end:
                return
            yield n


def _even(n: int, most: int) -> npt.NDArray[np.bool_]:
    """The mask [n] of the events that are kept, `most` of n."""
    steps = np.arange(-1, n) * most // n
    mask: npt.NDArray[np.bool_] = steps[1:] > steps[:-1]
    return mask
