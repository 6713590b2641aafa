"""Files and folders that are written or changed as a whole or not at all, even if the process is killed meanwhile.

What is written is on the disk (fsync(2)) before it gets its name. So a machine that is switched off has the old content
or the new one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tcja_runtime.errors import NO_ROOM, USED_UP, BadInput, Unavailable
from tcja_runtime.files.unfinished import left_by_dead_process, unfinished_file, unfinished_folder


@contextlib.contextmanager
def staged(destination: Path, argument: str = "`out`") -> Iterator[Path]:
    """A context with a new folder to fill.

    The folder is renamed to `destination` if the block ends without an error, and is deleted otherwise. It is also
    deleted if this process is killed (`tcja_runtime.files.unfinished`).

    Args:
        destination: the folder.
        argument: what names it, for messages.

    Raises:
        BadInput: the destination exists, or cannot be made.
        Unavailable: the disk is full.
    """
    put_back(destination)
    _check_free(destination, argument)
    # A rename is atomic only within one file system. So the folder is made in the nearest existing parent folder.
    parent = next(folder for folder in destination.absolute().parents if folder.exists())
    try:
        with contextlib.ExitStack() as until:
            try:
                folder = until.enter_context(unfinished_folder(parent))
            except OSError as error:
                if error.errno in (*NO_ROOM, *USED_UP):
                    raise
                raise _impossible(destination, argument, error) from error
            yield folder
            _check_free(destination, argument)
            destination.parent.mkdir(parents=True, exist_ok=True)
            _sync_all(folder)
            folder.rename(destination)
            _sync(destination.parent)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise Unavailable(f"the disk of {destination} is full; nothing was written") from error
        raise


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A context with a new folder for temporary files. It is deleted at the end, and if this process is killed."""
    with unfinished_folder(Path(tempfile.gettempdir()), 0o700) as folder:
        yield folder


def check_new_page(path: Path, option: str) -> None:
    """Check that a new HTML page can be written. It is called before long work whose result goes into this page.

    Folders of the path that do not exist are no error, because `write_whole` makes them.

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


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file, as a whole or not at all, and make the folders of its path. It takes the place of an old file.

    Args:
        path: the file.
        content: its content; a text is written in UTF-8.

    Raises:
        OSError: the file cannot be written; the error names it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished_file(path.parent) as partial:
            partial.write_bytes(content.encode() if isinstance(content, str) else content)
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
    except OSError as error:
        error.filename, error.filename2 = os.fspath(path), None  # not the name of the unfinished file
        raise


@contextlib.contextmanager
def restaged(folder: Path) -> Iterator[Path]:
    """A context with a copy of a folder, which may be changed. The folder is `locked` by this process.

    The copy replaces the folder if the block ends without an error, and is deleted otherwise. The files of the copy are
    hard links to the files of the folder. So do not write into a file of the copy: replace it with a new file. Links in
    the folder are copied as links.

    Raises:
        BadInput: the folder cannot be written.
        Unavailable: the disk is full.
    """
    place = folder.resolve()
    try:
        with contextlib.ExitStack() as until:
            try:
                copy = until.enter_context(unfinished_folder(place.parent))
                copy_folder(place, copy, symlinks=True, copy_function=_link, dirs_exist_ok=True)
                (copy / _TRIAL).touch()
                (copy / _TRIAL).unlink()
            except OSError as error:
                if error.errno in (*NO_ROOM, *USED_UP):
                    raise
                raise BadInput(f"{folder} cannot be changed: {error.strerror or error}; copy it elsewhere") from error
            yield copy
            _sync_all(copy)
            _exchange(copy, place)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise Unavailable(f"the disk of {folder} is full; it was not changed") from error
        raise


def copy_folder(source: Path, destination: Path, **options: Any) -> None:
    """Copy a folder, as `shutil.copytree` does, which takes the options.

    Raises:
        OSError: the first error of the system, with its number. `shutil.copytree` gives those of all files, as texts.
    """
    try:
        shutil.copytree(source, destination, **options)
    except shutil.Error as error:
        _, name, text = error.args[0][0]
        number = re.match(r"\[Errno (\d+)\]", text)
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), os.fspath(name)) from error


def put_back(folder: Path) -> None:
    """Give a folder its name back if a process was killed while it replaced the folder.

    This is needed only where the system cannot swap two folders in one step (`_exchange`). If the folder has its name,
    what it replaced is deleted.
    """
    with contextlib.suppress(OSError, RuntimeError):  # Python up to 3.12 raises a RuntimeError for links in a circle
        place = folder.resolve()
        name = re.compile(re.escape(place.name) + r"\.[0-9a-f]{16}\.replaced")
        for old in sorted(each for each in place.parent.iterdir() if name.fullmatch(each.name)):
            with left_by_dead_process(old) as left:
                if left and old.is_dir() and not place.exists():
                    old.rename(place)
                elif left and old.is_dir():
                    shutil.rmtree(old, ignore_errors=True)


_TRIAL = ".trial"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A context in which no other process can lock the folder, so that only this process changes it.

    Take the lock before you read what you will change.

    Raises:
        BadInput: another process has locked the folder, or there is no such folder.
    """
    put_back(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    descriptor = _lock(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(folder: Path) -> int:
    """Lock a folder. Returns its descriptor, which holds the lock until it is closed."""
    while True:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Before it was locked, another process may have put a changed folder into its place.
            if os.path.samestat(os.fstat(descriptor), folder.stat()):
                return descriptor
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise BadInput(f"another process is changing {folder}; wait for its end") from None
            raise
        os.close(descriptor)


def _link(source: str, destination: str) -> None:
    """Make a hard link to a file, or a copy of it."""
    try:
        os.link(source, destination)
    except OSError:  # the file system has no hard links
        shutil.copy2(source, destination)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step.

    On a system without this operation, the folder is missing for a moment. If the process is killed in this moment, the
    old folder is beside its place under a name that says so, and `put_back` finds it.
    """
    at_fdcwd, rename_exchange = -100, 2  # <fcntl.h>, <linux/fs.h>
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    names = os.fsencode(new), os.fsencode(old)
    if rename is None or rename(at_fdcwd, names[0], at_fdcwd, names[1], rename_exchange) != 0:
        aside = old.with_name(f"{old.name}.{secrets.token_hex(8)}.replaced")
        old.rename(aside)
        try:
            new.rename(old)
        except OSError:
            aside.rename(old)
            raise
        aside.rename(new)
    _sync(old.parent)


def _sync_all(folder: Path) -> None:
    """Wait until all files and folders in a folder are on the disk."""
    for place, _, files in os.walk(folder):
        for name in files:
            _sync(Path(place, name))
        _sync(Path(place))


def _sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EROFS):  # of file systems that cannot wait
            raise
    finally:
        os.close(descriptor)


def _check_free(destination: Path, argument: str) -> None:
    """Check that nothing exists at the destination."""
    try:
        destination.lstat()
    except FileNotFoundError:
        return
    except OSError as error:  # the name is too long, or the parent is a file
        raise _impossible(destination, argument, error) from error
    if destination == Path():
        raise BadInput(f"{argument} is the current folder; name a new folder")
    raise BadInput(f"{destination} exists; choose another {argument} or remove it")


def _impossible(destination: Path, argument: str, error: OSError) -> BadInput:
    """The error for a destination that cannot be made."""
    return BadInput(f"{destination} cannot be made: {error.strerror}; choose another {argument}")
