"""What all results have: they are printed, and shown in a notebook.

`print(result)` shows what the command prints, and `print(result.details)` what it prints with `--verbose`.
`repr(result)` is one short line, and a notebook shows a small table.
"""

from __future__ import annotations

import abc
from pathlib import Path

from rich.console import RenderableType

from tcja_deploy.console import plain
from tcja_deploy.report.html import tag
from tcja_deploy.texts.options import TextOptions
from tcja_runtime.files.text import one_line, shown

_LONGEST = 100
"""The most characters of a verdict in a `repr`."""
_LEFT = "text-align: left; vertical-align: top"
"""The style of cells: notebooks align those of numbers."""
_BRIEF = TextOptions(more="All details: print(result.details)")
_DETAILED = TextOptions(details=True)


class Result(abc.ABC):
    """A result that can be printed, and shown in a notebook."""

    notes: tuple[str, ...]

    @property
    @abc.abstractmethod
    def _subject(self) -> str:
        """The name of what the result is about."""

    @property
    @abc.abstractmethod
    def verdict(self) -> str:
        """The result in a sentence."""

    @abc.abstractmethod
    def _text(self, options: TextOptions) -> RenderableType:
        """The text that the command prints."""

    @abc.abstractmethod
    def _facts(self) -> list[tuple[str, str]]:
        """The names and values of the facts in the table."""

    @property
    def details(self) -> str:
        """The text that the command prints with `--verbose`."""
        return plain(self._text(_DETAILED))

    def __str__(self) -> str:
        return plain(self._text(_BRIEF))

    def __repr__(self) -> str:
        said = self.verdict if len(self.verdict) <= _LONGEST else f"{self.verdict[:_LONGEST]}..."
        return one_line(f"<{type(self).__name__} {self._subject}: {said}>")

    def _repr_html_(self) -> str:
        """A table for notebooks. Texts are escaped, and nothing is loaded from elsewhere."""
        facts = [*self._facts(), *(("note", line) for line in self.notes)]
        cells = ((tag("th", name, scope="row", style=_LEFT), tag("td", value, style=_LEFT)) for name, value in facts)
        rows = (tag("tr", *row) for row in cells)
        caption = tag("caption", tag("strong", self.verdict), style=_LEFT)
        return shown(tag("table", caption, tag("tbody", *rows)))


class ResultOfBundle(Result):
    """A result about a bundle."""

    bundle: Path

    @property
    def _subject(self) -> str:
        return str(self.bundle)
