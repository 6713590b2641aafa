"""Arrays in .npz files. They are read a few rows at a time.

An .npz is a zip archive of .npy files (numpy.lib.format). An .npy has a header with the type, the shape and the order
of the array, then the values. The headers are read without the values.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput, Damaged, first_line
from tcja_runtime.files import limits, npy, zips
from tcja_runtime.files.reading import open_file
from tcja_runtime.files.zips import DAMAGED

_BLOCK = 2**20  # bytes


@dataclasses.dataclass(frozen=True)
class Array:
    """An array in an .npz, described by its header.

    Attributes:
        file: the .npz.
        name: the name of the array.
        shape: the shape of the array.
        dtype: the type of the values.
        by_rows: whether the values of a row lie together in the file (C order).
        begin: the offset of the values in the .npy, in bytes.
        offset: the offset of the .npy in the .npz, in bytes.
        size: the size of the .npy in bytes.
        packed: its size in the .npz, in bytes.
        content: the content of the .npz, if it is in memory; then the file is not read.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_rows: bool
    begin: int
    offset: int
    size: int
    packed: int
    content: bytes | None = dataclasses.field(default=None, repr=False)

    @functools.cached_property
    def checks(self) -> tuple[tuple[int, str], ...]:
        """The size of the .npy in bytes, and the SHA-256 of its bytes. They are read when this is asked for first.

        Raises:
            Damaged: the array is damaged.
        """
        digest = hashlib.sha256()
        with _open_archive(self.file, self.content) as archive, self._read(archive) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        return ((self.size, digest.hexdigest()),)

    def rows(self, size: int, start: int = 0) -> Iterator[npt.NDArray[Any]]:
        """Yields the rows from number `start` on, [n, ...] with at most `size` rows at a time.

        Raises:
            Damaged: the array is damaged.
        """
        if not self.by_rows:
            whole = self.whole()
            yield from (whole[at : at + size] for at in range(start, len(whole), size))
            return
        shape = self.shape[1:]
        stride = math.prod(shape) * self.dtype.itemsize
        with _open_archive(self.file, self.content) as archive, self._read(archive) as stream:
            # The skipped bytes are read too, because the checksum is compared only over all bytes.
            for at in range(0, self.begin + start * stride, _BLOCK):
                stream.read(min(_BLOCK, self.begin + start * stride - at))
            for at in range(start, self.shape[0], size):
                n = min(size, self.shape[0] - at)
                yield np.frombuffer(_exactly(stream, n * stride), self.dtype).reshape(n, *shape)

    def whole(self, most: int | None = None) -> npt.NDArray[Any]:
        """Returns the whole array.

        Args:
            most: the largest size of the array in bytes; None for that of files that nobody knows (`limits.room`).

        Raises:
            BadInput: the array is larger.
            Damaged: the array is damaged.
        """
        most = limits.room(self.packed) if most is None else most
        if self.size > most:
            raise BadInput(f"{self.file}: array {self.name} unpacks to {self.size:,} bytes, and may have {most:,}")
        with _open_archive(self.file, self.content) as archive:
            return self.whole_in(archive)

    def whole_in(self, archive: zipfile.ZipFile) -> npt.NDArray[Any]:
        """Returns the whole array, of any size, from the .npz that is open (`whole`)."""
        with self._read(archive) as stream:
            array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
            return array

    @contextlib.contextmanager
    def _read(self, archive: zipfile.ZipFile) -> Iterator[IO[bytes]]:
        """The bytes of the .npy."""
        with _damage(self.file, self.name, self.offset), archive.open(f"{self.name}.npy") as stream:
            yield stream


@contextlib.contextmanager
def _open_archive(file: Path, content: bytes | None) -> Iterator[zipfile.ZipFile]:
    """A context with the open .npz. If the block finds that the archive is damaged, a `BadInput` is raised."""
    try:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(open_file(file, limits.ARRAYS) if content is None else io.BytesIO(content))
            archive = stack.enter_context(zips.archive(stream, file))
            if len(archive.infolist()) > limits.MOST_ARRAYS:
                raise BadInput(f"{file} has more than {limits.MOST_ARRAYS:,} arrays")
            yield archive
    except FileNotFoundError as error:
        raise BadInput(f"{file} does not exist") from error
    except PermissionError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}") from error
    except DAMAGED as error:
        raise BadInput(f"{file} is not an .npz file, or it is damaged") from error


@contextlib.contextmanager
def _damage(file: Path, name: str, offset: int) -> Iterator[None]:
    """A context for reading an array. Damage that the block finds raises `Damaged`, with the name and the offset."""
    try:
        yield
    except DAMAGED as error:
        if "Object arrays" in str(error):
            raise BadInput(f"{file} has an array of Python objects; save arrays of numbers") from error
        raise Damaged(max(0, offset), f"array {name}, which begins here, is damaged: {first_line(error)}").of(
            file
        ) from error


def _exactly(stream: IO[bytes], size: int) -> bytes:
    """Returns the next `size` bytes of a stream.

    Raises:
        EOFError: the stream has fewer bytes.
    """
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("it ends too early")
    return content


def arrays(file: Path, content: bytes | None = None) -> dict[str, Array]:
    """Returns the arrays of an .npz by their names. Members that are not .npy files are skipped.

    Args:
        file: the .npz.
        content: its content, if it is in memory; then the path is only for messages.

    Raises:
        BadInput: the file is not an .npz.
        Damaged: the header of an array is damaged.
    """
    with _open_archive(file, content) as archive:
        return _arrays(archive, file, content)


def values(file: Path, content: bytes | None = None, *, more: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Returns the values of all arrays of an .npz by their names. The directory of the archive is read once.

    Args:
        file: the .npz.
        content: its content, if it is in memory.
        more: the bytes that the arrays may have beyond those of files that nobody knows (`limits.room`).

    Raises:
        BadInput: as for `arrays`, or all arrays together are larger.
    """
    with _open_archive(file, content) as archive:
        found = _arrays(archive, file, content)
        unpacked, packed = (sum(getattr(array, name) for array in found.values()) for name in ("size", "packed"))
        most = limits.room(packed) + more
        if unpacked > most:
            raise BadInput(f"{file} unpacks to {unpacked:,} bytes, and may have {most:,}")
        return {name: array.whole_in(archive) for name, array in found.items()}


def _arrays(archive: zipfile.ZipFile, file: Path, content: bytes | None) -> dict[str, Array]:
    """The arrays of an open .npz (`arrays`)."""
    found = {}
    size = file.stat().st_size if content is None else len(content)
    for info in archive.infolist():
        name, dot, kind = info.filename.rpartition(".")
        if (dot, kind) != (".", "npy"):
            continue
        if not 0 <= info.header_offset < size:
            raise BadInput(
                f"{file} is damaged: its directory says that array {name} begins at byte {info.header_offset:,}, and "
                f"the file has {size:,} bytes"
            )
        with _damage(file, name, info.header_offset), archive.open(info) as stream:
            head = npy.read_header(stream)
            if head.size != info.file_size:
                # Without this check, memory would be allocated for values that are not in the file.
                raise ValueError(f"its header has shape {list(head.shape)}, which does not fit its size")
            place = head.begin, info.header_offset, info.file_size, info.compress_size
            found[name] = Array(file, name, head.shape, head.dtype, head.by_rows, *place, content)
    return found
