"""How much longer a call `net(x)` from Python takes than the bare session of ONNX Runtime that is in it.

    python -m benchmarks.speed.call_overhead [NETWORK...] [--seconds 20]

A network is one of the examples (`fashion_mnist`, `event_fashion_mnist`, trained) or of the registry (published size,
random weights). Calls are timed in pairs, one window each: the session's `run` and `net(x)` in turns, each of them the
first in every other pair. Both run the same session, so the difference is the work around it: the checks of type, shape
and range, the lock, and the predictions. "around" is this work as a clock in the session measures it, the time of
`net(x)` before and after the session: its median, and the time that a tenth of the calls need at most.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import drawn
from tcja_deploy.console import silent
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_runtime.backends.onnxruntime import installed
from tcja_runtime.backends.select import opened
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.windows import random_windows
from tcja_runtime.network.network import Network

EXAMPLES = Path(__file__).parents[2] / "examples"
NETWORKS = ("fashion_mnist", "event_fashion_mnist")
_WARM_UP = 20  # pairs that are not counted
COLUMNS = (
    "network",
    "values",
    "pairs",
    "bare ms",
    "net(x) ms",
    "ratio of pairs",
    "around µs",
    "a tenth",
    "around/bare",
)


def exported(name: str, folder: Path, *, streaming: bool = False) -> Bundle:
    """The bundle of an example, or of a published network with random weights; with stepwise models, if asked for."""
    example = EXAMPLES / name / "checkpoint.pth"
    checkpoint = example if example.is_file() else drawn.checkpoint(name, 0, folder / f"{name}.pth")
    out = folder / f"{name}.bundle"
    given = {"target": "onnx", "samples": 1, "anytime": 0, "streaming": streaming}
    pipeline.export(ExportRequest(checkpoint=checkpoint, out=out, **given), silent())
    return Bundle.open(out)


class Clocked:
    """A session of ONNX Runtime with a clock.

    Args:
        session: the session.

    Attributes:
        taken: the seconds of its last run.
    """

    def __init__(self, session: Any) -> None:
        self._session, self.taken = session, 0.0

    def run(self, outputs: list[str] | None, feeds: dict[str, Any]) -> list[Any]:
        began = time.perf_counter()
        found: list[Any] = self._session.run(outputs, feeds)
        self.taken = time.perf_counter() - began
        return found


def timed(bundle: Bundle, seconds: float, fewest: int) -> tuple[int, np.ndarray]:
    """The number of values of a window; and the seconds [pairs, 3] of the bare session, of `net(x)`, and around it."""
    backend = opened(bundle, "onnxruntime")
    session: Any = backend.session
    bare = session.inner._session
    clocked = session.inner._session = Clocked(bare)
    contract = bundle.manifest.input
    window = random_windows(contract, 1, seed=1).inputs
    taken: list[tuple[float, float, float]] = []
    with Network(bundle, backend) as net:
        expected, found = bare.run(None, {contract.name: window})[0], net(window)
        if not np.array_equal(found.scores, expected if expected.ndim == 2 else expected.mean(1)):
            raise SystemExit(f"{bundle.path.name}: net(x) returns other scores than the session")
        calls = (lambda: bare.run(None, {contract.name: window}), lambda: net(window))
        end = time.monotonic() + seconds
        for turn in itertools.count():
            pair = [0.0, 0.0]
            for which in (0, 1) if turn % 2 else (1, 0):
                began = time.perf_counter()
                calls[which]()
                pair[which] = time.perf_counter() - began
            if turn >= _WARM_UP:
                taken.append((pair[0], pair[1], pair[1] - clocked.taken))
            if len(taken) >= fewest and time.monotonic() > end:
                break
    return window.size, np.array(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="of the examples or of the registry")
    parser.add_argument("--seconds", type=float, default=20.0, help="to go on for, with each")
    parser.add_argument("--fewest", type=int, default=100, help="pairs, however long they take")
    args = parser.parse_args()
    table = Table(*COLUMNS, title=f"onnxruntime {' '.join(installed().values())}, one window, medians of pairs")
    for name in args.networks:
        with tempfile.TemporaryDirectory() as folder:
            size, taken = timed(exported(name, Path(folder)), args.seconds, args.fewest)
        bare, ours, around = np.median(taken, axis=0).tolist()
        more = float(np.median(taken[:, 1] - taken[:, 0]))
        table.add_row(
            name,
            f"{size:,}",
            f"{len(taken):,}",
            f"{1e3 * bare:.3f}",
            f"{1e3 * ours:.3f}",
            f"{1 + more / bare:.4f}",
            f"{1e6 * around:.1f}",
            f"{1e6 * float(np.quantile(taken[:, 2], 0.1)):.1f}",
            f"{around / bare:.2%}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
