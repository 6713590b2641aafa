"""Events a second, on one core: recordings integrated into frames, against SpikingJelly's own functions.

    python -m benchmarks.events.integration [--spikingjelly-2 FOLDER] [--events 1000000] [--rounds 5]

Every row is measured in turns in one process, on the same drawn events, which lie in memory for all: ours come in
chunks, SpikingJelly's as whole arrays. What SpikingJelly counts is cast to float32, as its networks take it. Times are
the processor's, medians of the rounds. All answers are compared. The second table is of endless streams, pushed in
pieces, for which SpikingJelly has nothing.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.events import spikingjelly_datasets
from tcja_runtime.data.contract import Floats, InputContract
from tcja_runtime.data.integration import integrate
from tcja_runtime.data.sliding_windows import Cutter, Window
from tcja_runtime.events import CHUNK, Events, InMemory

DURATION = 50_000  # microseconds
SPAN = 2_000_000
"""Microseconds of a recording."""
SENSORS = ((128, 128, 20), (180, 240, 14), (32, 32, 10))
"""Rows, columns, T."""
SMALL = 4_000
"""Events of a small recording, of which as many are integrated as make a large one."""
RELEASES = {"duration": "0.0.0.0.14", "duration-grid": "2"}
RULES = ("number", "time", f"duration:{DURATION}us", f"duration-grid:{DURATION}us")


def in_chunks(events: Events, size: int) -> InMemory:
    """A recording that gives its events `size` at a time, CHUNK at most."""
    return InMemory([events[at : at + size] for at in range(0, len(events), size)])


def drawn(n: int, rows: int, columns: int) -> Events:
    """Events anywhere at any time."""
    rng = np.random.default_rng(0)
    return Events(
        np.sort(rng.integers(0, SPAN, n)),
        rng.integers(0, columns, n).astype(np.uint16),
        rng.integers(0, rows, n).astype(np.uint16),
        rng.integers(0, 2, n).astype(np.bool_),
    )


def by_spikingjelly(library: Any, events: Events, contract: InputContract) -> Floats:
    """Frames [frames, 2, H, W]."""
    arrays = {"t": events.t, "x": events.x, "y": events.y, "p": events.p}
    steps, _, rows, columns = contract.shape
    if contract.duration:
        frames = library.integrate_events_by_fixed_duration(arrays, contract.duration, rows, columns)
    else:
        frames = library.integrate_events_by_fixed_frames_number(arrays, contract.split, steps, rows, columns)
    return np.asarray(frames, np.float32)


def in_turns(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _, (name, run) in itertools.product(range(rounds + 1), contestants.items()):
        start = time.process_time()
        run()
        taken[name].append(time.process_time() - start)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def recordings(libraries: dict[str, Any], n: int, rounds: int) -> Table:
    """Whole recordings by every rule."""
    table = Table(
        *("rule", "pixels", "T", "events", "chunks of", "ours M/s", *(f"{name} M/s" for name in libraries)),
        *(f"to {name}" for name in libraries),
        title="whole recordings, million events a second, and the ratio to SpikingJelly's releases",
    )
    for (rows, columns, steps), rule in itertools.product(SENSORS, RULES):
        contract = InputContract.frames(steps, rows, columns).cut_by(rule)
        for size, chunk in (
            (n, CHUNK),
            *([(n, 2**14)] if (rows, columns, steps) == SENSORS[0] else []),
            (SMALL, CHUNK),
        ):
            rates = measured(
                libraries, contract, in_chunks(drawn(size, rows, columns), chunk), max(n // size, 1), rounds
            )
            table.add_row(
                *(
                    rule,
                    f"{rows} x {columns}",
                    str(steps),
                    f"{size:,}",
                    f"{min(size, chunk):,}",
                    f"{rates['ours']:.1f}",
                ),
                *(f"{rates[name]:.1f}" if name in rates else "" for name in libraries),
                *(f"{rates['ours'] / rates[name]:.1f}" if name in rates else "" for name in libraries),
            )
    return table


def measured(
    libraries: dict[str, Any], contract: InputContract, recording: InMemory, times: int, rounds: int
) -> dict[str, float]:
    """Million events a second of each, which integrates the recording so many times a round."""
    windows = integrate(recording, contract).windows.reshape(-1, *contract.shape[1:])
    contestants = {"ours": lambda: [integrate(recording, contract) for _ in range(times)]}
    events = Events.joined(recording.runs)
    for name, library in libraries.items():
        if RELEASES.get(str(contract.split), name) != name:
            continue
        frames = by_spikingjelly(library, events, contract)
        if not np.array_equal(frames[: len(windows)], windows):
            raise SystemExit(f"{name} makes other frames of {contract.split}")
        contestants[name] = lambda library=library: [by_spikingjelly(library, events, contract) for _ in range(times)]
    taken = in_turns(contestants, rounds)
    return {name: len(events) * times / seconds / 1e6 for name, seconds in taken.items()}


def streams(n: int, rounds: int) -> Table:
    """Endless streams in windows of time and of events, one after the other and overlapping."""
    table = Table("windows", "rule", "pixels", "pushed by", "M/s", "frames", title="endless streams")
    events = {pixels: drawn(n, *pixels) for pixels in ((128, 128), (180, 240))}
    windows = (
        Window(500_000),
        Window(500_000, hop=125_000),
        Window(100_000, "events"),
        Window(100_000, "events", 25_000),
    )
    for window, rule, pixels, piece in itertools.product(windows, ("number", "time"), events, (CHUNK, 1000)):
        if (window.unit, rule) == ("events", "time"):
            continue  # there is one rule for windows of events
        contract = InputContract.frames(10, *pixels).cut_by(rule)
        pieces, given = list(in_chunks(events[pixels], piece).chunks()), []

        def run(
            contract: InputContract = contract,
            window: Window = window,
            pieces: list[Events] = pieces,
            given: list[int] = given,
        ) -> None:
            cutter = Cutter(contract, window)
            given.append(sum(1 for events in pieces for _ in cutter.push(events)))

        taken = in_turns({"ours": run}, rounds)["ours"]
        hop = f" every {window.hop:,}" if window.overlap > 1 else ""
        table.add_row(
            *(f"{window.length:,} {window.unit}{hop}", rule, f"{pixels[0]} x {pixels[1]}", f"{piece:,}"),
            *(f"{n / taken / 1e6:.1f}", str(given[0])),
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--spikingjelly-2", type=Path, help="where release 2 is installed")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    libraries = {"0.0.0.0.14": spikingjelly_datasets.datasets()}
    if asked.spikingjelly_2:
        libraries["2"] = spikingjelly_datasets.datasets(asked.spikingjelly_2)
    console = Console(width=140)
    console.print(recordings(libraries, asked.events, asked.rounds))
    console.print(streams(asked.events, asked.rounds))


if __name__ == "__main__":
    main()
