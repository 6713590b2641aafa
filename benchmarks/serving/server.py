"""What a Triton server adds to the session in it: latency and windows per second, beside the local session.

    python -m benchmarks.serving.server [NETWORK...] [--bundle BUNDLE] [--streams] [--clients 1 4 16] [--seconds 30]

A network is one of the examples (`fashion_mnist`, `event_fashion_mnist`, trained) or of the registry (published size,
random weights). `package triton` makes a repository of its bundle, and a real server runs it, with one instance. Its
clients are threads of this process, each with a connection of its own: each sends a window, waits for the answer,
compares it with that of the local session, to the bit, and sends the next one. With `--streams`, each client is a
camera of the model NAME_stream, and sends frame by frame. "windows" are frames then.

    local         one thread calls `net(x)` in this process; or `push(frame)` of `net.stepwise()`
    http, grpc    the clients ask the server

They take turns, round by round, after a rest, as the threads of ONNX Runtime spin for a while after a run. Both ratios
are to local in the same rounds: that of the medians, and that of the windows per second. Clients that ask at the same
time wait for each other, so with n clients the first ratio is about n, less what batches save. Server and clients share
the cores of this machine. "batch" is the mean number of windows that the server ran at once. "CPU ms" is the time of a
core that a window took, of the server and its clients together: other programs on the machine change it the least.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

import tcja_runtime as tcja
from benchmarks.serving.clients import Client, Expected, Remote, Taken, as_fast_as_they_can
from benchmarks.speed.call_overhead import exported
from tcja_deploy.package.options import TritonOptions
from tcja_deploy.package.triton import package_triton
from tcja_runtime.backends.onnxruntime import installed
from tcja_runtime.data.windows import random_windows
from tcja_runtime.machine.conditions import conditions
from tests.servers import Server, serving

NETWORKS = ("fashion_mnist", "event_fashion_mnist", "dvs128")
WAYS = ("local", "http", "grpc")
REST = 0.5  # seconds
DIFFERENT = 8  # windows
COLUMNS = (
    "clients",
    "way",
    "p50 ms",
    "/ local",
    "p99 ms",
    "windows/s",
    "/ local",
    "batch",
    "CPU ms",
    "/ local",
    "answers",
    "differ",
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A number of clients that ask in one way.

    Attributes:
        clients: the number of clients.
        way: one of WAYS.
        taken: what they measured.
        batch: the mean number of windows that the server ran at once.
        cpu: the seconds of a core that a window took, of the server and its clients together.
    """

    clients: int
    way: str
    taken: Taken
    batch: float
    cpu: float


@contextlib.contextmanager
def bundles(names: Sequence[str], given: Path | None, *, streaming: bool = False) -> Iterator[dict[str, Path]]:
    """The bundles of networks, by the name of the network; or the one that is given."""
    with tempfile.TemporaryDirectory() as folder:
        made = {} if given else {name: exported(name, Path(folder), streaming=streaming).path for name in names}
        yield {given.stem: given} if given else made


@contextlib.contextmanager
def served(bundle: Path, folder: Path, model: str) -> Iterator[Server]:
    """A server with one model of a bundle, `model` or `model_stream`."""
    package_triton(bundle, folder / "models", TritonOptions(name="model"))
    with serving(folder / "models", folder / "server", [model]) as server:
        yield server


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is asked for, of the server and of the local session.

    Attributes:
        remote: what the server is asked for.
        local: a client of the local session.
        expected: the answers of the local session, each run alone.
    """

    remote: Remote
    local: Client
    expected: Expected

    @classmethod
    def windows(cls, net: tcja.Network) -> Subject:
        """Random windows of a network."""
        inputs = random_windows(net.info.input, DIFFERENT, seed=1).inputs
        remote = Remote("model", net.info.input.name, net.info.output, inputs)

        def ask(at: int) -> npt.NDArray[Any]:
            return net(inputs[at]).scores

        return cls(remote, lambda: contextlib.nullcontext(ask), Expected([ask(at) for at in range(len(inputs))]))

    @classmethod
    def frames(cls, net: tcja.Network) -> Subject:
        """The frames of random windows, one after the other."""
        contract = net.info.input
        inputs = np.concatenate(list(random_windows(contract, DIFFERENT, seed=1).inputs))
        remote = Remote("model_stream", contract.step_name, net.info.output, inputs, is_stream=True)
        stepwise = net.stepwise()

        def ask(at: int) -> npt.NDArray[Any]:
            if at == 0:
                stepwise.reset()
            found = stepwise.push(inputs[at])
            return np.empty((0, len(net.info.classes)), np.float32) if found is None else found.scores[None]

        return cls(remote, lambda: contextlib.nullcontext(ask), Expected([ask(at) for at in range(len(inputs))]))

    def client(self, way: str, server: Server) -> Client:
        """A client that asks in one way."""
        if way == "local":
            return self.local
        module = importlib.import_module(f"tritonclient.{way}")
        return lambda: self.remote.client(getattr(server, way), module)


@dataclasses.dataclass
class Look:
    """What a server and its clients have done until a moment: windows, runs of the server, and seconds of a core."""

    windows: float
    runs: float
    cpu: float

    @classmethod
    def at(cls, server: Server) -> Look:
        """Look at the server, and at this process."""
        time.sleep(0.2)  # its metrics are new ten times in a second
        counts = [server.metric(f"nv_inference_{name}") for name in ("count", "exec_count")]
        return cls(*counts, time.process_time() + sum(map(cpu_seconds, processes(server.pid))))

    def __sub__(self, other: Look) -> Look:
        return Look(self.windows - other.windows, self.runs - other.runs, self.cpu - other.cpu)

    def __add__(self, other: Look) -> Look:
        return Look(self.windows + other.windows, self.runs + other.runs, self.cpu + other.cpu)

    @property
    def batch(self) -> float:
        """The mean number of windows of a run of the server; 0 without runs."""
        return self.windows / self.runs if self.runs else 0.0


def processes(group: int) -> list[Path]:
    """The folders in /proc of the processes of a group: a server and what it started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ProcessLookupError):
            if os.getpgid(int(folder.name)) == group:
                found.append(folder)
    return found


def cpu_seconds(process: Path) -> float:
    """The seconds of a core that a process took (proc(5): utime and stime)."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(
    bundle: Path, counts: Sequence[int], seconds: float, *, streams: bool = False, rounds: int = 3
) -> list[Case]:
    """Measure each number of clients in each way, in turn."""
    with contextlib.ExitStack() as until:
        folder = Path(until.enter_context(tempfile.TemporaryDirectory()))
        net = until.enter_context(tcja.load(bundle))
        subject = Subject.frames(net) if streams else Subject.windows(net)
        server, found = until.enter_context(served(bundle, folder, subject.remote.model)), list[Case]()
        for count in counts:
            taken, looks = {way: Taken() for way in WAYS}, {way: Look(0, 0, 0) for way in WAYS}
            for turn in range(rounds):
                for way in (*WAYS[turn % 3 :], *WAYS[: turn % 3]):
                    time.sleep(REST)
                    before = list[Look]()
                    asking = [subject.client(way, server)] * (1 if way == "local" else count)
                    taken[way] += as_fast_as_they_can(
                        asking, subject.expected, seconds / rounds, lambda seen=before: seen.append(Look.at(server))
                    )
                    looks[way] += Look.at(server) - before[0]
            for way in WAYS:
                cpu = looks[way].cpu / len(taken[way].latencies)
                found.append(Case(count, way, taken[way], looks[way].batch, cpu))
        return found


def table(name: str, cases: Sequence[Case]) -> Table:
    """The cases of a network as a table."""
    made = Table(*COLUMNS, title=f"{name}, onnxruntime {' '.join(installed().values())}")
    for case in cases:
        local = next(each for each in cases if (each.clients, each.way) == (case.clients, "local"))
        made.add_row(
            str(case.clients),
            case.way,
            f"{1e3 * case.taken.quantile(0.5):.2f}",
            f"{case.taken.quantile(0.5) / local.taken.quantile(0.5):.2f}",
            f"{1e3 * case.taken.quantile(0.99):.2f}",
            f"{case.taken.rate:.1f}",
            f"{case.taken.rate / local.taken.rate:.2f}",
            f"{case.batch:.1f}" if case.batch else "",
            f"{1e3 * case.cpu:.2f}",
            f"{case.cpu / local.cpu:.2f}",
            f"{len(case.taken.latencies):,}",
            f"{case.taken.differ} (by {case.taken.largest:.1g})" if case.taken.differ else "0",
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="of the examples or of the registry")
    parser.add_argument("--bundle", type=Path, help="measure this one instead")
    parser.add_argument("--streams", action="store_true", help="frame by frame, each client a camera")
    parser.add_argument("--clients", type=int, nargs="+", default=(1, 4, 16))
    parser.add_argument("--seconds", type=float, default=30.0, help="for each number of clients in each way")
    parser.add_argument("--json", type=Path, help="write everything measured")
    args = parser.parse_args()
    told = []
    with bundles(args.networks, args.bundle, streaming=args.streams) as found:
        for name, bundle in found.items():
            cases = measured(bundle, args.clients, args.seconds, streams=args.streams)
            Console(width=120).print(table(name, cases))
            told += [{"network": name, **dataclasses.asdict(case)} for case in cases]
    if args.json:
        args.json.write_text(json.dumps({"machine": dataclasses.asdict(conditions()), "cases": told}, indent=1) + "\n")


if __name__ == "__main__":
    main()
