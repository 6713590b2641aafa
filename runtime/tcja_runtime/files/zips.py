"""Zip archives from files that may be damaged: .npz files, and the files of `torch.save`."""

from __future__ import annotations

import lzma
import tokenize
import zipfile
import zlib
from pathlib import Path

from tcja_runtime.errors import BadInput, first_line

DAMAGED = (
    *(OSError, ValueError, KeyError, EOFError, TypeError, RuntimeError, OverflowError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),  # numpy parses a header as Python
)
"""The errors that Python's readers of .zip and .npy files raise when the file is damaged."""


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive. It may be damaged."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # its end is that of an archive, with a wrong value
        return True


def names(path: Path) -> list[str]:
    """Returns the names of the members of a zip archive.

    Raises:
        BadInput: the file is not a zip archive, or its directory is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except DAMAGED as error:
        raise _damaged(path, error) from error


def check(path: Path) -> None:
    """Reads all members of a zip archive, and compares their checksums.

    Raises:
        BadInput: a member is damaged; the message names it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()
    except DAMAGED as error:
        raise _damaged(path, error) from error
    if wrong:
        raise BadInput(f"{path} is damaged: the checksum of {wrong} is wrong; copy it again")


def _damaged(path: Path, error: Exception) -> BadInput:
    if isinstance(error, PermissionError):
        return BadInput(f"{path} cannot be read: {error.strerror}")
    return BadInput(f"{path} is truncated or damaged ({first_line(error)}); copy it again")
