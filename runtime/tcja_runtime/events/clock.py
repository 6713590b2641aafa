"""Camera clocks that are reset: the times after a reset are corrected, so that they go on from the time before it.

A clock is reset when its bits are used up, or when the camera is plugged in again. Examples: a time of 23 bits, as in
ATIS .bin, is used up after 8 seconds; a time of 32 bits after 71 minutes. One wrong time far in the future has the same
effect: the next time goes back. Without a correction, all later events would be too late for their windows.

The rule: if the time goes back by more than `BACK` from one event to the next, a number is added to the times of the
next event and of all later ones. It is chosen so that the next event gets the time of the event before. Smaller steps
back are not corrected.
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
        """Returns the next events of the stream with corrected times; `events` must have at least one event."""
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
