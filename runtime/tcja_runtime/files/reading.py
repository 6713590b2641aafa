"""Opens files of other people: only regular files, of a size that files of their kind can have.

A pipe might never end, a device has no end, and opening one can do something. A link in a bundle can name any file of
this machine. So what a path names is looked at before it is opened, and again when it is open.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tcja_runtime.errors import BadInput
from tcja_runtime.files.limits import MOST_FILES, Limit

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK  # a file that became a pipe is not waited for
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_file(path: Path, limit: Limit) -> BinaryIO:
    """Open a regular file to read it. Links are followed.

    Args:
        path: the file.
        limit: the largest size of such a file.

    Returns:
        The open file, at its begin. The caller closes it.

    Raises:
        BadInput: the path names something else, or the file is too large.
        OSError: the system refuses it; among others, FileNotFoundError.
    """
    return _open(os.fspath(path), path, limit)


def open_inside(folder: Path, name: str, limit: Limit) -> BinaryIO:
    """Open a regular file in a folder that other people filled. Links in the folder are refused.

    Args:
        folder: the folder, which may be a link itself.
        name: the path of the file in the folder, with "/" (`is_name`).
        limit: the largest size of such a file.

    Returns:
        The open file, at its begin. The caller closes it.

    Raises:
        BadInput: the path is no name of a file in the folder, it names something else, a part of it is a link, or the
            file is too large.
        OSError: the system refuses it; among others, FileNotFoundError.
    """
    if not is_name(name):
        raise BadInput(f"{folder} cannot have a file named '{name}'")
    *above, last = PurePosixPath(name).parts
    descriptor, place = os.open(folder, _FOLDER), folder
    try:
        for part in above:
            place = place / part
            _check_kind(os.stat(part, dir_fd=descriptor, follow_symlinks=False), stat.S_IFDIR, place)
            below = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        return _open(last, folder / name, limit, descriptor)
    except OSError as error:
        error.filename = os.fspath(folder / name)
        raise
    finally:
        os.close(descriptor)


def read_file(path: Path, limit: Limit) -> bytes:
    """Returns the content of a regular file (`open_file`)."""
    with open_file(path, limit) as stream:
        return content(stream, path, limit)


def read_inside(folder: Path, name: str, limit: Limit) -> bytes:
    """Returns the content of a regular file in a folder that other people filled (`open_inside`)."""
    with open_inside(folder, name, limit) as stream:
        return content(stream, folder / name, limit)


def content(stream: BinaryIO, path: Path, limit: Limit) -> bytes:
    """Returns the whole content of an open file, which may have grown since it was opened.

    Raises:
        BadInput: it has grown beyond the limit, or has more bytes than the system says.
    """
    size = os.fstat(stream.fileno()).st_size
    limit.check(size, path)
    stream.seek(0)
    found = stream.read(size)
    if stream.read(1):
        raise BadInput(f"{path} has more bytes than the system says")
    return found


def names_inside(folder: Path, below: str = "", *, skipped: tuple[str, ...] = ()) -> list[str]:
    """Returns the names of all files in a folder that other people filled, in order.

    Args:
        folder: the folder, which may be a link itself.
        below: the path of a folder in it, of which alone the files are wanted. If it does not exist, there are none.
        skipped: the names of entries of the folder that are not looked at.

    Raises:
        BadInput: there is something else than files and folders, such as a link, or there is too much.
        OSError: a folder cannot be read.
    """
    found: list[str] = []
    if below and not _is_folder(folder / below):
        return []
    waiting, seen = [f"{below}/" if below else ""], 0
    while waiting:
        above = waiting.pop()
        with os.scandir(folder / above) as entries:
            for entry in entries:
                name = f"{above}{entry.name}"
                if name in skipped:
                    continue
                seen += 1
                if seen > MOST_FILES:
                    raise BadInput(f"{folder} has more than {MOST_FILES:,} files")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(f"{name}/")
                    continue
                _check_kind(entry.stat(follow_symlinks=False), stat.S_IFREG, folder / name)
                found.append(name)
    return sorted(found)


def _is_folder(path: Path) -> bool:
    """Whether a folder exists. Anything else there is an error."""
    try:
        _check_kind(path.lstat(), stat.S_IFDIR, path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_name(name: str) -> bool:
    """Whether a text can be the path of a file below a folder, written with "/" and in its shortest form."""
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and ".." not in path.parts
        and not path.is_absolute()
        and str(path) == name
        and "\0" not in name
    )


def _open(name: str, path: Path, limit: Limit, above: int | None = None) -> BinaryIO:
    """Open a file. `above` is the descriptor of its folder if links are refused."""
    follows = above is None
    if "\0" in name:
        raise BadInput(f"{path} cannot be the name of a file, as it has a null character")
    _check_kind(os.stat(name, dir_fd=above, follow_symlinks=follows), stat.S_IFREG, path)
    try:
        descriptor = os.open(name, _OPEN | (0 if follows else os.O_NOFOLLOW), dir_fd=above)
    except OSError as error:
        if error.errno == errno.ELOOP and not follows:  # it became a link
            raise _other(path, stat.S_IFLNK, stat.S_IFREG) from error
        raise
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, descriptor)
        status = os.fstat(descriptor)
        _check_kind(status, stat.S_IFREG, path)
        limit.check(status.st_size, path)
        undo.pop_all()
    return os.fdopen(descriptor, "rb")


def _check_kind(status: os.stat_result, wanted: int, path: Path) -> None:
    """Check that something is a regular file, or a folder."""
    kind = stat.S_IFMT(status.st_mode)
    if kind != wanted:
        raise _other(path, kind, wanted)


def _other(path: Path, kind: int, wanted: int) -> BadInput:
    """The error for something of another kind than the wanted one."""
    if kind == stat.S_IFLNK:
        return BadInput(f"{path} is a link, which is not followed here; 'cp -rL' copies what links name")
    return BadInput(f"{path} is {_KINDS.get(kind, 'of no known kind')}, not {_KINDS[wanted]}")
