"""A bundle's network in Python.

    import tcja_runtime as tcja

    net = tcja.load("x.bundle")
    found = net(frames)                    # one window or a batch; scores and classes
    found = net.classify("user24.aedat")   # a recording, a file of windows, or a folder
    stepwise = net.stepwise()              # frame by frame
    stream = net.stream("udp://127.0.0.1:5000", form="evt3")    # an iterator of predictions

docs/how-to/python.md has programs.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tcja_runtime.backends.checked import closed
from tcja_runtime.backends.proven import WATCHED, FiringWatch, InputWatch, Watched, all_unlike
from tcja_runtime.backends.scores import scores
from tcja_runtime.backends.select import Backend, opened, title
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.choices import AUTO, PROVIDERS
from tcja_runtime.data import dataset
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.dataset import Data
from tcja_runtime.data.recordings import DataOptions
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Recording, Source
from tcja_runtime.events.sources import open_source
from tcja_runtime.files.text import one_line
from tcja_runtime.network import inputs
from tcja_runtime.network.classified import ClassifiedWindows, classified
from tcja_runtime.network.info import NetworkInfo
from tcja_runtime.network.prediction_stream import PredictionStream
from tcja_runtime.network.stepwise import Stepwise
from tcja_runtime.predictions import Predictions
from tcja_runtime.records import argument
from tcja_runtime.signing.trust import Trust
from tcja_runtime.streaming.options import StreamOptions
from tcja_runtime.streaming.stream import Stream

logger = logging.getLogger("tcja_runtime")
"""The notes on streams and recordings are its warnings, which Python prints on stderr unless it is told otherwise."""

File = str | os.PathLike[str]
Options = TypeVar("Options", DataOptions, StreamOptions)

_GIVEN_TO = {"window": "as an argument of the call", "backend": "to `load`"}
"""Where each argument is given that options have, too, for the functions without a network."""


def load(
    path: File,
    *,
    backend: str = AUTO,
    trust_engine: bool = False,
    require_signature: bool = False,
    public_keys: File | Sequence[File] = (),
) -> Network:
    """Load the network of a bundle.

    The hashes of all files that the network needs are checked.

    Args:
        path: the bundle.
        backend: one of `tcja_runtime.choices.BACKENDS`, or "auto". "auto" loads the last built engine that this machine
            can load; if it can load none, it loads the network in ONNX Runtime on the CPU. `Network.info` says which.
        trust_engine: whether to load engines whose origin is not known, or that the bundle does not list. An engine is
            native code.
        require_signature: whether to take only a bundle that is signed by one of the keys.
        public_keys: the files of the public keys of those whom you trust; a signature by one of them is then required.
            By default the keys are those of the environment or of a configuration file
            (`tcja_runtime.signing.trust`).

    Raises:
        BadInput: the path is not a bundle, a file of it was changed, it has no engine for the backend, or it is not
            signed as required.
        Unavailable: this machine lacks a package or device that the backend needs.
    """
    one = isinstance(public_keys, (str, os.PathLike))
    trust = Trust(
        trust_engine=trust_engine,
        require_signature=require_signature,
        public_keys=(public_keys,) if one else public_keys,  # type: ignore[arg-type]  # it makes paths of them
    )
    bundle = Bundle.open(argument("path", path, Path), trust, to_run=True)
    network = Network(bundle, opened(bundle, argument("backend", backend, str)))
    if not bundle.manifest.streaming:  # a stepwise network is loaded when it is asked for
        bundle.release()
    return network


class Network:
    """A bundle's network that is loaded in a backend. Make it with `load`, and close it or use it in a `with` block.

    Threads may share it: a call waits until the calls of other threads are done.

    Args:
        bundle: the bundle.
        backend: the loaded network.

    Attributes:
        info: what is known of the network: its input, its classes, the backend that runs it, its parity.
    """

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self._bundle, self._manifest = bundle, bundle.manifest
        self._backend = backend
        self._batch = batch_size(bundle.manifest.signature)
        self._classes, self._input, self._output = (
            tuple(self._manifest.classes),
            self._manifest.input,
            self._manifest.output,
        )
        self.info = NetworkInfo.of(bundle, backend)
        self._watch = InputWatch(self.info.taken.proven, most=WATCHED, note=logger.warning)
        self._firing = FiringWatch(bundle, span=WATCHED, note=logger.warning)
        self._closed = False

    def __call__(self, windows: object) -> Predictions:
        """Classify windows.

        Args:
            windows: one window, or a batch of windows [N, ...], as `info.input` says: an array of numpy, or any object
                with `__dlpack__`, such as a tensor of PyTorch on the CPU. Counts and spikes may be numbers of any type.
                Intensities are floats from 0 to 1, or integers from 0 to 255, which are divided by 255.

        Returns:
            The predictions for N windows; N is 1 for a single window.

        Raises:
            BadInput: the windows have another shape, type or range than the network takes; or the network does not
                classify; or a score is NaN or infinite.
        """
        self._bundle.check_classifies()
        found = scores(self.outputs(windows), self._bundle, self._backend.title)
        unlike = all_unlike(self._watch, self._firing)
        return Predictions(scores=found, class_names=self._classes, output=self._output, unlike=unlike)

    @property
    def watched(self) -> Watched:
        """What the calls have found of their windows: the first 16 of them, and how the layers fire in the last 16."""
        return Watched.of(self._watch, self._firing)

    def outputs(self, windows: object) -> npt.NDArray[Any]:
        """Returns the output of the network as it is, [N, ...]: scores, scores for each time step, or images.

        Args:
            windows: as for a call.

        Raises:
            BadInput: the windows have another shape, type or range than the network takes.
        """
        taken = inputs.windows(windows, self._input)
        session, name, output = self._backend.session, self._input.name, self._output
        batches = [taken[at : at + self._batch] for at in range(0, len(taken), self._batch)] or [taken]
        found = []
        for batch in batches:
            returned = session.run({name: batch})
            found.append(returned[output])
            self._firing.add(returned)
        self._watch.add(taken)
        return found[0] if len(found) == 1 else np.concatenate(found)

    def classify(
        self,
        source: File | Recording | Sequence[File | Recording],
        window: str | Window | None = None,
        options: DataOptions | None = None,
        *,
        hop: str | None = None,
    ) -> ClassifiedWindows:
        """Classify all windows of recordings or files, as `tcja-deploy run` does.

        Args:
            source: a recording, a picture, a file of windows (`tcja_runtime.data.dataset.load`), or a folder of them,
                by its path; a recording that is open already; or a list of these.
            window: the windows that recordings are cut into, such as "500ms" or "50000events"; None takes a recording,
                or a labelled segment of it, as one window, unless the network's contract makes several of it.
            options: how files are read and labelled, and what frames are made from; None for the defaults. `window` is
                given as an argument, and not in the options.
            hop: the distance between the begins of two windows, such as "100ms"; None for windows that do not overlap.

        Returns:
            The predictions, with the file, the label and the time span of each window where they are known.

        Raises:
            BadInput: a file is missing, is damaged, or has windows that the network cannot take; or the network does
                not classify.
        """
        self._bundle.check_classifies()
        return classified(self._bundle, self._backend, self._data(source, window, options, hop))

    def frames(
        self,
        source: File | Recording | Sequence[File | Recording],
        window: str | Window | None = None,
        options: DataOptions | None = None,
        *,
        hop: str | None = None,
    ) -> Floats:
        """Returns the windows of recordings or files as the network takes them, float32 [N, ...].

        Args:
            source: as for `classify`.
            window: as for `classify`.
            options: as for `classify`.
            hop: as for `classify`.

        Raises:
            BadInput: a file is missing, is damaged, or has windows that the network cannot take.
        """
        data = self._data(source, window, options, hop)
        batches = (batch for each in data for batch in each.batches(self._batch))
        return np.concatenate([np.empty((0, *self._input.shape), np.float32), *batches])

    def stepwise(self) -> Stepwise:
        """Load the network to run frame by frame, in ONNX Runtime. Each object has its own state.

        Raises:
            BadInput: the bundle was exported without `streaming`, or the network is closed.
        """
        self._check_open()
        self._bundle.check_classifies()
        name = self._backend.name if self._backend.name in PROVIDERS else "onnxruntime"
        return Stepwise(
            self._bundle, Streams.open(self._bundle, backend=name), title(name), self._watch, self._check_open
        )

    def stream(
        self,
        source: File | Source,
        window: str | Window | None = "500ms",
        *,
        hop: str | None = None,
        form: str | None = None,
        speed: float | None = None,
        options: StreamOptions | None = None,
    ) -> PredictionStream:
        """Classify events as they come, as `tcja-deploy stream` does.

        Windows are 500 ms long unless `window` says otherwise. The command takes a recording as one window, unless its
        option says otherwise; for that, give `window` as None. A camera or a socket needs the length of windows.

        If the bundle has stepwise models and no engine runs, each frame is run when it comes. Notes, such as that the
        events are unlike those of the export, are warnings of the logger "tcja_runtime".

        Args:
            source: a recording or a FIFO by its path, "-", "tcp://127.0.0.1:PORT" or "udp://127.0.0.1:PORT"
                (`tcja_runtime.events.sources`); or a source that is open. It is closed with the iterator.
            window: the length of the windows, such as "500ms" or "50000events"; None takes the source as one window.
            hop: the distance between the begins of two windows; None for windows that do not overlap.
            form: the format of the events, a key of `tcja_runtime.events.FORMATS`; None finds it. UDP needs it.
            speed: the speed of a recording: 1 is as it was recorded, math.inf is as fast as possible.
            options: the other options of a stream; None for the defaults. `window` is given as an argument, and
                `backend` is given to `load`, and not in the options.

        Returns:
            An iterator of the prediction for each window. If the source is a socket, it listens already.

        Raises:
            BadInput: there is no such source, or the options do not fit it or the network; or the network is closed.
        """
        self._check_open()
        how = dataclasses.replace(_options(options, StreamOptions), window=_window(window, hop))
        if isinstance(source, (str, os.PathLike)):
            given = open_source(os.fspath(source), form=form, speed=speed)
        else:
            given = source
            if not hasattr(given, "runs"):
                raise BadInput(f"`source` is {given!r}, and must be a path, an address or a source of events")
            for name, value in (("form", form), ("speed", speed)):
                if value is not None:
                    raise BadInput(f"`{name}` is for a source that is given by its path or address; leave it out")
        try:
            return PredictionStream(Stream.open(self._bundle, given, how, logger.warning, self._backend))
        except BaseException:
            given.close()
            raise

    def close(self) -> None:
        """Free the memory of the network. It cannot be called after that, and neither can what `stepwise` made."""
        self._closed = True
        self._backend.session.close()

    def __enter__(self) -> Network:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __str__(self) -> str:
        if self._closed:
            return one_line(f"{self.info.network} of {self.info.bundle} is closed; load it again.")
        return str(self.info)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"in {self.info.backend}"
        return one_line(f"<Network {self.info.network} of {self.info.bundle}, {state}>")

    def _check_open(self) -> None:
        """Raise BadInput if the network is closed."""
        if self._closed:
            raise BadInput(closed(self._bundle))

    def _data(
        self,
        source: File | Recording | Sequence[File | Recording],
        window: str | Window | None,
        options: DataOptions | None,
        hop: str | None,
    ) -> list[Data]:
        """Open data sets of recordings or files."""
        self._check_open()
        given = _options(options, DataOptions)
        taken = dataclasses.replace(given, window=_window(window, hop), labels=given.labels or self._manifest.labels)
        sources = source if isinstance(source, (list, tuple)) else [source]
        if not sources:
            raise BadInput("`source` is empty; give a recording, a file or a folder")
        return [self._opened(each, taken) for each in sources]

    def _opened(self, source: Any, options: DataOptions) -> Data:
        manifest = self._manifest
        if hasattr(source, "chunks"):
            return dataset.of_recording(source, manifest.input, manifest.classes, options)
        return dataset.load(argument("source", source, Path), manifest.input, manifest.classes, options)


def _options(options: object, kind: type[Options]) -> Options:
    """Returns options of a call. What is given in another way must not be in them."""
    given: Options = argument("options", options, kind | None) or kind()
    for name, place in _GIVEN_TO.items():
        if getattr(given, name, None) != getattr(kind(), name, None):
            raise BadInput(f"`{name}` is in `options`; give it {place}")
    return given


def _window(window: str | Window | None, hop: str | None) -> Window | None:
    """Returns the windows that arguments name."""
    given: str | Window | None = argument("window", window, str | Window | None)
    argument("hop", hop, str | None)
    if isinstance(given, str):
        return Window.parse(given, hop)
    if hop is not None:
        raise BadInput("`hop` needs `window` as text, such as `window` 500ms and `hop` 100ms")
    return given
