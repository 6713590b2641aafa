"""Running a bundle's network on the frames of a stream: on each frame when it comes, or on whole windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tcja_runtime.backends import select
from tcja_runtime.backends.proven import WATCHED, FiringWatch, InputWatch, Proven, all_unlike
from tcja_runtime.backends.scores import scores
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import engines
from tcja_runtime.choices import AUTO, PROVIDERS
from tcja_runtime.data.event_counts import Collector, Frame
from tcja_runtime.evidence.trace import Values
from tcja_runtime.streaming.options import StreamOptions

Note = Callable[[str], None]
"""A function that is called with each note for the user, a line each."""


def unsaid(note: str) -> None:
    """Drop a note."""


class Runner(Protocol):
    """A loaded network that takes the frames of a stream one after another.

    Attributes:
        title: the title of the backend that runs the network.
        stepwise: whether each frame is run when it comes. If False, all frames of a window are run when the last of
            them has come.
    """

    @property
    def title(self) -> str: ...
    @property
    def stepwise(self) -> bool: ...

    def push(self, frame: Frame) -> Values | None:
        """Take a frame. Returns the scores [classes] of its window if it is the window's last frame, else None.

        Raises:
            BadInput: a score is NaN or infinite.
        """
        ...


class WholeWindowRunner:
    """A `Runner` that runs all frames of a window when the last of them has come.

    Args:
        bundle: the network's bundle.
        backend: the loaded network.
        firing: what compares how the network fires with how it fired in its proof.
    """

    stepwise = False

    def __init__(self, bundle: Bundle, backend: select.Backend, firing: FiringWatch) -> None:
        self._bundle, self._backend, self.title = bundle, backend, backend.title
        self._firing = firing
        self._collector = Collector(bundle.manifest.input)

    def push(self, frame: Frame) -> Values | None:
        window, manifest = self._collector.add(frame), self._bundle.manifest
        if window is None:
            return None
        returned = self._backend.session.run({manifest.input.name: window[None]})
        self._firing.add(returned)
        found: Values = scores(returned[manifest.output], self._bundle, self.title)[0]
        return found


class StepwiseRunner:
    """A `Runner` that runs each frame when it comes.

    Args:
        bundle: the network's bundle.
        streams: the stepwise network, with a stream for each window that can be open at the same time.
        title: the title of the backend that runs the network.
    """

    stepwise = True

    def __init__(self, bundle: Bundle, streams: Streams, title: str) -> None:
        self._bundle, self._streams, self.title = bundle, streams, title

    @classmethod
    def open(cls, bundle: Bundle, backend: str, overlapping: int) -> StepwiseRunner:
        """Load a bundle's stepwise models.

        Args:
            bundle: a bundle that was exported with `streaming`.
            backend: one of `tcja_runtime.choices.PROVIDERS`.
            overlapping: the number of windows that can be open at the same time.
        """
        streams = Streams.open(bundle, overlapping, backend=backend)
        return cls(bundle, streams, f"{select.title(backend)}, frame by frame")

    def push(self, frame: Frame) -> Values | None:
        # Windows that have the same stream are never open together: one ends before the next begins.
        completed = self._streams.push(frame.counts[None], [frame.window % len(self._streams)])
        return scores(completed.outputs, self._bundle, self.title)[0] if len(completed.streams) else None


class MeasuredRunner:
    """A `Runner` that compares the first windows, and how the network fires, with its proof.

    Args:
        runner: the runner of the network.
        bundle: its bundle.
        note: the function that is called with a note if the windows are unlike those of the proof.
        firing: what compares how the network fires.
    """

    def __init__(self, runner: Runner, bundle: Bundle, note: Note, firing: FiringWatch) -> None:
        self._runner, self._collector = runner, Collector(bundle.manifest.input)
        self._firing = firing
        # A scene may be still at first. So the note waits until all windows are known.
        self._watch = InputWatch(Proven(bundle), most=WATCHED, note=note, patience=WATCHED)

    @property
    def title(self) -> str:
        return self._runner.title

    @property
    def stepwise(self) -> bool:
        return self._runner.stepwise

    @property
    def unlike(self) -> str:
        """A sentence if the first windows look unlike those of the proof, or the network fires unlike; else empty."""
        return all_unlike(self._watch, self._firing)

    @property
    def drifted(self) -> int | None:
        """The number of windows in which a layer fired far outside the range of the proof; None if it is not known."""
        return self._firing.drifted

    def push(self, frame: Frame) -> Values | None:
        if not self._watch.over:
            window = self._collector.add(frame)
            if window is not None:
                self._watch.add(window[None])
        return self._runner.push(frame)


def open_runner(
    bundle: Bundle, options: StreamOptions, note: Note = unsaid, backend: select.Backend | None = None
) -> MeasuredRunner:
    """Load a bundle's network for a stream.

    The network runs stepwise if the bundle has stepwise models, the frames of a window are known one after another, and
    no engine is run. Otherwise it runs on whole windows.

    Args:
        bundle: the network's bundle.
        options: the options of the stream: its windows and its backend.
        note: the function that is called with the reason for each engine that is not run.
        backend: the network, if it is loaded already. It is not closed, and `options.backend` is not used then.

    Raises:
        BadInput: the bundle has no engine for `options.backend`, or the engine was changed after its build.
        Unavailable: this machine lacks a package or device that the backend needs.
    """
    firing = FiringWatch(bundle, span=WATCHED, note=note)
    return MeasuredRunner(_opened(bundle, options, note, backend, firing), bundle, note, firing)


def _opened(
    bundle: Bundle, options: StreamOptions, note: Note, backend: select.Backend | None, firing: FiringWatch
) -> Runner:
    """Load a bundle's network (`open_runner`)."""
    manifest, window, name = bundle.manifest, options.window, options.backend
    one_by_one = window is not None and (window.unit == "events" or not manifest.input.cut.by_events)
    stepwise, overlapping = one_by_one and bool(manifest.streaming), window.overlap if window else 1
    loaded = backend
    if loaded is None:
        tries_engines = name == AUTO and bool(engines(bundle))
        if stepwise and (name in PROVIDERS or (name == AUTO and not tries_engines)):
            return StepwiseRunner.open(bundle, name if name in PROVIDERS else "onnxruntime", overlapping)
        loaded = select.opened(bundle, name)
        for line in loaded.not_run:
            note(line)
    if stepwise and loaded.engine is None:
        if backend is None:
            loaded.session.close()
        return StepwiseRunner.open(bundle, loaded.name, overlapping)
    return WholeWindowRunner(bundle, loaded, firing)
