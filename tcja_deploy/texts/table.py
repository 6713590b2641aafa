"""Tables that are whole at any width: no column is lost, and no name is cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text


def paragraph(text: str, style: str = "") -> Text:
    """Return a text without line ends. Names from files may have them, and would write lines of their own."""
    return Text(" ".join(text.splitlines()), style=style)


class Rows:
    """A table of rows, each with a name.

    It takes the first of these forms that fits the width: a table with a row in each line; the same with heads of
    several lines; a table with each name on a line of its own, above its row; a list with the heads beside the values.

    Args:
        title: the title above the table.
        texts: the heads of the columns of text, first that of the names.
        numbers: the heads of the columns of numbers, which are aligned to the right.
    """

    def __init__(self, title: str, texts: Sequence[str], numbers: Sequence[str] = ()) -> None:
        self._title, self._texts, self._heads = title, len(texts), [*texts, *numbers]
        self._rows: list[tuple[list[Text], str]] = []

    def add(self, *cells: str | Text, style: str = "") -> None:
        """Add a row.

        Args:
            cells: the values, first the name.
            style: the style of the row, such as "bold".
        """
        texts = [cell if isinstance(cell, Text) else paragraph(cell) for cell in cells]
        self._rows.append((texts, style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType | Segment]:
        if self._title:
            yield paragraph(self._title, style="bold")
        several = ["\n".join(head.split()) for head in self._heads]
        for heads in (self._heads, several):
            table = self._table(heads, 0)
            if _fits(table, console, options):
                yield table
                return
        for heads in (self._heads, several):
            table = self._table(heads, 1)
            if len(heads) > 1 and _fits(table, console, options, indent=2):
                yield from self._below_names(table, console, options)
                return
        for cells, style in self._rows:
            yield Text.assemble(cells[0], style=style)
            values = (f"{head} {cell.plain}" for head, cell in zip(self._heads[1:], cells[1:], strict=True) if cell)
            yield Hanging("  ", Text(", ".join(values)))

    def _table(self, heads: Sequence[str], first: int) -> Table:
        """Return the table of the columns from the first one on."""
        made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        made.show_header = any(self._heads)
        for i, head in list(enumerate(heads))[first:]:
            made.add_column(head, justify="left" if i < self._texts else "right", no_wrap=True)
        for cells, style in self._rows:
            made.add_row(*cells[first:], style=style)
        return made

    def _below_names(
        self, table: Table, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType | Segment]:
        """Yield the lines of a table without names, each name above its row; a name that is repeated is shown once."""
        lines = console.render_lines(table, options, pad=False)
        heads = len(lines) - len(self._rows)
        above = ""
        for i, line in enumerate(lines):
            cells, style = self._rows[max(i - heads, 0)]
            if i >= heads and cells[0].plain != above:
                above = cells[0].plain
                yield Text.assemble(cells[0], style=style)
            yield Segment("  ")
            yield from line
            yield Segment.line()


class Hanging:
    """A text whose lines after the first are indented as far as the label before it.

    Args:
        label: the label, or only spaces.
        text: the text, which is broken between words where it does not fit.
        style: the style of the label.
    """

    def __init__(self, label: str, text: str | Text, style: str = "") -> None:
        self._label, self._text = paragraph(label, style), paragraph(text) if isinstance(text, str) else text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        indent = self._label.cell_len
        for i, line in enumerate(self._text.wrap(console, max(options.max_width - indent, 20))):
            line.rstrip()
            yield Text.assemble(self._label if i == 0 else " " * indent, line)


def labelled(rows: Iterable[tuple[str, str]]) -> list[Hanging]:
    """Return texts, each with its label before it; all texts begin in one column."""
    found = list(rows)
    longest = max((len(label) for label, _ in found), default=0)
    return [Hanging(label.ljust(longest + 2), text) for label, text in found]


def _fits(table: Table, console: Console, options: ConsoleOptions, indent: int = 0) -> bool:
    wide = options.update(width=100_000)
    return console.measure(table, options=wide).maximum + indent <= options.max_width


def whole(line: str, style: str = "") -> Text:
    """Return a line that is never broken, such as a command or a path that is copied."""
    return Text(line, style=style, no_wrap=True, overflow="ignore")
