"""How long an answer takes once a window's last frame has come: streamed, the frames before it being done, and whole.

Both are run in turns, so that whatever disturbs the machine disturbs both: a whole window, then the same window frame
by frame. A frame is one call of `Streams.push`; the last of a window is one, too, with its answer.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable

import numpy as np

from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.data.contract import Floats


@dataclasses.dataclass(frozen=True)
class Timed:
    """Seconds of each run.

    Attributes:
        whole: a window, all of its frames at once.
        frame: one frame, but the last of a window.
        last: the last frame, and the window's answer.
    """

    whole: list[float]
    frame: list[float]
    last: list[float]


def in_turns(streams: Streams, whole: Callable[[], object], windows: Floats, seconds: float, fewest: int) -> Timed:
    """Time windows [N, T, ...] streamed and whole, in turns.

    Args:
        streams: N of them, at rest.
        whole: runs the same windows at once.
        windows: a batch.
        seconds: to measure for, after a first turn that is not counted.
        fewest: turns at least, if they take no more than ten times as long.
    """
    frames = np.ascontiguousarray(np.moveaxis(windows, 1, 0))
    taken = Timed([], [], [])

    def run(work: Callable[[], object], into: list[float]) -> None:
        began = time.perf_counter()
        work()
        into.append(time.perf_counter() - began)

    def turn(into: Timed) -> None:
        run(whole, into.whole)
        for t, frame in enumerate(frames):
            run(functools.partial(streams.push, frame), into.last if t == len(frames) - 1 else into.frame)

    turn(Timed([], [], []))
    began = time.perf_counter()
    while (past := time.perf_counter() - began) < seconds or (len(taken.whole) < fewest and past < 10 * seconds):
        turn(taken)
    return taken
