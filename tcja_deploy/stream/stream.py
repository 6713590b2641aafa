"""Classifying events as they come: one thread reads the source, another thread makes windows and runs the network.

Between the threads there is a queue of limited length. When it is full, the source waits, or the oldest events are
dropped and counted. The memory does not grow with time: events are freed when they have been counted into frames,
latencies are kept as a histogram, and only the newest prediction is kept.
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
from tcja_deploy.stream.options import StreamOptions
from tcja_deploy.stream.results import LatencyHistogram, Summary, WindowPrediction
from tcja_deploy.stream.runner import MeasuredRunner, open_runner
from tcja_deploy.stream.single_window import SingleWindowCutter
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.camera import check_camera, replaced_view, seen_through
from tcja_runtime.data.event_counts import Frame
from tcja_runtime.data.recordings import unlike_training
from tcja_runtime.data.sliding_windows import Cutter
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events, Source
from tcja_runtime.events.buffer import Buffer, Gap, Gaps, Run
from tcja_runtime.events.clock import ContinuousClock
from tcja_runtime.events.rate_limit import RateLimit

_AT_ONCE = 1.0  # seconds: signals that come within this time of the first count as one
_TICK = 0.1  # seconds to wait for events before the stream checks whether it should stop
_RUNS, _OF_A_RUN = 32, 8192  # the number of runs that are kept for the view, and of events in each


class Stream:
    """The classification of a source's events as they come. `open` makes a stream, and `run` runs it.

    Args:
        bundle: the network's bundle, whose manifest has the input contract of the stream.
        source: the source of events, which the caller must close.
        options: the options of the stream.
        cutter: the object that cuts the events into frames.
        runner: the loaded network.
        progress: where notes are shown while the stream runs.

    Attributes:
        network: the name of the network.
        classes: the names of the classes, in the order of the output.
        contract: the network's input, as the options change it.
        source: the source of events.
        runner: the loaded network.
        buffer: the queue of events.
        recent: the newest runs of events, each after the time of its arrival in seconds of `time.monotonic`.
        prediction: the newest prediction; None before the first.
        latencies: the latencies of all predictions.
        windows: the number of predictions.
    """

    def __init__(
        self,
        bundle: Bundle,
        source: Source,
        options: StreamOptions,
        cutter: Cutter | SingleWindowCutter,
        runner: MeasuredRunner,
        progress: Progress,
    ) -> None:
        self.network, self.classes = bundle.manifest.network, list(bundle.manifest.classes)
        self.contract, self.source, self.runner = bundle.manifest.input, source, runner
        self._options, self._cutter, self._progress = options, cutter, progress
        waits = source.pausable if options.lossless is None else options.lossless
        self.buffer = Buffer(options.buffer, waits=waits or options.window is None)
        self.recent: collections.deque[tuple[float, Events]] = collections.deque(maxlen=_RUNS)
        self.latencies = LatencyHistogram()
        self.prediction: WindowPrediction | None = None
        self.windows = self._cut_short = self._overflowed = self._warned = 0
        self._begun: dict[int, Frame] = {}
        self._gaps = Gaps()
        # With a limited rate, the last time of each run of events whose windows have not ended, and its arrival.
        self._arrivals: collections.deque[tuple[int, float]] = collections.deque()
        self._limit = cutter.limit
        self._checked = False
        self._remarks: list[str] = []
        self._clock = ContinuousClock()
        self._began = time.monotonic()
        self._ended: str | None = None
        self._stopped = threading.Event()

    @classmethod
    def open(cls, path: Path, source: Source, options: StreamOptions, progress: Progress) -> Stream:
        """Load a bundle's network for a source.

        Args:
            path: the bundle.
            source: the source of events, which the caller must close.
            options: the options of the stream.
            progress: where to show progress, and the reason for each engine that is not run.

        Raises:
            BadInput: the bundle is damaged, or the options do not fit the bundle and the source.
            Unavailable: this machine lacks a package or device that the backend needs.
        """
        window = options.window
        if not (window or source.ends):
            raise BadInput(f"{source.title} has no end, so give the length of windows: `window` 500ms or 50000events")
        if options.lossless is False and not window:
            raise BadInput("`lossless=False` needs `window`: a source that is one window is always read whole")
        if options.max_rate is not None and not window:
            raise BadInput("`max_rate` needs `window`: a source that is one window is always read whole")
        with progress.step("check the hashes"):
            bundle = Bundle.open(path, any_engine=options.trust_engine, to_run=True)
        contract = bundle.manifest.input
        if not bundle.manifest.classes:
            raise BadInput(f"{path}: the network has no classes, so it cannot classify")
        for note in (replaced_view(contract, options.camera_view), window and unlike_training(contract, window)):
            if note:
                progress.note(note)
        contract = seen_through(contract, options.camera_view, source.sensor, source.title)
        check_camera(contract, source.sensor, source.title)
        bundle = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, input=contract))
        if window is None:
            cutter: Cutter | SingleWindowCutter = SingleWindowCutter(contract, source)
        else:
            limit = None if options.max_rate is None else RateLimit(options.max_rate)
            cutter = Cutter(contract, window, title=source.title, limit=limit)
        with progress.step("load the network"):
            runner = open_runner(bundle, window, options.backend, options.trust_engine, progress)
        return cls(bundle, source, options, cutter, runner, progress)

    @property
    def noted(self) -> list[str]:
        """The warnings of the source that were shown as notes."""
        return self.warnings[: self._warned]

    @property
    def warnings(self) -> list[str]:
        """The warnings of the source until now, the newest last."""
        return [self._progress.worded(text) for text in self.source.warnings]

    def stop(self) -> None:
        """Ask the stream to end, as Ctrl-C does. It ends after the events that it is working on."""
        self._ended = self._ended or "stopped"

    def run(self, show: Callable[[WindowPrediction], None], *, quiet: bool = False) -> Summary:
        """Classify until the source ends, a limit is reached, or SIGINT or SIGTERM comes.

        Args:
            show: the function that is called with each prediction.
            quiet: whether the warnings of the source are only in the summary. Otherwise they are also shown as notes
                as soon as they are known.

        Raises:
            BadInput: the source is damaged, or a score is NaN or infinite. The predictions before the error are valid.
        """
        self._began = time.monotonic()
        feeding = threading.Thread(target=self._feed, daemon=True)
        with stopped_by_signals(self.stop):
            feeding.start()
            try:
                self._classify(show, quiet)
            except BaseException:
                self._ended = "error"
                raise
            finally:
                self._stopped.set()
                self.buffer.close()
                feeding.join()
        return self.summary()

    def summary(self) -> Summary:
        """Return the counts, the latency and the end of the stream until now."""
        seconds = time.monotonic() - self._began
        return Summary(
            source=self.source.title,
            network=self.network,
            backend=self.runner.title,
            stepwise=self.runner.stepwise,
            ended=self._ended,
            seconds=seconds,
            windows=self.windows,
            cut_short=self._cut_short,
            silent=self._cutter.silent,
            emptied=self._cutter.emptied,
            events=self.buffer.arrived,
            rate=self.buffer.arrived / max(seconds, 1e-9),
            dropped=self.buffer.dropped + self._cutter.dropped,
            left=self.buffer.arrived - self.buffer.dropped - self._cutter.events,
            late=self._cutter.late,
            thinned=0 if self._limit is None else self._limit.dropped,
            resets=self._clock.resets,
            damaged=self.source.damaged,
            lost=self.source.lost,
            latency_median=self.latencies.quantile(0.5),
            latency_99=self.latencies.quantile(0.99),
            remarks=[
                self._progress.worded(remark)
                for remark in (
                    *self._remarks,
                    *filter(None, [self.runner.unlike]),
                    *(self._cutter.remarks if isinstance(self._cutter, SingleWindowCutter) else []),
                    *self.source.remarks,
                )
            ],
        )

    def _feed(self) -> None:
        """Put the events of the source into the queue until the source ends or the queue is closed."""
        try:
            for events in self.source.runs(self._stopped):
                if not self.buffer.put(events):
                    return
        except BaseException as error:
            self.buffer.close(error)
        else:
            self.buffer.close()

    def _classify(self, show: Callable[[WindowPrediction], None], quiet: bool) -> None:
        while not self._over():
            run = self.buffer.take(_TICK)
            if not quiet:
                self._warn()
            if run is not None:
                self._check_camera()
                self.recent.append((run.arrived, _copied(run.events[-_OF_A_RUN:])))
                run = self._in_time(run)
                if run.gap:
                    self._gaps.add(run.gap)
                if self._limit is not None and len(run.events):
                    self._arrivals.append((int(run.events.t.max()), run.arrived))
                self._predict(self._cutter.push(run.events), run, show)
                if len(run.events):
                    self._note_overflow(run, int(run.events.t[-1]) + 1)
            elif self.buffer.over:
                self._predict(self._cutter.finish(), None, show)
                self._ended = self._ended or "end"

    def _warn(self) -> None:
        """Show the new warnings of the source."""
        for text in self.warnings[self._warned :]:
            self._progress.note(f"{self.source.title}: {text}")
            self._warned += 1

    def _check_camera(self) -> None:
        """Check the size of the camera, as soon as the source knows it.

        Raises:
            BadInput: it is not the camera of the network.
        """
        if self._checked or self.source.sensor is None:
            return
        self._checked = True
        smaller = check_camera(self.contract, self.source.sensor, self.source.title)
        if smaller and self._options.window is not None:  # a source that is one window has this remark already
            self._remarks.append(smaller)

    def _in_time(self, run: Run) -> Run:
        """Return a run of events with the times of a clock that goes on when the camera's clock is set back."""
        if self._options.window is None:
            return run
        before = self._clock.shift
        events, gap = self._clock.correct(run.events), run.gap
        if gap:  # the clock may have been set back before, within or after the gap
            first = int(events.t[0])
            moved = first - int(run.events.t[0])
            gap = dataclasses.replace(gap, begin=min(gap.begin + before, first), end=min(gap.end + moved, first))
        return dataclasses.replace(run, events=events, gap=gap)

    def _predict(self, frames: Iterator[Frame], run: Run | None, show: Callable[[WindowPrediction], None]) -> None:
        for frame in frames:
            window = _joined(self._begun.pop(frame.window, None), frame)
            scores = self.runner.push(frame)
            if scores is None:
                self._begun[frame.window] = window
                continue
            latency = None
            if run is not None:
                latency = time.monotonic() - self._arrival(run, window.end)
                self.latencies.add(latency)
                self._note_overflow(run, window.end)
            self.prediction = WindowPrediction(
                window=window.window,
                begin=window.begin,
                end=window.end,
                events=window.events,
                whole=window.whole,
                dropped=self._gaps.within(window.begin, window.end),
                thinned=0 if self._limit is None else self._limit.dropped_within(window.begin, window.end),
                latency=latency,
                scores=scores,
                likeliest=np.argsort(-scores, kind="stable").tolist(),
            )
            self.windows += 1
            self._cut_short += not window.whole
            show(self.prediction)
            if self._over():
                return

    def _arrival(self, run: Run, end: int) -> float:
        """Return when the event arrived that ends a window. With a limited rate it may have been held for a while.

        Args:
            run: the run of events that lets the window go.
            end: the end of the window, in microseconds.
        """
        while self._arrivals and self._arrivals[0][0] < end - 1:
            self._arrivals.popleft()
        return self._arrivals[0][1] if self._arrivals else run.arrived

    def _over(self) -> bool:
        options = self._options
        if self._ended is None and options.windows is not None and self.windows >= options.windows:
            self._ended = "windows"
        if self._ended is None and options.seconds is not None and time.monotonic() - self._began >= options.seconds:
            self._ended = "seconds"
        return self._ended is not None

    def _note_overflow(self, run: Run, until: int) -> None:
        """Store a gap for the events of a run that were dropped because a window had no room for them.

        Args:
            run: the events that were cut into windows last.
            until: the time before which all of the dropped events came, in microseconds.
        """
        lost = self._cutter.dropped - self._overflowed
        if lost:
            self._overflowed += lost
            self._gaps.add(Gap(lost, int(run.events.t.min()), until - 1))


@contextlib.contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """A context in which SIGINT and SIGTERM call `stop`.

    A signal that comes more than a second after the first interrupts the process as usual. Before that, further signals
    have no effect, because a signal is often sent twice: to the process group, and to the process. In a thread other
    than the main thread, the context does nothing.
    """
    before: dict[int, Any] = {}
    first: list[float] = []

    def end(number: int, _: object) -> None:
        first.append(time.monotonic())
        stop()
        if first[-1] - first[0] > _AT_ONCE:
            restore()
            signal.raise_signal(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler not in (None, signal.SIG_IGN):  # a signal that the process ignores stays ignored
                before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        restore()


def _copied(events: Events) -> Events:
    """Return a copy of events, so that the run of events that they are a part of can be freed."""
    return Events(events.t.copy(), events.x.copy(), events.y.copy(), events.p.copy())


def _joined(window: Frame | None, frame: Frame) -> Frame:
    """Return a frame with the begin, the number of events and `whole` of its window until now.

    Args:
        window: the result for the previous frame of the window; None for its first frame.
        frame: the new frame.
    """
    if window is None:
        return frame
    whole, events = window.whole and frame.whole, window.events + frame.events
    return dataclasses.replace(frame, begin=window.begin, events=events, whole=whole)
