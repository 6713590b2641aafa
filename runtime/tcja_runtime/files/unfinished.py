"""Files and folders that are not finished yet, and the removal of those that dead processes left.

An unfinished file or folder has a name of its own form (`_NAME`), and its process holds a lock on it (flock(2)). The
system takes the lock away when the process ends for any reason. So what has such a name and no lock was left by a
process that was killed. The next process that makes something unfinished in the same folder removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from tcja_runtime.machine import children

_NAME = re.compile(r"\.tcja-deploy-[0-9a-f]{16}\.partial")


@contextlib.contextmanager
def unfinished_folder(parent: Path, mode: int = 0o777) -> Iterator[Path]:
    """A context with a new folder in `parent`. Whatever has its name at the end is deleted.

    It is also deleted if this process is killed: a second process waits for the end of this process, then deletes it.
    If both are killed, the next process that calls this function deletes it.

    Args:
        parent: the folder to make it in.
        mode: its permissions, from which the system takes those of the umask away.

    Raises:
        OSError: the folder cannot be made.
    """
    place, descriptor = _made(parent, lambda place: place.mkdir(mode))
    try:
        sweeper = _sweep_after_this_process(place)
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
            sweeper.communicate()
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def unfinished_file(parent: Path) -> Iterator[Path]:
    """A context with a new empty file in `parent`. If it has not been renamed at the end, it is deleted.

    If this process is killed, the next process that makes something unfinished in this folder deletes it.

    Raises:
        OSError: the file cannot be made.
    """
    place, descriptor = _made(parent, lambda place: place.touch(exist_ok=False))
    try:
        yield place
    finally:
        place.unlink(missing_ok=True)
        os.close(descriptor)


def try_to_lock(descriptor: int) -> bool:
    """Lock an open file or folder until its descriptor is closed. Returns whether it is locked.

    It is not if another process has locked it, or if its file system has no locks, as NFS has none for folders.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def left_by_dead_process(place: Path) -> Iterator[bool]:
    """A context for a decision about a file or folder: whether it is ours, and the process that made it has ended.

    It is locked by this process until the end of the context. A link, and what belongs to another user, is not ours.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for another program.
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        yield False
        return
    try:
        yield os.fstat(descriptor).st_uid == os.geteuid() and try_to_lock(descriptor)
    finally:
        os.close(descriptor)


def _made(parent: Path, make: Callable[[Path], None]) -> tuple[Path, int]:
    """Make an unfinished file or folder and lock it. Returns its path and its descriptor."""
    _remove_left(parent)
    while True:
        place = parent / f".tcja-deploy-{secrets.token_hex(8)}.partial"
        make(place)
        with contextlib.suppress(FileNotFoundError):  # before it was locked, another process took it for a left one
            descriptor = os.open(place, os.O_RDONLY)
            try:
                try_to_lock(descriptor)
                if place.stat().st_ino == os.fstat(descriptor).st_ino:
                    return place, descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


def _remove_left(parent: Path) -> None:
    """Remove what dead processes left in a folder."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not _NAME.fullmatch(entry.name):
                continue
            place = Path(entry.path)
            with left_by_dead_process(place) as left, contextlib.suppress(OSError):
                if left and stat.S_ISDIR(place.lstat().st_mode):
                    shutil.rmtree(place, ignore_errors=True)
                elif left:
                    place.unlink()


_SWEEP = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"


def _sweep_after_this_process(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that deletes a folder as soon as this process ends."""
    # The pipe closes when this process ends for any reason. In its own session, the new process gets no Ctrl-C.
    return subprocess.Popen(children.program(_SWEEP, os.fspath(folder)), stdin=subprocess.PIPE, start_new_session=True)
