"""Other people's programs that make and check signatures: ssh-keygen and openssl.

They get bytes as files in memory (memfd_create(2)), so nothing is read a second time from a disk, and nothing is left
there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence

from tcja_runtime.errors import Unavailable

_PACKAGES = {"ssh-keygen": "openssh-client", "openssl": "openssl"}
_NOT_KNOWN = (b"unknown option", b"illegal option", b"usage:", b"Unknown option", b"Unrecognized flag")
"""Words of a program that is too old to know an option."""


def installed(program: str) -> bool:
    """Whether a program is installed."""
    return shutil.which(program) is not None


def how_to_install(program: str) -> str:
    """Returns the command that installs a program."""
    return f"apt-get install {_PACKAGES[program]}"


@contextlib.contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """A context with the path of a file in memory, for this process and for those that `run` starts."""
    descriptor = os.memfd_create("tcja-deploy")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as stream:
            stream.write(content)
        yield f"/dev/fd/{descriptor}"
    finally:
        os.close(descriptor)


def run(command: Sequence[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a program of `_PACKAGES`, with its words in English.

    Args:
        command: the name of the program, and its arguments. The paths of `in_memory` are files that it may read.
        given: its standard input.

    Raises:
        Unavailable: the program is not installed, or is too old for an option.
    """
    program = command[0]
    path = shutil.which(program)
    if path is None:
        raise Unavailable(f"{program} is not installed: run '{how_to_install(program)}'")
    passed = [int(word.rpartition("/")[2]) for word in command if word.startswith("/dev/fd/")]
    done = subprocess.run(
        [path, *command[1:]],
        input=given,
        capture_output=True,
        check=False,
        pass_fds=passed,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode and any(words in done.stderr for words in _NOT_KNOWN):
        raise Unavailable(f"{program} of this machine is too old to sign and check files: {said(done)}")
    return done


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """Returns the first line that a program wrote to stderr."""
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in lines if line.strip()), f"it ended with {done.returncode}")
