"""`tcja-deploy stream`: its options."""

from __future__ import annotations

import contextlib
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
    PublicKeys,
    RequireSignature,
    ResizeMethod,
    TimeUnit,
    Top,
    Topic,
    TrustEngine,
    Verbose,
    WindowLength,
)
from tcja_runtime.choices import BackendName
from tcja_runtime.errors import DONE, BadInput
from tcja_runtime.events import ReadOptions
from tcja_runtime.events.buffer import LIMIT
from tcja_runtime.events.rate_limit import HIGHEST

SourceName = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="The source of events: a recording, a FIFO, - for standard input, tcp://127.0.0.1:PORT or "
        "udp://127.0.0.1:PORT.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="The format of the events, such as atis. Default: the format that the name or the first bytes of the "
        "source show; udp has no default.",
    ),
]
Speed = Annotated[
    str | None,
    typer.Option(
        metavar="TIMES",
        help="The speed at which a recording is replayed: 2 is twice as fast as it was recorded, max is as fast as it "
        "can be read. Default: 1.",
    ),
]
Follow = Annotated[
    bool, typer.Option("--follow", help="At the end of a file, wait until more events are written to it.")
]
QueueSize = Annotated[
    int,
    typer.Option(
        min=1, max=2**28, metavar="EVENTS", help="The largest number of events in the queue before the network."
    ),
]
Lossless = Annotated[
    bool | None,
    typer.Option(
        "--lossless/--lossy",
        help="When the queue is full, make the source wait (lossless), or drop the oldest events and count them "
        "(lossy). Default: lossless if --speed max is given or --window is not given, otherwise lossy.",
    ),
]
Seconds = Annotated[
    float | None,
    typer.Option(help="Stop after this number of seconds. Default: at the end of the source."),
]
MaxRate = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=HIGHEST,
        metavar="EVENTS",
        help="The most events of the source in a second that are taken. Of each millisecond, the events beyond it are "
        "dropped evenly, and counted. Default: no limit.",
    ),
]
WindowCount = Annotated[
    int | None,
    typer.Option(min=1, help="Stop after this number of predictions. Default: at the end of the source."),
]
View = Annotated[
    bool, typer.Option("--view/--no-view", help="Show the events and classes on the terminal while the stream runs.")
]
JsonLines = Annotated[
    bool,
    typer.Option("--json", help="Print JSON on stdout: one object on a line for each window, then one for a summary."),
]


def stream(
    bundle: Annotated[Path, typer.Argument(help="The bundle whose network classifies.")],
    source: SourceName,
    window: WindowLength = None,
    hop: Hop = None,
    crop: Crop = None,
    resize: ResizeMethod = None,
    max_rate: MaxRate = None,
    format_: Format = None,
    speed: Speed = None,
    follow: Follow = False,
    time_unit: TimeUnit = None,
    columns: Columns = None,
    topic: Topic = None,
    buffer: QueueSize = LIMIT,
    lossless: Lossless = None,
    seconds: Seconds = None,
    windows: WindowCount = None,
    backend: BackendChoice = BackendName.AUTO,
    trust_engine: TrustEngine = False,
    require_signature: RequireSignature = False,
    public_key: PublicKeys = None,
    top: Top = 2,
    shown: View = True,
    as_csv: Csv = False,
    as_json: JsonLines = False,
    verbose: Verbose = False,
) -> int:
    """Classify events as they come, until the source ends or Ctrl-C is pressed.

    Examples:
        tcja-deploy stream dvs128.bundle recording.aedat4 --window 500ms
        tcja-deploy stream dvs128.bundle tcp://127.0.0.1:7777 --window 500ms
        camera | tcja-deploy stream dvs128.bundle - --format evt3 --json
    """
    from tcja_deploy.stream import opening, output, view
    from tcja_runtime.events import sources
    from tcja_runtime.streaming.options import StreamOptions

    if as_csv and as_json:
        raise BadInput("--csv and --json both ask for stdout; give one of them")
    how = StreamOptions(
        window=options.window(window, hop),
        camera_view=options.view(crop, resize),
        max_rate=max_rate,
        buffer=buffer,
        lossless=lossless,
        seconds=seconds,
        windows=windows,
        backend=backend.value,
    )
    progress = options.progress()
    reading = ReadOptions(time_unit, columns, topic)
    with contextlib.closing(
        sources.open_source(source, form=format_, speed=options.speed(speed), follow=follow, options=reading)
    ) as opened:
        trust = options.trust(trust_engine, require_signature, public_key)
        found = opening.opened(bundle, trust, opened, how, progress)
        if opened.address:
            progress.note(f"listening at {opened.address}")
        form = output.JSON if as_json else output.CSV if as_csv else output.PLAIN
        view.run(found, form, progress, top=top, view=shown)
    return DONE
