"""An array in an .npy file (numpy.lib.format). Its header is read without the values; these are read by rows."""

from __future__ import annotations

import dataclasses
import math
import os
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput, Damaged, first_line

_BAD_HEADER = (ValueError, KeyError, EOFError, TypeError, OverflowError, SyntaxError, tokenize.TokenError)
_READERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of an .npy.

    Attributes:
        shape: the shape of the array.
        dtype: the type of the values.
        by_rows: whether the values of a row lie together (C order).
        begin: the offset of the values, in bytes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_rows: bool
    begin: int

    @property
    def size(self) -> int:
        """The size of a whole .npy with this header, in bytes."""
        return self.begin + math.prod(self.shape) * self.dtype.itemsize


def read_header(stream: IO[bytes]) -> Header:
    """Read the header of an .npy from a stream that is at its begin.

    Raises:
        ValueError: the header is not valid, or the array has Python objects. Other errors of NumPy are raised as well.
    """
    version = np.lib.format.read_magic(stream)
    if version > (2, 0):  # the newer version is for names of fields that are not Latin letters
        raise ValueError(f"version {version} of .npy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a note on headers that Python 2 wrote, which are read as well
        shape, fortran, dtype = _READERS[version[0]](stream)
    if dtype.hasobject:
        raise ValueError("Object arrays")
    if min(shape, default=0) < 0:
        raise ValueError(f"its header has shape {list(shape)}")
    return Header(shape, dtype, not fortran or len(shape) < 2, stream.tell())


@dataclasses.dataclass(frozen=True)
class Array:
    """The array in an .npy.

    Attributes:
        file: the .npy.
        head: the header of the file.
    """

    file: Path
    head: Header
    name = "its array"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.head.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.head.dtype

    def rows(self, size: int) -> Iterator[npt.NDArray[Any]]:
        """Yields the rows of an array with one or two axes from the start, at most `size` rows at a time.

        Raises:
            BadInput: the file cannot be read, or became shorter.
        """
        count, width = self.shape[0], math.prod(self.shape[1:])
        try:
            with self.file.open("rb") as stream:
                for at in range(0, count, size):
                    n = min(size, count - at)
                    if self.head.by_rows:
                        yield self._read(stream, at * width, n * width).reshape(n, *self.shape[1:])
                    else:  # a column after the other
                        columns = [self._read(stream, column * count + at, n) for column in range(width)]
                        yield np.stack(columns, 1)
        except OSError as error:
            raise BadInput(f"{self.file} cannot be read: {error.strerror or error}") from error

    def _read(self, stream: IO[bytes], first: int, count: int) -> npt.NDArray[Any]:
        """Returns values from number `first` on, [count]."""
        begin = self.head.begin + first * self.dtype.itemsize
        stream.seek(begin)
        content = stream.read(count * self.dtype.itemsize)
        if len(content) != count * self.dtype.itemsize:
            raise Damaged(begin + len(content), "the file became shorter while it was read").of(self.file)
        return np.frombuffer(content, self.dtype)


def header(file: Path) -> Array:
    """Open an .npy.

    Raises:
        BadInput: the file cannot be read, is not an .npy, or has Python objects.
        Damaged: the header is damaged, or the file does not have the size that the header says.
    """
    try:
        with file.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            found = read_header(stream)
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror or error}") from error
    except _BAD_HEADER as error:
        if "Object arrays" in str(error):
            raise BadInput(f"{file} has an array of Python objects; save an array of numbers") from error
        raise Damaged(0, f"the header of the array is damaged: {first_line(error)}").of(file) from error
    if found.size > size:
        what = f"the file ends here, and its array of shape {list(found.shape)} should end at byte {found.size:,}"
        raise Damaged(size, what).of(file)
    if found.size < size:
        what = f"the array of shape {list(found.shape)} ends here, and the file has {size - found.size:,} bytes more"
        raise Damaged(found.size, what).of(file)
    return Array(file, found)
