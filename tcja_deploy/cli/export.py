"""`tcja-deploy export`: its options, which are those of `tcja-deploy check`, too."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import (
    Anytime,
    BatchSizes,
    BuildTimeout,
    Columns,
    Crop,
    Json,
    Labels,
    NetworkName,
    ResizeMethod,
    Set,
    TimeUnit,
    Topic,
    TrustCheckpoint,
    Verbose,
    WeightsKey,
)
from tcja_deploy.console import out, print_json
from tcja_deploy.packages import needs
from tcja_deploy.texts.export import exported_text
from tcja_runtime.choices import Calibration, ForwardLayout, InputKind, Precision, SpikeCounts, Target, TimeForm
from tcja_runtime.errors import DONE, ParityNotMet
from tcja_runtime.events import ReadOptions
from tcja_runtime.tensorrt.build import Batch

if TYPE_CHECKING:
    from tcja_deploy.export.request import ExportRequest

Checkpoint = Annotated[
    Path,
    typer.Argument(
        help="The file in which training saved the weights of the network (.pth, .pt, .safetensors), or a NIR graph "
        "(.nir)."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="The bundle to write. Default: a bundle in this folder, with the name of CHECKPOINT and the ending "
        ".bundle.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FACTORY",
        help="Export your own network: this function returns it, and CHECKPOINT has its weights. The neurons are "
        "replaced by those of tcja-deploy, and the result is compared with the original in float64.",
    ),
]
Shape = Annotated[
    str | None,
    typer.Option(
        metavar="T,P,H,W",
        help="The shape of the windows that --model or a NIR graph takes: T,P,H,W (frames), C,H,W (images), T,F or "
        "T,C,L (features). Default: the shape of the windows in --data; recordings do not store it.",
    ),
]
Input = Annotated[
    InputKind | None,
    typer.Option(
        "--input",
        help="What --model or a NIR graph takes: event counts, images, or features, which are real numbers at each "
        "time step. Default: what --data has; without it, a --shape of 4 numbers means frames, 3 images (features for "
        "a NIR graph), 2 features.",
    ),
]
Layout = Annotated[
    ForwardLayout,
    typer.Option(
        help="The axes of the windows that --model takes: [N, T, ...] (NT), [T, N, ...] (TN), or one time step at a "
        "time (step)."
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        metavar="INDEX|KEY",
        help="Which of the values that --model returns is the output: an index of its tuple or list, or a key of its "
        "dict.",
    ),
]
PerStep = Annotated[
    bool,
    typer.Option("--per-step", help="Return the output of each time step, [N, T, classes], instead of its mean."),
]
Classes = Annotated[
    str | None,
    typer.Option(
        help="The class names in the order of the output: a text file with one name on each line, or a list with "
        "commas. Default: the class names that are published for the network."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="The windows on which the exported network is compared with the trained one: an .npz file with 'frames' "
        "[N, T, P, H, W], 'images' [N, C, H, W] or 'features' [N, T, F] or [N, T, C, L], and 'labels' [N] if they are "
        "known; a recording of events; a picture (PNG, JPEG); or a folder of these. Default: 2 to 64 random windows, "
        "which give no accuracy."
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(metavar="N", help="Compare only on the first N windows of --data. Default: all."),
]
Judge = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Compare the first N windows spike by spike. Default: as many as take a few minutes, 1024 at most.",
    ),
]
TargetChoice = Annotated[
    Target,
    typer.Option(help="The TensorRT that builds an engine; auto takes the one that is installed, onnx builds none."),
]
WeightPrecision = Annotated[
    Precision, typer.Option(help="The type of weights and activations; membranes and thresholds stay in float32.")
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        help="Keep this module or spiking layer in float32 when --precision is lower; 'nothing' keeps none. Repeat the "
        "option for several. Default: 'advised', the layers that would flip most spikes."
    ),
]
CalibrationWindows = Annotated[
    Calibration,
    typer.Option(
        help="The windows on which --precision int8 measures its scales: those of --data, or random windows, whose "
        "scales are wrong for other windows."
    ),
]
Form = Annotated[
    TimeForm | None,
    typer.Option(
        help="The form of time in model.plain.onnx: a loop over the time steps (scan), the operations of each step one "
        "after the other (unrolled), the same of operations that TensorRT makes one kernel of (fused), or for each "
        "layer the one that is faster on this machine (auto). stepwise means --streaming. Default: scan for ONNX "
        "Runtime, fused for TensorRT."
    ),
]
Counts = Annotated[
    SpikeCounts,
    typer.Option(
        help="Whether model.plain.onnx, and so every engine, also returns how many spikes each layer fires at each "
        "time step. verify judges an engine by them; run and stream say when firing rates drift. auto: on if the "
        "engine then moves under 3 % more bytes."
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        metavar="RULE",
        help="The rule by which training cut recordings into frames. SpikingJelly: number, time, duration:50ms (up to "
        "0.0.0.0.14) or duration-grid:50ms (2.0). tonic: event-bins, time-bins, event-count:3000 or time-window:50ms. "
        "Default: the rule that was published with the network; none for --model.",
    ),
]
Streaming = Annotated[
    bool,
    typer.Option("--streaming", help="Also write the network in two parts, which can run frame by frame (stepwise)."),
]
ReportFile = Annotated[
    Path | None, typer.Option(help="Also write the HTML report to this new file, even if parity is not met.")
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """The argument and the options of `export` and `check`."""

    checkpoint: Checkpoint
    out_: Out = None
    weights: WeightsKey = None
    network: NetworkName = None
    set_: Set = None
    model: Model = None
    shape: Shape = None
    input_: Input = None
    layout: Layout = ForwardLayout.NT
    output: Output = None
    per_step: PerStep = False
    classes: Classes = None
    data: Data = None
    time_unit: TimeUnit = None
    columns: Columns = None
    topic: Topic = None
    samples: Samples = None
    judge: Judge = None
    anytime: Anytime = None
    target: TargetChoice = Target.AUTO
    batch: BatchSizes = "1:1:8"
    build_timeout: BuildTimeout = None
    precision: WeightPrecision = Precision.FP32
    keep: Keep = None
    calibration: CalibrationWindows = Calibration.DATA
    time_form: Form = None
    spike_counts: Counts = SpikeCounts.AUTO
    split: Split = None
    crop: Crop = None
    resize: ResizeMethod = None
    labels: Labels = None
    streaming: Streaming = False
    report: ReportFile = None
    trust_checkpoint: TrustCheckpoint = False
    as_json: Json = False
    verbose: Verbose = False

    def request(self) -> ExportRequest:
        """Return the request of the export.

        Raises:
            BadInput: an option cannot be used.
        """
        with needs("export"):
            from tcja_deploy.export.request import ExportRequest, default_bundle
        return ExportRequest(
            checkpoint=self.checkpoint,
            out=self.out_ or default_bundle(self.checkpoint),
            weights=self.weights,
            network=self.network,
            model=self.model,
            shape=options.shape(self.shape),
            input=self.input_ and self.input_.value,
            layout=self.layout.value,
            output=self.output,
            settings=options.settings(self.set_),
            per_step=self.per_step,
            classes=options.class_names(self.classes),
            target=self.target.value,
            batch=Batch.parse(self.batch),
            build_timeout=self.build_timeout,
            precision=self.precision.value,
            keep=tuple(self.keep) if self.keep else ExportRequest.keep,
            calibration=self.calibration.value,
            time_form=None if self.time_form in (None, TimeForm.STEPWISE) else self.time_form.value,
            spike_counts=self.spike_counts.value,
            split=self.split,
            camera_view=options.view(self.crop, self.resize),
            labels=self.labels and self.labels.value,
            streaming=self.streaming or self.time_form is TimeForm.STEPWISE,
            data=self.data,
            reading=ReadOptions(self.time_unit, self.columns, self.topic),
            samples=self.samples,
            judge=self.judge,
            anytime=self.anytime,
            report=self.report,
            trust_checkpoint=self.trust_checkpoint,
        )


@options.taking(ExportOptions)
def export(given: ExportOptions) -> int:
    """Turn a checkpoint into a verified bundle: ONNX models, an engine, and proof that they fire the same spikes.

    Examples:
        tcja-deploy export dvs128.pth --data test.npz
        tcja-deploy export own.pth --model net:Net --layout TN --data test.npz
        tcja-deploy export dvs128.pth --data test.npz --precision fp16
        tcja-deploy export net.nir --shape 16,2,32,32 --set dialect=snntorch
    """
    request = given.request()
    with needs("export"):
        from tcja_deploy.export import pipeline
    try:
        manifest, result = pipeline.export(request, options.progress())
    except ParityNotMet as error:
        if given.as_json:
            print_json({"bundle": None, "parity": error.figures})
        raise
    if given.as_json:
        print_json({"bundle": str(request.out), **dataclasses.asdict(manifest)})
    else:
        out.print(exported_text(request.out, manifest, result, options.telling(given.verbose)))
    return DONE
