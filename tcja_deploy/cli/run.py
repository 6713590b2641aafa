"""`tcja-deploy run`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import (
    BackendChoice,
    Columns,
    Crop,
    Csv,
    Hop,
    Json,
    Labels,
    PublicKeys,
    Ray,
    RequireSignature,
    ResizeMethod,
    TimeUnit,
    Top,
    Topic,
    TrustEngine,
    Verbose,
    WindowLength,
    Workers,
)
from tcja_deploy.cluster.options import ClusterOptions
from tcja_deploy.console import out, print_json
from tcja_deploy.provenance import provenance
from tcja_deploy.texts.run import classified_text
from tcja_runtime.choices import BackendName
from tcja_runtime.errors import DONE, BadInput
from tcja_runtime.events import ReadOptions
from tcja_runtime.files import staging

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...",
        help="Recordings of events, .npz files of windows as for --data of export, pictures (PNG, JPEG), or folders of "
        "these.",
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
    require_signature: RequireSignature = False,
    public_key: PublicKeys = None,
    top: Top = 2,
    window: WindowLength = None,
    hop: Hop = None,
    crop: Crop = None,
    resize: ResizeMethod = None,
    labels: Labels = None,
    time_unit: TimeUnit = None,
    columns: Columns = None,
    topic: Topic = None,
    ray: Ray = None,
    workers: Workers = None,
    picture: Picture = None,
    as_csv: Csv = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Classify recordings of events, frames or images, any number of them. With labels, the accuracy is printed.

    Examples:
        tcja-deploy run dvs128.bundle user24.aedat
        tcja-deploy run dvs128.bundle recordings/ --csv > answers.csv
        tcja-deploy run dvs128.bundle long.raw --window 500ms --picture answers.html
        tcja-deploy run dvs128.bundle recordings/ --csv --ray --workers 4
    """
    from tcja_deploy.report.picture import MOST, page
    from tcja_deploy.run.classify import RunOptions, classify, opened_bundle, pictured_windows

    if as_csv and as_json:
        raise BadInput("--csv and --json both ask for stdout; give one of them")
    if picture is not None:
        staging.check_new_page(picture, "--picture")
    how = RunOptions(
        backend=backend.value,
        trust=options.trust(trust_engine, require_signature, public_key),
        window=options.window(window, hop),
        camera_view=options.view(crop, resize),
        labels=labels and labels.value,
        pictured=0 if picture is None else MOST,
        reading=ReadOptions(time_unit, columns, topic),
        cluster=ClusterOptions(ray=ray, workers=workers),
    )
    opened = opened_bundle(bundle, how, options.progress())
    found = classify(opened, files, how, options.progress())
    if as_json:
        print_json({**provenance(opened.sha256), **found.to_dict(top)})
    elif as_csv:
        out.print(found.to_csv(top), soft_wrap=True, end="")
    else:
        out.print(classified_text(found, top, options.telling(verbose)))
    if picture is not None:
        drawn = page(f"{found.network} in {found.backend}", pictured_windows(opened, found, top, options.progress()))
        staging.write_whole(picture, drawn)
    return DONE
