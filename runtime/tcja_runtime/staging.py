"""A folder that appears whole or not at all, whatever happens to the process that fills it."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tcja_runtime.errors import BadInput


@contextlib.contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `destination` if the block ends well and disappears if it does not.

    It disappears too when this process is killed: a second process waits for the end of this one and clears up.

    Raises:
        BadInput: the destination exists.
    """
    if destination.exists():
        raise BadInput(f"{destination} exists; choose another --out or remove it")
    # A rename is atomic within one file system, so the folder is made as near the destination as there is one.
    parent = next(folder for folder in destination.absolute().parents if folder.is_dir())
    folder = parent / f".{destination.name}.{secrets.token_hex(4)}.partial"
    sweeper = _sweep_after_this_process(folder)
    try:
        folder.mkdir()
        yield folder
        destination.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(destination)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        sweeper.communicate()


_SWEEP = "import shutil, sys; sys.stdin.read(); shutil.rmtree(sys.argv[1], ignore_errors=True)"


def _sweep_after_this_process(folder: Path) -> subprocess.Popen[bytes]:
    # The pipe closes when this process ends, however it ends; a session of its own keeps Ctrl-C away.
    return subprocess.Popen(
        [sys.executable, "-ISc", _SWEEP, os.fspath(folder)], stdin=subprocess.PIPE, start_new_session=True
    )
