"""Recordings of events as windows: a whole recording, its labelled segments, or windows of one length."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tcja_runtime.data import class_folders
from tcja_runtime.data.contract import Floats, InputContract, Labels
from tcja_runtime.data.integration import integrate
from tcja_runtime.data.sliding_windows import Collector, Cutter, Frame, Window
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Recording, Segment, recording, segments
from tcja_runtime.events.clock import ContinuousClock

_BLOCK = 2**20  # bytes


@dataclasses.dataclass(frozen=True)
class _Content:
    """The content of a file. All segments of the file share it, so the file is read once for its checksum."""

    file: Path

    @functools.cached_property
    def checks(self) -> tuple[int, int]:
        """The size of the file in bytes, and the CRC-32 of its bytes."""
        size = check = 0
        with self.file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                size, check = size + len(block), zlib.crc32(block, check)
        return size, check


@dataclasses.dataclass(frozen=True)
class Span:
    """The part of a recording that a window covers.

    Attributes:
        begin: the time where the window begins, in microseconds. In windows of one length, the times go on after a
            reset of the camera's clock (`tcja_runtime.events.clock`).
        end: the first time after the window, in microseconds; for a window of events, the time of its last event.
        events: the number of events in the window.
        whole: whether the recording goes on to the end of the window; False if the recording ends within it.
    """

    begin: int
    end: int
    events: int
    whole: bool


@dataclasses.dataclass(frozen=True)
class Reading:
    """What a pass over a recording finds besides its windows.

    Attributes:
        spans: the part of the recording that each window covers.
        remarks: notes for the user about the recording, a line each.
    """

    spans: Sequence[Span]
    remarks: Sequence[str]


@dataclasses.dataclass
class RecordedWindows:
    """The windows of a recording or of a segment of it (a `tcja_runtime.data.dataset.Part`).

    Attributes:
        recording: the recording.
        content: the content of its file.
        contract: the input contract of the network.
        window: how the recording is cut into windows; None cuts it by the rule of the contract.
        segment: the segment; None for the whole recording.
        label: the index of its class; None if it is not known.
        reading: what the last pass over the recording found; None until a pass has come to its end.
    """

    recording: Recording
    content: _Content
    contract: InputContract
    window: Window | None
    segment: Segment | None = None
    label: int | None = None
    reading: Reading | None = None

    @property
    def file(self) -> Path:
        return self.recording.path

    @functools.cached_property
    def count(self) -> int:
        if self.window is None and self.contract.split in ("number", "time"):
            return 1
        return sum(map(len, self._windows()))  # the number of windows is known after a pass over all of them

    @property
    def labels(self) -> Labels | None:
        return None if self.label is None else np.full(self.count, self.label, np.int64)

    @property
    def checks(self) -> Sequence[object]:
        return [*self.content.checks, *self._edges, self.contract.split, self.contract.duration, self.window]

    def windows(self, size: int, start: int = 0) -> Iterator[Floats]:
        """The windows from number `start` on (`tcja_runtime.data.dataset.Part.windows`)."""
        passed = 0
        for found in self._windows():
            wanted = found[max(0, start - passed) :]
            passed += len(found)
            yield from (wanted[at : at + size] for at in range(0, len(wanted), size))

    @property
    def _edges(self) -> tuple[int | None, int | None]:
        """The times where the segment begins and ends; None for the whole recording."""
        return (None, None) if self.segment is None else (self.segment.begin, self.segment.end)

    def _windows(self) -> Iterator[Floats]:
        """One pass over all windows, [n, T, P, H, W] at a time."""
        if self.window is not None:
            yield from self._cut(self.window)
            return
        made = integrate(self.recording, self.contract, *self._edges)
        spans = [
            Span(begin, end, events, True)
            for (begin, end), events in zip(made.times.tolist(), made.counts.tolist(), strict=True)
        ]
        self.reading = Reading(spans, made.remarks)
        yield made.windows

    def _cut(self, window: Window) -> Iterator[Floats]:
        """One pass over all windows of one length, one window [1, T, P, H, W] at a time."""
        cutter, collector, clock = Cutter(self.contract, window), Collector(self.contract), ContinuousClock()
        begun: dict[int, Span] = {}
        spans: list[Span] = []
        for frame in self._frames(cutter, clock):
            before = begun.pop(frame.window, Span(frame.begin, frame.end, 0, True))
            span = Span(before.begin, frame.end, before.events + frame.events, before.whole and frame.whole)
            made = collector.add(frame)
            if made is None:
                begun[frame.window] = span
            else:
                spans.append(span)
                yield made[None]
        self._check(cutter)
        self.reading = Reading(spans, _remarks(cutter, clock, spans))

    def _frames(self, cutter: Cutter, clock: ContinuousClock) -> Iterator[Frame]:
        """The frames of the events in the segment."""
        begin, end = self._edges
        for events in self.recording.chunks():
            inside = events  # the times of a segment are times as they were recorded
            if begin is not None:
                inside = inside.where(inside.t >= begin)
            if end is not None:
                inside = inside.where(inside.t < end)
            if len(inside):
                yield from cutter.push(clock.correct(inside))
        yield from cutter.finish()

    def _check(self, cutter: Cutter) -> None:
        """Refuse a recording whose events do not all have a place in its windows.

        Raises:
            BadInput: the recording has no events, events outside the sensor, or too many in a window.
        """
        if cutter.outside:
            rows, columns = self.contract.pixels
            raise BadInput(
                f"{self.file}: {cutter.outside:,} events are outside the network's sensor of {rows} rows and {columns} "
                "columns; give a recording of such a sensor"
            )
        if cutter.dropped:
            raise BadInput(f"{self.file}: a window has more than {cutter.most:,} events; take shorter windows")
        if not cutter.events:
            begin, end = self._edges
            where = "" if begin is None else f" from {begin:,} to {end:,} us"
            raise BadInput(f"{self.file} has no events{where}; give another")


def _remarks(cutter: Cutter, clock: ContinuousClock, spans: Sequence[Span]) -> list[str]:
    """The remarks on a recording that was cut into windows of one length."""
    remarks = []
    if clock.resets:
        times = "once" if clock.resets == 1 else f"{clock.resets:,} times"
        remarks.append(f"its clock was reset {times}; the times behind a reset go on from the time before it")
    if cutter.late:
        remarks.append(f"{cutter.late:,} events were left out, because they are older than their windows")
    short = sum(not span.whole for span in spans)
    if short:
        plural = f"s, {short:,} of them" if short > 1 else ""
        remarks.append(f"the recording ends within its last window{plural}")
    return remarks


def open_parts(
    file: Path, contract: InputContract, classes: Sequence[str] | None, window: Window | None
) -> list[RecordedWindows]:
    """Open a recording as windows: one part, or one part for each segment that the label file beside it names.

    Args:
        file: the recording.
        contract: the input contract of the network.
        classes: the names of the network's classes; None if they are not known yet.
        window: how the recording is cut into windows; None cuts it by the rule of the contract.

    Raises:
        BadInput: the file is not a recording, or its label file names a class that the network does not have.
    """
    opened, content, found = recording(file), _Content(file), segments(file)
    if found is None:
        return [RecordedWindows(opened, content, contract, window)]
    return [
        RecordedWindows(opened, content, contract, window, segment, _label(file, segment.label, classes))
        for segment in found
    ]


def _label(file: Path, label: int, classes: Sequence[str] | None) -> int | None:
    """The index of the network's class for class `label` of the data set, a number from 0; None if `classes` is.

    The data set has one folder for each class, with this number as its name. The classes of the network are in the
    alphabetical order of these names.
    """
    if classes is None:
        return None
    known = class_folders.class_of_number(str(label), classes)
    if known is None:
        raise BadInput(
            f"{file}: its label file names class {label + 1}; the network has the classes 1 to {len(classes)}"
        )
    return known
