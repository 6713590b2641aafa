"""Classifying events as they come: one thread reads the source, another thread makes windows and runs the network.

Between the threads there is a queue of limited length. When it is full, the source waits, or the oldest events are
dropped and counted. The memory does not grow with time: events are freed when they have been counted into frames,
latencies are kept as a histogram, and only the newest prediction is kept.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Generator, Iterator

from tcja_runtime.backends.select import Backend
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
from tcja_runtime.streaming.options import StreamOptions
from tcja_runtime.streaming.results import LatencyHistogram, Summary, WindowPrediction
from tcja_runtime.streaming.runner import MeasuredRunner, Note, open_runner, unsaid
from tcja_runtime.streaming.single_window import SingleWindowCutter
from tcja_runtime.streaming.stopping import stopped_by_signals

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
        note: the function that is called with each note for the user while the stream runs.

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
        note: Note,
    ) -> None:
        self.network, self.classes = bundle.manifest.network, list(bundle.manifest.classes)
        self.contract, self.source, self.runner = bundle.manifest.input, source, runner
        self._output = bundle.manifest.output
        self._options, self._cutter, self._note = options, cutter, note
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
    def open(
        cls,
        bundle: Bundle,
        source: Source,
        options: StreamOptions,
        note: Note = unsaid,
        backend: Backend | None = None,
    ) -> Stream:
        """Load a bundle's network for a source.

        Args:
            bundle: the bundle.
            source: the source of events, which the caller must close.
            options: the options of the stream.
            note: the function that is called with each note for the user, such as the reason for each engine that is
                not run.
            backend: the network, if it is loaded already; None loads it as the options say.

        Raises:
            BadInput: the network does not classify, or the options do not fit the bundle and the source.
            Unavailable: this machine lacks a package or device that the backend needs.
        """
        window, contract = options.window, bundle.manifest.input
        options.check_source(source)
        bundle.check_classifies()
        if contract.name != "frames":
            raise BadInput(
                f"{bundle.path}: a stream is for networks of events, and this network takes {contract.name}; classify "
                "files of them with tcja-deploy run, or in Python with `net.classify`"
            )
        for text in (replaced_view(contract, options.camera_view), window and unlike_training(contract, window)):
            if text:
                note(text)
        contract = seen_through(contract, options.camera_view, source.sensor, source.title)
        check_camera(contract, source.sensor, source.title)
        bundle = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, input=contract))
        if window is None:
            cutter: Cutter | SingleWindowCutter = SingleWindowCutter(contract, source)
        else:
            limit = None if options.max_rate is None else RateLimit(options.max_rate)
            cutter = Cutter(contract, window, title=source.title, limit=limit)
        return cls(bundle, source, options, cutter, open_runner(bundle, options, note, backend), note)

    @property
    def noted(self) -> list[str]:
        """The warnings of the source that were shown as notes."""
        return self.warnings[: self._warned]

    @property
    def warnings(self) -> list[str]:
        """The warnings of the source until now, the newest last."""
        return list(self.source.warnings)

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
        with stopped_by_signals(self.stop), contextlib.closing(self.predictions(quiet=quiet)) as found:
            try:
                for prediction in found:
                    show(prediction)
            except BaseException:
                self._ended = "error"
                raise
        return self.summary()

    def predictions(self, *, quiet: bool = False) -> Generator[WindowPrediction, None, None]:
        """Yield the prediction for each window, until the source ends or a limit is reached.

        The thread that reads the source begins with the first prediction that is asked for, and ends with the
        generator: at the end of the stream, or when the generator is closed. It can be run once.

        Args:
            quiet: as for `run`.

        Raises:
            BadInput: as for `run`.
        """
        self._began = time.monotonic()
        feeding = threading.Thread(target=self._feed, daemon=True)
        feeding.start()
        try:
            yield from self._classified(quiet)
        except GeneratorExit:
            self.stop()
            raise
        except BaseException:
            self._ended = "error"
            raise
        finally:
            self._stopped.set()
            self.buffer.close()
            feeding.join()

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
            drifted=self.runner.drifted,
            latency_median=self.latencies.quantile(0.5),
            latency_99=self.latencies.quantile(0.99),
            remarks=[
                *self._remarks,
                *filter(None, [self.runner.unlike]),
                *(self._cutter.remarks if isinstance(self._cutter, SingleWindowCutter) else []),
                *self.source.remarks,
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

    def _classified(self, quiet: bool) -> Iterator[WindowPrediction]:
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
                yield from self._predicted(self._cutter.push(run.events), run)
                if len(run.events):
                    self._note_overflow(run, int(run.events.t[-1]) + 1)
            elif self.buffer.over:
                yield from self._predicted(self._cutter.finish(), None)
                self._ended = self._ended or "end"

    def _warn(self) -> None:
        """Show the new warnings of the source."""
        for text in self.warnings[self._warned :]:
            self._note(f"{self.source.title}: {text}")
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

    def _predicted(self, frames: Iterator[Frame], run: Run | None) -> Iterator[WindowPrediction]:
        for frame in frames:
            window = frame.after(self._begun.pop(frame.window, None))
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
                class_names=self.classes,
                output=self._output,
            )
            self.windows += 1
            self._cut_short += not window.whole
            yield self.prediction
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


def _copied(events: Events) -> Events:
    """Return a copy of events, so that the run of events that they are a part of can be freed."""
    return Events(events.t.copy(), events.x.copy(), events.y.copy(), events.p.copy())
