"""The latency, throughput, memory and energy of a bundle's network on this machine.

A run is one call from Python: the batch is in the machine's memory, and so is the output when the run ends. Copies to
the GPU and back are part of it, as in real use; reading files is not. The windows are the bundle's golden windows, so
that the network fires, and draws power, as it does on data.

A case is one backend with one batch size. A single case is measured in this process: its latency and memory, the energy
of the board and, if the bundle has stepwise models, the latency frame by frame. If there are several cases, their
latencies are measured in this process, with one run of each case in turn. The memory of each case is then measured in a
process of its own (`main`): in this process, the memory that one case took would be
counted for the next case too.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from tcja_deploy.bench.memory import Memory, MemoryMeter
from tcja_deploy.bench.results import Benchmark, Case, Energy, Traffic
from tcja_deploy.bench.timing import FEWEST, WARM_RUNS, Latency, StepwiseLatency, stepwise_in_turns, timed
from tcja_deploy.console import Progress, silent
from tcja_deploy.formatting import windows
from tcja_deploy.packages import tools
from tcja_runtime.backends import select
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.backends.select import Backend
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import GOLDEN, MODEL, Bundle
from tcja_runtime.choices import AUTO
from tcja_runtime.counting import counted
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.evidence import golden
from tcja_runtime.files.folder import read_model
from tcja_runtime.machine import children, power
from tcja_runtime.machine.conditions import conditions
from tcja_runtime.machine.identity import this_machine
from tcja_runtime.machine.power import Power, Sampler, Source
from tcja_runtime.records import argument, check_arguments, check_size
from tcja_runtime.signing.trust import Trust
from tcja_runtime.tensorrt.build import LARGEST_BATCH

CANONICAL = MODEL
"""The name that stands for the canonical model, model.onnx, in a list of backends.

ONNX Runtime runs it on the CPU, and computes the spiking layers with the ONNX functions that the model holds.
"""

_REST = 2.0  # seconds, to measure the power at rest

_Key = tuple[int, str]  # the batch size and the backend of a case
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """The options of a benchmark: what to measure, and for how long.

    Attributes:
        backends: the names of the backends: each one of `tcja_runtime.choices.BACKENDS`, `AUTO`, or `CANONICAL`. The
            backends after the first are compared with the first.
        batches: the batch sizes: the numbers of windows in a run.
        trust: whom and what the user trusts: keys, and engines of unknown origin.
        seconds: the shortest time in seconds to measure each case.
        warm_up: the time in seconds for which each case runs before it is measured.

    Raises:
        BadInput: a time is negative, infinite or no number.
    """

    backends: tuple[str, ...] = (AUTO,)
    batches: tuple[int, ...] = (1,)
    trust: Trust = dataclasses.field(default_factory=Trust)
    seconds: float = 5.0
    warm_up: float = 1.0

    def __post_init__(self) -> None:
        check_arguments(self)
        if not self.backends or not self.batches:
            raise BadInput("`backends` and `batches` must have at least one value each")
        for batch in self.batches:
            check_size("batch", batch, 1, LARGEST_BATCH)
        check_size("seconds", self.seconds, 0, 86_400)
        check_size("warm_up", self.warm_up, 0, 86_400)

    @property
    def side_by_side(self) -> bool:
        """Whether there is more than one backend or batch size."""
        return len(self.backends) > 1 or len(self.batches) > 1


def bench(path: Path | str, options: BenchOptions | None = None, progress: Progress | None = None) -> Benchmark:
    """Measure a bundle's network.

    Args:
        path: the bundle.
        options: the backends and batch sizes to measure, and the time to measure for.
        progress: where to show progress, and the reason for each engine that is not run.

    Raises:
        BadInput: the bundle is damaged, it has no such engine, or the engine does not take a batch size.
        Unavailable: this machine lacks memory, or a package or device that a backend needs.
    """
    path, progress = argument("path", path, Path), progress or silent()
    options = argument("options", options, BenchOptions | None) or BenchOptions()
    with progress.step("check the hashes"):
        bundle = Bundle.open(path, options.trust, to_run=True)
    feeds = {batch: inputs(bundle, batch) for batch in sorted(set(options.batches))}
    meter = MemoryMeter.start()
    backends = _loaded(bundle, options, progress)
    before = conditions()
    seconds, energy = _measured(_runs(backends, feeds), next(iter(backends.values())).title, options, progress)
    after, memory = conditions(), meter.read()
    cases = []
    for (batch, name), taken in seconds.items():
        backend, stepwise = backends[name], None
        if options.side_by_side:
            with progress.step(f"measure the memory of {backend.title}, batch {batch}"):
                memory = _own_memory(path, name, batch, options.trust)
        elif bundle.manifest.streaming and not backend.engine:
            with progress.step("measure the latency frame by frame"):
                stepwise = _stepwise(bundle, backend, feeds[batch], options.seconds)
        cases.append(
            Case(
                backend=name,
                title=backend.title,
                engine=backend.engine.name if backend.engine else None,
                engine_sha256=backend.engine.info.sha256 if backend.engine else None,
                batch=batch,
                latency=Latency.of(taken),
                memory=memory,
                cuda_graph=getattr(backend.session, "uses_graph", None),
                energy=energy,
                traffic=Traffic.of(backend.engine.info, batch) if backend.engine else None,
                stepwise=stepwise,
            )
        )
    return Benchmark(
        bundle=str(path),
        bundle_sha256=bundle.sha256,
        machine=this_machine(),
        network=bundle.manifest.network,
        precision=bundle.manifest.precision,
        warm_up=options.warm_up,
        before=before,
        after=after,
        versions=tools(),
        cases=cases,
        side_by_side=options.side_by_side,
    )


def _runs(backends: Mapping[str, Backend], feeds: Mapping[int, dict[str, Floats]]) -> dict[_Key, Callable[[], object]]:
    """Return the function that runs each case: each backend with the inputs of each batch size."""
    return {
        (batch, name): functools.partial(backend.session.run, feed)
        for batch, feed in feeds.items()
        for name, backend in backends.items()
    }


def inputs(bundle: Bundle, batch: int) -> dict[str, Floats]:
    """Return a batch of the bundle's golden windows, float32 [N, ...], by the name of the network's input.

    If the bundle has fewer than N golden windows, they are repeated.

    Raises:
        BadInput: the golden windows do not fit the network of the manifest.
    """
    manifest = bundle.manifest
    windows = golden.read(bundle, manifest.input).samples.inputs
    if windows.shape[1:] != manifest.input.shape or not len(windows):
        raise BadInput(f"{bundle.path / GOLDEN} does not fit the network of the manifest; export the bundle again")
    repeated = np.ascontiguousarray(windows[np.arange(batch) % len(windows)], np.float32)
    return {manifest.input.name: repeated}


def _loaded(bundle: Bundle, options: BenchOptions, progress: Progress) -> dict[str, Backend]:
    """Load the backends to measure. Returns them by name; for `AUTO`, the name is that of the chosen backend."""
    found = {}
    for name in options.backends:
        with progress.step(f"load the network ({name})" if options.side_by_side else "load the network"):
            backend = _opened(bundle, name)
        for line in backend.not_run:
            progress.note(line)
        for batch in options.batches:
            _check_batch(backend, batch, bundle.path)
        found[backend.name] = backend
    return found


def _opened(bundle: Bundle, name: str) -> Backend:
    if name != CANONICAL:
        return select.opened(bundle, name)
    title = f"{select.title('onnxruntime')}, {MODEL}"
    return Backend(
        name=CANONICAL, title=title, session=OnnxRuntimeSession.open(read_model(bundle, MODEL), keeps_memory=True)
    )


def _check_batch(backend: Backend, batch: int, path: Path) -> None:
    """Raise `BadInput` if an engine does not take a batch size.

    The engine would split the batch or fill it up, and the measured time would be that of another batch size.
    """
    if backend.engine:
        least, _, most = backend.engine.info.batch
        if not least <= batch <= most:
            raise BadInput(
                f"`batch` {batch}: engine {backend.engine.name} takes {least} to {most} windows at a time; "
                f"run 'tcja-deploy build {path} --batch {min(least, batch)}:{batch}:{max(most, batch)}'"
            )


def _measured(
    runs: Mapping[_Key, Callable[[], object]], title: str, options: BenchOptions, progress: Progress
) -> tuple[dict[_Key, list[float]], Energy | None]:
    """Measure the cases.

    Args:
        runs: the function that runs each case.
        title: the first backend's name for people.
        options: the time to measure for.
        progress: where to show progress.

    Returns:
        The seconds of each run of each case; and the power that the board drew, None if there are several cases or
        the board does not report its power.
    """
    source = None if options.side_by_side else power.source()
    rest = None
    if source:
        with progress.step("measure the power at rest"):
            _, rest = _sampled(source[1], lambda: time.sleep(_REST))
    with progress.step("warm up"):
        for key, run in runs.items():
            timed({key: run}, options.warm_up, WARM_RUNS)
    with progress.step(
        f"measure {counted(len(runs), 'case')} in turn" if options.side_by_side else f"measure in {title}"
    ):
        if not source:
            return timed(runs, options.seconds, FEWEST), None
        seconds, drawn = _sampled(source[1], lambda: timed(runs, options.seconds, FEWEST))
    return seconds, Energy(source=source[0], rest=rest, runs=drawn)


def _sampled(source: Source, work: Callable[[], _Result]) -> tuple[_Result, Power | None]:
    """Return the result of `work`, and the power that the board drew while it ran; None for too few samples."""
    with Sampler(source) as sampler:
        result = work()
    return result, sampler.power


def _stepwise(bundle: Bundle, backend: Backend, feed: Mapping[str, Floats], seconds: float) -> StepwiseLatency:
    """Measure the latency frame by frame, and the latency of whole windows in the same backend."""
    (windows,) = feed.values()
    streams = Streams.open(bundle, len(windows), backend=backend.name)
    taken = stepwise_in_turns(streams, lambda: backend.session.run(feed), windows, seconds, FEWEST)
    return StepwiseLatency(**{name: Latency.of(each) for name, each in taken.items()})


def _own_memory(path: Path, name: str, batch: int, trust: Trust) -> Memory:
    """Measure the memory of one case in a process of its own.

    Raises:
        Unavailable: the process failed.
    """
    given = dataclasses.asdict(trust) | {"public_keys": list(map(str, trust.public_keys))}
    request = json.dumps({"path": str(path), "name": name, "batch": batch, "trust": given})
    command = children.main_of("tcja_deploy.bench.benchmark")
    done = subprocess.run(command, input=request, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise Unavailable(f"{name} cannot run {windows(batch)} at a time in a process of its own: {why}")
    return Memory(**json.loads(done.stdout))


def main() -> None:
    """Run one case in this process, and print the memory that it takes as JSON. stdin has the case, as JSON."""
    request = json.load(sys.stdin)
    path = Path(request["path"])
    bundle = Bundle.open(path, Trust(**request["trust"]), to_run=True)
    feed = inputs(bundle, request["batch"])
    meter = MemoryMeter.start()
    session = _opened(bundle, request["name"]).session
    for _ in range(WARM_RUNS):
        session.run(feed)
    json.dump(dataclasses.asdict(meter.read()), sys.stdout)
