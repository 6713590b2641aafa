"""Classifying events as they come: a source in one thread, windows and network in another, a bounded queue between.

What grows with time is nothing: events are let go once they are counted into frames, latencies are kept in bins, and
answers are handed on. The queue is what bounds the wait: an event is answered late, or dropped and counted.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tcja_deploy.console import Progress
from tcja_deploy.stream import runner
from tcja_deploy.stream.results import Answer, Latencies, Summary
from tcja_deploy.stream.single_window import AtOnce
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.choices import AUTO
from tcja_runtime.data.sliding_windows import Cutter, Frame, Window
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events, Source
from tcja_runtime.events.buffer import LIMIT, Buffer, Gap, Run
from tcja_runtime.events.clock import ContinuousClock

_AT_ONCE = 1.0  # seconds within which signals are one
_TICK = 0.1  # seconds after which whoever waits looks whether to stop
_GAPS = 64  # that are told apart
_RUNS, _OF_A_RUN = 32, 8192  # whose events, and how many of each, are kept to be seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to stream.

    Attributes:
        window: what is answered; None for the whole source at once.
        buffer: events that wait at most.
        lossless: whether a source waits where the queue is full, as one that is answered as a whole always does; None
            for whether nobody minds.
        seconds: when to stop; None for at the end.
        windows: after how many answers to stop.
        backend: one of `tcja_runtime.choices.BACKENDS`, or `AUTO`.
        trust_engine: whether to load engines that the bundle's manifest does not know.
    """

    window: Window | None = None
    buffer: int = LIMIT
    lossless: bool | None = None
    seconds: float | None = None
    windows: int | None = None
    backend: str = AUTO
    trust_engine: bool = False


class Stream:
    """A source that is classified as its events come.

    Args:
        path: of the bundle.
        source: where events come from; it is closed by whoever opened it.
        options: how.
        progress: where progress is shown until it begins, and why engines are passed over.

    Attributes:
        network: its name.
        classes: their names, in the order of the output.
        contract: what the network takes in.
        source: as given.
        buffer: the queue.
        taking: the network.
        recent: the last of the events of runs that were looked at last, and when these arrived.
        answer: the last of them.
        latencies: of all.
        windows: how many were answered.

    Raises:
        BadInput: the bundle, or the options for this bundle and source, cannot be used.
        Unavailable: this machine lacks what the backend needs.
    """

    def __init__(self, path: Path, source: Source, options: Options, progress: Progress) -> None:
        if not (options.window or source.ends):
            raise BadInput(f"{source.title} has no end, so say what to answer: `window` 500ms or `window` 50000events")
        if options.lossless is False and not options.window:
            raise BadInput(
                "`lossless=False` is for windows: a source that is answered as a whole lacks nothing; give `window`"
            )
        with progress.step("check the hashes"):
            bundle = Bundle.open(path, any_engine=options.trust_engine)
        self.network, self.classes = bundle.manifest.network, list(bundle.manifest.classes)
        self.contract = bundle.manifest.input
        if not self.classes:
            raise BadInput(f"{path}: the network has no classes, so it cannot classify")
        window = options.window
        self._cutter = AtOnce(self.contract, source) if window is None else Cutter(self.contract, window)
        with progress.step("load the network"):
            self.taking = runner.opened(
                bundle,
                options.backend,
                progress,
                trust_engine=options.trust_engine,
                overlapping=window.overlap if window else 1,
                apart=window is not None and (window.unit == "events" or self.contract.split != "number"),
            )
        waits = window is None or (source.pausable if options.lossless is None else options.lossless)
        self.source, self._options, self.buffer = source, options, Buffer(options.buffer, waits=waits)
        self.recent: collections.deque[tuple[float, Events]] = collections.deque(maxlen=_RUNS)
        self.latencies = Latencies()
        self.answer: Answer | None = None
        self.windows = self._cut_short = self._turned_away = 0
        self._begun: dict[int, Frame] = {}
        self._gaps: list[Gap] = []
        self._clock = ContinuousClock()
        self._began = time.monotonic()
        self._ended: str | None = None
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End it soon, as Ctrl-C does."""
        self._ended = self._ended or "stopped"

    def run(self, show: Callable[[Answer], None]) -> Summary:
        """Classify until the source ends, or one of the limits is reached, or SIGINT or SIGTERM comes.

        Args:
            show: called with each answer.

        Raises:
            BadInput: the source is damaged, or the network returns no numbers. The answers before it stand.
        """
        self._began = time.monotonic()
        feeding = threading.Thread(target=self._feed, daemon=True)
        with self._until_signalled():
            feeding.start()
            try:
                self._classify(show)
            except BaseException:
                self._ended = "error"
                raise
            finally:
                self._stopped.set()
                self.buffer.close()
                feeding.join()
        return self.summary()

    def summary(self) -> Summary:
        """What came of it so far."""
        seconds = time.monotonic() - self._began
        looked_at = self._cutter.events
        return Summary(
            source=self.source.title,
            network=self.network,
            backend=self.taking.title,
            stepwise=self.taking.stepwise,
            ended=self._ended,
            seconds=seconds,
            windows=self.windows,
            cut_short=self._cut_short,
            silent=self._cutter.silent,
            events=self.buffer.arrived,
            rate=self.buffer.arrived / max(seconds, 1e-9),
            dropped=self.buffer.dropped + self._cutter.dropped,
            left=self.buffer.arrived - self.buffer.dropped - looked_at,
            late=self._cutter.late,
            outside=self._cutter.outside,
            resets=self._clock.resets,
            damaged=self.source.damaged,
            lost=self.source.lost,
            latency_median=self.latencies.quantile(0.5),
            latency_99=self.latencies.quantile(0.99),
            remarks=self._cutter.remarks if isinstance(self._cutter, AtOnce) else [],
        )

    def _feed(self) -> None:
        """Read the source into the queue."""
        try:
            for events in self.source.runs(self._stopped):
                if not self.buffer.put(events):
                    return
        except BaseException as error:
            self.buffer.close(error)
        else:
            self.buffer.close()

    def _classify(self, show: Callable[[Answer], None]) -> None:
        while not self._over():
            run = self.buffer.take(_TICK)
            if run is not None:
                self.recent.append((run.arrived, _copied(run.events[-_OF_A_RUN:])))
                run = self._steadied(run)
                if run.gap:
                    self._lacks(run.gap)
                self._take(self._cutter.push(run.events), run, show)
                self._crowded(run, int(run.events.t[-1]) + 1)
            elif self.buffer.over:
                self._take(self._cutter.finish(), None, show)
                self._ended = self._ended or "end"

    def _steadied(self, run: Run) -> Run:
        """A run for windows, which follow each other however the camera counts."""
        if isinstance(self._cutter, AtOnce):
            return run
        before = self._clock.shift
        events, gap = self._clock.correct(run.events), run.gap
        if gap:  # the clock may have been set back before it, within it or behind it
            first = int(events.t[0])
            moved = first - int(run.events.t[0])
            gap = dataclasses.replace(gap, begin=min(gap.begin + before, first), end=min(gap.end + moved, first))
        return dataclasses.replace(run, events=events, gap=gap)

    def _take(self, frames: Iterator[Frame], run: Run | None, show: Callable[[Answer], None]) -> None:
        for frame in frames:
            window = _joined(self._begun.pop(frame.window, None), frame)
            scores = self.taking.take(frame)
            if scores is None:
                self._begun[frame.window] = window
                continue
            latency = None
            if run is not None:
                latency = time.monotonic() - run.arrived
                self.latencies.add(latency)
                self._crowded(run, window.end)
            self.answer = Answer(
                window=window.window,
                begin=window.begin,
                end=window.end,
                events=window.events,
                whole=window.whole,
                dropped=self._missing(window),
                latency=latency,
                scores=scores,
                likeliest=np.argsort(-scores, kind="stable").tolist(),
            )
            self.windows += 1
            self._cut_short += not window.whole
            show(self.answer)
            if self._over():
                return

    def _over(self) -> bool:
        options = self._options
        if self._ended is None and options.windows is not None and self.windows >= options.windows:
            self._ended = "windows"
        if self._ended is None and options.seconds is not None and time.monotonic() - self._began >= options.seconds:
            self._ended = "seconds"
        return self._ended is not None

    def _lacks(self, gap: Gap) -> None:
        """Keep what windows lack, the last of it together where it is much."""
        if len(self._gaps) == _GAPS:
            gap |= self._gaps.pop()
        self._gaps.append(gap)

    def _crowded(self, run: Run, until: int) -> None:
        """Notice that windows had no room for some of these events, which came before a time."""
        lost = self._cutter.dropped - self._turned_away
        if lost:
            self._turned_away += lost
            self._lacks(Gap(lost, int(run.events.t.min()), until - 1))

    def _missing(self, window: Frame) -> int:
        """How many events of a window were dropped, at most."""
        self._gaps = [gap for gap in self._gaps if gap.end >= window.begin]  # windows begin one after the other
        return sum(gap.events for gap in self._gaps if gap.begin < window.end)

    @contextlib.contextmanager
    def _until_signalled(self) -> Iterator[None]:
        """Within, SIGINT and SIGTERM end it; one that comes later interrupts.

        Who stops a program may signal its group and itself, so that two come at once.
        """
        before: dict[int, Any] = {}
        first: list[float] = []

        def end(number: int, _: object) -> None:
            first.append(time.monotonic())
            self.stop()
            if first[-1] - first[0] > _AT_ONCE:
                restore()
                signal.raise_signal(number)

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if handler not in (None, signal.SIG_IGN):  # what the caller ignores stays ignored
                    before[number] = signal.signal(number, end)
        try:
            yield
        finally:
            restore()


def _copied(events: Events) -> Events:
    """Events without the rest of the run that they are of."""
    return Events(events.t.copy(), events.x.copy(), events.y.copy(), events.p.copy())


def _joined(window: Frame | None, frame: Frame) -> Frame:
    """A frame as one from its window's begin on."""
    if window is None:
        return frame
    whole, events = window.whole and frame.whole, window.events + frame.events
    return dataclasses.replace(frame, begin=window.begin, events=events, whole=whole)
