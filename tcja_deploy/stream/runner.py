"""A bundle's network for windows whose frames come one by one, in whichever way answers them soonest."""

from __future__ import annotations

from typing import Protocol

from tcja_deploy.console import Progress
from tcja_deploy.run.scores import scores
from tcja_runtime.backends import select
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import engines
from tcja_runtime.choices import AUTO, PROVIDERS
from tcja_runtime.data.sliding_windows import Collector, Frame
from tcja_runtime.evidence.trace import Values


class Taking(Protocol):
    """A network that is given frames.

    Attributes:
        title: what runs it, for people.
        stepwise: whether it works on each frame when it comes, not on all when the last has come.
    """

    @property
    def title(self) -> str: ...
    @property
    def stepwise(self) -> bool: ...

    def take(self, frame: Frame) -> Values | None:
        """The scores [classes] of the frame's window, if it is its last.

        Raises:
            BadInput: they are no numbers.
        """
        ...


class Whole:
    """Windows are run when they are whole.

    Args:
        bundle: whose network it is.
        running: the network.
    """

    stepwise = False

    def __init__(self, bundle: Bundle, running: select.Backend) -> None:
        self._bundle, self._running, self.title = bundle, running, running.title
        self._collector = Collector(bundle.manifest.input)

    def take(self, frame: Frame) -> Values | None:
        window, manifest = self._collector.add(frame), self._bundle.manifest
        if window is None:
            return None
        output = self._running.session.run({manifest.input.name: window[None]})[manifest.output]
        found: Values = scores(output, self._bundle, self.title)[0]
        return found


class Stepwise:
    """Each frame is run when it comes.

    Args:
        bundle: exported with `streaming`.
        backend: one of `tcja_runtime.choices.PROVIDERS`.
        overlapping: how many windows are open at a time.
    """

    stepwise = True

    def __init__(self, bundle: Bundle, backend: str, overlapping: int) -> None:
        self._bundle, self.title = bundle, f"{select.title(backend)}, frame by frame"
        self._streams = Streams.open(bundle, overlapping, backend=backend)

    def take(self, frame: Frame) -> Values | None:
        # A window is over before the one begins that comes as many later as there are streams.
        answered = self._streams.push(frame.counts[None], [frame.window % len(self._streams)])
        return scores(answered.outputs, self._bundle, self.title)[0] if len(answered.streams) else None


def opened(
    bundle: Bundle, backend: str, progress: Progress, *, trust_engine: bool, overlapping: int, apart: bool
) -> Taking:
    """Load a bundle's network.

    Args:
        bundle: opened.
        backend: one of `tcja_runtime.choices.BACKENDS`, or `AUTO`: an engine, else frame by frame where that
            can be.
        progress: where it is said why engines are passed over.
        trust_engine: whether to load engines that the manifest does not know.
        overlapping: how many windows are open at a time.
        apart: whether the frames of a window come apart, not all at once when it is over.

    Raises:
        BadInput: the bundle has no engine of that name, or it was changed.
        Unavailable: this machine lacks what the backend needs.
    """
    stepwise = apart and bool(bundle.manifest.streaming)
    if stepwise and (backend in PROVIDERS or (backend == AUTO and not engines(bundle, trust_engine=trust_engine))):
        return Stepwise(bundle, backend if backend in PROVIDERS else "onnxruntime", overlapping)
    running = select.opened(bundle, backend, trust_engine=trust_engine)
    for line in running.passed_over:
        progress.note(line)
    if stepwise and running.engine is None:
        running.session.close()
        return Stepwise(bundle, running.name, overlapping)
    return Whole(bundle, running)
