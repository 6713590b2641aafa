"""Measuring: runs in turn, percentiles of latency, and peak memory."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tcja_runtime.backends.select import Backend
from tcja_runtime.bundle.bundle import GOLDEN
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden

FEWEST, FEWEST_99 = 30, 100
"""Runs that a percentile must rest on."""


WARM_RUNS = 3
"""At least: a CUDA graph is captured in the second run of a shape."""


PATIENCE = 10
"""Times the seconds asked for, or seconds if those are fewer, until `FEWEST` runs are done."""


_PAUSE = 0.1  # seconds between the runs of different contestants: ONNX Runtime threads that wait spin as long


_PARTS = 5  # of the runs; the first and the last are compared


_PROCESS = Path("/proc/self")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latency:
    """Seconds of single runs, the copies of input and output included.

    Attributes:
        runs: how many.
        p50: half of them took no longer; None if there were fewer than `FEWEST`.
        p90: nine tenths took no longer; likewise.
        p99: ninety-nine hundredths took no longer; None if there were fewer than `FEWEST_99`.
        least: of all.
        most: of all.
        mean: of all.
        drift: how much longer the last fifth took than the first, by their medians, as a share; None likewise.
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
        """Of runs in their order."""
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
class Memory:
    """Bytes that running the network took.

    Attributes:
        process: what this process had at most, from when the network was loaded on; the memory of a Jetson's GPU may
            not be in it. None if the system does not tell.
        loaded: how much of that came with the network, the libraries that run it included.
        gpu: how much less of the GPU's memory was free afterwards, whoever took it; None if it is not told. On a Jetson
            it is the machine's memory.
    """

    process: int | None
    loaded: int | None
    gpu: int | None


def timed(run: Callable[[], None], seconds: float, fewest: int) -> list[float]:
    """Seconds of each run: for so many seconds, and until there are enough or it takes far too long."""
    taken: list[float] = []
    began = now = time.perf_counter()
    longest = PATIENCE * max(seconds, 1.0)
    while not taken or now - began < seconds or (len(taken) < fewest and now - began < longest):
        run()
        ended = time.perf_counter()
        taken.append(ended - now)
        now = ended
    return taken


def alternated(
    runs: Mapping[str, Callable[[], object]], seconds: float, fewest: int, longest: float = math.inf
) -> dict[str, list[float]]:
    """Seconds of each run of several contestants, round by round.

    In a round each runs once, so that whatever disturbs the machine disturbs all of them; who begins changes with every
    round, and each rests until the threads of the one before it have stopped waiting for work.

    Args:
        runs: what to time, by name.
        seconds: to go on for at least, all together.
        fewest: rounds to go on for at least.
        longest: seconds after which fewer rounds must do.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    order, began, rounds, passed = list(runs), time.perf_counter(), 0, 0.0
    while not rounds or passed < seconds or (rounds < fewest and passed < longest):
        for name in order:
            time.sleep(_PAUSE)
            start = time.perf_counter()
            runs[name]()
            taken[name].append(time.perf_counter() - start)
        order, rounds, passed = order[1:] + order[:1], rounds + 1, time.perf_counter() - began
    return taken


def inputs(path: Path, manifest: Manifest, batch: int) -> Floats:
    """A batch of golden windows, from the first again where they do not suffice."""
    windows = golden.load(path / GOLDEN, manifest.input).samples.inputs
    if windows.shape[1:] != manifest.input.shape or not len(windows):
        raise BadInput(f"{path / GOLDEN} is of another network than the manifest; export the bundle again")
    return np.ascontiguousarray(windows[np.arange(batch) % len(windows)], np.float32)


def check_batch(running: Backend, batch: int, path: Path) -> None:
    """Refuse a batch that an engine would take in parts, or filled up: its time would be of another number."""
    if running.engine:
        least, _, most = running.engine.sidecar["batch"]
        if not least <= batch <= most:
            raise BadInput(
                f"`batch` {batch}: engine {running.engine.name} takes {least} to {most} windows at a time; "
                f"run 'tcja-deploy build {path} --batch {min(least, batch)}:{batch}:{max(most, batch)}'"
            )


def peak() -> Callable[[], dict[str, int | None]]:
    """Returns what tells the most memory that this process had since, and how much more than now that is."""
    had = _kept("VmRSS")
    try:
        (_PROCESS / "clear_refs").write_text("5")  # the peak is counted anew from here (proc(5))
    except OSError:
        had = None

    def told() -> dict[str, int | None]:
        most = _kept("VmHWM")
        return {"process": most, "loaded": None if most is None or had is None else max(most - had, 0)}

    return told


def _kept(entry: str) -> int | None:
    """An entry of /proc/self/status, in bytes."""
    try:
        said = (_PROCESS / "status").read_text()
    except OSError:
        return None
    found = [line.split()[1] for line in said.splitlines() if line.startswith(f"{entry}:")]
    return int(found[0]) * 2**10 if found else None
