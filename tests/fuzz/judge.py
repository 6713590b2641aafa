"""What a parser may do with any content: read it, or refuse it in a line; in 2 s of this process and 500 MB.

The time is that of the processor, so that a machine with other work to do finds nothing more. The memory is the largest
that the process had, above what it had before.
"""

from __future__ import annotations

import contextlib
import resource
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path

from tcja_runtime.errors import MOST_CHARACTERS, BadInput

from .parser import Parser, Room

SECONDS, BYTES = 2.0, 500 * 10**6


class Finding(AssertionError):
    """A content with which a parser does what it may not do.

    Args:
        what: what it does.
        where: the place in the code; findings of one place are one mistake.

    Attributes:
        what: as given.
        where: as given.
    """

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} [{where}]")
        self.what, self.where = what, where


class _Late(BaseException):
    """The time is over. No parser may take it for an error of its own, so it is no `Exception`."""


def judged(parser: Parser, room: Room, content: bytes) -> bool:
    """Returns whether a parser reads a content; else it refuses it.

    Raises:
        Finding: it does neither, or takes too much time or memory.
    """
    before = _memory()
    try:
        with _in_time():
            parser.read(room, content)
        found = True
    except BadInput as error:
        _check_line(parser, str(error))
        found = False
    except _Late as error:
        raise Finding(f"takes more than {SECONDS:g} s", _place(error)) from error
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Finding(f"{type(error).__name__}: {error}"[:300], _place(error)) from error
    used = _memory() - before
    if used > BYTES:
        raise Finding(f"takes {used / 1e6:,.0f} MB", parser.name)
    return found


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """A context that ends with `_Late` after some time of the processor."""

    def late(*_: object) -> None:
        raise _Late

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _check_line(parser: Parser, text: str) -> None:
    if "\n" in text or len(text) > MOST_CHARACTERS or not text.replace("\n", " ").strip():
        raise Finding(f"refuses with {text[:200]!r} of {len(text):,} characters", parser.name)


def _memory() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _place(error: BaseException) -> str:
    """The line of our packages at which an error arose, or else the last line of all."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    ours = [frame for frame in frames if "tcja_" in frame.filename]
    frame = (ours or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
