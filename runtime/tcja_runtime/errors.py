"""The errors that a user can act on, and the exit codes of the command line.

    TcjaError
    ├── ParityNotMet   the deployed network does not do what the trained one does
    ├── BadInput       a file, an option or a value cannot be used
    │   └── Damaged    a file is damaged
    └── Unavailable    this machine lacks something
        └── BuildTimeout   the builder of an engine did not end in time

The command line prints an error as one line, and exits with the `exit_code` of its class, a key of `EXIT_CODES`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

DONE, UNMET, BAD_USAGE, MISSING, BUG, INTERRUPTED = 0, 1, 2, 3, 70, 130

EXIT_CODES = {
    DONE: "done",
    UNMET: "parity or accuracy is not met",
    BAD_USAGE: "bad usage or bad input",
    MISSING: "this machine lacks something: a package, a GPU, room on the disk",
    BUG: "a bug in tcja-deploy: please report it with what `--verbose` prints",
    INTERRUPTED: "interrupted",
}
"""The meaning of each exit code of the command line."""


MOST_CHARACTERS = 2000
"""The most characters in the text of an error. A file can hold names of millions."""


class TcjaError(Exception):
    """A failure that the user can act on.

    The text of the error is one line. It says which value is wrong, what is wrong with it, and what to do. Of a text of
    more than `MOST_CHARACTERS`, the middle is left out.

    Attributes:
        exit_code: the exit code of a command that fails with this error.
    """

    exit_code: ClassVar[int]

    def __str__(self) -> str:
        # Names in bundles and files may hold what a terminal obeys. Half characters are bytes of paths (`files/text`).
        text, half = super().__str__(), MOST_CHARACTERS // 2 - 5
        text = text if len(text) <= MOST_CHARACTERS else f"{text[:half]} ... {text[-half:]}"
        return "".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else " " for c in text)

    def __reduce__(self) -> tuple[Any, ...]:
        """How an error goes to another process: the arguments of some classes are not those of their text."""
        return _unpickled, (type(self), self.args), self.__dict__


def _unpickled(kind: type[TcjaError], args: tuple[Any, ...]) -> TcjaError:
    error = kind.__new__(kind)
    error.args = args
    return error


class ParityNotMet(TcjaError):
    """The exported network differs from the trained one by more than rounding explains: spikes, outputs or accuracy.

    Args:
        message: the text of the error.
        figures: the results of the comparison, with the keys of parity.json; None if nothing was compared.

    Attributes:
        figures: as given.
    """

    exit_code = UNMET

    def __init__(self, message: str, figures: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.figures = figures


class BadInput(TcjaError):
    """A file, an option or a value that cannot be used."""

    exit_code = BAD_USAGE


class Damaged(BadInput):
    """A file whose bytes are not valid in its format.

    Args:
        offset: the offset of the first wrong byte, from the start of the file.
        what: a phrase that says what is wrong at that offset, with the wrong value.

    Attributes:
        offset: as given.
        what: as given.
    """

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"byte {offset:,}: {what}")
        self.offset, self.what = offset, what

    def of(self, path: Path) -> Damaged:
        """The same error with the name of the file in its text."""
        named = Damaged(self.offset, self.what)
        named.args = (f"{path}: {self}",)
        return named


class Unavailable(TcjaError):
    """This machine lacks something: a package, a device, memory, or room on the disk."""

    exit_code = MISSING


class BuildTimeout(Unavailable):
    """The builder of an engine did not end in time, and was ended."""


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The error numbers (`OSError.errno`) of a full disk, a used-up quota, and a file that is too large."""

USED_UP = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)
"""The error numbers of a limit of the system: open files, processes, memory."""

_NO_MEMORY = ("failed to map segment", "annot allocate memory", "an't allocate memory", "bad_alloc", "out of memory")
"""Words in errors of the dynamic linker, and of native code, if there is too little memory."""

REMOVED = "the current folder was removed; change to another folder"
"""The text of the error if a command needs the current folder, and it does not exist any more."""

_MEMORY = "this machine has too little memory; close other programs, or take fewer windows (`samples`, `batch`)"


def user_error(error: BaseException, path: Path | None = None) -> TcjaError | None:
    """Returns the error to show for an exception that is not a bug; None if the exception is a bug.

    It is not a bug if the operating system refuses something, if there is too little memory, or if a package of other
    people, or a library that it loads, cannot be loaded. This function decides it for all commands and for all files.

    Args:
        error: the exception.
        path: the file that was read, if an `OSError` does not name it.
    """
    if isinstance(error, TcjaError):
        return error
    if isinstance(error, MemoryError):
        return Unavailable(_MEMORY)
    text = " ".join(str(error).split())
    lacks_memory = any(words in text for words in _NO_MEMORY)
    if isinstance(error, ImportError):
        package = _package(error)
        if package.startswith("tcja_"):
            return None
        if isinstance(error, ModuleNotFoundError):
            return Unavailable(f"the package {package} is not installed: run 'pip install {package}'")
        why = _MEMORY if lacks_memory else "install it again"
        return Unavailable(f"the package {package} cannot be loaded ({text}): {why}")
    if isinstance(error, OSError):
        return _of_system(error, path)
    if lacks_memory and isinstance(error, RuntimeError):  # torch and pybind11 raise it
        return Unavailable(_MEMORY)
    return None


def _package(error: ImportError) -> str:
    """The name of the package that cannot be imported: "torch" for its module "_C", a file of native code."""
    parts = Path(error.path or "").parts
    below = next((i for i, part in enumerate(parts) if part.endswith("-packages")), len(parts))
    return Path(parts[below + 1]).stem if len(parts) > below + 1 else (error.name or "").partition(".")[0] or "unknown"


def _of_system(error: OSError, path: Path | None) -> TcjaError:
    """The error to show if the operating system refuses something."""
    named = error.filename if path is None else path
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    if isinstance(named, bytes):
        named = os.fsdecode(named)
    if error.errno in NO_ROOM:
        return Unavailable(f"{named or 'the output'} cannot be written: {reason}; make room on its disk")
    if error.errno in USED_UP:
        said = f"{named}: {reason}" if named else reason
        return Unavailable(f"{said}; this machine's limit is reached: close other programs, or raise it (ulimit)")
    if error.errno is None:  # the dynamic linker, through ctypes
        why = _MEMORY if any(words in reason for words in _NO_MEMORY) else "install the package that has it"
        return Unavailable(f"a library cannot be loaded ({reason}): {why}")
    if error.errno == errno.ENOENT and not in_a_folder():
        return BadInput(REMOVED)
    if named is None:
        return BadInput(f"the system refuses an operation: {reason}")
    return BadInput(f"{named} cannot be read or written: {reason}")


_LONGEST = 300
"""The most characters of a line that a package wrote, in a message: some show the bytes of the file."""


def first_line(error: BaseException, text: str | None = None) -> str:
    """Returns the first line of an error's text that is not blank; the name of the error's class if there is none.

    A line of more than 300 characters is cut.

    Args:
        error: the error.
        text: the text to take the line from; None for that of the error.
    """
    lines = (str(error) if text is None else text).splitlines()
    line = next((line.strip() for line in lines if line.strip()), type(error).__name__)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def in_a_folder() -> bool:
    """Whether the current folder of this process exists."""
    try:
        return Path.cwd().is_absolute()
    except OSError:
        return False


def check_choice(argument: str, value: object, choices: Sequence[str]) -> None:
    """Check that the value of an argument is one of its choices.

    Raises:
        BadInput: it is not, for example "`precision` fp8 must be one of fp32, fp16, int8".
    """
    if value not in choices:
        raise BadInput(f"`{argument}` {value} must be one of {', '.join(choices)}")
