"""The errors that a user can act on, and the exit codes of the command line.

    TcjaError
    ├── ParityNotMet   the deployed network does not do what the trained one does
    ├── BadInput       a file, an option or a value cannot be used
    │   └── Damaged    a file is damaged
    └── Unavailable    this machine lacks something

The command line prints an error as one line, and exits with the `exit_code` of its class, a key of `EXIT_CODES`.
"""

from __future__ import annotations

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


class TcjaError(Exception):
    """A failure that the user can act on.

    The text of the error is one line. It says which value is wrong, what is wrong with it, and what to do.

    Attributes:
        exit_code: the exit code of a command that fails with this error.
    """

    exit_code: ClassVar[int]


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


def check_choice(argument: str, value: object, choices: Sequence[str]) -> None:
    """Check that the value of an argument is one of its choices.

    Raises:
        BadInput: it is not, for example "`precision` fp8 must be fp32, fp16, int8".
    """
    if value not in choices:
        raise BadInput(f"`{argument}` {value} must be {', '.join(choices)}")
