"""A network that runs frame by frame, for one stream of frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tcja_runtime.backends.proven import InputWatch
from tcja_runtime.backends.scores import scores
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.contract import Floats
from tcja_runtime.files.text import one_line
from tcja_runtime.network import inputs
from tcja_runtime.predictions import Prediction


class Stepwise:
    """A network that takes the frames of a window one after the other, and predicts when the last has come.

    It keeps the state of its neurons between the frames. So one thread may use it at a time; threads need one each. For
    many cameras at once, `tcja_runtime.Streams` keeps the state of many streams.

    Args:
        bundle: the network's bundle.
        streams: the stepwise network, with one stream.
        title: the title of the backend, for messages.
        watch: what compares the first windows with those of the proof.
        check: the function that is called before each frame. It raises BadInput if the network is closed.
    """

    def __init__(
        self, bundle: Bundle, streams: Streams, title: str, watch: InputWatch, check: Callable[[], None]
    ) -> None:
        self._bundle, self._streams, self._title = bundle, streams, title
        self._watch, self._check = watch, check
        self._window: list[Floats] = []  # the frames of the present window, while windows are compared

    @property
    def step(self) -> int:
        """The number of frames of the present window that were pushed, 0 .. T-1."""
        return int(self._streams.steps[0])

    def push(self, frame: object) -> Prediction | None:
        """Take the next frame. Returns the prediction for the window if it is the window's last frame, else None.

        Args:
            frame: the counts of events [P, H, W], an array of numpy or a tensor on the CPU.

        Raises:
            BadInput: the frame cannot be used, or the network is closed. The state has not changed then.
        """
        self._check()
        taken, step = inputs.frame(frame, self._bundle.manifest.input), self.step
        completed = self._streams.push(taken)
        self._compare(taken, step)
        if not len(completed.streams):
            return None
        found = scores(completed.outputs, self._bundle, self._title)[0]
        manifest = self._bundle.manifest
        return Prediction(scores=found, class_names=tuple(manifest.classes), output=manifest.output)

    def reset(self) -> None:
        """Begin a new window. The frames of the present window are dropped."""
        self._streams.reset()

    def __repr__(self) -> str:
        manifest = self._bundle.manifest
        return one_line(
            f"<Stepwise {manifest.network} of {self._bundle.path}, at frame {self.step} of {manifest.time_steps}>"
        )

    def _compare(self, frame: Floats, step: int) -> None:
        """Compare the window whose last frame this is with those of the proof."""
        if self._watch.over:
            self._window = []
            return
        # A window whose begin was not kept is not compared.
        self._window = [*self._window[:step], frame.copy()] if len(self._window) >= step else []
        if len(self._window) == self._bundle.manifest.time_steps:
            self._watch.add(np.stack(self._window, axis=1))
            self._window = []
