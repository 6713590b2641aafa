"""What a camera sends to a server of cameras, and what it is answered (`tcja_runtime.network.cameras`)."""

from __future__ import annotations

import dataclasses

from tcja_runtime.predictions import Prediction
from tcja_runtime.streaming.packets import PacketRule

Key = int | str
"""What names a camera."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Message:
    """What a camera sends.

    Attributes:
        camera: the name of the camera.
        start: whether its stream begins here. What it sent before is forgotten.
        end: whether its stream ends here.
        frame: the counts of events of the next frame [P, H, W], or the features of the next step; None for none.
        packet: the bytes of the next events; None for none.
        rule: how its packets become frames, with `start`; None for the rule of `Cameras`.
    """

    camera: Key
    start: bool = False
    end: bool = False
    frame: object = None
    packet: bytes | None = None
    rule: PacketRule | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CameraWindow(Prediction):
    """The prediction for a window of a camera. Besides these, it has the attributes of a `Prediction`.

    Attributes:
        window: the number of the window since the start; windows without an event have a number, but no prediction.
        begin: the time at which the window begins, in microseconds of the camera's clock; or, if the camera sends
            frames, the number of its first frame since the start.
        end: the time or the number of the frame before which the window ends.
        events: the number of events in the window; None if the camera sends frames.
        whole: whether the window is complete; False if the stream ended before the end of the window.
    """

    window: int
    begin: int
    end: int
    events: int | None
    whole: bool


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """What a message completed.

    Attributes:
        windows: the predictions for the windows that are complete now; empty if there are none.
        step: the number of frames of the newest window so far, 0 .. T-1; 0 if no window has begun.
        dropped: the number of events since the start that are in no window (`PacketFrames.dropped`).
    """

    windows: list[CameraWindow]
    step: int
    dropped: int
