"""The options of a stream."""

from __future__ import annotations

import dataclasses

from tcja_runtime.choices import AUTO
from tcja_runtime.data.camera import WHOLE, CameraView
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Source
from tcja_runtime.events.buffer import LIMIT
from tcja_runtime.records import check_arguments, check_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """The options of a stream.

    Attributes:
        window: the windows to classify; None for the whole source as one window.
        buffer: the largest number of events in the queue.
        lossless: whether the source waits while the queue is full; if False, the oldest events are dropped. With None,
            the source waits if it can be paused. If the whole source is one window, it always waits.
        seconds: the time after which to stop; None for no limit.
        windows: the number of predictions after which to stop; None for no limit.
        backend: one of `tcja_runtime.choices.BACKENDS`, or `AUTO`.
        camera_view: what frames are made from, instead of what the network's contract says.
        max_rate: the most events in a second that are classified; events beyond it are dropped evenly
            (`tcja_runtime.events.rate_limit`). None for no limit.
    """

    window: Window | None = None
    buffer: int = LIMIT
    lossless: bool | None = None
    seconds: float | None = None
    windows: int | None = None
    backend: str = AUTO
    camera_view: CameraView = WHOLE
    max_rate: int | None = None

    def __post_init__(self) -> None:
        check_arguments(self)
        check_size("buffer", self.buffer, 1, 2**28)
        check_size("windows", self.windows, 1)
        check_size("max_rate", self.max_rate, 1)
        if self.seconds is not None and not self.seconds > 0:
            raise BadInput(f"`seconds` {self.seconds:g} must be above 0")

    def check_source(self, source: Source) -> None:
        """Check that a source can be classified with these options.

        Raises:
            BadInput: the source has no end, or an option that needs `window` is given, and `window` is not.
        """
        if self.window is not None:
            return
        if not source.ends:
            raise BadInput(f"{source.title} has no end, so give the length of windows: `window` 500ms or 50000events")
        if self.lossless is False:
            raise BadInput("`lossless=False` needs `window`: a source that is one window is always read whole")
        if self.max_rate is not None:
            raise BadInput("`max_rate` needs `window`: a source that is one window is always read whole")
