"""Clocks that begin anew: a stream goes on where the time of its events is set back.

Times of 23 bits, as in ATIS .bin, last 8 seconds, and those of 32 bits 71 minutes; cameras are unplugged; and one wild
time in the far future would make all events behind it too late. So where time goes back by more than `BACK` from one
event to the next, that event and those behind it are moved to the time of the one before. What goes back by less is
left as it is.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tcja_runtime.events import Events

BACK = 1_000_000
"""Microseconds."""


class Steady:
    """Moves the times of a stream.

    Attributes:
        resets: how often time was set back.
        shift: microseconds by which the times are moved that come now.
    """

    def __init__(self) -> None:
        self.resets = self.shift = 0
        self._latest: int | None = None  # as it came

    def __call__(self, events: Events) -> Events:
        """The same events, at least one, with times that never go back far."""
        times = events.t
        steps = np.diff(times, prepend=int(times[0]) if self._latest is None else self._latest)
        self._latest = int(times[-1])
        back = steps < -BACK
        if back.any():
            moved = self.shift + np.cumsum(np.where(back, -steps, 0))
            self.resets += int(np.count_nonzero(back))
            self.shift = int(moved[-1])
            return dataclasses.replace(events, t=times + moved)
        return dataclasses.replace(events, t=times + self.shift) if self.shift else events
