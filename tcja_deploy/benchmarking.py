"""How fast a bundle's network runs on this machine, and what it takes: latency, throughput, memory, energy.

A run is one call from Python: a batch lies in the machine's memory, and its answer is there again. Copies to the GPU
and back are in it, as in any real use; reading files is not. The windows are the bundle's golden ones, so that the
network fires as it does on data, and draws the power that it does on data.

A time is a percentile of single runs (nearest rank), which a few disturbed runs do not move, and is only given if it
rests on enough of them: `FEWEST` for the median and the ninetieth, `FEWEST_99` for the ninety-ninth. Whether clocks
changed meanwhile shows in `Latency.drift`.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from tcja_deploy.console import Steps, silent
from tcja_deploy.stream_timing import in_turns
from tcja_deploy.versions import tools
from tcja_runtime.backends.select import AUTO, Backend, opened
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import GOLDEN, Bundle
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.machine import power
from tcja_runtime.machine.conditions import Conditions, conditions
from tcja_runtime.machine.gpu import free_memory
from tcja_runtime.machine.power import Power, Sampler

FEWEST, FEWEST_99 = 30, 100
"""Runs that a percentile must rest on."""

LARGEST_BATCH = 1024
WARM_RUNS = 3
"""At least: a CUDA graph is captured in the second run of a shape."""
PATIENCE = 10
"""Times the seconds asked for, or seconds if those are fewer, until `FEWEST` runs are done."""
_PAUSE = 0.1  # seconds between the runs of different contestants: ONNX Runtime threads that wait spin as long
_REST = 2.0  # seconds, to measure the power at rest
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Energy:
    """What the board drew.

    Attributes:
        source: "hwmon" or "tegrastats".
        rest: before the runs, with the network loaded; None if too few samples were taken.
        runs: during the runs; likewise.
    """

    source: str
    rest: Power | None
    runs: Power | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Streamed:
    """How long an answer takes where the network is streamed, against whole windows, run in turns.

    Attributes:
        whole: of a window, all of its frames at once.
        frame: of one frame, but the last of a window.
        last: of the last frame and the window's answer.
    """

    whole: Latency
    frame: Latency
    last: Latency

    @property
    def share(self) -> float | None:
        """What is left of a whole window's time after its last frame has come, by the median runs."""
        return self.last.p50 / self.whole.p50 if self.last.p50 and self.whole.p50 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A network's speed on a machine, and what belongs to it.

    Attributes:
        bundle: its path.
        network: its name.
        precision: of the bundle's models.
        backend: one of `tcja_runtime.backends.select.BACKENDS`.
        title: what ran it.
        engine: the engine's name; None for ONNX Runtime.
        cuda_graph: whether the runs were launched as a CUDA graph; None where there is no such thing.
        batch: windows a run.
        windows: where they are from.
        warm_up: seconds of runs that were not counted.
        latency: of a run.
        memory: that it took.
        energy: that it took; None where the board does not tell its power.
        streamed: likewise frame by frame; None where the bundle does not stream, or an engine is measured.
        before: the machine, before the runs.
        after: the machine, right after them.
        versions: of what took part.
    """

    bundle: str
    network: str
    precision: str
    backend: str
    title: str
    engine: str | None
    cuda_graph: bool | None
    batch: int
    windows: str
    warm_up: float
    latency: Latency
    memory: Memory
    energy: Energy | None
    streamed: Streamed | None
    before: Conditions
    after: Conditions
    versions: dict[str, str]

    @property
    def throughput(self) -> float | None:
        """Windows a second, by the median run."""
        return self.batch / self.latency.p50 if self.latency.p50 else None

    @property
    def joules(self) -> float | None:
        """What the whole board took for a window, at rest or not."""
        drawn = self.energy and self.energy.runs
        return drawn.watts * self.latency.mean / self.batch if drawn else None

    @property
    def joules_above_rest(self) -> float | None:
        """How much more that was than if it had rested."""
        energy = self.energy
        if energy is None or energy.runs is None or energy.rest is None:
            return None
        return (energy.runs.watts - energy.rest.watts) * self.latency.mean / self.batch

    def to_dict(self) -> dict[str, Any]:
        """Plain values: seconds, bytes, watts, joules."""
        derived = {"throughput": self.throughput, "joules": self.joules, "joules_above_rest": self.joules_above_rest}
        fields = {**dataclasses.asdict(self), **derived}
        if self.streamed:
            fields["streamed"]["share"] = self.streamed.share
        return fields


def bench(
    path: Path,
    steps: Steps | None = None,
    *,
    backend: str = AUTO,
    trusted: bool = False,
    batch: int = 1,
    seconds: float = 5.0,
    warm_up: float = 1.0,
) -> Benchmark:
    """Measure a bundle's network.

    Args:
        path: of the bundle.
        steps: where progress is shown, and why engines are passed over.
        backend: one of `tcja_runtime.backends.select.BACKENDS`, or `AUTO`.
        trusted: whether to load engines that the bundle's manifest does not know.
        batch: windows a run, 1 to `LARGEST_BATCH`.
        seconds: to measure for at least.
        warm_up: seconds of runs before that.

    Raises:
        BadInput: the bundle is damaged, has no such engine, or its engine does not take so many windows.
        Unavailable: this machine lacks what the backend needs.
    """
    steps = steps or silent()
    with steps.step("check the hashes"):
        found = Bundle.open(path, any_engine=trusted)
    manifest, free = found.manifest, free_memory()
    feeds: dict[str, Floats] = {manifest.input.name: inputs(path, manifest, batch)}
    most = peak()
    with steps.step("load the network"):
        running = opened(found, backend, trusted=trusted)
    for line in running.passed_over:
        steps.note(line)
    check_batch(running, batch, path)

    def run() -> None:
        running.session.run(feeds)

    before, source = conditions(), power.source()
    rest = None
    if source:
        with steps.step("measure the power at rest"), Sampler(source[1]) as resting:
            time.sleep(_REST)
        rest = resting.power
    with steps.step("warm up"):
        timed(run, warm_up, WARM_RUNS)
    sampler = Sampler(source[1]) if source else None
    measuring: AbstractContextManager[Any] = sampler or nullcontext()
    with steps.step(f"measure in {running.title}"), measuring:
        taken = timed(run, seconds, FEWEST)
    after, left = conditions(), free_memory()
    memory = Memory(**most(), gpu=None if free is None or left is None else max(free - left, 0))
    return Benchmark(
        bundle=str(path),
        network=manifest.network,
        precision=manifest.precision,
        backend=running.name,
        title=running.title,
        engine=running.engine.name if running.engine else None,
        cuda_graph=getattr(running.session, "uses_graph", None),
        batch=batch,
        windows="the bundle's golden windows, over and over",
        warm_up=warm_up,
        latency=Latency.of(taken),
        memory=memory,
        energy=Energy(source=source[0], rest=rest, runs=sampler.power) if source and sampler else None,
        streamed=_streamed(found, running, feeds, seconds, steps),
        before=before,
        after=after,
        versions=tools(),
    )


def _streamed(
    bundle: Bundle, running: Backend, feeds: Mapping[str, Floats], seconds: float, steps: Steps
) -> Streamed | None:
    if not bundle.manifest.streaming or running.engine:
        return None
    (windows,) = feeds.values()
    with steps.step("measure frame by frame"):
        streams = Streams.open(bundle, len(windows), backend=running.name)
        taken = in_turns(streams, lambda: running.session.run(feeds), windows, seconds, FEWEST)
    return Streamed(**{name: Latency.of(each) for name, each in dataclasses.asdict(taken).items()})


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
                f"--batch {batch}: engine {running.engine.name} takes {least} to {most} windows at a time; "
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
