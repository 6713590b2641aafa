"""Memory of a stream over an hour of simulated events at 1 M events/s, and a burst that the queue cannot hold.

    python -m benchmarks.events.stream_memory [--minutes 60] [--burst 20] [--svg FILE] [--json FILE]

Events go the way of a camera's: as bytes of ATIS .bin, 64 Ki events at a time, through the decoder, the queue between
the threads, the windows of 1 s and a network of the dvs128 family with drawn weights at 128x128. Time is simulated: the
source waits where the queue is full, so the hour goes by as fast as the machine can. The bytes are drawn once, 8.4 s of
them, which is when the format's clock of 23 bits begins anew, and are sent again and again.

The burst is sent at once to a queue that does not make it wait. What is answered and what is dropped is added up.

Memory is the resident set of the process (/proc/self/statm), after each window; the network is exported in another.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tcja_deploy.bench.memory import MemoryMeter
from tcja_deploy.console import Progress, err, silent
from tcja_deploy.report.html import Html, joined, tag
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.events import Events
from tcja_runtime.events.buffer import LIMIT
from tcja_runtime.events.formats.atis import Atis
from tcja_runtime.machine.conditions import conditions
from tcja_runtime.streaming.options import StreamOptions
from tcja_runtime.streaming.results import Summary, WindowPrediction
from tcja_runtime.streaming.stream import Stream

NAME, SIDE, CHANNELS = "dvs128", 128, 4
RATE = 1_000_000  # events a second of the stream
PERIOD = 2**23  # microseconds that the format's clock counts
PIECE = 2**16  # events a read
MIB = 2**20

_LOOK = """
svg { font: 12px system-ui, sans-serif; --ink: #1a2230; --line: #dbe1e8; --ours: #08519c; background: #fff; }
text { fill: var(--ink); } .rule { stroke: var(--line); }
.ours { fill: none; stroke: var(--ours); stroke-width: 2; } .title { font-weight: 600; }
@media (prefers-color-scheme: dark) { svg { --ink: #e6eaf0; --line: #303946; --ours: #78b4ff; background: #12161c; } }
"""


class Simulated:
    """A camera whose events come as bytes.

    Args:
        pieces: of bytes, one after the other.
        pausable: whether it can be paused without a loss.
    """

    title, address, ends, recording, sensor, damaged, lost = "simulated", "", True, None, None, 0, 0

    def __init__(self, pieces: Iterator[bytes], *, pausable: bool) -> None:
        self._pieces, self.pausable = pieces, pausable

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        decoder = Atis()
        for piece in self._pieces:
            if stop.is_set():
                return
            yield decoder.feed(piece)

    def close(self) -> None:
        """Nothing is held."""


def drawn_bytes(seed: int = 0) -> list[bytes]:
    """A period of events at the rate, anywhere on the sensor, in the order of their times."""
    rng = np.random.default_rng(seed)
    n = PERIOD * RATE // 1_000_000 // PIECE * PIECE
    time_ = np.sort(rng.integers(0, PERIOD, n))
    table = np.empty((n, 5), np.uint8)
    table[:, 0], table[:, 1] = rng.integers(0, SIDE, (2, n))
    table[:, 2] = (rng.integers(0, 2, n) << 7) | (time_ >> 16)
    table[:, 3], table[:, 4] = time_ >> 8 & 255, time_ & 255
    return [table[at : at + PIECE].tobytes() for at in range(0, n, PIECE)]


def export(folder: Path) -> None:
    """Export the network; in a process of its own, for torch would stay in this one's memory."""
    import torch

    from benchmarks import drawn
    from tcja_deploy.export import pipeline
    from tcja_deploy.export.request import ExportRequest
    from tcja_exporters.networks import NETWORKS
    from tcja_exporters.networks.base import ShapeReader

    sizes = NETWORKS[NAME].sizes(ShapeReader({}, {}))
    sizes = sizes._replace(height=SIDE, width=SIDE, widths=(CHANNELS,) * len(sizes.widths), hidden=4 * CHANNELS)
    torch.save({"net": drawn.module(NAME, 0, sizes).state_dict(), "epoch": 0}, folder / "model.pth")
    request = ExportRequest(checkpoint=folder / "model.pth", out=folder / "a.bundle", target="onnx", samples=1)
    pipeline.export(request, silent())


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def hour(bundle: Path, pieces: Sequence[bytes], minutes: float) -> tuple[Floats, Summary]:
    """Seconds of the stream and MiB in memory, [N, 2], after each window, and what came of the stream."""
    n = int(minutes * 60 * RATE) // PIECE
    source = Simulated(itertools.islice(itertools.cycle(pieces), n), pausable=True)
    stream = Stream.open(Bundle.open(bundle), source, StreamOptions(window=Window(1_000_000)))
    seen = np.ones((int(minutes * 60) + 1, 2), np.float32)  # now, so that it does not grow with the stream

    def show(prediction: WindowPrediction) -> None:
        seen[stream.windows - 1] = prediction.end / 1e6, resident() / MIB

    summary = stream.run(show)
    return seen[: summary.windows], summary


def burst(bundle: Path, pieces: Sequence[bytes], events: int) -> tuple[int, int, Summary]:
    """Events of the windows that were answered, bytes that memory grew by at most, and what came of the stream."""
    source = Simulated(itertools.islice(itertools.cycle(pieces), -(-events // PIECE)), pausable=False)
    stream = Stream.open(Bundle.open(bundle), source, StreamOptions(window=Window(1_000_000)))
    meter, answered = MemoryMeter.start(), 0

    def show(prediction: WindowPrediction) -> None:
        nonlocal answered
        answered += prediction.events

    summary = stream.run(show)
    return answered, meter.read().loaded or 0, summary


def plot(seen: Floats) -> Html:
    """Memory over the time of the stream."""
    left, top, width, height = 60, 28, 660, 200
    (seconds, _), most = seen[-1].tolist(), 1.15 * float(seen[:, 1].max())
    thinned = seen[:: max(1, len(seen) // 600)].tolist()
    across = [left + width * at / seconds for at, _ in thinned]
    up = [top + height * (1 - size / most) for _, size in thinned]
    step = next(step for step in (20, 50, 100, 200, 500, 1000) if most / step < 6)
    minutes = next(step for step in (0.25, 0.5, 1, 5, 10, 20) if seconds / 60 / step <= 8)
    drawn = [tag("style", Html(_LOOK)), tag("text", "memory of the process, MiB", class_="title", x=10, y=16)]
    for value in range(0, int(most) + 1, step):
        y = f"{top + height * (1 - value / most):.1f}"
        drawn += [tag("path", d=f"M{left} {y}h{width}", class_="rule"), tag("text", f"{value}", x=10, y=y)]
    for k in range(int(seconds / 60 / minutes) + 1):
        x = f"{left + width * 60 * minutes * k / seconds:.1f}"
        drawn.append(tag("text", f"{minutes * k:g} min", x=x, y=top + height + 18, text_anchor="middle"))
    line = " ".join(f"{'L' if k else 'M'}{x:.1f} {y:.1f}" for k, (x, y) in enumerate(zip(across, up, strict=True)))
    drawn.append(tag("path", d=line, class_="ours"))
    view = f"0 0 {left + width + 40} {top + height + 28}"
    label = "Memory while streaming"
    return tag("svg", joined(drawn), viewBox=view, role="img", aria_label=label, xmlns="http://www.w3.org/2000/svg")


def growth(seen: Floats) -> float:
    """MiB from the median of the first minute, but for its first ten windows, to that of the last."""
    seconds, sizes = seen.T
    first, last = sizes[10:][seconds[10:] <= 60], sizes[seconds > seconds[-1] - 60]
    return float(np.median(last) - np.median(first))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="of the stream; 1 at least")
    parser.add_argument("--burst", type=int, default=20, metavar="MILLIONS", help="of events")
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    progress, pieces = Progress(err), drawn_bytes()
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "a.bundle"
        with progress.step("export"):
            exporting = multiprocessing.get_context("spawn").Process(target=export, args=(Path(folder),))
            exporting.start()
            exporting.join()
        with progress.step(f"stream {args.minutes:g} minutes at {RATE:,} events/s, as fast as it goes"):
            seen, streamed = hour(bundle, pieces, args.minutes)
        with progress.step(f"a burst of {args.burst} M events"):
            answered, grown, bursted = burst(bundle, pieces, args.burst * 1_000_000)
    result = {
        "machine": dataclasses.asdict(conditions()),
        "network": f"{NAME} at {SIDE}x{SIDE}, {CHANNELS} channels, drawn weights",
        "seconds_and_mib": np.round(seen[:: max(1, len(seen) // 360)], 2).tolist(),
        "least_mib": float(seen[10:, 1].min()),
        "most_mib": float(seen[10:, 1].max()),
        "growth_mib": growth(seen),
        "stream": dataclasses.asdict(streamed),
        "burst": {"answered": answered, "memory_mib": grown / MIB, **dataclasses.asdict(bursted)},
    }
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.svg:
        args.svg.write_text(plot(seen) + "\n")
    print(
        f"{streamed.events:,} events in {streamed.seconds:.0f} s: {streamed.rate / 1e6:.1f} M events/s, "
        f"{streamed.windows:,} windows, {streamed.dropped:,} dropped, {streamed.late:,} late. Memory "
        f"{result['least_mib']:.1f} to {result['most_mib']:.1f} MiB, {result['growth_mib']:+.2f} MiB from the first "
        f"minute to the last, its first ten windows left out."
    )
    print(
        f"Burst: {bursted.events:,} events in {bursted.seconds:.2f} s, {bursted.dropped:,} dropped, {answered:,} in "
        f"{bursted.windows:,} windows, together {answered + bursted.dropped:,}; memory grew by {grown / MIB:.1f} MiB "
        f"at most; queue of {LIMIT:,} events."
    )


if __name__ == "__main__":
    main()
