"""What can go wrong, by whose turn it is. The command line turns each into one line and its exit code.

TcjaError
├── ParityNotMet   1  the deployed network does not do what the trained one does
├── BadInput       2  the user passed something that cannot be right
│   └── Damaged        a file of theirs is not what it says it is, from some byte on
└── Unavailable    3  this machine lacks something
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

DONE, UNMET, BAD_USAGE, MISSING, BUG, INTERRUPTED = 0, 1, 2, 3, 70, 130
"""The exit codes of the command line."""


class TcjaError(Exception):
    """A failure the user can act on. Its text is one line: what is wrong with which value, and what to do."""

    exit_code: ClassVar[int]


class ParityNotMet(TcjaError):
    """Spikes, outputs or accuracy differ by more than rounding explains.

    Attributes:
        figures: of the comparison, as parity.json would have them; None if it did not come to one.
    """

    exit_code = UNMET

    def __init__(self, message: str, figures: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.figures = figures


class BadInput(TcjaError):
    """A file, an option or a value that cannot be used."""

    exit_code = BAD_USAGE


class Damaged(BadInput):
    """Bytes that are nothing of their format.

    Args:
        offset: of the first byte that is wrong, from the start of the file.
        what: is wrong there, with its value.
    """

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"byte {offset:,}: {what}")
        self.offset, self.what = offset, what

    def of(self, path: Path) -> Damaged:
        """The same, said of a file."""
        named = Damaged(self.offset, self.what)
        named.args = (f"{path}: {self}",)
        return named


class Unavailable(TcjaError):
    """A package, a device or room on the disk is missing on this machine."""

    exit_code = MISSING
