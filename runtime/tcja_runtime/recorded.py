"""Recordings of events as windows: each whole, in its labelled segments, or cut into windows of one length."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tcja_runtime import folders
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Recording, recording, segments
from tcja_runtime.frames import Floats, InputContract, Labels
from tcja_runtime.integration import integrate
from tcja_runtime.live.steady import Steady
from tcja_runtime.windows import Collector, Cutter, Frame, Window

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


@dataclasses.dataclass
class Recorded:
    """A recording or a segment of it, whose windows are made as they are needed (`tcja_runtime.data.Part`).

    Attributes:
        recording: the file.
        content: of it.
        contract: of the network that takes its windows.
        window: how it is cut into windows; None integrates it as a whole.
        begin: of the segment, in microseconds; None for all of the recording.
        end: behind the segment.
        label: its class; None where the file does not tell.
        remarks: what a user should know of it, once its windows were read.
    """

    recording: Recording
    content: _Content
    contract: InputContract
    window: Window | None
    begin: int | None = None
    end: int | None = None
    label: int | None = None
    remarks: list[str] = dataclasses.field(default_factory=list)

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
        if self.window is None:
            made = integrate(self.recording, self.contract, self.begin, self.end)
            self.remarks[:] = made.remarks
            yield made.windows
        else:
            yield from self._cut(self.window)

    def _cut(self, window: Window) -> Iterator[Floats]:
        cutter, collector, clock = Cutter(self.contract, window), Collector(self.contract), Steady()
        short = set[int]()
        for frame in self._frames(cutter, clock):
            made = collector.add(frame)
            if not frame.whole:
                short.add(frame.window)
            if made is not None:
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
            raise BadInput(f"{self.file} has no events; give another")
        times = "once" if clock.resets == 1 else f"{clock.resets:,} times"
        anew = f"its clock begins anew {times}; what follows is taken to go on from where it was"
        late = f"{cutter.late:,} events were left out, as they are older than their windows"
        ends = f"the recording ends within the last {len(short)} of its windows"
        said = (anew, clock.resets), (late, cutter.late), (ends, len(short))
        self.remarks[:] = [remark for remark, count in said if count]

    def _frames(self, cutter: Cutter, clock: Steady) -> Iterator[Frame]:
        begin = -(2**63) if self.begin is None else self.begin
        end = 2**63 - 1 if self.end is None else self.end
        for events in self.recording.chunks():
            inside = events.where((events.t >= begin) & (events.t < end))  # labels tell times as they were recorded
            if len(inside):
                yield from cutter.push(clock(inside))
        yield from cutter.finish()


def parts(file: Path, contract: InputContract, classes: Sequence[str] | None, window: Window | None) -> list[Recorded]:
    """A recording as windows: one part, or one for each segment of a label file beside it.

    Raises:
        BadInput: it is no recording, or its labels are of other classes.
    """
    opened, content, found = recording(file), _Content(file), segments(file)
    if found is None:
        return [Recorded(opened, content, contract, window)]
    if not found:
        raise BadInput(f"{file}: its label file names no segment; mend it, or remove it")
    return [
        Recorded(opened, content, contract, window, each.begin, each.end, _label(file, each.label, classes))
        for each in found
    ]


def _label(file: Path, label: int, classes: Sequence[str] | None) -> int | None:
    """The network's number of a data set's class, whose folder is called by it."""
    if classes is None:
        return None
    known = folders.of_number(str(label), classes)
    if known is None:
        raise BadInput(
            f"{file}: its label file names class {label + 1}; the network tells {len(classes)} apart, "
            f"1 to {len(classes)}"
        )
    return known
