"""The edges between the frames of a recording, from the times of all its events (`tcja_runtime.data.integration`)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tcja_runtime.counting import agree, counted
from tcja_runtime.data.contract import FARTHEST, LARGEST, InputContract
from tcja_runtime.data.split_rules import spoken
from tcja_runtime.errors import BadInput


class FrameEdges:
    """The first pass over a recording: the times of all events, and the edges between frames that follow from them.

    Args:
        name: the name of the recording or segment in messages.
        contract: the input contract of the network, with the rule.

    Attributes:
        name: as given.
        rule: the properties of the rule.
        events: the number of events, N.
        backs: the number of events whose time is before the time of the previous event.
        first_back: the index of the first of these events; 0 if there are none.
    """

    def __init__(self, name: str, contract: InputContract) -> None:
        self.name, self.rule, self._split, self._steps = name, contract.cut, contract.split, contract.shape[0]
        self._cropped = contract.crop is not None
        self._duration, self._count = contract.duration or 0, contract.count or 0
        self._most = max(self._steps, LARGEST // math.prod(contract.shape[1:]))
        self.events = self.backs = self.first_back = 0
        self._begin = self._end = 0  # the times of the first and the last event
        self._earliest = self._latest = 0
        self._starts: list[int] = []  # the times where the frames of "duration" begin

    def add(self, times: npt.NDArray[np.int64]) -> None:
        """Add the times of the next events."""
        if not self.events:
            self._begin = self._end = self._earliest = self._latest = int(times[0])
            self._starts.append(self._begin)
        later = np.empty(len(times), np.bool_)
        later[0], later[1:] = times[0] >= self._end, times[1:] >= times[:-1]
        if not later.all():
            self._goes_back(times, later)
        self._end = int(times[-1])
        self._earliest, self._latest = min(self._earliest, int(times.min())), max(self._latest, int(times.max()))
        if not self.rule.by_events and not -FARTHEST < self._begin <= self._end < FARTHEST:
            raise BadInput(
                f"{self.name}: times from {self._begin:,} to {self._end:,} us are out of range; record it again"
            )
        if self._split == "duration":
            self._begin_frames(times)
        self.events += len(times)

    def _goes_back(self, times: npt.NDArray[np.int64], later: npt.NDArray[np.bool_]) -> None:
        """Count the times that go back.

        Args:
            times: the times of the next events.
            later: a mask that is False for each time that is before the previous one; at least one is False.

        Raises:
            BadInput: the rule cuts by time, not by number.
        """
        at = int(later.argmin())
        if not self.rule.by_events:
            before = int(times[at - 1]) if at else self._end
            raise BadInput(
                f"{self.name}: time goes back from {before:,} to {int(times[at]):,} us at event {self.events + at:,}, "
                f"so it cannot be cut by {self._split}; sort its events, or export with `split` number"
            )
        if not self.backs:
            self.first_back = self.events + at
        self.backs += int(np.count_nonzero(~later))

    def _begin_frames(self, times: npt.NDArray[np.int64]) -> None:
        """Note the times where the frames of the rule "duration" begin.

        It stops at one frame more than memory allows; `check` refuses the recording then.
        """
        at = int(np.searchsorted(times, self._starts[-1] + self._duration, side="right"))
        while at < len(times) and len(self._starts) <= self._most:
            self._starts.append(int(times[at]))
            at += int(np.searchsorted(times[at:], self._starts[-1] + self._duration, side="right"))

    @property
    def _span(self) -> int:
        """The time from the first to the last event, in microseconds."""
        return self._end - self._begin

    @property
    def frames(self) -> int:
        """The number of frames, including those after the last whole window."""
        if self._split == "duration":
            return len(self._starts)
        if self._split == "duration-grid":
            return -(-self._span // self._duration)
        if self._split == "time-window":
            return max(1, self._span // self._duration)
        if self._split == "event-count":
            return max(1, self.events // self._count)
        return self._steps

    @property
    def left(self) -> int:
        """The number of frames after the last whole window."""
        return self.frames % self._steps

    @property
    def _each(self) -> int:
        """The size of a frame, in events or in microseconds."""
        if self.rule.by_events:
            return self._count or self.events // self._steps
        return self._duration or self._span // self._steps

    def edges(self) -> npt.NDArray[np.int64]:
        """The places where frames 1, 2, .. begin and, if the rule drops the rest, where the last frame ends.

        A place is the index of an event if the rule is by events, else a time in microseconds; int64 [frames - 1] or
        [frames].
        """
        if self._split == "duration":
            return np.array(self._starts[1:], np.int64)
        inner = np.arange(1, self.frames + self.rule.drops_rest)
        return inner * self._each + (0 if self.rule.by_events else self._begin)

    def windows(self, begin: int | None, end: int | None) -> npt.NDArray[np.int64]:
        """The time where each window begins and the first time after it, int64 [K, 2] (`Integrated.times`).

        For rules by events that drop the rest, these times are those of the events (`integration`).
        """
        if self._split in ("number", "time"):
            first = self._earliest if begin is None else begin
            return np.array([[first, self._latest + 1 if end is None else end]], np.int64)
        begins = np.array(self._starts, np.int64)
        ends = begins + self._duration + 1  # a frame of "duration" includes both of its ends
        if self._split != "duration":
            begins = self._begin + np.arange(self.frames) * self._each
            ends = begins + self._each
        if self._split == "duration-grid":
            ends[-1] = max(ends[-1], self._end + 1)  # an event exactly at the end is in the last frame
        firsts = np.arange(0, self.frames - self.left, self._steps)
        return np.stack([begins[firsts], ends[firsts + self._steps - 1]], 1)

    def check(self) -> None:
        """Check that the events make at least one window, and no more frames than memory allows.

        Raises:
            BadInput: they do not.
        """
        steps = self._steps
        if not self.events:
            part = " in the part of the picture that is taken" if self._cropped else ""
            raise BadInput(f"{self.name} has no events{part}; give another")
        if not self._each and self.rule.drops_rest:
            events = f"{counted(self.events, 'event')} {agree(self.events, 'is', 'are')}"
            have = events if self.rule.by_events else f"{spoken(self._span)} of events are"
            raise BadInput(
                f"{self.name}: {have} too few for {steps} frames, and `split` {self._split} would leave all of them "
                "out; give a longer recording"
            )
        each = counted(self._count, "event") if self._count else spoken(self._duration)
        if self.frames > self._most:
            raise BadInput(
                f"{self.name} makes more than {self._most:,} frames of {each}, too many for memory; cut it into "
                "segments, or stream it"
            )
        if self.frames < steps:
            have = counted(self.events, "event") if self._count else f"{spoken(self._span)} of events"
            needs = counted(steps * self._count, "event") if self._count else spoken(steps * self._duration)
            raise BadInput(
                f"{self.name}: {have} make {counted(self.frames, 'frame')} of {each}, the network takes {steps} "
                f"({needs}); give a "
                "longer recording, or export with a shorter `split`"
            )
