"""Windows that one process classifies, against the same with Ray: 1 and 2 workers, and 2 of which one is killed.

    python -m benchmarks.serving.ray_scaling [--files 24] [--windows 16] [--side 64] [--channels 48] [--json FILE]

The network is of the dvs128 family with drawn weights; the windows are drawn, too, in several .npz. Each case is a
process of its own, which loads all anew. Its seconds are those to load the network or start Ray, then those to the
first answer, which with Ray hold the start of the workers, and those to the last answer. One process runs with one
thread, as a worker has, and with one a core. The scores of all cases are compared bit by bit. The worker is killed at
the first answer.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tcja_deploy.cluster.cluster import joined
from tcja_deploy.cluster.job import Job
from tcja_deploy.cluster.options import ClusterOptions
from tcja_deploy.cluster.shared import SharedBundle
from tcja_deploy.console import Progress, err, silent
from tcja_deploy.run.classify import ClassifyWork
from tcja_runtime.backends.onnxruntime import limit_threads
from tcja_runtime.backends.select import opened
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.dataset import load
from tcja_runtime.data.windows import random_windows
from tcja_runtime.machine.conditions import conditions
from tcja_runtime.network.classified import BatchClassifier, ClassifiedBatch, classified_batches
from tcja_runtime.signing.trust import Trust

NAME = "dvs128"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """How windows are classified.

    Attributes:
        title: the words for it.
        workers: the number of workers of Ray; 0 for one process without Ray.
        threads: the threads of one process; 0 for one a core.
        kill: whether a worker is killed at the first answer.
    """

    title: str
    workers: int = 0
    threads: int = 0
    kill: bool = False


CASES = (
    Case(title="one process, one thread", threads=1),
    Case(title="one process, a thread a core"),
    Case(title="Ray, 1 worker", workers=1),
    Case(title="Ray, 2 workers", workers=2),
    Case(title="Ray, 2 workers, one is killed", workers=2, kill=True),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seconds:
    """What a case took.

    Attributes:
        start: to load the network, or to start Ray.
        first: from then to the answer for the first batch.
        all: to the answer for the last batch.
        scores: the SHA-256 of all scores.
        notes: what was said.
    """

    start: float
    first: float
    all: float
    scores: str
    notes: list[str]


def export(folder: Path, side: int, channels: int, files: int, windows: int) -> None:
    """Write the bundle and its data."""
    import torch

    from benchmarks import drawn
    from tcja_deploy.export import pipeline
    from tcja_deploy.export.request import ExportRequest
    from tcja_exporters.networks import NETWORKS
    from tcja_exporters.networks.base import ShapeReader

    network = NETWORKS[NAME]
    sizes = network.sizes(ShapeReader({}, {}))
    sizes = sizes._replace(height=side, width=side, widths=(channels,) * len(sizes.widths), hidden=4 * channels)
    torch.save({"net": drawn.module(NAME, 0, sizes).state_dict(), "epoch": 0}, folder / "model.pth")
    request = ExportRequest(checkpoint=folder / "model.pth", out=folder / "a.bundle", target="onnx", samples=1)
    pipeline.export(request, silent())
    (folder / "data").mkdir()
    for at in range(files):
        inputs = random_windows(network.contract(sizes), windows, seed=at).inputs
        np.savez_compressed(folder / "data" / f"{at:03}.npz", frames=inputs)


def measure(folder: Path, case: Case) -> Seconds:
    """Run a case."""
    began = time.monotonic()
    limit_threads(case.threads)
    bundle = Bundle.open(folder / "a.bundle", to_run=True)
    data = load(folder / "data", bundle.manifest.input, bundle.manifest.classes)
    progress = silent()
    with _answers(bundle, data, case, progress) as answers:
        ready = time.monotonic()
        digest, first = hashlib.sha256(), 0.0
        for batch in answers:
            digest.update(batch.scores.tobytes())
            if not first:
                first = time.monotonic()
                if case.kill:
                    _kill_a_worker()
        ended = time.monotonic()
    return Seconds(
        start=ready - began,
        first=first - ready,
        all=ended - ready,
        scores=digest.hexdigest(),
        notes=progress.notes,
    )


@contextlib.contextmanager
def _answers(bundle: Bundle, data: Any, case: Case, progress: Progress) -> Iterator[Iterator[ClassifiedBatch]]:
    """A context with what each batch of the data is answered."""
    if not case.workers:
        yield classified_batches(BatchClassifier(bundle, opened(bundle)), [data])
        return
    work = ClassifyWork(bundle=SharedBundle.of(bundle, Trust(), "auto"), pictured=0)
    size, window_bytes = batch_size(bundle.manifest.signature), 4 * math.prod(bundle.manifest.input.shape)
    job = Job(work=work, data=[data], size=size, window_bytes=window_bytes)
    with joined(ClusterOptions(ray="local", workers=case.workers), progress) as cluster:
        yield cluster.outcomes(job)


def _kill_a_worker() -> None:
    """Kill the first process of Ray that has a session."""
    for each in sorted(Path("/proc").iterdir()):
        try:
            parent = int((each / "stat").read_text().rpartition(")")[2].split()[3])
            if parent in _sessions() and b"MapWorker" in (each / "cmdline").read_bytes():
                os.kill(int(each.name), signal.SIGKILL)
                return
        except (OSError, ValueError, IndexError):
            continue
    raise RuntimeError("no worker was found, so none was killed")


def _sessions() -> set[int]:
    """The processes that this one started: each has a session, in which are the processes of Ray."""
    found = set()
    for each in Path("/proc").iterdir():
        try:
            if int((each / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(each.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


def _in_a_process(target: Any, *arguments: Any) -> Any:
    """What a function returns in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(target, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--windows", type=int, default=16, help="in each file")
    parser.add_argument("--side", type=int, default=64, help="of the frames")
    parser.add_argument("--channels", type=int, default=48, help="of each layer")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    progress = Progress(err)
    found: dict[str, Seconds] = {}
    with tempfile.TemporaryDirectory() as folder:
        with progress.step("export"):
            _in_a_process(export, Path(folder), args.side, args.channels, args.files, args.windows)
        for case in CASES:
            with progress.step(case.title):
                found[case.title] = _in_a_process(measure, Path(folder), case)
    result = {
        "machine": dataclasses.asdict(conditions()),
        "network": f"{NAME} at {args.side}x{args.side}, {args.channels} channels, drawn weights",
        "windows": args.files * args.windows,
        "cases": {title: dataclasses.asdict(each) for title, each in found.items()},
    }
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['network']}: {result['windows']} windows in {args.files} files")
    print(f"{'seconds':32}{'start':>8}{'first':>8}{'all':>8}  scores")
    same = found[CASES[0].title].scores
    for title, each in found.items():
        equal = "identical" if each.scores == same else "DIFFERENT"
        print(f"{title:32}{each.start:8.1f}{each.first:8.1f}{each.all:8.1f}  {equal}")
        for note in each.notes:
            print(f"{'':32}{note}")


if __name__ == "__main__":
    main()
