"""A network that runs frame by frame, for one stream of frames."""

from __future__ import annotations

from tcja_runtime.backends.scores import scores
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
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
    """

    def __init__(self, bundle: Bundle, streams: Streams, title: str) -> None:
        self._bundle, self._streams, self._title = bundle, streams, title

    @property
    def step(self) -> int:
        """The number of frames of the present window that were pushed, 0 .. T-1."""
        return int(self._streams.steps[0])

    def push(self, frame: object) -> Prediction | None:
        """Take the next frame. Returns the prediction for the window if it is the window's last frame, else None.

        Args:
            frame: the counts of events [P, H, W], an array of numpy or a tensor on the CPU.

        Raises:
            BadInput: the frame cannot be used. The state has not changed then.
        """
        completed = self._streams.push(inputs.frame(frame, self._bundle.manifest.input))
        if not len(completed.streams):
            return None
        found = scores(completed.outputs, self._bundle, self._title)[0]
        manifest = self._bundle.manifest
        return Prediction(scores=found, class_names=tuple(manifest.classes), output=manifest.output)

    def reset(self) -> None:
        """Begin a new window. The frames of the present window are dropped."""
        self._streams.reset()
