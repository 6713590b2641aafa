"""How fast recordings are read, against the reader that is known for each format, on the same file and in turns.

    python -m benchmarks.events.readers

The events are drawn: moving dots on noise, on a sensor of 640 x 480 (ATIS: 240 x 180). Each file is read five times by
either, one after the other; the ratio is of the fastest. Files are read from the page cache.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import evio
import faery
import numpy as np

from tcja_runtime.events import recording

COUNT = 2_000_000
TURNS = 5


def drawn(columns: int, rows: int) -> np.ndarray:
    """Events as faery has them, a million a second."""
    rng = np.random.default_rng(0)
    events = np.zeros(COUNT, [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")])
    events["t"] = np.arange(COUNT)
    dot = rng.random(COUNT) < 0.8
    place = events["t"] // 500
    events["x"] = np.where(dot, place + rng.integers(0, 20, COUNT), rng.integers(0, columns, COUNT)) % columns
    events["y"] = np.where(dot, place // 3 + rng.integers(0, 20, COUNT), rng.integers(0, rows, COUNT)) % rows
    events["on"] = rng.random(COUNT) < 0.5
    return events


def written(folder: Path) -> Iterator[tuple[Path, str, Callable[[Path], int]]]:
    """Files, whose reader it is, and what counts the events that it reads."""
    events = drawn(240, 180)
    high = events["t"] >> 16 | events["on"].astype(np.uint64) << 7
    columns = [events["x"], events["y"], high, events["t"] >> 8 & 255, events["t"] & 255]
    (folder / "atis.bin").write_bytes(np.stack(columns, 1).astype(np.uint8).tobytes())
    yield folder / "atis.bin", "evio", lambda file: len(evio.read(file))

    events = drawn(640, 480)
    word = events["on"].astype(np.uint32) << 28 | events["y"].astype(np.uint32) << 14 | events["x"]
    table = np.stack([events["t"].astype(np.uint32), word], 1).astype("<u4")
    (folder / "dat.dat").write_bytes(b"% Version 2\n% Height 480\n% Width 640\n\x0c\x08" + table.tobytes())
    yield folder / "dat.dat", "evio", lambda file: len(evio.read(file))

    stream = faery.events_stream_from_array(events, dimensions=(640, 480))
    for name, version in (("evt2.raw", "evt2"), ("evt3.raw", "evt3"), ("aedat4.aedat4", None)):
        stream.to_file(folder / name, version=version)
        yield folder / name, "faery", lambda file: sum(map(len, faery.events_stream_from_file(file)))


def ours(file: Path) -> int:
    return sum(map(len, recording(file).chunks()))


def main() -> None:
    print("format   events/s  of the peer's")
    with tempfile.TemporaryDirectory() as folder:
        for file, peer, theirs in written(Path(folder)):
            spent: dict[str, list[float]] = {"ours": [], "theirs": []}
            for _ in range(TURNS):
                for name, read in (("ours", ours), ("theirs", theirs)):
                    begin = time.perf_counter()
                    count = read(file)
                    spent[name].append(time.perf_counter() - begin)
                    if count != COUNT:
                        raise SystemExit(f"{file.name}: {name} read {count:,} of {COUNT:,} events")
            fastest = {name: min(times) for name, times in spent.items()}
            ratio = fastest["theirs"] / fastest["ours"]
            print(f"{file.stem:8} {COUNT / fastest['ours'] / 1e6:5.1f} M   {ratio:5.2f} x {peer}")


if __name__ == "__main__":
    main()
