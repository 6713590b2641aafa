"""A whole source as what `run` makes of a recording: for sources that end, where no windows are asked for.

A recording with a label file beside it is answered segment by segment, as `run` does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.event_counts import Planes
from tcja_runtime.data.integration import integrate
from tcja_runtime.data.sliding_windows import Frame
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events, InMemory, Recording, Segment, Source, segments

KEPT = 2**24
"""Events that are kept, at most, of a source that cannot be read again: some 220 MB."""


class AtOnce:
    """A whole stream as one window; it has the methods of `tcja_runtime.data.sliding_windows.Cutter`.

    A recording is read again in the end. Events of any other source are kept in memory.

    Args:
        contract: of the network.
        source: where the events come from.

    Raises:
        BadInput: the contract does not say how recordings are cut into frames.
    """

    late = outside = dropped = silent = 0

    def __init__(self, contract: InputContract, source: Source) -> None:
        Planes(contract)
        self._contract, self._source = contract, source
        self._kept: list[Events] = []
        self.events = 0
        self.remarks: list[str] = []

    def push(self, events: Events) -> Iterator[Frame]:
        """Take events; nothing is answered before the end.

        Raises:
            BadInput: they are too many to be kept.
        """
        self.events += len(events)
        if not self._source.recording:
            self._kept.append(events)
        if not self._source.recording and self.events > KEPT:
            raise BadInput(
                f"{self._source.title} has more than {KEPT:,} events, too many to be kept until its end: "
                "give `window`, or save it as a file"
            )
        return iter(())

    def finish(self) -> Iterator[Frame]:
        """The frames of all of it.

        Raises:
            BadInput: as `tcja_runtime.data.integration.integrate`.
        """
        recording = self._source.recording
        if recording is None:
            kept = InMemory(self._kept, Path(self._source.title), self._source.sensor)
            yield from self._cut(kept, 0, None)
            return
        parts, done = segments(recording.path), 0
        for segment in [None] if parts is None else parts:
            for frame in self._cut(recording, done, segment):
                yield frame
                done = max(done, frame.window + 1)

    def _cut(self, recording: Recording, first: int, segment: Segment | None) -> Iterator[Frame]:
        """The frames of a recording, or a segment of it, whose windows are numbered from `first` on."""
        found = integrate(recording, self._contract, *((segment.begin, segment.end) if segment else ()))
        self.remarks += found.remarks
        each = zip(found.windows, found.times.tolist(), found.counts.tolist(), strict=True)
        for number, (window, (begin, end), events) in enumerate(each, first):
            for step, counts in enumerate(window):
                yield Frame(
                    window=number,
                    step=step,
                    counts=counts,
                    begin=begin,
                    end=end,
                    events=events * (step == 0),
                    last=step == len(window) - 1,
                    whole=True,
                )
