"""Recordings of events as windows: each whole, in its labelled segments, or cut into windows of one length."""

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
from tcja_runtime.events import Recording, recording, segments
from tcja_runtime.events.clock import ContinuousClock

_BLOCK = 2**20  # bytes


@dataclasses.dataclass(frozen=True)
class _Content:
    """What tells a file from others; asked by each of its segments, and read once."""

    file: Path

    @functools.cached_property
    def checks(self) -> tuple[int, int]:
        """Its bytes, and their CRC-32."""
        size = check = 0
        with self.file.open("rb") as stream:
            while block := stream.read(_BLOCK):
                size, check = size + len(block), zlib.crc32(block, check)
        return size, check


@dataclasses.dataclass(frozen=True)
class Span:
    """What of a recording a window holds.

    Attributes:
        begin: in microseconds of the recording, which goes on where its clock begins anew.
        end: behind it.
        events: how many.
        whole: whether the recording goes on to its end.
    """

    begin: int
    end: int
    events: int
    whole: bool


@dataclasses.dataclass
class Recorded:
    """A recording or a segment of it, whose windows are made as they are needed (`tcja_runtime.data.dataset.Part`).

    Attributes:
        recording: the file.
        content: of it.
        contract: of the network that takes its windows.
        window: how it is cut into windows; None integrates it as a whole.
        begin: of the segment, in microseconds; None for all of the recording.
        end: behind the segment.
        label: its class; None where the file does not tell.
        remarks: what a user should know of it, once its windows were read.
        spans: of its windows, once they were read.
    """

    recording: Recording
    content: _Content
    contract: InputContract
    window: Window | None
    begin: int | None = None
    end: int | None = None
    label: int | None = None
    remarks: list[str] = dataclasses.field(default_factory=list)
    spans: list[Span] = dataclasses.field(default_factory=list)

    @property
    def file(self) -> Path:
        return self.recording.path

    @functools.cached_property
    def count(self) -> int:
        if self.window is None and self.contract.split in ("number", "time"):
            return 1
        return sum(map(len, self._windows()))  # how many there are is known when all were seen

    @property
    def labels(self) -> Labels | None:
        return None if self.label is None else np.full(self.count, self.label, np.int64)

    @property
    def checks(self) -> Sequence[object]:
        return [*self.content.checks, self.begin, self.end, self.contract.split, self.contract.duration, self.window]

    def windows(self, size: int, start: int = 0) -> Iterator[Floats]:
        passed = 0
        for found in self._windows():
            wanted = found[max(0, start - passed) :]
            passed += len(found)
            yield from (wanted[at : at + size] for at in range(0, len(wanted), size))

    def _windows(self) -> Iterator[Floats]:
        """All of them, [n, T, P, H, W] at a time."""
        self.spans.clear()
        if self.window is None:
            made = integrate(self.recording, self.contract, self.begin, self.end)
            self.remarks[:] = made.remarks
            for (begin, end), events in zip(made.times.tolist(), made.counts.tolist(), strict=True):
                self.spans.append(Span(begin, end, events, True))
            yield made.windows
        else:
            yield from self._cut(self.window)

    def _cut(self, window: Window) -> Iterator[Floats]:
        cutter, collector, clock = Cutter(self.contract, window), Collector(self.contract), ContinuousClock()
        begun: dict[int, Span] = {}
        for frame in self._frames(cutter, clock):
            before = begun.pop(frame.window, Span(frame.begin, frame.end, 0, True))
            span = Span(before.begin, frame.end, before.events + frame.events, before.whole and frame.whole)
            made = collector.add(frame)
            if made is None:
                begun[frame.window] = span
            else:
                self.spans.append(span)
                yield made[None]
        if cutter.outside:
            rows, columns = self.contract.pixels
            raise BadInput(
                f"{self.file}: {cutter.outside:,} events are not on the network's sensor of {rows} rows and {columns} "
                "columns; give a recording of such a sensor"
            )
        if cutter.dropped:
            raise BadInput(f"{self.file}: a window holds more than {cutter.most:,} events; take shorter windows")
        if not cutter.events:
            where = "" if self.begin is None else f" from {self.begin:,} to {self.end:,} us"
            raise BadInput(f"{self.file} has no events{where}; give another")
        times = "once" if clock.resets == 1 else f"{clock.resets:,} times"
        anew = f"its clock begins anew {times}; what follows is taken to go on from where it was"
        late = f"{cutter.late:,} events were left out, as they are older than their windows"
        short = sum(not span.whole for span in self.spans)
        ends = "the recording ends within its last window" + (f"s, {short:,} of them" if short > 1 else "")
        said = (anew, clock.resets), (late, cutter.late), (ends, short)
        self.remarks[:] = [remark for remark, count in said if count]

    def _frames(self, cutter: Cutter, clock: ContinuousClock) -> Iterator[Frame]:
        for events in self.recording.chunks():
            inside = events  # labels tell times as they were recorded
            if self.begin is not None:
                inside = inside.where(inside.t >= self.begin)
            if self.end is not None:
                inside = inside.where(inside.t < self.end)
            if len(inside):
                yield from cutter.push(clock.correct(inside))
        yield from cutter.finish()


def parts(file: Path, contract: InputContract, classes: Sequence[str] | None, window: Window | None) -> list[Recorded]:
    """A recording as windows: one part, or one for each segment of a label file beside it.

    Raises:
        BadInput: it is no recording, or its labels are of other classes.
    """
    opened, content, found = recording(file), _Content(file), segments(file)
    if found is None:
        return [Recorded(opened, content, contract, window)]
    return [
        Recorded(opened, content, contract, window, each.begin, each.end, _label(file, each.label, classes))
        for each in found
    ]


def _label(file: Path, label: int, classes: Sequence[str] | None) -> int | None:
    """The network's number of a data set's class, whose folder is called by it."""
    if classes is None:
        return None
    known = class_folders.of_number(str(label), classes)
    if known is None:
        raise BadInput(
            f"{file}: its label file names class {label + 1}; the network tells {len(classes)} apart, "
            f"1 to {len(classes)}"
        )
    return known
