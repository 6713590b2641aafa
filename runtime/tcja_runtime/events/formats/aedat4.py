"""AEDAT 4, through the package `aedat`: it unpacks LZ4 and Zstandard, and reads the flatbuffers inside.

Compiled code that reads damaged files can panic, crash or ask for all memory, so it runs in a process of its own
(`aedat4_child`), one for every pass over a file. Of several streams of events the first is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tcja_runtime.errors import Damaged, Unavailable
from tcja_runtime.events.event import CHUNK, Events
from tcja_runtime.events.formats.aedat4_child import DAMAGED, END, SIZES
from tcja_runtime.events.formats.aedat4_layout import Layout

PACKAGE = "aedat"
_EVENT = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
_TOGETHER = CHUNK // 4  # events
_PATIENCE = 60.0  # seconds without a byte: reading a packet takes thousandths of one
_PROGRAM = """import sys
path, *sys.path = sys.argv[1:]
from tcja_runtime.events.formats.aedat4_child import main
main(path)"""


@dataclasses.dataclass(frozen=True)
class Aedat4:
    """A `Recording`."""

    path: Path
    sensor: tuple[int, int]
    format: str = "aedat4"

    def chunks(self) -> Iterator[Events]:
        with _Reader(self.path, self.sensor) as reader:
            held: list[Events] = []
            for events in reader.events():
                held.append(events)
                if sum(map(len, held)) >= _TOGETHER:
                    yield Events.joined(held)
                    held = []
            if sum(map(len, held)):
                yield Events.joined(held)


def opened(path: Path) -> Aedat4:
    """A recording, whose header is looked at.

    Raises:
        Damaged: the header is damaged.
        Unavailable: `aedat` is not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise Unavailable(f"{path} is AEDAT 4, and {PACKAGE}, which reads it, is not installed: pip install {PACKAGE}")
    try:
        with path.open("rb") as stream:
            return Aedat4(path, Layout(stream).sensor)
    except Damaged as damaged:
        raise damaged.of(path) from None


class _Reader(contextlib.AbstractContextManager["_Reader"]):
    """The process that reads a file."""

    def __init__(self, path: Path, sensor: tuple[int, int]) -> None:
        self._path, self._at, self._sensor = path, 0, sensor
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(path), *(folder or str(Path.cwd()) for folder in sys.path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def events(self) -> Iterator[Events]:
        """A run for each packet.

        Raises:
            Damaged: the file is damaged.
        """
        height, width = self._sensor
        while True:
            self._at, count = self._sizes()
            if count == END:
                return
            table = np.frombuffer(self._bytes(count * _EVENT.itemsize), _EVENT)
            wrong = (table["x"] >= width) | (table["y"] >= height) | (table["t"] >= 2**63)
            if wrong.any():
                t, x, y, _ = table[int(np.argmax(wrong))].tolist()
                what = f"the packet has an event at row {y}, column {x}, time {t}, on a sensor of {height} x {width}"
                raise Damaged(self._at, what).of(self._path)
            yield Events(table["t"].astype(np.int64), table["x"].copy(), table["y"].copy(), table["p"].copy())

    def _sizes(self) -> tuple[int, int]:
        first, second = SIZES.unpack(self._bytes(SIZES.size))
        if second == DAMAGED:
            text = self._bytes(int.from_bytes(self._bytes(4), "little"))
            raise Damaged(first, text.decode()).of(self._path)
        return first, second

    def _bytes(self, count: int) -> bytes:
        pipe = self._process.stdout
        held = bytearray()
        while pipe is not None and len(held) < count:
            ready, _, _ = select.select([pipe], [], [], _PATIENCE)
            if not ready:
                raise Damaged(self._at, f"the reader hangs at this packet or behind it, since {_PATIENCE:g} s").of(
                    self._path
                )
            got = os.read(pipe.fileno(), min(count - len(held), 2**20))
            if not got:
                status = self._process.wait()
                raise Damaged(self._at, f"the reader crashed at this packet or behind it (status {status})").of(
                    self._path
                )
            held += got
        return bytes(held)
