"""The terminal: progress on stderr, results on stdout."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from rich import progress as rich_progress
from rich.console import Console, ConsoleDimensions, ConsoleOptions, Group, RenderableType
from rich.segment import Segment
from rich.text import Text

from tcja_runtime.files.text import one_line, shown


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """What is printed for characters that the terminal cannot show: a question mark, or the byte of a path."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(shown(each) if each != shown(each) else "?" for each in characters), error.end


REPLACED = "replaced"
"""The name of the error handler that prints all characters on any terminal (`codecs.register_error`)."""
codecs.register_error(REPLACED, _replaced)

Made = TypeVar("Made")


_UNBROKEN = 100_000
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code != ord("\n")}
_CONTROLS |= dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)))  # turn the order


class _Console(Console):
    @property  # type: ignore[misc]  # nothing sets it
    def size(self) -> ConsoleDimensions:
        """The size of the terminal. What is not a terminal, such as a pipe, is so wide that no line is broken."""
        found = super().size
        if self.is_terminal or self._width is not None or "COLUMNS" in self._environ:
            return found
        return ConsoleDimensions(_UNBROKEN, found.height)

    def print(self, *objects: Any, crop: bool = False, **options: Any) -> None:
        """Print without cutting lines that are longer than the terminal is wide: paths and commands stay whole."""
        super().print(*objects, crop=crop, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """Render without the control characters of texts, which may come from a file.

        They drive the terminal, or turn the order in which it shows letters (Unicode Standard Annex 9).
        """
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(segment.text.translate(_CONTROLS), segment.style)

    def on_broken_pipe(self) -> None:
        """Stop printing if the reader of a pipe ends, as in `| head`. The work goes on and gives the exit code."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


# Texts contain paths and names, so rich must not take brackets in them for markup.
out = _Console(markup=False, emoji=False, highlight=False)
err = _Console(markup=False, emoji=False, highlight=False, stderr=True)


class Progress:
    """The progress of long work: a spinner or a bar with the elapsed time, then a line that stays.

    Args:
        console: the console to write to. If it is not a terminal, only the lines that stay are written.
        worded: the function that changes the text of a note before it is shown.

    Attributes:
        worded: as given.
        left_out: the steps that only inform and have failed, a sentence each.
        notes: the notes, as they were given.
    """

    def __init__(self, console: Console, worded: Callable[[str], str] = str) -> None:
        self._console = console
        self.worded = worded
        self.left_out: list[str] = []
        self.notes: list[str] = []

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A context for work of unknown length, with a spinner.

        Args:
            title: the name of the work, such as "load the network".
        """
        with self._shown(
            title,
            None,
            rich_progress.SpinnerColumn(),
            rich_progress.TextColumn("{task.description}"),
            rich_progress.TimeElapsedColumn(),
        ):
            yield

    @contextlib.contextmanager
    def counted(self, title: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """A context for work on a number of items, with a bar.

        Args:
            title: the name of the work, such as "classify".
            total: the number of items.
            done: the number of items that are done already.

        Yields:
            The function to call with the number of items done since the last call.
        """
        columns = (
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
        )
        with self._shown(title, total, *columns) as advance:
            advance(done)
            yield advance

    def inform(self, title: str, step: Callable[[], Made], otherwise: Made) -> Made:
        """Run a step that only informs, and on which nothing else depends; return its result.

        If the step fails, it is left out: the result is `otherwise`, and `left_out` gets a sentence that says so. A
        step that has failed is not run again.

        Args:
            title: the name of the step, such as "advice on fp16".
            step: the step.
            otherwise: the result if the step fails.
        """
        start = f"Left out: {title}"
        if any(line.startswith(f"{start} (") for line in self.left_out):
            return otherwise
        try:
            return step()
        except Exception as error:  # whatever the cause is, the work itself does not depend on it
            line = " ".join(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".split())
            self.left_out.append(f"{start} ({line}).")
            return otherwise

    def note(self, text: str) -> None:
        """Print a line that stays, unless it was printed before."""
        if text in self.notes:
            return
        self.notes.append(text)
        self._console.print(Text(one_line(self.worded(text))), soft_wrap=True)

    @contextlib.contextmanager
    def _shown(
        self, title: str, total: int | None, *columns: rich_progress.ProgressColumn
    ) -> Iterator[Callable[[int], None]]:
        began = time.monotonic()
        with rich_progress.Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as shown:
            task = shown.add_task(title, total=total)
            yield lambda done: shown.advance(task, done)
        seconds = f"{time.monotonic() - began:.1f} s"
        self._console.print(Text.assemble(("✓", "green"), f" {title} ", (seconds, "dim")))


def silent() -> Progress:
    """Return a `Progress` that shows nothing."""
    return Progress(Console(quiet=True))


def plain(text: RenderableType, width: int = 80) -> str:
    """Return what is printed of a text, without styles, in lines of at most this width."""
    console = _Console(markup=False, emoji=False, highlight=False, width=width, color_system=None)
    with console.capture() as captured:
        console.print(Group(text))  # a text alone would lose how it is wrapped
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def print_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    out.print(json.dumps(value, indent=1), soft_wrap=True)
