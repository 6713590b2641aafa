"""Classified windows as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.formatting import interval, portion, windows
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.table import Rows, paragraph
from tcja_runtime.network.classified import ClassifiedWindows

_LISTED, _MOST_LISTED = 10, 50
"""The largest number of windows in the table, without and with details; --csv and --json print all."""


_CROSSED = 12
"""The largest number of classes whose confusion matrix fits a terminal.

For more classes the pairs that are confused most are listed, this many at most.
"""


def classified_text(found: ClassifiedWindows, top: int, options: TextOptions = BRIEF) -> RenderableType:
    """Return the accuracy if there are labels, and a table of the windows' classes; with details, the confusion.

    Args:
        found: the windows and their classes.
        top: the number of classes to name for each window.
        options: how they are told.
    """
    n, most = len(found), _MOST_LISTED if options.details else _LISTED
    parts: list[RenderableType] = [paragraph(_accuracy(found), style="bold"), _windows(found, top, most)]
    if n > most:
        parts.append(Text(options.worded(f"{windows(n - most)} more; `csv` and `json` print all.")))
    if found.without_score:
        parts.append(Text(f"In {windows(found.without_score)} all scores are 0, and the first class is named."))
    if options.details and found.confusion is not None:
        parts += _confusion(found.class_names, found.confusion)
    elif options.more and (found.confusion is not None or n > most):
        parts.append(Text(options.more))
    return Group(*parts)


def _accuracy(found: ClassifiedWindows) -> str:
    """Return the accuracy on the windows with a label; without labels, what was done."""
    classified = f"{windows(len(found))} classified by {found.network} in {found.backend}"
    if not found.accuracy.labelled:
        return f"{classified}."
    of = portion(found.accuracy.right, found.accuracy.labelled, "window")
    return f"Accuracy: {of} with a label ({interval(found.accuracy.interval)}); {classified}."


def _windows(found: ClassifiedWindows, top: int, most: int) -> Rows:
    """Return a table of the first windows and their likeliest classes."""
    places = min(top, len(found.class_names))
    heads = ["class", "score", "runner-up", "score"][: 2 * places]
    heads += [head for place in range(3, places + 1) for head in (f"{place}.", "score")]
    labels = ["label"] if found.accuracy.labelled else []
    names = {file: Path(file).name for file in found.files}
    short = len(set(names.values())) == len(names)  # paths of many folders do not fit into a terminal
    table = Rows(f"Classes, and their scores: the output '{found.output}'", ["file", "window", *labels, *heads])
    for row, window, _ in zip(found.rows(top), found, range(most), strict=False):
        label = [row["label"] or ""] if labels else []
        cells = [cell for name, score in window.standing_out(top) for cell in (name, f"{score:.4g}")]
        cells += [""] * (len(heads) - len(cells))
        table.add(names[row["file"]] if short else row["file"], str(row["window"]), *label, *cells)
    return table


def _confusion(classes: Sequence[str], counts: npt.NDArray[np.int64]) -> list[RenderableType]:
    """Return the confusion matrix; or, if it does not fit a terminal, the pairs of classes that are confused most."""
    if len(classes) <= _CROSSED:
        table = Rows("Confusion: labels down, classes across", ["label", ""], [str(i) for i in range(len(classes))])
        for i, (name, row) in enumerate(zip(classes, counts, strict=True)):
            cells = (Text(str(n) if n else "·", style="bold" if i == j else "") for j, n in enumerate(row))
            table.add(name, str(i), *cells)
        return [table]
    wrong = counts - np.diag(np.diag(counts))
    pairs = [divmod(int(at), len(classes)) for at in np.argsort(-wrong, axis=None, kind="stable")[:_CROSSED]]
    table = Rows("Most confused", ["label", "class"], ["windows", "of"])
    for label, taken in pairs:
        if wrong[label, taken]:
            table.add(classes[label], classes[taken], f"{wrong[label, taken]:,}", f"{counts[label].sum():,}")
    return [table] if wrong.any() else []
