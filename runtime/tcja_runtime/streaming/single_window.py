"""Taking a whole source as one window, as `run` does with a recording. It is used if no window length is given.

The source must end. A recording with a label file next to it has one window for each labelled segment, as in `run`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tcja_runtime.data.camera import check_on_sensor
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.event_counts import Frame, Planes
from tcja_runtime.data.integration import integrate
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events, InMemory, Recording, Segment, Source, segments
from tcja_runtime.events.rate_limit import RateLimit

KEPT = 2**24
"""The largest number of events that are kept in memory if the source cannot be read again; they take about 220 MB."""


class SingleWindowCutter:
    """Cuts a whole source into frames when the source has ended, as `run` cuts a recording.

    It has the methods of `tcja_runtime.data.sliding_windows.Cutter`, but all frames come from `finish`. If the source
    is a recording, the events that are pushed are only counted, and `finish` reads the recording again. The events of
    any other source are kept in memory until `finish`.

    Most sources become one window. A recording with a label file has a window for each segment, and a source has
    several windows if the network's frames have a fixed duration and the source is long.

    Args:
        contract: the network's input.
        source: the source of the events.

    Attributes:
        events: the number of events that were pushed.
        remarks: remarks on the source, such as the number of events that were left out.

    Raises:
        BadInput: the contract does not say how recordings are cut into frames.
    """

    late = dropped = silent = emptied = 0
    limit: RateLimit | None = None

    def __init__(self, contract: InputContract, source: Source) -> None:
        Planes(contract)
        self._contract, self._source = contract, source
        self._kept: list[Events] = []
        self.events = 0
        self.remarks: list[str] = []

    def push(self, events: Events) -> Iterator[Frame]:
        """Take events. Returns no frames, because the frames are made at the end of the source.

        Raises:
            BadInput: an event is outside the picture that the network takes; or the source has more than `KEPT` events,
                and cannot be read again.
        """
        check_on_sensor(self._contract, events, self._source.title, self.events)
        self.events += len(events)
        if not self._source.recording:
            self._kept.append(events)
        if not self._source.recording and self.events > KEPT:
            raise BadInput(
                f"{self._source.title} has more than {KEPT:,} events, too many to be kept until its end: "
                "give `window`, or save the events as a file"
            )
        return iter(())

    def finish(self) -> Iterator[Frame]:
        """Yield the frames of the whole source. Call it when the source has ended.

        Raises:
            BadInput: the events cannot be integrated (`tcja_runtime.data.integration.integrate`).
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
        """Yield the frames of a recording, or of a segment of it; `first` is the number of the first window."""
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
