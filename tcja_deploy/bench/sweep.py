"""Several measurements of a bundle's network side by side: backends, models and batch sizes, in turn in one run.

What `tcja_deploy.bench.benchmark` says of a run holds here too. Memory is that of a process of its own for each case,
as what one leaves behind would count for the next: ``python -m tcja_deploy.bench.sweep``.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tcja_deploy.bench.measure import (
    FEWEST,
    PATIENCE,
    WARM_RUNS,
    Latency,
    Memory,
    alternated,
    check_batch,
    inputs,
    peak,
    timed,
)
from tcja_deploy.console import Progress, silent
from tcja_deploy.packages import tools
from tcja_runtime.backends import select
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.select import Backend
from tcja_runtime.bundle.bundle import MODEL, Bundle
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import Unavailable
from tcja_runtime.machine.conditions import Conditions, conditions
from tcja_runtime.machine.gpu import free_memory

CANONICAL = MODEL
"""What stands for a backend's name where model.onnx, with its functions, is run by ONNX Runtime on the CPU."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One of the measurements.

    Attributes:
        backend: one of `tcja_runtime.choices.BACKENDS`, or `CANONICAL`.
        title: what ran it.
        engine: the engine's name; None for ONNX Runtime.
        batch: windows a run.
        latency: of a run.
        ratio: the first backend's median run with this batch, divided by this one's; None if runs were too few.
        memory: that it took in a process of its own.
    """

    backend: str
    title: str
    engine: str | None
    batch: int
    latency: Latency
    ratio: float | None
    memory: Memory

    @property
    def throughput(self) -> float | None:
        """Windows a second, by the median run."""
        return self.batch / self.latency.p50 if self.latency.p50 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Growth:
    """How a backend's time and memory grow with the batch: e, where twice the batch takes 2^e times as much.

    Attributes:
        backend: as in `Case`.
        time: of a run; None if it is not told.
        memory: that came with the network, its weights included; likewise.
    """

    backend: str
    time: float | None
    memory: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """All measurements, and what belongs to them.

    Attributes:
        bundle: its path.
        network: its name.
        precision: of the bundle's models.
        warm_up: seconds of runs of each case that were not counted.
        cases: by batch size, and then by backend, in the order asked for.
        growth: a backend each; none for one batch size.
        before: the machine, before the runs.
        after: the machine, right after them.
        versions: of what took part.
    """

    bundle: str
    network: str
    precision: str
    warm_up: float
    cases: list[Case]
    growth: list[Growth]
    before: Conditions
    after: Conditions
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values: seconds and bytes."""
        cases = [{**dataclasses.asdict(case), "throughput": case.throughput} for case in self.cases]
        return {**dataclasses.asdict(self), "cases": cases}


def sweep(
    path: Path,
    progress: Progress | None = None,
    *,
    names: Sequence[str],
    batches: Sequence[int],
    trust_engine: bool = False,
    seconds: float = 5.0,
    warm_up: float = 1.0,
) -> Sweep:
    """Measure a bundle's network in several ways.

    Args:
        path: of the bundle.
        progress: where progress is shown.
        names: backends, `tcja_runtime.choices.AUTO`, or `CANONICAL`; the first is what others are compared
            with.
        batches: windows a run.
        trust_engine: whether to load engines that the bundle's manifest does not know.
        seconds: to measure each case for at least.
        warm_up: seconds of runs of each case before that.

    Raises:
        BadInput: the bundle is damaged, has no such engine, or its engine does not take so many windows.
        Unavailable: this machine lacks what a backend needs, or memory.
    """
    progress = progress or silent()
    with progress.step("check the hashes"):
        found = Bundle.open(path, any_engine=trust_engine)
    running = {}
    for name in names:
        with progress.step(f"load the network ({name})"):
            backend = _opened(found, name, trust_engine)
        for line in backend.passed_over:
            progress.note(line)
        for batch in batches:
            check_batch(backend, batch, path)
        running[backend.name] = backend
    runs = {}
    for batch in batches:
        feeds = {found.manifest.input.name: inputs(path, found.manifest, batch)}
        for name, backend in running.items():
            runs[f"{batch} {name}"] = lambda session=backend.session, feeds=feeds: session.run(feeds)
    before = conditions()
    with progress.step("warm up"):
        for run in runs.values():
            timed(run, warm_up, WARM_RUNS)
    with progress.step(f"measure {len(runs)} cases in turn"):
        taken = alternated(runs, seconds * len(runs), FEWEST, PATIENCE * len(runs) * max(seconds, 1.0))
    after = conditions()
    cases: list[Case] = []
    for batch in batches:
        first = Latency.of(taken[f"{batch} {next(iter(running))}"]).p50
        for name, backend in running.items():
            latency = Latency.of(taken[f"{batch} {name}"])
            with progress.step(f"measure the memory of {backend.title}, {batch} at a time"):
                memory = _memory(path, name, batch, trust_engine)
            cases.append(
                Case(
                    backend=name,
                    title=backend.title,
                    engine=backend.engine.name if backend.engine else None,
                    batch=batch,
                    latency=latency,
                    ratio=first / latency.p50 if first and latency.p50 else None,
                    memory=memory,
                )
            )
    return Sweep(
        bundle=str(path),
        network=found.manifest.network,
        precision=found.manifest.precision,
        warm_up=warm_up,
        cases=cases,
        growth=[_growth(name, cases) for name in running] if len(batches) > 1 else [],
        before=before,
        after=after,
        versions=tools(),
    )


def exponent(sizes: Sequence[int], values: Sequence[float | None]) -> float | None:
    """The slope of a straight line through log(value) against log(size); None if a value is not known, or 0."""
    known = [value for value in values if value]
    if len(known) < len(sizes) or len(set(sizes)) < 2:
        return None
    slope, _ = np.polyfit(np.log(sizes), np.log(known), 1)
    return float(slope)


def _growth(name: str, cases: Sequence[Case]) -> Growth:
    own = [case for case in cases if case.backend == name]
    sizes = [case.batch for case in own]
    return Growth(
        backend=name,
        time=exponent(sizes, [case.latency.p50 for case in own]),
        memory=exponent(sizes, [case.memory.loaded for case in own]),
    )


def _opened(found: Bundle, name: str, trust_engine: bool) -> Backend:
    if name != CANONICAL:
        return select.opened(found, name, trust_engine=trust_engine)
    title = f"{select.title('onnxruntime')}, {MODEL}"
    return Backend(name=CANONICAL, title=title, session=OnnxRuntimeSession(found.path / MODEL, keeps_memory=True))


def _memory(path: Path, name: str, batch: int, trust_engine: bool) -> Memory:
    request = json.dumps({"path": str(path), "name": name, "batch": batch, "trust_engine": trust_engine})
    command = [sys.executable, "-m", "tcja_deploy.bench.sweep"]
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise Unavailable(f"{name} cannot run {batch} windows at a time in a process of its own: {why}")
    return Memory(**json.loads(done.stdout))


def main() -> None:
    """Run one case in this process, which does nothing else, and tell its memory."""
    request = json.load(sys.stdin)
    path = Path(request["path"])
    found = Bundle.open(path, any_engine=request["trust_engine"])
    feeds: dict[str, Floats] = {found.manifest.input.name: inputs(path, found.manifest, request["batch"])}
    free, most = free_memory(), peak()
    session = _opened(found, request["name"], request["trust_engine"]).session
    for _ in range(WARM_RUNS):
        session.run(feeds)
    left = free_memory()
    gpu = None if free is None or left is None else max(free - left, 0)
    json.dump(dataclasses.asdict(Memory(**most(), gpu=gpu)), sys.stdout)


if __name__ == "__main__":
    main()
