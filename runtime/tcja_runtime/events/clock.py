"""Camera clocks that are reset: the times of a stream are moved so that they go on after each reset.

A clock is reset when its number of bits is used up (times of 23 bits, as in ATIS .bin, after 8 seconds; times of 32
bits after 71 minutes), when a camera is plugged in again, or when one wrong time lay far in the future. Without a
correction, all later events would be too late for their windows.

The rule: where time goes back by more than `BACK` from one event to the next, that event and all later ones are moved
so that it gets the time of the event before. Smaller steps back are left as they are.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from tcja_runtime.events import Events

BACK = 1_000_000
"""The smallest step back in time that counts as a reset of the clock, in microseconds."""


class ContinuousClock:
    """Corrects the times of one stream for resets of the camera's clock.

    Attributes:
        resets: the number of resets so far.
        shift: the time that is added to the next events, in microseconds.
    """

    def __init__(self) -> None:
        self.resets = self.shift = 0
        self._latest: int | None = None  # the uncorrected time of the last event

    def correct(self, events: Events) -> Events:
        """The next events of the stream, at least one, with corrected times."""
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
