"""The engines that were built on this machine by this user, known by their SHA-256.

An engine is native code, and what a bundle says of it can be written by anybody. So the list is not in the bundle, but
in the user's own folder for states: $XDG_STATE_HOME/tcja-deploy/engines, by default ~/.local/state. It has a line for
each engine: its SHA-256, that of the model that it was built from, the time (UTC) and its name. So an engine that was
built here for one network is not taken for that of another, whatever a bundle says.
"""

from __future__ import annotations

import dataclasses
import datetime
import errno
import os
import re
import stat
from pathlib import Path

from tcja_runtime.errors import BadInput, user_error
from tcja_runtime.files import limits
from tcja_runtime.files.reading import content, open_file
from tcja_runtime.machine.user_folders import user_folder

_LINE = re.compile(rb"([0-9a-f]{64}) ([0-9a-f]{64}) ")


@dataclasses.dataclass(frozen=True)
class Built:
    """An engine, and the model that it was built from.

    Attributes:
        engine: the SHA-256 of the engine, in hexadecimal.
        model: the SHA-256 of the model, in hexadecimal.
    """

    engine: str
    model: str


def file() -> Path | None:
    """Returns the path of the list; None if this user has no home folder."""
    try:
        return user_folder("XDG_STATE_HOME", ".local/state") / "engines"
    except RuntimeError:
        return None


def add(built: Built, name: str) -> str:
    """Add an engine that was just built to the list.

    Args:
        built: the engine.
        name: the name of the engine, for people.

    Returns:
        Empty if the engine is in the list; else a sentence that says why not, and what follows from it.
    """
    path = file()
    follows = "so this engine is of unknown origin from the next command on: 'trust_engine' loads it, or sign it"
    if path is None:
        return f"this user has no home folder for the list of engines built here, {follows}"
    time = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    line = f"{built.engine} {built.model} {time} {re.sub(r'[^!-~]', '?', name)}\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One write of a short line at the end is whole, whatever else is written at the same time.
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            if os.write(descriptor, line.encode()) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
    except OSError as error:
        return f"{path}, the list of engines built here, cannot be written ({error.strerror}), {follows}"
    return ""


def known() -> frozenset[Built]:
    """Returns the engines in the list.

    Raises:
        BadInput: the list is not this user's own, or others may write it; or it cannot be read.
    """
    path = file()
    if path is None:
        return frozenset()
    try:
        with open_file(path, limits.BUILT_HERE) as stream:
            status = os.fstat(stream.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise BadInput(
                    f"{path}, the list of engines built here, must be a file that this user alone may write; "
                    "remove it, and build the engines again"
                )
            lines = content(stream, path, limits.BUILT_HERE).splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except PermissionError as error:  # such as the list of a build with sudo
        raise BadInput(
            f"{path}, the list of engines built here, cannot be read ({error.strerror}); make it this user's own, or "
            "name another folder in XDG_STATE_HOME"
        ) from error
    except OSError as error:
        raise user_error(error, path) or error from error
    found = filter(None, map(_LINE.match, lines))
    return frozenset(Built(engine=each[1].decode(), model=each[2].decode()) for each in found)
