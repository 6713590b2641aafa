"""`tcja-deploy run`: its options, and the predicted classes as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.cli import options
from tcja_deploy.cli.options import (
    BackendChoice,
    Columns,
    Crop,
    Csv,
    Hop,
    Json,
    Labels,
    ResizeMethod,
    TimeUnit,
    Top,
    Topic,
    TrustEngine,
    Verbose,
    WindowLength,
)
from tcja_deploy.console import empty_table, out, print_json
from tcja_deploy.formatting import interval, portion, standing_out, windows
from tcja_deploy.run.classify import ClassifiedWindows
from tcja_runtime.choices import BackendName
from tcja_runtime.errors import DONE, BadInput
from tcja_runtime.events import ReadOptions
from tcja_runtime.files import staging

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="Recordings of events, .npz files of windows as for --data of export, or folders of these.",
    ),
]
Picture = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.html",
        help="Write a page to this new file that shows the frames, scores and attention of the first windows.",
    ),
]


def run_(
    bundle: Annotated[Path, typer.Argument(help="The bundle whose network classifies.")],
    files: Files,
    backend: BackendChoice = BackendName.AUTO,
    trust_engine: TrustEngine = False,
    top: Top = 2,
    window: WindowLength = None,
    hop: Hop = None,
    crop: Crop = None,
    resize: ResizeMethod = None,
    labels: Labels = None,
    time_unit: TimeUnit = None,
    columns: Columns = None,
    topic: Topic = None,
    picture: Picture = None,
    as_csv: Csv = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Classify recordings of events, frames or images, any number of them. With labels, the accuracy is printed."""
    from tcja_deploy.report.picture import MOST, page
    from tcja_deploy.run.classify import RunOptions, classify, pictured_windows

    if as_csv and as_json:
        raise BadInput("--csv and --json both ask for stdout; give one of them")
    if picture is not None:
        staging.check_new_page(picture, "--picture")
    how = RunOptions(
        backend=backend.value,
        trust_engine=trust_engine,
        top=top,
        window=options.window(window, hop),
        camera_view=options.view(crop, resize),
        labels=labels and labels.value,
        pictured=0 if picture is None else MOST,
        reading=ReadOptions(time_unit, columns, topic),
    )
    found = classify(bundle, files, how, options.progress())
    if as_json:
        print_json(found.to_dict())
    elif as_csv:
        out.print(found.to_csv(), soft_wrap=True, end="")
    else:
        out.print(classified_text(found))
    if picture is not None:
        drawn = page(f"{found.network} in {found.backend}", pictured_windows(bundle, found, options.progress()))
        staging.write_new_file(picture, drawn)
    return DONE


_LISTED = 50
"""The largest number of windows in the table; --csv and --json print all."""


_CROSSED = 12
"""The largest number of classes whose confusion matrix fits a terminal.

For more classes the pairs that are confused most are listed, this many at most.
"""


def classified_text(found: ClassifiedWindows) -> RenderableType:
    """Return a table of the windows' classes and, if there are labels, the confusion of classes and the accuracy."""
    n, places = len(found.likeliest), found.likeliest.shape[1]
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
    for row, _ in zip(found.rows(), range(_LISTED), strict=False):
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
        parts += _confusion(found.classes, found.confusion)
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
