"""The predictions of a stream as an iterator."""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections.abc import Generator
from types import TracebackType

from tcja_runtime.streaming.results import Summary, WindowPrediction
from tcja_runtime.streaming.stream import Stream


class PredictionStream:
    """An iterator of the predictions for the windows of a stream.

    A thread reads the source from the first prediction that is asked for. `close`, the end of a `with` block, the end
    of the source and an error all close the source and end the thread. One thread may iterate; another may call
    `close`, and the iteration then ends, as at the end of the source.

    Args:
        stream: a stream that has not begun. Its source is closed with the iterator.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream, self._found = stream, _predictions(stream)
        self._lock = threading.RLock()  # a generator that runs can be neither resumed nor closed

    @property
    def address(self) -> str:
        """The address that other programs send events to; empty if the source is not a socket."""
        return self._stream.source.address

    @property
    def summary(self) -> Summary:
        """The counts, the latency and the end of the stream until now."""
        return self._stream.summary()

    def close(self) -> None:
        """End the stream: close the source and end the thread that reads it.

        If another thread waits for a prediction, `close` returns when that thread has ended waiting.
        """
        self._stream.stop()
        with self._lock:
            # The generator runs here only if this thread is in it, as in a handler of a signal or of a warning. It then
            # ends by itself, and closes the source.
            if inspect.getgeneratorstate(self._found) != inspect.GEN_RUNNING:
                self._found.close()
                self._stream.source.close()

    def __iter__(self) -> PredictionStream:
        return self

    def __next__(self) -> WindowPrediction:
        with self._lock:
            return next(self._found)

    def __enter__(self) -> PredictionStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _predictions(stream: Stream) -> Generator[WindowPrediction, None, None]:
    with contextlib.closing(stream.source):
        yield from stream.predictions()
