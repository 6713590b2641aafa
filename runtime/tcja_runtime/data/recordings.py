"""Recordings of events as windows: a whole recording, its labelled segments, or windows of one length."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tcja_runtime.choices import LABEL_RULES
from tcja_runtime.counting import agree, counted
from tcja_runtime.data import class_folders
from tcja_runtime.data.camera import WHOLE, CameraView, check_camera, seen_through
from tcja_runtime.data.contract import Floats, InputContract, Labels
from tcja_runtime.data.event_counts import Collector, Frame
from tcja_runtime.data.integration import integrate
from tcja_runtime.data.sliding_windows import Cutter, Window
from tcja_runtime.data.split_rules import spoken
from tcja_runtime.errors import BadInput, check_choice
from tcja_runtime.events import ReadOptions, Recording, Segment, segments
from tcja_runtime.events.clock import ContinuousClock
from tcja_runtime.files.content import Content
from tcja_runtime.records import check_arguments


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How data files are read.

    Attributes:
        window: how recordings are cut into windows; None cuts by the rule of the contract.
        camera_view: what frames are made from, instead of what the contract says; `WHOLE` changes nothing.
        labels: the rule by which folders and label files tell classes, one of `tcja_runtime.choices.LABEL_RULES`; None
            chooses (`tcja_runtime.data.class_folders`).
        reading: what the user says about recordings that do not say it themselves.

    Raises:
        BadInput: an attribute has another type, or there is no such rule for labels.
    """

    window: Window | None = None
    camera_view: CameraView = WHOLE
    labels: str | None = None
    reading: ReadOptions = dataclasses.field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        check_arguments(self)
        if self.labels is not None:
            check_choice("labels", self.labels, LABEL_RULES)

    @property
    def given(self) -> list[str]:
        """The names of the given arguments that are not for files of windows."""
        view = {"crop": self.camera_view.crop, "resize": self.camera_view.resize}
        return [*self.for_events, *(name for name, value in view.items() if value is not None)]

    @property
    def for_events(self) -> list[str]:
        """The names of the given arguments that are for recordings of events only."""
        given = {"window": self.window, **self.reading.given}
        return [name for name, value in given.items() if value is not None]


@dataclasses.dataclass(frozen=True)
class Span:
    """The part of a recording that a window covers.

    Attributes:
        begin: the time where the window begins, in microseconds. If the user chose the length of the windows, times are
            corrected for resets of the camera's clock (`tcja_runtime.events.clock`).
        end: the first time after the window, in microseconds. If the length of a window is a number of events, the time
            of its last event.
        events: the number of events in the window.
        whole: whether the recording goes on to the end of the window; False if the recording ends within it.
    """

    begin: int
    end: int
    events: int
    whole: bool


@dataclasses.dataclass(frozen=True)
class Reading:
    """The facts about a recording that are known after all of its windows were read.

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
        content: the content of its file. All segments of the file share it, so that it is read only once.
        contract: the input contract of the network.
        window: how the recording is cut into windows; None cuts it by the rule of the contract.
        options: what the user says about the recording.
        segment: the segment; None for the whole recording.
        label: the index of the segment's class; None if it is not known.
        reading: the time span of each window, and remarks; None before all windows were read once.
    """

    recording: Recording
    content: Content
    contract: InputContract
    window: Window | None
    options: ReadOptions
    segment: Segment | None = None
    label: int | None = None
    reading: Reading | None = None

    @property
    def file(self) -> Path:
        return self.recording.path

    @functools.cached_property
    def count(self) -> int:
        if self.window is None and self.contract.cut.size is None:  # frames are shares of the recording
            return 1
        return sum(map(len, self._windows()))  # the number of windows is known after a pass over all of them

    @property
    def labels(self) -> Labels | None:
        return None if self.label is None else np.full(self.count, self.label, np.int64)

    @property
    def checks(self) -> Sequence[object]:
        resize = None if self.contract.resize == "bilinear" else self.contract.resize
        view = (self.contract.count, self.contract.crop, resize)
        seen = [view] * any(view)  # without these, the checks are those that older bundles have stored
        how = [self.contract.split, self.contract.duration, self.window, *self.options.given.items(), *seen]
        return [*self.content.checks, *self._edges, *how]

    def windows(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Yields the windows from number `start` on (`tcja_runtime.data.dataset.Part.windows`)."""
        passed = 0
        for found in self._windows():
            wanted = found[max(0, start - passed) :]
            passed += len(found)
            yield from (wanted[at : at + size] for at in range(0, len(wanted), size))

    @property
    def _edges(self) -> tuple[int | None, int | None]:
        """The times where the segment begins and ends, in microseconds; (None, None) for the whole recording."""
        return (None, None) if self.segment is None else (self.segment.begin, self.segment.end)

    def _windows(self) -> Iterator[Floats]:
        """Yields all windows, float32 [n, T, P, H, W] at a time, and sets `reading` at the end."""
        if self.window is not None:
            yield from self._cut(self.window)
            return
        made = integrate(self.recording, self.contract, *self._edges)
        spans = [
            Span(begin, end, events, True)
            for (begin, end), events in zip(made.times.tolist(), made.counts.tolist(), strict=True)
        ]
        self.reading = Reading(spans, [*made.remarks, *self.recording.remarks])
        yield made.windows

    def _cut(self, window: Window) -> Iterator[Floats]:
        """Yields all windows of a length that the user chose, one [1, T, P, H, W] at a time, then sets `reading`."""
        cutter = Cutter(self.contract, window, title=str(self.file))
        collector, clock = Collector(self.contract), ContinuousClock()
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
        unlike = unlike_training(self.contract, window)
        smaller = check_camera(self.contract, self.recording.sensor, str(self.file))
        remarks = [each for each in (smaller, unlike) if each]
        self.reading = Reading(spans, [*remarks, *_remarks(cutter, clock, spans), *self.recording.remarks])

    def _frames(self, cutter: Cutter, clock: ContinuousClock) -> Iterator[Frame]:
        """Yields the frames of the segment, cut from its events after their times were corrected by `clock`."""
        begin, end = self._edges
        for events in self.recording.chunks():
            inside = events  # the begin and the end of a segment are uncorrected times
            if begin is not None:
                inside = inside.where(inside.t >= begin)
            if end is not None:
                inside = inside.where(inside.t < end)
            if len(inside):
                yield from cutter.push(clock.correct(inside))
        yield from cutter.finish()

    def _check(self, cutter: Cutter) -> None:
        """Check that the recording has events, and that its windows hold all of them.

        Raises:
            BadInput: the recording has no events, or too many in a window.
        """
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
        times = agree(clock.resets, "once", f"{clock.resets:,} times")
        remarks.append(f"its clock was reset {times}; the times after a reset go on from the time before it")
    if cutter.late:
        late = f"{counted(cutter.late, 'event')} {agree(cutter.late, 'was', 'were')}"
        remarks.append(
            f"{late} left out, because {agree(cutter.late, 'it is', 'they are')} older than every open window"
        )
    short = sum(not span.whole for span in spans)
    if short:
        remarks.append(f"the recording ends within its last {agree(short, 'window', counted(short, 'window'))}")
    return remarks


def unlike_training(contract: InputContract, window: Window) -> str:
    """A note for the user if windows of a length have frames of another duration than in training; else an empty text.

    Args:
        contract: the input contract of the network.
        window: how recordings or a stream are cut into windows.
    """
    steps, duration = contract.shape[0], contract.duration
    if duration is None or (window.unit == "us" and window.length // steps == duration):
        return ""
    each = window.length // steps
    here = f"lasts {spoken(each)}" if window.unit == "us" else f"has {counted(each, 'event')}"
    then = f"lasted {spoken(duration)} in training"
    return f"each frame {here} here and {then}; `window` {steps * duration}us restores this"


def parts_of(
    opened: Recording, contract: InputContract, classes: Sequence[str] | None, options: DataOptions
) -> list[RecordedWindows]:
    """Returns the windows of a recording.

    Returns one part for the whole recording. If there is a label file beside the recording, returns one part for each
    segment that the label file names.

    Args:
        opened: the recording.
        contract: the input contract of the network.
        classes: the names of the network's classes; None if they are not known yet.
        options: how the recording is cut and labelled.

    Raises:
        BadInput: its camera is not that of the network, or its label file names a class that the network does not have.
    """
    file = opened.path
    content, found = Content(file), segments(file)
    contract = seen_through(contract, options.camera_view, opened.sensor, str(file))
    check_camera(contract, opened.sensor, str(file))
    whole = RecordedWindows(opened, content, contract, options.window, options.reading)
    if found is None:
        return [whole]
    return [
        dataclasses.replace(whole, segment=segment, label=_label(file, segment.label, classes, options))
        for segment in found
    ]


def _label(file: Path, label: int, classes: Sequence[str] | None, options: DataOptions) -> int | None:
    """Returns the index of the network's class for a class in a label file.

    Args:
        file: the recording, for messages.
        label: the class in the label file, counted from 0. It is also the name of the class's folder in the data set.
        classes: the names of the network's classes; None if they are not known yet. Then the result is None.
        options: the options, with the rule that tells classes.

    Raises:
        BadInput: the network does not have this class, or the rule does not fit label files.
    """
    if classes is None:
        return None
    known = class_folders.class_of_number(label, classes, options.labels)
    if known is None:
        raise BadInput(
            f"{file}: its label file names class {label + 1}; the network has the classes 1 to {len(classes)}"
        )
    return known
