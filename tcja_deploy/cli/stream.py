"""`tcja-deploy stream`: its options."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli import flags, options
from tcja_deploy.cli.options import (
    BackendChoice,
    Hop,
    TrustEngine,
    Verbose,
    WindowLength,
)
from tcja_runtime.choices import BackendName
from tcja_runtime.errors import DONE, BadInput
from tcja_runtime.events.buffer import LIMIT


def stream(
    bundle: Annotated[Path, typer.Argument(help="The bundle whose network classifies.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Where events come from: a recording, a FIFO, - for standard input, tcp://127.0.0.1:PORT or "
            "udp://127.0.0.1:PORT.",
        ),
    ],
    window: WindowLength = None,
    hop: Hop = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="Of the events, where no file tells it, such as atis."),
    ] = None,
    speed: Annotated[
        str | None,
        typer.Option(metavar="TIMES", help="Of a recording: 2 is twice as fast as it was, max as fast as it goes."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait at the end of a file for what is added.")] = False,
    buffer: Annotated[
        int, typer.Option(min=1, max=2**28, metavar="EVENTS", help="How many events may wait to be looked at.")
    ] = LIMIT,
    lossless: Annotated[
        bool | None,
        typer.Option(
            "--lossless/--lossy",
            help="Where more come, make the source wait, or drop the oldest and count them. Default: dropped, but not "
            "with --speed max or without --window.",
        ),
    ] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after so long. Default: with the source.")] = None,
    windows: Annotated[int | None, typer.Option(min=1, help="Stop after so many answers.")] = None,
    backend: BackendChoice = BackendName.AUTO,
    trust_engine: TrustEngine = False,
    top: Annotated[int, typer.Option(min=1, max=1000, metavar="K", help="Name the K likeliest classes.")] = 2,
    shown: Annotated[
        bool, typer.Option("--view/--no-view", help="Show events and classes on a terminal while they come.")
    ] = True,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a line of values a window on stdout.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an object a line on stdout: one a window, then a summary.")
    ] = False,
    verbose: Verbose = False,
) -> int:
    """Classify events as they come, until the source ends or Ctrl-C."""
    from tcja_deploy.stream import output, view
    from tcja_deploy.stream.stream import Options, Stream
    from tcja_runtime.events import sources

    if as_csv and as_json:
        raise BadInput("--csv and --json both ask for stdout; give one of them")
    how = Options(
        window=options.window(window, hop),
        buffer=buffer,
        lossless=lossless,
        seconds=seconds,
        windows=windows,
        backend=backend.value,
        trust_engine=trust_engine,
    )
    progress = flags.progress()
    with contextlib.closing(
        sources.open_source(source, form=format_, speed=options.speed(speed), follow=follow)
    ) as opened:
        found = Stream(bundle, opened, how, progress)
        if opened.address:
            progress.note(f"listening at {opened.address}")
        form = output.JSON if as_json else output.CSV if as_csv else output.PLAIN
        view.run(found, form, top=top, view=shown)
    return DONE
