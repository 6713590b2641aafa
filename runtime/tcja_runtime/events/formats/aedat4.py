"""AEDAT 4, the format of DV and dv-processing, read with the package `aedat`.

The package unpacks LZ4 and Zstandard, and reads the flatbuffers in the unpacked packets. It is compiled code: on a
damaged file it may panic, crash, or allocate all memory. So it runs in a separate process (`aedat4_child`), which is
started each time a file is read. If a file has several streams of events, the first one is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tcja_runtime.errors import Damaged
from tcja_runtime.events.byte_recording import beginning
from tcja_runtime.events.event import CHUNK, Events, ReadOptions
from tcja_runtime.events.formats.aedat4_child import DAMAGED, END, SIZES
from tcja_runtime.events.formats.aedat4_packets import PacketIndex
from tcja_runtime.events.formats.packages import require
from tcja_runtime.machine import children

PACKAGE = "aedat"
_EVENT = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])
_TOGETHER = CHUNK // 4  # events; small packets are joined until they have this many, then they are yielded together
_PATIENCE = 60.0  # seconds without a byte after which the reader is taken to hang; a packet takes milliseconds


@dataclasses.dataclass(frozen=True)
class Aedat4:
    """A `Recording` in AEDAT 4.

    Attributes:
        path: the file.
        sensor: the rows and columns of the camera.
        format: "aedat4".
        remarks: empty.
    """

    path: Path
    sensor: tuple[int, int]
    format: str = "aedat4"
    remarks: tuple[str, ...] = ()

    def chunks(self) -> Iterator[Events]:
        """Yields the events from the start (`tcja_runtime.events.Recording.chunks`)."""
        with _Reader.start(self.path, self.sensor) as reader:
            held: list[Events] = []
            for events in reader.events():
                held.append(events)
                if sum(map(len, held)) >= _TOGETHER:
                    yield Events.joined(held)
                    held = []
            if sum(map(len, held)):
                yield Events.joined(held)


def open_recording(path: Path, _: ReadOptions) -> Aedat4:
    """Open a recording and read its header.

    Raises:
        BadInput: the file cannot be read.
        Damaged: the header is damaged.
        Unavailable: the package `aedat` is missing or too old.
    """
    beginning(path, 1)
    require(PACKAGE, path, "AEDAT 4")
    try:
        with path.open("rb") as file:
            return Aedat4(path, PacketIndex.read(file).sensor)
    except Damaged as damaged:
        raise damaged.of(path) from None


class _Reader(contextlib.AbstractContextManager["_Reader"]):
    """The process that reads a file, and its output."""

    def __init__(self, path: Path, sensor: tuple[int, int], process: subprocess.Popen[bytes]) -> None:
        self._path, self._sensor, self._process = path, sensor, process
        self._at = 0  # the offset of the last packet that the process began to read

    @classmethod
    def start(cls, path: Path, sensor: tuple[int, int]) -> _Reader:
        """Start the process for a file."""
        process = subprocess.Popen(
            children.main_of("tcja_runtime.events.formats.aedat4_child", str(path)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        return cls(path, sensor, process)

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def events(self) -> Iterator[Events]:
        """Yields the events of each packet.

        Raises:
            Damaged: the file is damaged, or the process crashes or hangs.
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
                what = f"the packet has an event at row {y}, column {x}, time {t}; the sensor is {height} x {width}"
                raise Damaged(self._at, what).of(self._path)
            yield Events(table["t"].astype(np.int64), table["x"].copy(), table["y"].copy(), table["p"].copy())

    def _sizes(self) -> tuple[int, int]:
        """Returns the next record of `SIZES`: the offset of a packet, and its number of events or `END`."""
        first, second = SIZES.unpack(self._bytes(SIZES.size))
        if second == DAMAGED:
            text = self._bytes(int.from_bytes(self._bytes(4), "little"))
            raise Damaged(first, text.decode()).of(self._path)
        return first, second

    def _bytes(self, count: int) -> bytes:
        """Returns the next `count` bytes of the output of the process."""
        pipe = self._process.stdout
        held = bytearray()
        while pipe is not None and len(held) < count:
            ready, _, _ = select.select([pipe], [], [], _PATIENCE)
            if not ready:
                what = f"the reader hangs at this packet or the next one; it has been silent for {_PATIENCE:g} s"
                raise Damaged(self._at, what).of(self._path)
            got = os.read(pipe.fileno(), min(count - len(held), 2**20))
            if not got:
                status = self._process.wait()
                what = f"the reader crashed at this packet or the next one (status {status})"
                raise Damaged(self._at, what).of(self._path)
            held += got
        return bytes(held)
