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
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from tcja_deploy.bench.measure import FEWEST, WARM_RUNS, Latency, Memory, check_batch, inputs, peak, timed
from tcja_deploy.bench.stepwise import in_turns
from tcja_deploy.console import Progress, silent
from tcja_deploy.packages import tools
from tcja_runtime.backends.select import Backend, opened
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.choices import AUTO
from tcja_runtime.data.contract import Floats
from tcja_runtime.machine import power
from tcja_runtime.machine.conditions import Conditions, conditions
from tcja_runtime.machine.gpu import free_memory
from tcja_runtime.machine.power import Power, Sampler

_REST = 2.0  # seconds, to measure the power at rest


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
        backend: one of `tcja_runtime.choices.BACKENDS`.
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
    progress: Progress | None = None,
    *,
    backend: str = AUTO,
    trust_engine: bool = False,
    batch: int = 1,
    seconds: float = 5.0,
    warm_up: float = 1.0,
) -> Benchmark:
    """Measure a bundle's network.

    Args:
        path: of the bundle.
        progress: where progress is shown, and why engines are passed over.
        backend: one of `tcja_runtime.choices.BACKENDS`, or `AUTO`.
        trust_engine: whether to load engines that the bundle's manifest does not know.
        batch: windows a run.
        seconds: to measure for at least.
        warm_up: seconds of runs before that.

    Raises:
        BadInput: the bundle is damaged, has no such engine, or its engine does not take so many windows.
        Unavailable: this machine lacks what the backend needs.
    """
    progress = progress or silent()
    with progress.step("check the hashes"):
        found = Bundle.open(path, any_engine=trust_engine)
    manifest, free = found.manifest, free_memory()
    feeds: dict[str, Floats] = {manifest.input.name: inputs(path, manifest, batch)}
    most = peak()
    with progress.step("load the network"):
        running = opened(found, backend, trust_engine=trust_engine)
    for line in running.passed_over:
        progress.note(line)
    check_batch(running, batch, path)

    def run() -> None:
        running.session.run(feeds)

    before, source = conditions(), power.source()
    rest = None
    if source:
        with progress.step("measure the power at rest"), Sampler(source[1]) as resting:
            time.sleep(_REST)
        rest = resting.power
    with progress.step("warm up"):
        timed(run, warm_up, WARM_RUNS)
    sampler = Sampler(source[1]) if source else None
    measuring: AbstractContextManager[Any] = sampler or nullcontext()
    with progress.step(f"measure in {running.title}"), measuring:
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
        streamed=_streamed(found, running, feeds, seconds, progress),
        before=before,
        after=after,
        versions=tools(),
    )


def _streamed(
    bundle: Bundle, running: Backend, feeds: Mapping[str, Floats], seconds: float, progress: Progress
) -> Streamed | None:
    if not bundle.manifest.streaming or running.engine:
        return None
    (windows,) = feeds.values()
    with progress.step("measure frame by frame"):
        streams = Streams.open(bundle, len(windows), backend=running.name)
        taken = in_turns(streams, lambda: running.session.run(feeds), windows, seconds, FEWEST)
    return Streamed(**{name: Latency.of(each) for name, each in dataclasses.asdict(taken).items()})
