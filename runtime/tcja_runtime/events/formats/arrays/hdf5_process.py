"""HDF5 files of events, read in a process of its own.

The HDF5 library is compiled code. On a damaged file it may crash, never end, or take all memory. So the module `hdf5`
runs in another process (`hdf5_child`), whose memory and time are limited. The process is kept for the next file, since
it starts in about the time in which a small file is read a hundred times.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.events.byte_recording import beginning
from tcja_runtime.events.event import Events, ReadOptions
from tcja_runtime.events.formats.arrays.hdf5 import PACKAGE
from tcja_runtime.events.formats.arrays.hdf5_child import SIZE
from tcja_runtime.events.formats.packages import require
from tcja_runtime.machine import children

_ROOM = 2**31
"""The memory that the process may take for reading, in bytes. The largest chunks of four datasets take half of it."""
_PATIENCE = 60.0
"""The seconds in which the process must have the next block of events; a block takes milliseconds."""
_KEPT = 2
"""The number of processes that wait for the next file."""


@dataclasses.dataclass
class Hdf5Recording:
    """A `Recording` in HDF5.

    Attributes:
        path: the file.
        options: what the user says about it.
        sensor: the rows and columns of the camera; None if the file does not store them.
        remarks: notes on the unit and the precision of the times (`columns.TableRecording`).
        format: "hdf5".
    """

    path: Path
    options: ReadOptions
    sensor: tuple[int, int] | None
    remarks: tuple[str, ...]
    format: str = "hdf5"

    def chunks(self) -> Iterator[Events]:
        """Yields the events from the start (`tcja_runtime.events.Recording.chunks`)."""
        with _lent(self.path) as reader:
            reader.ask(self.path, self.options, events=True)
            while "end" not in (said := reader.message()):
                yield reader.events(said["events"])
            self.remarks = tuple(said["remarks"])


def open_recording(path: Path, options: ReadOptions) -> Hdf5Recording:
    """Open an HDF5 file of events.

    Raises:
        BadInput: the file cannot be read, has no events, or has events in several places and the user chooses none.
        Unavailable: the package h5py is missing or too old, or the codec of the file is missing.
    """
    beginning(path, 1)
    require(PACKAGE, path, "HDF5")
    with _lent(path) as reader:
        reader.ask(path, options, events=False)
        said = reader.message()
    rows_and_columns = said["sensor"]
    sensor = (int(rows_and_columns[0]), int(rows_and_columns[1])) if rows_and_columns else None
    return Hdf5Recording(path, options, sensor, tuple(said["remarks"]))


@dataclasses.dataclass
class _Reader:
    """The process that reads files.

    Attributes:
        process: the process.
        requests: its standard input.
        answers: its standard output.
        path: the file that it reads, for messages.
        ended: whether it has answered, so that it may be asked again.
    """

    process: subprocess.Popen[bytes]
    requests: IO[bytes]
    answers: IO[bytes]
    path: Path
    ended: bool = True

    @classmethod
    def start(cls, path: Path) -> _Reader:
        """Start the process."""
        module = "tcja_runtime.events.formats.arrays.hdf5_child"
        process = subprocess.Popen(
            children.main_of(module, str(_ROOM), str(_PATIENCE)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a process without pipes")
        return cls(process, process.stdin, process.stdout, path)

    def ask(self, path: Path, options: ReadOptions, *, events: bool) -> None:
        """Send a request (`hdf5_child`)."""
        self.path, self.ended = path, False
        folder = "" if path.is_absolute() else str(Path.cwd())
        request = {"path": str(path), "options": options.given, "folder": folder, "events": events}
        with contextlib.suppress(BrokenPipeError):  # it ended; `message` says how
            self.requests.write(json.dumps(request).encode() + b"\n")
            self.requests.flush()

    def message(self) -> dict[str, Any]:
        """Returns the next message.

        Raises:
            BadInput: the file is refused, or the process has crashed, or was ended as it took too long.
            Unavailable: the codec of the file is missing.
        """
        (size,) = SIZE.unpack(self._bytes(SIZE.size))
        said: dict[str, Any] = json.loads(self._bytes(size))
        self.ended = "events" not in said
        if "refused" in said:
            raise {each.__name__: each for each in (BadInput, Unavailable)}[said["refused"]](said["text"])
        if "failed" in said:
            raise RuntimeError(said["failed"])
        return said

    def events(self, count: int) -> Events:
        """Returns the events after a message that says their number."""
        return Events(
            t=np.frombuffer(self._bytes(8 * count), np.int64),
            x=np.frombuffer(self._bytes(2 * count), np.uint16),
            y=np.frombuffer(self._bytes(2 * count), np.uint16),
            p=np.frombuffer(self._bytes(count), np.bool_),
        )

    def _bytes(self, count: int) -> bytearray:
        """Returns the next `count` bytes of the answer."""
        held, at = bytearray(count), 0
        while at < count:
            got = os.readv(self.answers.fileno(), [memoryview(held)[at:]])
            if not got:
                raise BadInput(f"{self.path} is damaged, or is not HDF5: {self._how_it_ended()}")
            at += got
        return held

    def _how_it_ended(self) -> str:
        status = self.process.wait()
        if status == -signal.SIGALRM:
            return f"the HDF5 library did not read the next events in {_PATIENCE:g} s"
        return f"the HDF5 library crashed (status {status})"

    def end(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.requests, self.answers):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


_waiting: list[tuple[int, _Reader]] = []
"""The processes that wait for the next file, each with the process that started it: a fork must not use them."""


@contextlib.contextmanager
def _lent(path: Path) -> Iterator[_Reader]:
    """A context with a process that reads a file: one that waits, or a new one. It is kept if it has answered."""
    reader = _waiting_one() or _Reader.start(path)
    try:
        yield reader
    finally:
        if reader.ended and len(_waiting) < _KEPT:
            _waiting.append((os.getpid(), reader))
        else:
            reader.end()


def _waiting_one() -> _Reader | None:
    """Take a process that waits; None without one. Other threads may take one at the same time."""
    while True:
        try:
            owner, reader = _waiting.pop()
        except IndexError:
            return None
        if owner != os.getpid():
            continue
        if reader.process.poll() is None:
            return reader
        reader.end()


@atexit.register
def end() -> None:
    """End the processes that wait."""
    while _waiting:
        owner, reader = _waiting.pop()
        if owner == os.getpid():
            reader.end()
