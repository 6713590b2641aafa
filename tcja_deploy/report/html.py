"""Functions that make HTML. They escape text, so that text in a page is never read as markup."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from html import escape

from tcja_deploy.report.style import STYLE
from tcja_runtime.files.text import shown

_ARGUMENT = re.compile(r"`([a-z][a-z0-9_]*)`")


def worded(text: str) -> str:
    """Return a text for readers of a page, who may use the command or Python: "`data`" becomes "the option data"."""
    return _ARGUMENT.sub(r"the option \1", text)


class Html(str):
    """A string of markup. Any other string is text, and is escaped when it is put into an element."""

    __slots__ = ()


# With this policy a browser loads no other files and runs no scripts, even if a name in a bundle contains markup.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_PICTURES = "; img-src data:"


def tag(name: str, *children: str, **attributes: object) -> Html:
    """Return an HTML element.

    Args:
        name: the name of the element, such as "p".
        children: the content of the element; text is escaped, `Html` is not.
        attributes: the attributes of the element; `class_` and `aria_label` are written as class and aria-label. An
            attribute whose value is None is left out.
    """
    written = (
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    content = (child if isinstance(child, Html) else escape(child) for child in children)
    return Html(f"<{name}{''.join(written)}>{''.join(content)}</{name}>")


def page(title: str, *content: Html, pictures: bool = False) -> str:
    """Return an HTML document that loads no other files.

    Args:
        title: the title of the document.
        content: the elements of its body.
        pictures: whether the document has pictures, which must be in it as data URLs.
    """
    meta = Html(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}{_PICTURES * pictures}">'
    )
    head = tag("head", meta, tag("title", title), tag("style", Html(STYLE)))
    document = tag("html", head, tag("body", tag("main", *content)), lang="en")
    # The name of a file may contain bytes that are not text. UTF-8 cannot encode them, so they are replaced.
    return shown(f"<!doctype html>\n{document}\n")


def joined(parts: Sequence[Html]) -> Html:
    """Return elements, one after another, as one piece of markup."""
    return Html("".join(parts))


def section(title: str, conclusion: str, *content: Html) -> Html:
    """Return a section of a page.

    Args:
        title: the title of the section.
        conclusion: a sentence or two that say what a reader should conclude from the section.
        content: the elements of the section.
    """
    return tag("section", tag("h2", title), tag("p", conclusion, class_="lead"), *content)


def facts(rows: Sequence[tuple[str, str]]) -> Html:
    """Return a list of facts.

    Args:
        rows: the name and the value of each fact.
    """
    names_and_values = (tag(kind, text) for row in rows for kind, text in zip(("dt", "dd"), row, strict=True))
    return tag("dl", *names_and_values, class_="facts")


def figure(drawing: Html, caption: str, class_: str | None = None) -> Html:
    """Return a drawing with its caption."""
    return tag("figure", drawing, tag("figcaption", caption), class_=class_)


def table(label: str, head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> Html:
    """Return a table. On a narrow page each row is a block of lines, with the name of the column before each cell.

    A cell with a dash, which stands for no value, is left out there.

    Args:
        label: a description of the table, for screen readers.
        head: the names of the columns.
        rows: the cells of each row; the first cell is the row's name.
        numbers: the indices of the columns that hold numbers.
    """

    def cells(kind: str, row: Sequence[str]) -> list[Html]:
        return [
            tag(
                "th" if i == 0 else kind,
                cell,
                class_=" ".join(["n"] * (i in numbers) + ["none"] * (kind == "td" and cell == "-")) or None,
                scope=_scope(kind, i),
                data_head=head[i] or None if kind == "td" else None,
            )
            for i, cell in enumerate(row)
        ]

    top = tag("thead", tag("tr", *cells("th", head)))
    body = tag("tbody", *(tag("tr", *cells("td", row)) for row in rows))
    return wide(label, tag("table", top, body, class_="folds"))


def _scope(kind: str, column: int) -> str | None:
    return "col" if kind == "th" else "row" if column == 0 else None


def wide(label: str, content: Html) -> Html:
    """Return a box that scrolls, and says so, if its content is too wide; also by keyboard.

    Args:
        label: a description of the content, for screen readers.
        content: the content of the box.
    """
    hint = tag("p", "\N{LEFT RIGHT ARROW} wider than the page: scroll sideways", class_="hint", aria_hidden="true")
    return tag("div", hint, content, class_="wide", tabindex=0, role="region", aria_label=label)


def picture(source: str, label: str) -> Html:
    """Return a picture.

    Args:
        source: the picture as a data URL.
        label: a description of the picture, for screen readers.
    """
    return Html(f'<img src="{escape(source)}" alt="{escape(label)}">')
