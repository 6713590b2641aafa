"""What it costs that a bundle runs from the bytes that were checked, against another version of this project.

    git worktree add ../before COMMIT
    python -m benchmarks.robustness.opening ../before [--megabytes 90] [--pairs 20]

A fully connected spiking network with weights of that size is exported once. Then `tcja_runtime.load` and one call run
in a new process of each version in turns, each version the first in every other pair. The files are in the page cache.
Seconds are those of `load`, without the imports, also of the CPU alone, and of the call; memory is that of the process
after the call, without what it had before `load`: pages of its own (RssAnon), pages of mapped files (RssFile), and the
peak of both (VmHWM).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from spikingjelly.activation_based import layer, neuron
from torch import nn

from tcja_deploy.console import silent
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.packages import producer

HERE = Path(__file__).parents[2]
_INPUTS, _STEPS = 64, 4

_CHILD = """
import json, sys, time
import numpy as np
import onnxruntime
import tcja_runtime as tcja
tcja.load  # imported when it is used

def memory():
    lines = (line.split() for line in open("/proc/self/status"))
    return {line[0][:-1]: int(line[1]) / 1024 for line in lines if line[0] in ("RssAnon:", "RssFile:", "VmHWM:")}

window = np.ones((4, 64), np.float32)
before = memory()
worked, began = time.process_time(), time.perf_counter()
net = tcja.load(sys.argv[1], backend="onnxruntime")
loaded, worked = time.perf_counter(), time.process_time() - worked
scores = net(window).scores
called = time.perf_counter()
found = {name: value - before[name] for name, value in memory().items()}
print(json.dumps({"load": loaded - began, "cpu": worked, "call": called - loaded, **found, "scores": scores.tolist()}))
"""

ROWS = {
    "load": "load, s",
    "cpu": "load, s of the CPU",
    "call": "first call, s",
    "RssAnon": "own pages, MB",
    "RssFile": "mapped files, MB",
}
ROWS |= {"VmHWM": "peak, MB"}


def exported(folder: Path, megabytes: float) -> Path:
    """The bundle of a network with float32 weights of that size."""
    width = int(math.sqrt(megabytes * 1e6 / 4))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                layer.Linear(_INPUTS, width),
                neuron.LIFNode(tau=2.0),
                layer.Linear(width, width),
                neuron.LIFNode(tau=2.0),
                layer.Linear(width, 10),
                neuron.LIFNode(tau=2.0),
            )
            for module in self.modules():
                if hasattr(module, "step_mode"):
                    module.step_mode = "m"

        def forward(self, x):  # type: ignore[no-untyped-def]
            return self.layers(x.transpose(0, 1)).mean(0)

    out = folder / "large.bundle"
    request = ExportRequest(
        model=Net().eval(), shape=(_STEPS, _INPUTS), input="features", out=out, target="onnx", samples=1, anytime=0
    )
    pipeline.export(request, silent())
    return out


def measured(tree: Path, bundle: Path) -> dict[str, float]:
    """The figures of one process of a version of the project."""
    places = os.pathsep.join(map(str, (tree, tree / "exporters", tree / "runtime")))
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(bundle)],
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
        cwd=tree,
    )
    if done.returncode:
        raise SystemExit(f"{tree}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", type=Path, help="the folder of the other version")
    parser.add_argument("--megabytes", type=float, default=90.0)
    parser.add_argument("--pairs", type=int, default=20)
    asked = parser.parse_args()
    trees = {"before": asked.before.resolve(), "after": HERE}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        bundle = exported(Path(folder), asked.megabytes)
        size = sum(file.stat().st_size for file in bundle.iterdir()) / 1e6
        for tree in trees.values():
            measured(tree, bundle)
        for turn in range(asked.pairs):
            for name in list(trees)[:: 1 if turn % 2 else -1]:
                runs[name].append(measured(trees[name], bundle))
    answers = {json.dumps(run.pop("scores")) for all_runs in runs.values() for run in all_runs}
    table = Table(title=f"a bundle of {size:.0f} MB, {asked.pairs} pairs; {producer()}")
    for title in ("", "before", "after", "difference of pairs", "a quarter to three quarters of them"):
        table.add_column(title, justify="right")
    for name, title in ROWS.items():
        one, other = (np.array([run[name] for run in runs[which]]) for which in trees)
        least, middle, most = np.quantile(other - one, [0.25, 0.5, 0.75])
        medians = (f"{np.median(each):.3g}" for each in (one, other))
        table.add_row(title, *medians, f"{middle:+.3g}", f"{least:+.3g} to {most:+.3g}")
    Console(width=110).print(table)
    print("all scores are equal" if len(answers) == 1 else f"{len(answers)} different scores")


if __name__ == "__main__":
    main()
