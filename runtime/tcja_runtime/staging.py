"""A folder that appears whole or not at all, whatever happens to the process that fills it."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tcja_runtime.errors import BadInput, Unavailable

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, a quota or a limit on files that is used up."""


@contextlib.contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `destination` if the block ends well and disappears if it does not.

    It disappears too when this process is killed: a second process waits for the end of this one and clears up.

    Raises:
        BadInput: the destination exists, or cannot be.
        Unavailable: the disk is full.
    """
    _check_free(destination)
    # A rename is atomic within one file system, so the folder is made as near the destination as there is one.
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


def _check_free(destination: Path) -> None:
    try:
        destination.lstat()
    except FileNotFoundError:
        return
    except OSError as error:  # its name is too long, or its parent is a file
        raise _impossible(destination, error) from error
    raise BadInput(f"{destination} exists; choose another --out or remove it")


def _impossible(destination: Path, error: OSError) -> BadInput:
    return BadInput(f"{destination} cannot be made: {error.strerror}; choose another --out")


_SWEEP = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"


def _sweep_after_this_process(folder: Path) -> subprocess.Popen[bytes]:
    # The pipe closes when this process ends, however it ends; a session of its own keeps Ctrl-C away.
    return subprocess.Popen(
        [sys.executable, "-ISc", _SWEEP, os.fspath(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
