"""Events as SpikingJelly stores them: an .npz of t, x, y and p, each an array [E] of whole numbers.

The four arrays are read in step, so memory does not grow with them. Checksums of the archive are compared on the way:
whatever is damaged is found, at the latest at the end of an array.

Source: `np_savez` in `spikingjelly.datasets`; numpy.lib.format.
"""

from __future__ import annotations

import contextlib
import dataclasses
import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput
from tcja_runtime.events.event import CHUNK, Damaged, Events

KEYS = ("t", "x", "y", "p")
_MOST = {"t": 2**63 - 1, "x": 2**16 - 1, "y": 2**16 - 1, "p": 1}
_STEP = CHUNK // 4
_UNREADABLE = (
    *(
        ValueError,
        KeyError,
        EOFError,
        TypeError,
        RuntimeError,
        NotImplementedError,
        OverflowError,
        SyntaxError,
        RecursionError,
    ),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),  # a header is read as Python's text
)


@dataclasses.dataclass(frozen=True)
class SpikingJelly:
    """A `Recording` in an .npz."""

    path: Path
    format: str = "spikingjelly"
    sensor: tuple[int, int] | None = None

    def chunks(self) -> Iterator[Events]:
        with contextlib.ExitStack() as stack:
            archive = stack.enter_context(_archive(self.path))
            members = [
                _Member(self.path, archive.getinfo(f"{key}.npy"), stack.enter_context(archive.open(f"{key}.npy")))
                for key in KEYS
            ]
            lengths = [member.length for member in members]
            if len(set(lengths)) > 1:
                counts = ", ".join(f"{n:,} {key}" for key, n in zip(KEYS, lengths, strict=True))
                raise BadInput(f"{self.path}: its arrays are of different lengths: {counts}")
            for at in range(0, lengths[0], _STEP):
                t, x, y, p = (member.next(at, min(_STEP, lengths[0] - at)) for member in members)
                yield Events(t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p.astype(np.bool_))


def keys(path: Path) -> set[str]:
    """Names of the arrays in an .npz.

    Raises:
        BadInput: it is none, or damaged.
    """
    with _archive(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive; what is wrong with it, found while it is read, is said in a line."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    except _UNREADABLE as error:
        raise BadInput(f"{path} is not an .npz file, or a damaged one: {str(error).splitlines()[0]}") from error


class _Member:
    """An array, whose values are read a run at a time."""

    def __init__(self, path: Path, info: zipfile.ZipInfo, stream: IO[bytes]) -> None:
        key = info.filename.removesuffix(".npy")
        self._path, self._key, self._begin, self._stream = path, key, info.header_offset, stream
        with self._damage():
            version = np.lib.format.read_magic(self._stream)
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"version {version} of .npy")
            read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
            shape, _, dtype = read(self._stream)
            if dtype.hasobject or dtype.kind not in "iub":
                raise BadInput(f"{path}: {key} is of type {dtype}; events are whole numbers")
            if len(shape) != 1:
                raise BadInput(f"{path}: {key} has shape {list(shape)}; events are one number each")
            if shape[0] < 0 or self._stream.tell() + shape[0] * dtype.itemsize != info.file_size:
                raise ValueError(f"its header promises {shape[0]:,} values, which is not what there is")
        self.length: int = shape[0]
        self._dtype: np.dtype[Any] = dtype

    def next(self, at: int, count: int) -> npt.NDArray[Any]:
        """The values from event `at` on, which are the next ones."""
        with self._damage():
            content = self._stream.read(count * self._dtype.itemsize)
            if len(content) != count * self._dtype.itemsize:
                raise EOFError("it ends too early")
        values = np.frombuffer(content, self._dtype)
        if int(values.min()) < 0 or int(values.max()) > _MOST[self._key]:
            event = int(np.argmax((values < 0) | (values > _MOST[self._key])))
            what = f"{self._key} of event {at + event:,} is {values[event]}; it can be 0 to {_MOST[self._key]:,}"
            raise BadInput(f"{self._path}: {what}")
        return values

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        """Say which array is damaged, and where it begins."""
        try:
            yield
        except _UNREADABLE as error:
            what = f"array {self._key}, which begins here, is damaged: {str(error).splitlines()[0]}"
            damaged = Damaged(self._begin, what)
            raise damaged.of(self._path) from error
