"""A comparison of boards as text: what is the same on all, what differs, and a table of the rest."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.compare.boards import Board
from tcja_deploy.compare.comparison import Comparison
from tcja_deploy.formatting import si
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.table import Hanging, Rows, paragraph
from tcja_runtime.counting import agree, counted, listed

_LISTED, _MOST_LISTED = 20, 50
"""The most boards in the table if all are shown, and if only those that differ are."""
_SENTENCES = 20
"""The most sentences on what differs, without details."""
_DIGITS, _LONGEST = 8, 60
"""The digits of a hash, and the characters of a text of a file, in the table."""

_MET = {True: "met", False: "NOT MET", None: "not known"}

_FACTS: dict[str, Callable[[Board], str]] = {
    "model": lambda each: each.board,
    "JetPack": lambda each: each.jetpack.removeprefix("JetPack "),
    "mode": lambda each: each.power_mode,
    "network": lambda each: each.network,
    "bundle": lambda each: each.bundle[:_DIGITS],
    "run by": lambda each: each.program,
    "engine": lambda each: each.engine[:_DIGITS],
    "parity": lambda each: _MET[each.met],
}
_FIGURES: dict[str, tuple[Callable[[Board], float | None], str]] = {
    "p50": (lambda each: each.p50, "s"),
    "p99": (lambda each: each.p99, "s"),
    "energy": (lambda each: each.joules, "J"),
}


def compared_text(found: Comparison, options: TextOptions = BRIEF) -> RenderableType:
    """Return a comparison as text.

    Args:
        found: the comparison.
        options: how it is told; with details, all boards are in the table.
    """
    same = {head: fact(found.boards[0]) for head, fact in _FACTS.items() if len(_values(found.boards, fact)) == 1}
    shared = listed((f"{head} {_brief(value)}" for head, value in same.items() if value), len(same), "; ")
    parts: list[RenderableType] = [paragraph(_headline(found), style="bold")]
    if shared and len(found.boards) > 1:
        parts.append(paragraph(f"The same on all: {shared}."))
    sentences = found.differences if options.details else found.differences[:_SENTENCES]
    parts += [Hanging("* ", f"{each.text}.", "red" if each.serious else "yellow") for each in sentences]
    left = len(found.differences) - len(sentences)
    if left:
        parts.append(Text(options.worded(f"{counted(left, 'more difference')}; `json` prints all.")))
    shown = found.boards
    if len(shown) > _LISTED and not options.details:
        shown = found.differing[:_MOST_LISTED]
    kept = set(map(id, shown))
    rest = [each for each in found.boards if id(each) not in kept]
    facts = [head for head in _FACTS if (head not in same or len(found.boards) == 1) and shown]
    parts.append(_table(shown, rest, facts, found))
    if options.more and not options.details and rest:
        parts.append(Text(options.more))
    return Group(*parts)


def _headline(found: Comparison) -> str:
    names = len({each.name for each in found.boards})
    bundles = len({each.bundle for each in found.boards} - {""}) or len({each.network for each in found.boards})
    met = [each.met for each in found.boards]
    if False in met:
        parity = f"parity is not met on {counted(met.count(False), 'board')}"
    elif None in met:
        parity = f"parity is not known on {counted(met.count(None), 'board')}"
    else:
        parity = "parity is met on all" if names > 1 else "parity is met"
    others = [] if found.differences else ["nothing differs"] if names > 1 else []
    of = f"{counted(names, 'board')}, {counted(bundles, 'bundle')}"
    return f"{'; '.join([of, parity, *others])}."


def _table(shown: Sequence[Board], rest: Sequence[Board], facts: Sequence[str], found: Comparison) -> Rows:
    """Return a table of boards, and below them a row that stands for the rest, with medians."""
    figures = [head for head, (figure, _) in _FIGURES.items() if any(figure(each) for each in found.boards)]
    drifts = any(each.windows for each in found.boards)
    table = Rows("", ["board", *facts], [*figures, *["drifted"] * drifts])
    serious = {name for each in found.serious for name in each.boards}
    differing = {each.name for each in found.differing}
    for each in shown:
        cells = [_brief(_FACTS[head](each)) or "-" for head in facts]
        cells += [_figure(_FIGURES[head][0](each), _FIGURES[head][1]) for head in figures]
        cells += [_drift(each.drifted, each.windows)] * drifts
        style = "red" if each.name in serious else "yellow" if each.name in differing else ""
        table.add(each.name, *cells, style=style)
    if rest:
        label = f"{counted(len(rest), 'other')}{agree(len(rest), '', ', median')}" if shown else "all, median"
        cells = ["" for _ in facts]
        cells += [_figure(_median(rest, _FIGURES[head][0]), _FIGURES[head][1]) for head in figures]
        known = [each for each in rest if each.windows]
        drifted, windows = sum(each.drifted or 0 for each in known), sum(each.windows or 0 for each in known)
        table.add(label, *cells, *[_drift(drifted, windows)] * drifts)
    return table


def _values(boards: Sequence[Board], fact: Callable[[Board], str]) -> set[str]:
    return {fact(each) for each in boards}


def _median(boards: Sequence[Board], figure: Callable[[Board], float | None]) -> float | None:
    known = [value for each in boards if (value := figure(each))]
    return statistics.median(known) if known else None


def _figure(value: float | None, unit: str) -> str:
    return f"{si(value)}{unit}" if value else "-"


def _drift(drifted: int | None, windows: int | None) -> str:
    return f"{drifted or 0:,} of {windows:,}" if windows else "-"


def _brief(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
