"""How many cameras a Triton server carries: the formula of docs/how-to/serving.md, tried with cameras at their pace.

    python -m benchmarks.serving.capacity [NETWORK...] [--bundle BUNDLE] [--cameras 16] [--seconds 20] [--json FILE]

First, as many clients as there are cameras ask as fast as they can. This is X, the windows that the server answers in a
second. Then each camera sends windows at its own pace, w per second, from a random moment on, so that all of them
together ask for the share u = cameras * w / X of what the server can do. A latency counts from the moment at which the
window was due. "late" is the share of windows that were answered after the next one was due.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

import tcja_runtime as tcja
from benchmarks.serving.clients import Pace, Taken, as_fast_as_they_can, at_their_pace
from benchmarks.serving.server import Look, Subject, bundles, served
from tcja_runtime.machine.conditions import conditions

NETWORKS = ("event_fashion_mnist", "dvs128")
SHARES = (0.3, 0.5, 0.7, 0.9, 1.1)
COLUMNS = ("u", "w per camera", "cameras", "p50 ms", "p99 ms", "window ms", "late", "batch", "answers", "differ")


@dataclasses.dataclass(frozen=True)
class Tried:
    """What cameras measured at a pace.

    Attributes:
        share: the share u of what the server can do.
        every: the seconds between two windows of a camera.
        taken: the latencies.
        batch: the mean number of windows that the server ran at once.
    """

    share: float
    every: float
    taken: Taken
    batch: float

    @property
    def late(self) -> float:
        """The share of windows that were answered after the next one was due."""
        return sum(each > self.every for each in self.taken.latencies) / len(self.taken.latencies)


def tried(bundle: Path, cameras: int, seconds: float, way: str) -> tuple[float, list[Tried]]:
    """Returns X, the windows per second, and what was measured at each share of it."""
    with contextlib.ExitStack() as until:
        folder = Path(until.enter_context(tempfile.TemporaryDirectory()))
        subject = Subject.windows(until.enter_context(tcja.load(bundle)))
        server = until.enter_context(served(bundle, folder, subject.remote.model))
        asking = [subject.client(way, server)] * cameras
        rate = as_fast_as_they_can(asking, subject.expected, seconds, lambda: None).rate
        found = []
        for share in SHARES:
            every, before = cameras / (share * rate), list[Look]()
            pace = Pace(max(seconds, 3 * every), every)
            taken = at_their_pace(asking, subject.expected, pace, lambda seen=before: seen.append(Look.at(server)))
            found.append(Tried(share, every, taken, (Look.at(server) - before[0]).batch))
        return rate, found


def table(name: str, rate: float, cameras: int, found: Sequence[Tried]) -> Table:
    """What was tried with a network, as a table."""
    made = Table(*COLUMNS, title=f"{name}: X = {rate:.1f} windows per second")
    for each in found:
        made.add_row(
            f"{each.share:.1f}",
            f"{1 / each.every:.2f}",
            str(cameras),
            f"{1e3 * each.taken.quantile(0.5):.1f}",
            f"{1e3 * each.taken.quantile(0.99):.1f}",
            f"{1e3 * each.every:.0f}",
            f"{each.late:.1%}",
            f"{each.batch:.1f}",
            f"{len(each.taken.latencies):,}",
            str(each.taken.differ),
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="of the examples or of the registry")
    parser.add_argument("--bundle", type=Path, help="measure this one instead")
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--way", choices=("http", "grpc"), default="grpc")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each pace")
    parser.add_argument("--json", type=Path, help="write everything measured")
    args = parser.parse_args()
    told = []
    with bundles(args.networks, args.bundle) as found:
        for name, bundle in found.items():
            rate, each = tried(bundle, args.cameras, args.seconds, args.way)
            Console(width=120).print(table(name, rate, args.cameras, each))
            told.append({"network": name, "rate": rate, "tried": [dataclasses.asdict(one) for one in each]})
    if args.json:
        args.json.write_text(
            json.dumps({"machine": dataclasses.asdict(conditions()), "networks": told}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
