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
    with contextlib.ExitStack() as until:  # whatever fails, or is interrupted, the rest is done
        until.callback(_remove, place)
        until.callback(os.close, descriptor)  # before, as deleting needs descriptors, of which there may be no more
        sweeper = _sweep_after_this_process(place)
        until.callback(sweeper.communicate)
        yield place


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
        os.close(descriptor)
        _remove(place)


def _try_to_lock(descriptor: int) -> bool:
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
        yield os.fstat(descriptor).st_uid == os.geteuid() and _try_to_lock(descriptor)
    finally:
        os.close(descriptor)


def _made(parent: Path, make: Callable[[Path], None]) -> tuple[Path, int]:
    """Make an unfinished file or folder and lock it. Returns its path and its descriptor."""
    _remove_left(parent)
    while True:
        place = parent / f".tcja-deploy-{secrets.token_hex(8)}.partial"
        make(place)
        try:
            descriptor = _opened(place)
        except BaseException:
            _remove(place)
            raise
        if descriptor is not None:
            return place, descriptor


def _opened(place: Path) -> int | None:
    """Open and lock what was just made. Returns its descriptor; None if another process took it for a left one."""
    descriptor = None
    try:
        descriptor = os.open(place, os.O_RDONLY)
        with contextlib.suppress(OSError):  # the file system has no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # if another process has it locked, that is removing it
        if os.path.samestat(place.stat(), os.fstat(descriptor)):
            found, descriptor = descriptor, None
            return found
    except FileNotFoundError:
        pass
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return None


def _remove_left(parent: Path) -> None:
    """Remove what dead processes left in a folder."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for place in (Path(entry.path) for entry in entries if _NAME.fullmatch(entry.name)):
            with left_by_dead_process(place) as left:
                if left:
                    _remove(place)


def _remove(place: Path) -> None:
    """Remove a file or folder as far as possible."""
    if place.is_dir():
        for folder, _, _ in os.walk(place):  # nothing can be removed from one that may not be written
            with contextlib.suppress(OSError):
                Path(folder).chmod(0o700)
        shutil.rmtree(place, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            place.unlink()


_SWEEP = """import contextlib, os, shutil, sys
sys.stdin.read()
for folder, _, _ in os.walk(sys.argv[1]):
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o700)
shutil.rmtree(sys.argv[1], ignore_errors=True)
"""
"""`_remove` for a process that imports none of ours."""


def _sweep_after_this_process(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that deletes a folder as soon as this process ends."""
    # The pipe closes when this process ends for any reason. In its own session, the new process gets no Ctrl-C.
    return subprocess.Popen(children.program(_SWEEP, os.fspath(folder)), stdin=subprocess.PIPE, start_new_session=True)
