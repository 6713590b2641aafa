"""Opens and closes a network thousands of times, and streams a thousand times, in one process that must not grow.

    python -m benchmarks.robustness.soak [BUNDLE] [--opens 10000] [--streams 1000] [--json FILE]

A session is `tcja_runtime.load` of a bundle, one call and its end. The answer must be the first one, to the bit. Of
the streams, one is read to its end, one is closed at its first prediction, and one comes over TCP from another thread
of this process, in turn. Without a bundle, one of two spiking layers is exported, in a process of its own.

What the process holds is looked at a hundred times on the way: its resident memory (/proc/self/statm), its open
descriptors (/proc/self/fd), its threads and its mappings (/proc/self/maps). The figures are those of the first tenth
and of the last: their medians, as an allocator holds now more, now less. The exit code is 1 if the process holds more
at the end than GROWTH allows.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import tcja_runtime as tcja
from tcja_runtime.machine.conditions import conditions

TIME_STEPS, SIDE, CLASSES, WINDOW = 4, 32, 5, "100ms"
EVENTS = 3000  # of a recording of 0.3 s
LOOKS = 100
MIB = 2**20
GROWTH = {"memory": 2.0, "descriptors": 0, "threads": 0, "mappings": 16}
"""What the process may hold more of at the end, memory in MiB. An allocator maps memory for each thread."""


@dataclasses.dataclass(frozen=True)
class Held:
    """What the process holds: MiB of memory, and numbers of the others."""

    memory: float
    descriptors: int
    threads: int
    mappings: int

    @classmethod
    def now(cls) -> Held:
        """What the process holds now."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            memory=pages * os.sysconf("SC_PAGE_SIZE") / MIB,
            descriptors=len([*Path("/proc/self/fd").iterdir()]),
            threads=len([*Path("/proc/self/task").iterdir()]),
            mappings=Path("/proc/self/maps").read_bytes().count(b"\n"),
        )


@dataclasses.dataclass(frozen=True)
class Soaked:
    """What was found of one kind of work.

    Attributes:
        what: the kind.
        times: how often it was done.
        seconds: of all.
        first: the medians of the first tenth of the looks.
        last: those of the last tenth.
    """

    what: str
    times: int
    seconds: float
    first: Held
    last: Held

    @property
    def grown(self) -> list[str]:
        """What the process holds more of than it may."""
        return [name for name, may in GROWTH.items() if getattr(self.last, name) - getattr(self.first, name) > may]


def soaked(what: str, times: int, work: Callable[[], None]) -> Soaked:
    """Do some work many times, and look at what the process holds.

    Args:
        what: the kind of work.
        times: how often.
        work: does it once.
    """
    for _ in range(min(times, 3)):  # what is imported and kept for good
        work()
    seen, began = [], time.monotonic()
    every = max(1, times // LOOKS)
    for i in range(times):
        work()
        if (i + 1) % every == 0:
            seen.append(Held.now())
    tenth = max(1, len(seen) // 10)
    return Soaked(what, times, time.monotonic() - began, _middle(seen[:tenth]), _middle(seen[-tenth:]))


def _middle(seen: list[Held]) -> Held:
    return Held(*(statistics.median_high(getattr(each, name) for each in seen) for name in GROWTH))


def sessions(bundle: Path) -> Callable[[], None]:
    """Returns a function that loads a network, calls it and closes it."""
    with tcja.load(bundle) as net:
        window = np.random.default_rng(0).poisson(1.0, net.info.input.shape).astype(np.float32)
        expected = net(window).scores

    def once() -> None:
        with tcja.load(bundle) as net:
            found = net(window).scores
        if found.tobytes() != expected.tobytes():
            raise ValueError(f"the answer is {found.tolist()}, and was {expected.tolist()}")

    return once


def streams(net: tcja.Network, file: Path) -> Callable[[], None]:
    """Returns a function that streams a recording: to its end, until its first prediction, or over TCP, in turn."""
    content = file.read_bytes()
    with net.stream(file, WINDOW, speed=float("inf")) as stream:
        expected = [found.scores.tobytes() for found in stream]

    def whole() -> None:
        with net.stream(file, WINDOW, speed=float("inf")) as stream:
            if [found.scores.tobytes() for found in stream] != expected:
                raise ValueError("a stream has other predictions than the first one")

    def closed() -> None:
        with net.stream(file, WINDOW, speed=float("inf")) as stream:
            next(stream)

    def over_tcp() -> None:
        with net.stream("tcp://127.0.0.1:0", WINDOW, form="atis") as stream:
            sender = threading.Thread(target=_send, args=[stream.address, content])
            sender.start()
            if next(stream).scores.tobytes() != expected[0]:
                raise ValueError("a stream over TCP has another prediction than its recording")
            sender.join()

    turns = itertools.cycle([whole, closed, over_tcp])

    def once() -> None:
        next(turns)()

    return once


def _send(address: str, content: bytes) -> None:
    host, _, port = address.rpartition("//")[2].rpartition(":")
    with socket.create_connection((host, int(port))) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(content)


def drawn(file: Path, width: int, height: int) -> Path:
    """Write a recording of ATIS .bin with events anywhere on a sensor."""
    rng = np.random.default_rng(0)
    table = np.zeros((EVENTS, 5), np.uint8)
    time_ = np.sort(rng.integers(0, 300_000, EVENTS))
    table[:, 0], table[:, 1] = rng.integers(0, width, EVENTS), rng.integers(0, height, EVENTS)
    table[:, 2] = rng.integers(0, 2, EVENTS) << 7 | time_ >> 16
    table[:, 3], table[:, 4] = time_ >> 8 & 255, time_ & 255
    file.write_bytes(table.tobytes())
    return file


def export(folder: Path) -> None:
    """Export a network of two spiking layers; in a process of its own, for torch would stay in this one's memory."""
    import torch
    from spikingjelly.activation_based import neuron
    from torch import nn

    from tcja_deploy.console import silent
    from tcja_deploy.export import pipeline
    from tcja_deploy.export.request import ExportRequest

    torch.manual_seed(0)
    step = nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1),
        neuron.IFNode(),
        nn.Flatten(),
        nn.Linear(SIDE * SIDE, CLASSES),
        neuron.IFNode(),
    )
    given = {"shape": (TIME_STEPS, 2, SIDE, SIDE), "layout": "step", "split": "number", "target": "onnx", "samples": 1}
    pipeline.export(ExportRequest(model=step, out=folder / "a.bundle", **given), silent())


@contextlib.contextmanager
def exported(bundle: Path | None, folder: Path) -> Iterator[Path]:
    """The bundle that is given, or one that is made."""
    if bundle is None:
        child = multiprocessing.get_context("spawn").Process(target=export, args=[folder])
        child.start()
        child.join()
        if child.exitcode:
            sys.exit("error: the network could not be exported; what it said is above")
    yield bundle or folder / "a.bundle"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="of a network that takes frames")
    parser.add_argument("--opens", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--json", type=Path, help="write everything measured")
    return parser.parse_args()


def show(found: Soaked) -> None:
    """Print what was found, as soon as it is."""
    print(f"{found.times:,} {found.what} in {found.seconds:.0f} s")
    print(f"  memory: {found.first.memory:.2f} MiB at first, {found.last.memory:.2f} MiB at last")
    for name in list(GROWTH)[1:]:
        print(f"  {name}: {getattr(found.first, name)} at first, {getattr(found.last, name)} at last")
    print(f"  more than at first: {', '.join(found.grown) or 'nothing'}", flush=True)


def main() -> int:
    args, found = arguments(), []
    with tempfile.TemporaryDirectory() as folder, exported(args.bundle, Path(folder)) as bundle:
        if args.opens:
            found.append(soaked("sessions", args.opens, sessions(bundle)))
            show(found[-1])
        if args.streams:
            with tcja.load(bundle) as net:
                height, width = net.info.input.shape[-2:]
                file = drawn(Path(folder) / "a.bin", min(width, 256), min(height, 240))
                found.append(soaked("streams", args.streams, streams(net, file)))
            show(found[-1])
    if args.json:
        told = {"machine": dataclasses.asdict(conditions()), "soaked": [dataclasses.asdict(each) for each in found]}
        args.json.write_text(json.dumps(told, indent=1) + "\n")
    return int(any(each.grown for each in found))


if __name__ == "__main__":
    sys.exit(main())
