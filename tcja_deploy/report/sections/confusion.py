"""The section of the report on the classes that the exported network takes for others."""

from __future__ import annotations

from collections.abc import Sequence

from tcja_deploy.formatting import compact, part, share_of, windows
from tcja_deploy.report import plots
from tcja_deploy.report.answers import Counts, pairs
from tcja_deploy.report.html import Html, figure, section, table, tag, wide
from tcja_runtime.counting import numbered

MOST = 20
"""The largest number of classes for which the whole matrix is shown. For more, only the most confused pairs are."""
_PAIRS, _OF_MANY = 5, 15  # the number of pairs below a matrix, and without one


def confusion(counts: Counts, names: Sequence[str]) -> Html:
    """Return the section on confusions.

    Args:
        counts: the number of windows by label and predicted class, [classes, classes].
        names: the names of the classes; the number of a class stands for a name that is missing.
    """
    named = [names[at] if at < len(names) else f"class {at}" for at in range(len(counts))]
    small = len(counts) <= MOST
    found = pairs(counts, _PAIRS if small else _OF_MANY)
    rows = [(named[label], named[taken], f"{n:,}", share_of(n, int(counts[label].sum()))) for label, taken, n in found]
    heads = ["label", "predicted", "windows", "of the label's windows"]
    listed = table("Classes that are confused most often", heads, rows, numbers=(2, 3))
    return section(
        "What is taken for what",
        _conclusion(counts, named),
        *([_matrix(counts, named)] if small else []),
        *([tag("h3", "Confused most often"), listed] if found else []),
    )


def _conclusion(counts: Counts, named: Sequence[str]) -> str:
    total, right = int(counts.sum()), int(counts.trace())
    if total == right:
        return f"The exported network is right on all {windows(total)} with a label."
    ((label, taken, n),) = pairs(counts, 1)
    return (
        f"The exported network is right on {part(right, total, 'window')} with a label; its most frequent mistake is "
        f"to predict {named[taken]} for {named[label]}, in {part(n, int(counts[label].sum()), 'window')}."
    )


def _matrix(counts: Counts, named: Sequence[str]) -> Html:
    most = int(counts.max())
    heads = (tag("th", str(at), class_="step", scope="col", title=name) for at, name in enumerate(named))
    head = tag("tr", tag("th", "label", scope="col"), *heads)
    body = [
        tag(
            "tr",
            tag("th", tag("span", numbered(label, name), class_="name"), scope="row"),
            *(_cell(counts, label, taken, most, f"{name} as {named[taken]}") for taken in range(len(counts))),
        )
        for label, name in enumerate(named)
    ]
    drawn = tag("table", tag("thead", head), tag("tbody", *body), class_="heat")
    return figure(
        wide("Windows by label and predicted class", drawn),
        "Windows by label (rows) and by the class that the exported network predicts (columns, with the numbers of the "
        "rows). Framed: the prediction is the label. A stronger colour means more windows; a dot means none.",
    )


def _cell(counts: Counts, label: int, taken: int, most: int, place: str) -> Html:
    n, same = int(counts[label, taken]), " same" * (label == taken)
    if not n:
        return tag("td", "\u00b7", class_=f"step none{same}")
    much = plots.strength(n, most)
    kind = f"step{' deep' * (much > plots.DEEP)}{same}"
    return tag("td", compact(n), class_=kind, title=f"{place}: {n:,}", style=f"--much: {much:.2f}")
