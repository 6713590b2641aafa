"""Results of long work, kept as they come, so that the same work goes on where it was cut off.

A journal is a file in the user's cache folder. Its name says which work it is of; its content is rows of int32 in this
machine's order of bytes, each behind its number from 1. What follows the last whole row in sequence does not count, so
that a process can be killed, and a machine switched off, at any moment.
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

Rows = npt.NDArray[np.int32]


class Journal:
    """Rows [n, columns] of a work that has not ended.

    Attributes:
        kept: those that an earlier process left.
    """

    def __init__(self, descriptor: int | None, columns: int) -> None:
        self._descriptor = descriptor
        self.kept: Rows = np.zeros((0, columns), np.int32)
        if descriptor is not None:
            size = (columns + 1) * self.kept.itemsize
            content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            numbered = np.frombuffer(content[: len(content) // size * size], np.int32).reshape(-1, columns + 1)
            in_sequence = numbered[:, 0] == np.arange(1, len(numbered) + 1)
            self.kept = numbered[: int(np.cumprod(in_sequence).sum()), 1:]
            os.ftruncate(descriptor, len(self.kept) * size)
            os.lseek(descriptor, 0, os.SEEK_END)
        self._next = len(self.kept) + 1

    @property
    def keeps(self) -> bool:
        """Whether what is added is kept."""
        return self._descriptor is not None

    def discard(self) -> None:
        """Keep nothing of what was added or left: it rests on what turned out to be wrong."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
        self._descriptor = None

    def add(self, rows: Rows) -> None:
        """Keep more of them; on a full disk none from here on."""
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
def opened(work: str | None, columns: int) -> Iterator[Journal]:
    """The journal of a work, which is removed when the work ends well and stays when it does not.

    Where no file can be written, or another process does the same work, nothing is kept.

    Args:
        work: says all that its results depend on; None keeps nothing.
        columns: of each row.
    """
    name = f"{hashlib.sha256((work or '').encode()).hexdigest()}.{columns}"
    descriptor = _locked(name) if work else None
    try:
        yield Journal(descriptor, columns)
        if descriptor is not None:
            (folder() / name).unlink(missing_ok=True)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _locked(name: str) -> int | None:
    try:
        path = folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except (OSError, RuntimeError):  # a home that cannot be found is a RuntimeError
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def folder() -> Path:
    """The folder of all caches, which may not exist yet (XDG Base Directory Specification)."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "tcja-deploy"
