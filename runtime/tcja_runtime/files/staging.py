"""Folders that are written or changed as a whole or not at all, even if the process is killed during the work."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tcja_runtime.errors import NO_ROOM, BadInput, Unavailable


@contextlib.contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """A context with a new folder to fill.

    The folder is renamed to `destination` if the block ends without an error, and is deleted otherwise. It is also
    deleted if this process is killed: a second process waits for the end of this process, then deletes the folder.

    Raises:
        BadInput: the destination exists, or cannot be made.
        Unavailable: the disk is full.
    """
    _check_free(destination)
    # A rename is atomic only within one file system. So the folder is made in the nearest existing parent folder.
    parent = next(folder for folder in destination.absolute().parents if folder.exists())
    folder = parent / f".{secrets.token_hex(8)}.partial"
    sweeper = _sweep_after_this_process(folder)
    try:
        try:
            folder.mkdir()
        except OSError as error:
            raise _impossible(destination, error) from error
        yield folder
        _check_free(destination)
        destination.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(destination)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise Unavailable(f"the disk of {destination} is full; nothing was written") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        sweeper.communicate()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A context with a new folder for temporary files. It is deleted at the end, and if this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix="tcja-deploy-"))
    sweeper = _sweep_after_this_process(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        sweeper.communicate()


def check_new_page(path: Path, option: str) -> None:
    """Check that a new HTML page can be written. It is called before long work whose result goes into this page.

    Folders of the path that do not exist are no error, because `write_new_file` makes them.

    Args:
        path: the file.
        option: the name of the option or argument that names the file, for messages.

    Raises:
        BadInput: the file exists, its name does not end with .html, or cannot be written.
    """
    if path.exists():
        raise BadInput(f"{option} {path} exists; choose another file or remove it")
    if path.suffix.lower() != ".html":
        raise BadInput(f"{option} {path} must end with .html: it becomes an HTML page")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    trial = path if parent == path.absolute().parent else parent / f".{secrets.token_hex(8)}.trial"
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise BadInput(f"{option} {path} cannot be written: {error.strerror}; choose another file") from error


def write_new_file(path: Path, text: str) -> None:
    """Write a text in UTF-8 into a file, and make the folders of its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def restaged(folder: Path) -> Iterator[Path]:
    """A context with a copy of a folder, which may be changed.

    The copy replaces the folder if the block ends without an error, and is deleted otherwise. The files of the copy are
    hard links to the files of the folder. So do not write into a file of the copy: replace it with a new file.

    Raises:
        BadInput: the folder cannot be written, or another process is changing it.
        Unavailable: the disk is full.
    """
    place = folder.resolve()
    copy = place.parent / f".{secrets.token_hex(8)}.partial"
    sweeper = _sweep_after_this_process(copy)
    try:
        with _locked(place):
            try:
                shutil.copytree(place, copy, copy_function=_link)
                (copy / _TRIAL).touch()
                (copy / _TRIAL).unlink()
            except OSError as error:
                if error.errno in NO_ROOM:
                    raise
                raise BadInput(f"{folder} cannot be changed: {error.strerror or error}; copy it elsewhere") from error
            yield copy
            _exchange(copy, place)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise Unavailable(f"the disk of {folder} is full; it was not changed") from error
        raise
    finally:
        shutil.rmtree(copy, ignore_errors=True)
        sweeper.communicate()


_TRIAL = ".trial"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """A context in which no other process can lock the folder, so that only this process changes it.

    Raises:
        BadInput: another process has locked the folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BadInput(f"another process is changing {folder}; wait for its end") from None
    finally:
        os.close(descriptor)


def _link(source: str, destination: str) -> None:
    """Make a hard link to a file, or a copy of it."""
    try:
        os.link(source, destination)
    except OSError:  # the file system has no hard links
        shutil.copy2(source, destination)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step. On a system without this operation, the folder is missing for a moment."""
    at_fdcwd, rename_exchange = -100, 2  # <fcntl.h>, <linux/fs.h>
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(new), os.fsencode(old)
    if rename is None or rename(at_fdcwd, names[0], at_fdcwd, names[1], rename_exchange) != 0:
        aside = new.with_suffix(".replaced")
        old.rename(aside)
        new.rename(old)
        aside.rename(new)


def _check_free(destination: Path) -> None:
    """Check that nothing exists at the destination."""
    try:
        destination.lstat()
    except FileNotFoundError:
        return
    except OSError as error:  # the name is too long, or the parent is a file
        raise _impossible(destination, error) from error
    if destination == Path():
        raise BadInput("`out` is the current folder; name a new folder, such as model.bundle")
    raise BadInput(f"{destination} exists; choose another `out` or remove it")


def _impossible(destination: Path, error: OSError) -> BadInput:
    """The error for a destination that cannot be made."""
    return BadInput(f"{destination} cannot be made: {error.strerror}; choose another `out`")


_SWEEP = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"


def _sweep_after_this_process(folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that deletes a folder as soon as this process ends."""
    # The pipe closes when this process ends for any reason. In its own session, the new process gets no Ctrl-C.
    return subprocess.Popen(
        [sys.executable, "-ISc", _SWEEP, os.fspath(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
