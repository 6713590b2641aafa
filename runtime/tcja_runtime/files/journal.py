"""Journals: the results of long work so far, on disk, so that the work can be continued after an interruption.

A journal is a file in the user's cache folder. Its name is a hash of the description of the work. Its content is rows
of int32 in the byte order of this machine. Before each row is the number of the row, counted from 1. Reading stops at
the first row that is incomplete or has a wrong number. So the process may be killed at any moment, and the machine may
be switched off.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcja_runtime.machine.user_folders import user_folder

Rows = npt.NDArray[np.int32]


class Journal:
    """The results of a work that has not ended, as rows of integers.

    Args:
        descriptor: the descriptor of the open file, positioned at its end. None if no rows are kept on disk.
        rows: the rows that an earlier process wrote into the file, int32 [n, columns].

    Attributes:
        rows: as given.
    """

    def __init__(self, descriptor: int | None, rows: Rows) -> None:
        self._descriptor, self.rows, self._next = descriptor, rows, len(rows) + 1

    @property
    def active(self) -> bool:
        """Whether rows that are added now are kept on disk."""
        return self._descriptor is not None

    def discard(self) -> None:
        """Delete all rows on disk, and keep no more rows. It is called if the rows were computed from damaged input."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
        self._descriptor = None

    def add(self, rows: Rows) -> None:
        """Write more rows [n, columns] to disk. After the disk was full once, no more rows are written."""
        if self._descriptor is None:
            return
        numbers = np.arange(self._next, self._next + len(rows), dtype=np.int32)
        content = np.column_stack([numbers, rows.astype(np.int32, copy=False)]).tobytes()
        try:
            written = os.write(self._descriptor, content)
        except OSError:
            written = 0
        if written < len(content):
            self._descriptor = None
        self._next += len(rows)


@contextlib.contextmanager
def open_journal(work: str | None, columns: int) -> Iterator[Journal]:
    """A context with the journal of a work.

    The journal is deleted if the block ends without an error. It stays on disk if the block raises an error. If the
    file cannot be written, or another process has it open, the journal keeps no rows on disk.

    Args:
        work: a text that contains everything on which the results depend; None for a journal that keeps no rows.
        columns: the number of columns of the rows.
    """
    name = f"{hashlib.sha256((work or '').encode(errors='surrogateescape')).hexdigest()}.{columns}"
    descriptor = _lock_file(name) if work else None
    try:
        rows = np.zeros((0, columns), np.int32) if descriptor is None else _read_rows(descriptor, columns)
        yield Journal(descriptor, rows)
        if descriptor is not None:
            (cache_folder() / name).unlink(missing_ok=True)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _read_rows(descriptor: int, columns: int) -> Rows:
    """Returns the rows before the first row that is incomplete or has a wrong number, and deletes all other rows."""
    size = (columns + 1) * np.dtype(np.int32).itemsize
    content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    numbered = np.frombuffer(content[: len(content) // size * size], np.int32).reshape(-1, columns + 1)
    in_sequence = numbered[:, 0] == np.arange(1, len(numbered) + 1)
    rows = numbered[: int(np.cumprod(in_sequence).sum()), 1:]
    os.ftruncate(descriptor, len(rows) * size)
    os.lseek(descriptor, 0, os.SEEK_END)
    return rows


def _lock_file(name: str) -> int | None:
    """Open a file in the cache folder and lock it. Returns its descriptor; None if it cannot be opened or locked."""
    try:
        path = cache_folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def cache_folder() -> Path:
    """The cache folder of tcja-deploy, which may not exist yet (`tcja_runtime.machine.user_folders`).

    If this user has no home, it is a path at which nothing can be made.
    """
    try:
        return user_folder("XDG_CACHE_HOME", ".cache")
    except RuntimeError:
        return Path(os.devnull)
