"""The command line: it parses, calls the library, prints, and turns failures into one line and an exit code.

Exit codes: 0 done, 1 parity or accuracy not met, 2 bad usage or bad input, 3 something this machine lacks, 70 a bug,
130 interrupted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from tcja_deploy import options, show
from tcja_deploy.console import Steps, err, out, print_json
from tcja_deploy.options import (
    Anytime,
    BackendChoice,
    BatchSizes,
    Hop,
    Json,
    NetworkName,
    Set,
    Trust,
    TrustEngine,
    Verbose,
    WindowLength,
)
from tcja_deploy.packages import needs, producer
from tcja_runtime.bundle.bundle import REPORT
from tcja_runtime.choices import BackendName, Builder, Hardware, LayoutName, Precision, Target, TimeForm
from tcja_runtime.errors import BAD_USAGE, BUG, DONE, INTERRUPTED, UNMET, BadInput, ParityNotMet, TcjaError, Unavailable
from tcja_runtime.events.buffer import LIMIT
from tcja_runtime.files import staging

app = typer.Typer(
    help="Deploy trained TCJA spiking networks: ONNX, TensorRT engines, and proof that they fire the same spikes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        out.print(producer())
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Deploy trained TCJA spiking networks: ONNX, TensorRT engines, and proof that they fire the same spikes."""


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="The trained network, as training saved it (.pth, .pt).")],
    out_path: Annotated[
        Path | None, typer.Option("--out", help="The bundle to write. Default: CHECKPOINT's name with .bundle, here.")
    ] = None,
    network: NetworkName = None,
    set_: Set = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:FACTORY",
            help="A network of one's own: what makes it, without weights. Its neurons are replaced, and the result is "
            "compared with it in float64.",
        ),
    ] = None,
    shape: Annotated[
        str | None, typer.Option(metavar="T,P,H,W", help="Windows that --model takes, or C,H,W. Default: the data's.")
    ] = None,
    layout: Annotated[
        LayoutName, typer.Option(help="What --model takes of frames: [N, T, ...], [T, N, ...], or a step at a time.")
    ] = LayoutName.NT,
    per_step: Annotated[
        bool,
        typer.Option("--per-step", help="Return the answer of each step [N, T, classes], not the mean."),
    ] = False,
    classes: Annotated[
        str | None,
        typer.Option(help="Class names in the order of the output: a text file with one a line, or a comma list."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Windows to compare on: an .npz with 'frames' [N, T, P, H, W] (or 'images' [N, C, H, W]) and, where "
            "known, 'labels' [N]; a recording of events; or a folder of such files. Default: 2 to 64 drawn windows, "
            "which give no accuracy."
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(max=1_000_000, help="Compare on the first windows only, at most so many. Default: all."),
    ] = None,
    judge: Annotated[
        int | None,
        typer.Option(help="Judge the first windows spike by spike, at most so many. Default: what takes minutes."),
    ] = None,
    anytime: Anytime = None,
    target: Annotated[
        Target, typer.Option(help="The engine to build: auto takes whichever TensorRT is installed, onnx builds none.")
    ] = Target.AUTO,
    batch: BatchSizes = "1:1:8",
    precision: Annotated[
        Precision, typer.Option(help="Of weights and activations; membranes and thresholds stay in float32.")
    ] = Precision.FP32,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            help="What stays in float32 all the same: a module, a spiking layer, or 'nothing'; repeatable. Default: "
            "'advised', the layers whose margins say that they would flip most."
        ),
    ] = None,
    time_form: Annotated[
        TimeForm | None,
        typer.Option(
            help="How time is laid out in model.plain.onnx: a loop over the steps (scan), one step after the other "
            "(unrolled), or for each layer whichever is faster here (auto); stepwise is --streaming. Default: scan for "
            "ONNX Runtime, unrolled for TensorRT."
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="How training cut recordings into frames: number, time, duration:50ms (SpikingJelly up to 0.0.0.0.14) "
            "or duration-grid:50ms (2.0). Default: the network's own, number as published; unknown for --model.",
        ),
    ] = None,
    streaming: Annotated[
        bool,
        typer.Option("--streaming", help="Also split the network, to be run frame by frame as the frames come."),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Also write the HTML report to this new file, even if parity is not met.")
    ] = None,
    trust_checkpoint: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Turn a checkpoint into a verified bundle: ONNX models, an engine, and the proof that they fire its spikes."""
    with needs("export"):
        from tcja_deploy import pipeline
        from tcja_runtime.tensorrt.build import Batch
    request = pipeline.Request(
        checkpoint=checkpoint,
        out=out_path or Path(checkpoint.stem + ".bundle"),
        network=network,
        model=model,
        shape=options.shape(shape),
        layout=layout.value,
        settings=options.settings(set_),
        per_step=per_step,
        classes=options.class_names(classes),
        target=target.value,
        batch=Batch.parse(batch),
        precision=precision.value,
        keep=tuple(keep) if keep else pipeline.Request.keep,
        time_form=None if time_form in (None, TimeForm.STEPWISE) else time_form.value,
        split=split,
        streaming=streaming or time_form is TimeForm.STEPWISE,
        data=data,
        samples=samples,
        judge=judge,
        anytime=anytime,
        report=report,
        trusted=trust_checkpoint,
    )
    try:
        manifest, result = pipeline.export(request, Steps(err))
    except ParityNotMet as error:
        if as_json:
            print_json({"bundle": None, "parity": error.figures})
        raise
    if as_json:
        print_json({"bundle": str(request.out), **dataclasses.asdict(manifest)})
    else:
        out.print(show.exported(manifest))
        out.print(show.parity(result))
        out.print(f"Bundle: {request.out}  (report: {request.out / REPORT})", soft_wrap=True)
        out.print(f"Next, here or on the board: tcja-deploy verify {request.out}", soft_wrap=True)
    return DONE


@app.command()
def build(
    bundle: Annotated[Path, typer.Argument(help="The bundle to add an engine to.")],
    target: Annotated[Builder, typer.Option(help="What to build with: auto takes whichever is installed.")] = (
        Builder.AUTO
    ),
    batch: BatchSizes = "1:1:8",
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let float32 products round to TF32: faster, and flips spikes.")
    ] = False,
    level: Annotated[
        int | None,
        typer.Option("--optimization-level", metavar="0..5", help="More is a slower build and a faster engine."),
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(metavar="MIB", help="GPU memory a layer may use. Default: half of what is free.")
    ] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Let later TensorRT versions load the engine.")
    ] = False,
    hardware: Annotated[
        Hardware | None, typer.Option("--hardware-compatible", help="Let other GPUs load the engine.")
    ] = None,
    plugin: Annotated[
        bool,
        typer.Option(
            "--plugin", help="Compute spiking layers in one CUDA kernel each (a plugin, never run in a real TensorRT)."
        ),
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Build an engine for this machine's TensorRT and GPU, and add it to the bundle. Run it on the board."""
    from tcja_deploy.build import build as built
    from tcja_runtime.tensorrt.build import Batch, Options

    how = Options(
        batch=Batch.parse(batch),
        tf32=tf32,
        level=level,
        workspace=None if workspace is None else workspace * 2**20,
        version_compatible=version_compatible,
        hardware=hardware and hardware.value,
        plugin=plugin,
    )
    engine = built(bundle, target.value, how, Steps(err))
    if as_json:
        print_json({"bundle": str(bundle), "engine": engine.name, **engine.sidecar})
    else:
        out.print(show.engine(engine.name, engine.sidecar), soft_wrap=True)
    return DONE


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="The bundle to check.")],
    data: Annotated[
        Path | None,
        typer.Option(help="Windows to classify too, as in export, any number; labels tell the accuracy."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(max=1_000_000_000, help="Classify the first windows only, at most so many.")
    ] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="If it fails, name where it first goes wrong and what mistake would fit.")
    ] = False,
    backend: Annotated[
        BackendName,
        typer.Option(
            help="What to prove. Default: ONNX Runtime on the CPU, and every engine that this machine can run."
        ),
    ] = BackendName.AUTO,
    trust_engine: TrustEngine = False,
    anytime: Anytime = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Prove again, on this machine, that a bundle's models fire the trained network's spikes. Exit code 1 if not."""
    from tcja_deploy.verify import verify as proven

    verified = proven(
        bundle,
        Steps(err),
        data=data,
        samples=samples,
        bisect=bisect,
        backend=backend.value,
        trusted=trust_engine,
        show=anytime,
    )
    opened, result = verified.bundle, verified.report
    if as_json:
        culprit = {"culprit": verified.culprit and dataclasses.asdict(verified.culprit)} if bisect else {}
        print_json({"bundle": str(bundle), "network": opened.manifest.network, **culprit, **result.to_dict()})
    else:
        out.print(show.parity(result))
        if verified.culprit:
            out.print(show.culprit(verified.culprit))
    if not result.met:
        err.print(f"error: {result.why_not}", soft_wrap=True)
        return UNMET
    return DONE


@app.command()
def bench(
    bundle: Annotated[Path, typer.Argument(help="The bundle to measure.")],
    backend: Annotated[
        list[BackendName], typer.Option("--backend", help="What to run; repeat it to measure several side by side.")
    ] = [BackendName.AUTO],  # noqa: B006  # typer copies it
    trust_engine: TrustEngine = False,
    batch: Annotated[
        list[int],
        typer.Option(min=1, max=1024, metavar="N", help="Windows at a time; repeat it to see how throughput grows."),
    ] = [1],  # noqa: B006
    canonical: Annotated[
        bool, typer.Option("--canonical", help="Measure model.onnx in ONNX Runtime on the CPU, too.")
    ] = False,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=86_400, help="Measure for so long, and longer if a run takes long.")
    ] = 5.0,
    warm_up: Annotated[
        float, typer.Option(min=0, max=86_400, metavar="SECONDS", help="Run for so long before that.")
    ] = 1.0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Measure latency, throughput, memory and, where the board tells its power, energy on this machine.

    Several backends or batch sizes are measured in turn, without energy, with ratios and how they grow.
    """
    from tcja_deploy.bench import benchmark, sweep

    names = [name.value for name in backend] + [sweep.CANONICAL] * canonical
    how: dict[str, Any] = {"trusted": trust_engine, "seconds": seconds, "warm_up": warm_up}
    found: benchmark.Benchmark | sweep.Sweep
    if len(names) == len(batch) == 1:
        found = benchmark.bench(bundle, Steps(err), backend=names[0], batch=batch[0], **how)
    else:
        found = sweep.sweep(bundle, Steps(err), names=names, batches=sorted(set(batch)), **how)
    if as_json:
        print_json(found.to_dict())
    else:
        out.print(show.benchmark(found) if isinstance(found, benchmark.Benchmark) else show.sweep(found))
    return DONE


@app.command("run")
def run_(
    bundle: Annotated[Path, typer.Argument(help="The bundle whose network classifies.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="Recordings of events, .npz files of windows as for --data of export, or folders."
        ),
    ],
    backend: BackendChoice = BackendName.AUTO,
    trust_engine: TrustEngine = False,
    top: Annotated[int, typer.Option(min=1, max=1000, metavar="K", help="Name the K likeliest classes.")] = 2,
    window: WindowLength = None,
    hop: Hop = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html", help="Draw frames, scores and attention of the first windows on this new page."
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a line of values a window on stdout.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Classify recordings of events, frames or images, any number of them; labels tell the accuracy."""
    from tcja_deploy.picture import MOST, page
    from tcja_deploy.running import classify, seen

    if as_csv and as_json:
        raise BadInput("--csv and --json both ask for stdout; give one of them")
    if picture is not None:
        staging.check_new_file(picture, "--picture")
    how: dict[str, Any] = {
        "backend": backend.value,
        "trusted": trust_engine,
        "top": top,
        "window": options.window(window, hop),
        "pictured": 0 if picture is None else MOST,
    }
    found = classify(bundle, files, Steps(err), **how)
    if as_json:
        print_json(found.to_dict())
    elif as_csv:
        out.print(found.to_csv(), soft_wrap=True, end="")
    else:
        out.print(show.classified(found))
    if picture is not None:
        drawn = page(f"{found.network} in {found.backend}", seen(bundle, found, Steps(err)))
        picture.write_text(drawn, encoding="utf-8")
    return DONE


@app.command()
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
    from tcja_deploy.live import lines, view
    from tcja_deploy.live.stream import Options, Stream
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
        trusted=trust_engine,
    )
    steps = Steps(err)
    with contextlib.closing(sources.opened(source, form=format_, speed=options.speed(speed), follow=follow)) as opened:
        found = Stream(bundle, opened, how, steps)
        if opened.address:
            steps.note(f"listening at {opened.address}")
        form = lines.JSON if as_json else lines.CSV if as_csv else lines.PLAIN
        view.run(found, form, top=top, view=shown)
    return DONE


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A checkpoint, an .onnx file or a bundle.")],
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:MODE]",
            help="Also estimate what it costs on a Jetson, such as orin-nano, agx-orin:30W or thor: operations, bytes, "
            "memory, time and energy of each layer.",
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Windows at a time, for --device. Default: 1.")
    ] = None,
    network: NetworkName = None,
    set_: Set = None,
    trust_checkpoint: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Say what a checkpoint, an ONNX file or a bundle is: network, layers, neurons, T, and what it costs."""
    from tcja_deploy.estimation import estimate
    from tcja_deploy.inspection import inspect as inspected
    from tcja_exporters.costs.boards import board

    if batch is not None and device is None:
        raise BadInput("--batch says how many windows a board takes at a time; name the board with --device")
    at = None if device is None else board(device)
    told = options.settings(set_)
    facts = inspected(file, network=network, settings=told, trusted=trust_checkpoint)
    costs = None
    if at is not None:
        costs = estimate(file, at, batch or 1, Steps(err), network=network, settings=told, trusted=trust_checkpoint)
    if as_json:
        print_json(facts if costs is None else {**facts, "costs": costs.to_dict()})
    else:
        out.print(show.facts(facts))
        if costs is not None:
            out.print(show.estimate(costs))
    return DONE


@app.command()
def doctor(as_json: Json = False, verbose: Verbose = False) -> int:
    """Say what this machine can do, and what to install for the rest."""
    from tcja_deploy.doctor import examine

    found = examine()
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in found])
    else:
        out.print(show.findings(found), soft_wrap=True)
    return DONE


def main(arguments: list[str] | None = None) -> None:
    """Run the command with these arguments, those of the process by default, and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # rather a question mark than no output on an ASCII terminal
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; a failure is one line on stderr."""
    try:
        code = app(arguments or ["--help"], prog_name="tcja-deploy", standalone_mode=False)
    except TcjaError as error:
        return _failed(str(error), error.exit_code, arguments)
    except OSError as error:
        kind = Unavailable if error.errno in staging.NO_ROOM else BadInput
        return _failed(f"{error.filename or 'the output'}: {error.strerror or error}", kind.exit_code, arguments)
    except MemoryError as error:
        message = f"the memory of this machine is not enough ({error}); take fewer windows (--samples, --batch)"
        return _failed(message, Unavailable.exit_code, arguments)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of typer, whose class has moved between versions
            return _failed(f"{error.format_message()} (see 'tcja-deploy --help')", BAD_USAGE, arguments)
        bug = f"a bug in {producer()}: {type(error).__name__}: {error}; please report it with --verbose's output"
        return _failed(" ".join(bug.split()), BUG, arguments)
    if code == INTERRUPTED:  # typer's answer to Ctrl-C
        return _failed("interrupted; nothing was written", INTERRUPTED, arguments)
    return int(code or 0)


def _failed(message: str, code: int, arguments: list[str]) -> int:
    if "--verbose" in arguments:
        traceback.print_exc()
    line = "".join(c if c.isprintable() else " " for c in f"error: {message}")
    with contextlib.suppress(OSError):  # the exit code tells, even where stderr cannot be written
        err.print(line, soft_wrap=True)
    return code
