"""Classified windows as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.console import empty_table
from tcja_deploy.formatting import interval, portion, windows
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_runtime.network.classified import ClassifiedWindows
from tcja_runtime.predictions import standing_out

_LISTED = 50
"""The largest number of windows in the table; --csv and --json print all."""


_CROSSED = 12
"""The largest number of classes whose confusion matrix fits a terminal.

For more classes the pairs that are confused most are listed, this many at most.
"""


def classified_text(found: ClassifiedWindows, top: int, options: TextOptions = BRIEF) -> RenderableType:  # noqa: ARG001  # not yet shorter
    """Return a table of the windows' classes and, if there are labels, the confusion of classes and the accuracy.

    Args:
        found: the windows and their classes.
        top: the number of classes to name for each window.
        options: how they are told.
    """
    n, places = len(found), min(top, len(found.class_names))
    heads = ["class", "score", "runner-up", "score"][: 2 * places]
    heads += [head for place in range(3, places + 1) for head in (f"{place}.", "score")]
    labels = ["label"] if found.accuracy.labelled else []
    names = {file: Path(file).name for file in found.files}
    short = len(set(names.values())) == len(names)  # paths of many folders do not fit into a terminal
    table = empty_table(
        f"{found.network} in {found.backend}; scores are the output '{found.output}'",
        ["file", "window", *labels, *heads],
    )
    table.padding = (0, 0)  # so that a terminal of 80 columns is enough
    for row, _ in zip(found.rows(top), range(_LISTED), strict=False):
        label = [row["label"] or ""] if labels else []
        ranked = standing_out([(each["class"], each["score"]) for each in row["top"]])
        cells = [cell for name, score in ranked for cell in (name, f"{score:.4g}")]
        table.add_row(names[row["file"]] if short else row["file"], str(row["window"]), *label, *cells)
    parts: list[RenderableType] = [table]
    if n > _LISTED:
        parts.append(Text(f"{windows(n - _LISTED)} more; --csv and --json print all."))
    if found.without_score:
        parts.append(Text(f"In {windows(found.without_score)} all scores are 0, and the first class is named."))
    if found.confusion is not None:
        parts += _confusion(found.class_names, found.confusion)
    if found.accuracy.labelled:
        of = portion(found.accuracy.right, found.accuracy.labelled, "window")
        parts.append(Text(f"Accuracy: {of} with a label ({interval(found.accuracy.interval)})."))
    return Group(*parts)


def _confusion(classes: Sequence[str], counts: npt.NDArray[np.int64]) -> list[RenderableType]:
    """Return the confusion matrix; or, if it does not fit a terminal, the pairs of classes that are confused most."""
    if len(classes) <= _CROSSED:
        table = empty_table("", ["label", ""], [str(i) for i in range(len(classes))])
        table.padding = (0, 0)
        for i, (name, row) in enumerate(zip(classes, counts, strict=True)):
            cells = (Text(str(n) if n else "·", style="bold" if i == j else "") for j, n in enumerate(row))
            table.add_row(name, str(i), *cells)
        return [Text("Confusion: labels down, classes across", style="bold"), table]
    wrong = counts - np.diag(np.diag(counts))
    pairs = [divmod(int(at), len(classes)) for at in np.argsort(-wrong, axis=None, kind="stable")[:_CROSSED]]
    table = empty_table("", ["label", "class"], ["windows", "of"])
    for label, taken in pairs:
        if wrong[label, taken]:
            table.add_row(classes[label], classes[taken], f"{wrong[label, taken]:,}", f"{counts[label].sum():,}")
    return [Text("Most confused", style="bold"), table] if wrong.any() else []
