"""Zip archives from files that may be damaged: .npz files, and the files of `torch.save`."""

from __future__ import annotations

import contextlib
import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tcja_runtime.errors import BadInput, first_line
from tcja_runtime.files.limits import DIRECTORY, UNPACKED

DAMAGED = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, OverflowError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),  # numpy parses a header as Python
)
"""The errors that Python's readers of .zip and .npy files raise when the file is damaged."""


def is_zip(stream: IO[bytes]) -> bool:
    """Whether a file is a zip archive. It may be damaged."""
    try:
        return zipfile.is_zipfile(stream)
    except zipfile.BadZipFile:  # its end is that of an archive, with a wrong value
        return True


@contextlib.contextmanager
def opened(stream: IO[bytes], path: Path) -> Iterator[zipfile.ZipFile]:
    """A context with a zip archive.

    Args:
        stream: the file.
        path: its path, for messages.

    Raises:
        BadInput: the file is no zip archive, its directory is damaged or too large, or the block finds damage.
    """
    try:
        with archive(stream, path) as found:
            yield found
    except DAMAGED as error:
        raise _damaged(path, error) from error


@contextlib.contextmanager
def archive(stream: IO[bytes], path: Path) -> Iterator[zipfile.ZipFile]:
    """The same, but damage raises one of the errors in `DAMAGED`."""
    with zipfile.ZipFile(_Opening(stream, path)) as found:
        found.fp = stream
        yield found


def check_sizes(found: zipfile.ZipFile, size: int, path: Path) -> None:
    """Check that an archive that compresses nothing, such as that of `torch.save`, is about as large as what it holds.

    Args:
        found: the archive.
        size: the size of the file, in bytes.
        path: its path, for messages.

    Raises:
        BadInput: it is far smaller or larger.
    """
    unpacked = sum(info.file_size for info in found.infolist())
    if abs(unpacked - size) > UNPACKED:
        raise BadInput(f"{path} has {size:,} bytes and holds {unpacked:,}; save it without compression")


def check(found: zipfile.ZipFile, path: Path) -> None:
    """Read all members of an archive, and compare their checksums.

    Raises:
        BadInput: a member is damaged; the message names it.
    """
    wrong = found.testzip()
    if wrong:
        raise BadInput(f"{path} is damaged: the checksum of {wrong} is wrong; copy it again")


class _Opening:
    """A file that is opened as an archive: its directory, which `zipfile` reads at once, has a limit."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream, self._path = stream, path

    def read(self, size: int = -1) -> bytes:
        DIRECTORY.check(size, f"the directory of {self._path}")
        return self._stream.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _damaged(path: Path, error: Exception) -> BadInput:
    if isinstance(error, PermissionError):
        return BadInput(f"{path} cannot be read: {error.strerror}")
    return BadInput(f"{path} is truncated or damaged ({first_line(error)}); copy it again")
