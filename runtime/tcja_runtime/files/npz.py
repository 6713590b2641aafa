"""Arrays in .npz files, read as they are needed.

An .npz is a zip archive of .npy files (numpy.lib.format): a header that says type, shape and order, then the values. A
header is read without the values, and values some rows at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput, Damaged

_BLOCK = 2**20  # bytes
_DAMAGED = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, OverflowError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),  # a header is read as Python's text
)


@dataclasses.dataclass(frozen=True)
class Array:
    """An array in an .npz, as its header says.

    Attributes:
        file: the .npz.
        name: of the array.
        shape: all of it.
        dtype: of its values.
        straight: whether the values are in the order of the axes.
        begin: where the values begin, in bytes of its .npy.
        offset: where the .npy begins, in bytes of the file.
        check: size and CRC-32 of its .npy.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    straight: bool
    begin: int
    offset: int
    check: tuple[int, int]

    def rows(self, size: int, start: int = 0) -> Iterator[npt.NDArray[Any]]:
        """Those from `start` on, at most `size` at a time."""
        if not self.straight:  # its rows lie scattered
            whole = self.whole()
            yield from (whole[at : at + size] for at in range(start, len(whole), size))
            return
        shape = self.shape[1:]
        stride = math.prod(shape) * self.dtype.itemsize
        with opened(self.file) as archive, self._read(archive) as stream:
            # Read, for whoever skips bytes is not told that they are damaged.
            for at in range(0, self.begin + start * stride, _BLOCK):
                stream.read(min(_BLOCK, self.begin + start * stride - at))
            for at in range(start, self.shape[0], size):
                n = min(size, self.shape[0] - at)
                yield np.frombuffer(_exactly(stream, n * stride), self.dtype).reshape(n, *shape)

    def whole(self) -> npt.NDArray[Any]:
        """All of it."""
        with opened(self.file) as archive, self._read(archive) as stream:
            array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
            return array

    @contextlib.contextmanager
    def _read(self, archive: zipfile.ZipFile) -> Iterator[IO[bytes]]:
        with _damage(self.file, self.name, self.offset), archive.open(f"{self.name}.npy") as stream:
            yield stream


@contextlib.contextmanager
def opened(file: Path) -> Iterator[zipfile.ZipFile]:
    """An archive; what is wrong with it, found while it is read, is said in a line."""
    try:
        if not file.is_file():  # a pipe or a device might never end
            missing = "is not a file" if file.exists() else "does not exist"
            raise BadInput(f"{file} {missing}")
        with zipfile.ZipFile(file) as archive:
            yield archive
    except PermissionError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from error
    except _DAMAGED as error:
        raise BadInput(f"{file} is not an .npz file, or a damaged one") from error


@contextlib.contextmanager
def _damage(file: Path, name: str, offset: int) -> Iterator[None]:
    """Within, damage is said with the array that it is found in, and where that begins."""
    try:
        yield
    except _DAMAGED as error:
        if "Object arrays" in str(error):
            raise BadInput(f"{file} holds an array of Python objects; save arrays of numbers") from error
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Damaged(max(0, offset), f"array {name}, which begins here, is damaged: {said}").of(file) from error


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("it ends too early")
    return content


def arrays(file: Path) -> dict[str, Array]:
    """The arrays of an .npz by name; members that are no arrays are passed over.

    Raises:
        BadInput: it is none.
        Damaged: one of its arrays is.
    """
    found = {}
    with opened(file) as archive:
        for info in archive.infolist():
            name, dot, kind = info.filename.rpartition(".")
            if (dot, kind) != (".", "npy"):
                continue
            with _damage(file, name, info.header_offset), archive.open(info) as stream:
                version = np.lib.format.read_magic(stream)
                if version > (2, 0):  # for names of fields, which no numbers have
                    raise ValueError(f"version {version} of .npy")
                read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
                shape, fortran, dtype = read(stream)
                if dtype.hasobject:
                    raise ValueError("Object arrays")
                if min(shape, default=0) < 0 or stream.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
                    # More than there is, for which memory would be asked.
                    raise ValueError(f"its header promises shape {list(shape)}, which is not what there is")
                straight = not fortran or len(shape) < 2
                check = info.file_size, info.CRC
                found[name] = Array(file, name, shape, dtype, straight, stream.tell(), info.header_offset, check)
    return found
