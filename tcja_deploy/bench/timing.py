"""Timing: runs in turn, and percentiles of their latency."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.data.contract import Floats

FEWEST, FEWEST_99 = 30, 100
"""The number of runs that the median and the 90th percentile need, and the number that the 99th percentile needs."""

WARM_RUNS = 3
"""The fewest warm-up runs: a CUDA graph is captured in the second run of a shape."""

PATIENCE = 10
"""A measurement ends after this many times the wanted seconds, even with fewer than `FEWEST` runs."""

_PAUSE = 0.1  # seconds between runs of different functions: idle threads of ONNX Runtime spin for about that long

_PARTS = 5  # the drift compares the first and the last of these parts of the runs

Key = TypeVar("Key")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency:
    """The time of single runs in seconds, copies of input and output included.

    Percentiles are of the nearest rank, so a few disturbed runs do not move them.

    Attributes:
        runs: the number of runs.
        p50: the median; None for fewer than `FEWEST` runs.
        p90: the 90th percentile; None for fewer than `FEWEST` runs.
        p99: the 99th percentile; None for fewer than `FEWEST_99` runs.
        least: the shortest run.
        most: the longest run.
        mean: the mean of all runs.
        drift: the change from the median of the first fifth of the runs to that of the last fifth, as a share: 0.1 for
            10 % slower; None for fewer than `FEWEST` runs.
    """

    runs: int
    p50: float | None
    p90: float | None
    p99: float | None
    least: float
    most: float
    mean: float
    drift: float | None

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Return the latency of runs. `seconds` has the time of each run, in the order in which they ran."""
        n, part = len(seconds), len(seconds) // _PARTS
        drift = statistics.median(seconds[-part:]) / statistics.median(seconds[:part]) - 1 if n >= FEWEST else None

        def nearest(share: float, fewest: int) -> float | None:
            return float(np.quantile(seconds, share, method="inverted_cdf")) if n >= fewest else None

        return cls(
            runs=n,
            p50=nearest(0.5, FEWEST),
            p90=nearest(0.9, FEWEST),
            p99=nearest(0.99, FEWEST_99),
            least=min(seconds),
            most=max(seconds),
            mean=statistics.fmean(seconds),
            drift=drift,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepwiseLatency:
    """The latency of a network that runs stepwise, against the same network run on whole windows.

    Attributes:
        whole: the latency of a whole window, all of its frames at once.
        frame: the latency of one frame that is not the last of its window.
        last: the latency of the last frame of a window, until the prediction for the window is there.
    """

    whole: Latency
    frame: Latency
    last: Latency

    @property
    def share(self) -> float | None:
        """The median time from the last frame to the prediction, divided by the median time of a whole window."""
        return self.last.p50 / self.whole.p50 if self.last.p50 and self.whole.p50 else None


def timed(runs: Mapping[Key, Callable[[], object]], seconds: float, fewest: int) -> dict[Key, list[float]]:
    """Measure the time of several functions in turn, as `alternated` does.

    Args:
        runs: the functions to time, by name.
        seconds: the shortest time in seconds to measure each function.
        fewest: the least number of runs of each function. The measurement ends with fewer runs after `PATIENCE` times
            the seconds.

    Returns:
        The seconds of each run, by the name of the function.
    """
    n = len(runs)
    return alternated(runs, n * seconds, fewest, n * PATIENCE * max(seconds, 1.0))


def alternated(
    runs: Mapping[Key, Callable[[], object]], seconds: float, fewest: int, longest: float = math.inf
) -> dict[Key, list[float]]:
    """Measure the time of several functions in rounds.

    Each function runs once in a round, so a disturbance of the machine affects all of them. Each round begins with
    another function. Before each run there is a pause, in which the threads of the previous function become idle; a
    single function runs without pauses.

    Args:
        runs: the functions to time, by name.
        seconds: the shortest time in seconds to measure all functions together.
        fewest: the least number of rounds.
        longest: the time in seconds after which the measurement ends, even with fewer rounds.

    Returns:
        The seconds of each run, by the name of the function.
    """
    taken: dict[Key, list[float]] = {name: [] for name in runs}
    order, rounds = list(runs), 0
    began = now = time.perf_counter()
    while not rounds or now - began < seconds or (rounds < fewest and now - began < longest):
        for name in order:
            if len(order) > 1:
                time.sleep(_PAUSE)
                now = time.perf_counter()
            runs[name]()
            ended = time.perf_counter()
            taken[name].append(ended - now)
            now = ended
        order, rounds = order[1:] + order[:1], rounds + 1
    return taken


def stepwise_in_turns(
    streams: Streams, whole: Callable[[], object], windows: Floats, seconds: float, fewest: int
) -> dict[str, list[float]]:
    """Measure a batch of windows in turn: first all frames at once, then frame by frame.

    Args:
        streams: the stepwise network, with one stream for each window. All streams are at the beginning of a window.
        whole: the function that runs the same windows with all frames at once.
        windows: a batch of windows [N, T, ...].
        seconds: the shortest time in seconds to measure, after a first turn that is not counted.
        fewest: the least number of turns. The measurement ends with fewer turns after `PATIENCE` times the seconds.

    Returns:
        The seconds of each run, by the names of the attributes of `StepwiseLatency`.
    """
    frames = np.ascontiguousarray(np.moveaxis(windows, 1, 0))

    def run(name: str, work: Callable[[], object], taken: dict[str, list[float]]) -> None:
        began = time.perf_counter()
        work()
        taken[name].append(time.perf_counter() - began)

    def turn(taken: dict[str, list[float]]) -> None:
        last = len(frames) - 1
        run("whole", whole, taken)
        for t, frame in enumerate(frames):
            run("last" if t == last else "frame", functools.partial(streams.push, frame), taken)

    turn({"whole": [], "frame": [], "last": []})
    taken: dict[str, list[float]] = {"whole": [], "frame": [], "last": []}
    began = time.perf_counter()
    while (past := time.perf_counter() - began) < seconds or (
        len(taken["whole"]) < fewest and past < PATIENCE * seconds
    ):
        turn(taken)
    return taken
