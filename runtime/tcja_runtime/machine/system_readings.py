"""Readings from the operating system: small files of the kernel, and the output of commands."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def file_text(file: Path) -> str:
    """Returns the text of a small system file, without null bytes, line ends and spaces at its begin and end.

    The text is empty if the file does not exist or cannot be read. Bytes that are not UTF-8 are replaced.
    """
    try:
        return file.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def command_output(name: str, *arguments: str, seconds: float, any_status: bool = False) -> str:
    """Returns the text that a command prints to its standard output.

    The text is empty if the command is not installed, cannot be started, takes too long, or fails.

    Args:
        name: the name of the command, looked up in PATH.
        arguments: the arguments of the command.
        seconds: the time after which the command is killed.
        any_status: whether the output is also returned if the command fails (its exit status is not 0).
    """
    command = shutil.which(name)
    if command is None:
        return ""
    try:
        done = subprocess.run(
            [command, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if any_status or done.returncode == 0 else ""
