"""The request of an export: the network, and the options."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from tcja_exporters.checkpoint.identify import Settings
from tcja_exporters.nir_graphs.file import is_graph
from tcja_exporters.precision import ADVISED, NOTHING
from tcja_runtime.budget import MOST_WINDOWS
from tcja_runtime.choices import (
    AUTO,
    CALIBRATIONS,
    INPUTS,
    LABEL_RULES,
    LAYOUTS,
    PRECISIONS,
    RANDOM,
    TIME_FORMS,
    SpikeCounts,
    Target,
)
from tcja_runtime.data.camera import WHOLE, CameraView
from tcja_runtime.data.windows import GivenWindows
from tcja_runtime.errors import BadInput, check_choice
from tcja_runtime.events import ReadOptions
from tcja_runtime.files.staging import check_new_page
from tcja_runtime.records import check_arguments, check_size
from tcja_runtime.tensorrt.build import LONGEST_BUILD, Batch, BuildOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """The network to export, and the options of the export.

    Attributes:
        checkpoint: the file of the trained network, or a NIR graph; None if `model` is a module that already has its
            weights.
        out: the path of the bundle, which must not exist.
        weights: the path of keys to the weights in the checkpoint, such as "model_ema"; its last part may be the prefix
            of the keys. None takes the likeliest that fit (`tcja_exporters.checkpoint.weight_sets`).
        model: the user's own network, as a module or as ``pkg.mod:factory``; None for a network of the registry.
        shape: the shape of a window that `model` or a NIR graph takes: (T, P, H, W) of frames, (C, H, W) of images,
            (T, F) or (T, C, L) of features. None takes the shape of the windows in `data`.
        input: what `model` or a NIR graph takes, one of `tcja_runtime.choices.INPUTS`; None tells it from the array in
            `data`, or from the number of axes, of which three are an image.
        layout: the axes of the windows that `model` takes, one of `tcja_runtime.choices.LAYOUTS`.
        output: which of the values that `model` returns is the output: an index of its tuple or list, or a key of its
            dict. None takes the first, if the others can only be states.
        network: the name of the network in the registry; None finds it from the checkpoint.
        settings: settings of the network that the checkpoint does not store, by name.
        per_step: whether the network returns its output at each time step, instead of the mean over time.
        classes: the class names in the order of the output; None takes the class names that the registry has.
        target: the engine to build: "tensorrt", "tensorrt-rtx", "onnx" for no engine, or "auto" for the TensorRT that
            is installed.
        batch: the batch sizes of the engine.
        build_timeout: the seconds after which the builder of the engine is ended; None for
            `tcja_runtime.tensorrt.build.BUILD_TIMEOUTS`.
        precision: the precision of weights and activations: "fp32", "fp16" or "int8".
        keep: the modules and spiking layers that stay in float32 in a lower precision, by name. "advised" stands for
            those that would flip most spikes (`tcja_exporters.precision.advice`); "nothing" keeps none.
        calibration: the windows on which the scales of int8 are measured: "data", or "random" for random windows, which
            are accepted only by this word.
        time_form: the time form of the spiking layers in model.plain.onnx: "scan", "unrolled", "fused", or "auto"
            to measure which is faster for each layer; None takes the one for the target
            (`tcja_deploy.export.time_form`).
        spike_counts: whether model.plain.onnx, and so every engine, also returns the number of spikes of each layer at
            each time step: "on", "off", or "auto" where it costs little (`tcja_deploy.export.spike_counts`).
        split: the rule that cuts recordings into frames (`tcja_runtime.data.split_rules.RULES`); None takes the rule of
            the network.
        camera_view: what frames are made from, where the camera's picture is not as large as they are; it is stored in
            the bundle. `WHOLE` takes what the network's contract says.
        labels: the rule by which folders and label files of the data tell classes, one of
            `tcja_runtime.choices.LABEL_RULES`; it is stored in the bundle. None chooses.
        streaming: whether to write the network in two parts as well, so that it can run stepwise
            (`tcja_exporters.graph.stepwise`).
        data: the windows to compare on, or their path (`tcja_runtime.data.dataset.load`); None takes random windows.
        reading: what the user says about recordings that do not say it themselves.
        samples: the number of windows to compare on, from the first window of the data; None takes all.
        judge: the number of windows to judge spike by spike, from the first; None judges as many as take minutes.
        anytime: the number of windows to run again with only 1 to T of their frames, from the first; None takes as
            many real windows as take little time (`tcja_runtime.evidence.anytime`).
        report: the path of a second copy of the report, which must not exist. It is written even if parity is not met.
        trust_checkpoint: whether to load a checkpoint that can run code. If it stores a module of no known network, and
            no `model` is given, the module is the network.

    Raises:
        BadInput: an option has another type, is out of range, or is a word that cannot be chosen.
    """

    checkpoint: Path | None = None
    out: Path
    weights: str | None = None
    model: nn.Module | str | None = None
    shape: tuple[int, ...] | None = None
    input: str | None = None
    layout: str = "NT"
    output: str | None = None
    network: str | None = None
    settings: Settings = dataclasses.field(default_factory=dict)
    per_step: bool = False
    classes: tuple[str, ...] | None = None
    target: str = "auto"
    batch: Batch = BuildOptions.batch
    build_timeout: int | None = None
    precision: str = "fp32"
    keep: tuple[str, ...] = (ADVISED,)
    calibration: str = "data"
    time_form: str | None = None
    spike_counts: str = AUTO
    split: str | None = None
    camera_view: CameraView = WHOLE
    labels: str | None = None
    streaming: bool = False
    data: Path | GivenWindows | None = None
    reading: ReadOptions = dataclasses.field(default_factory=ReadOptions)
    samples: int | None = None
    judge: int | None = None
    anytime: int | None = None
    report: Path | None = None
    trust_checkpoint: bool = False

    @property
    def says_input(self) -> bool:
        """Whether an option says what a user's own network takes; a trusted checkpoint may hold the network itself."""
        return self.shape is not None or self.input is not None or self.layout != ExportRequest.layout

    def __post_init__(self) -> None:
        check_arguments(self)
        check_size("samples", self.samples, 1, MOST_WINDOWS)
        check_size("judge", self.judge, 1)
        check_size("anytime", self.anytime, 0, MOST_WINDOWS)
        check_size("build_timeout", self.build_timeout, 1, LONGEST_BUILD)
        _check_classes(self.classes)
        words: dict[str, tuple[str | None, Sequence[str]]] = {
            "input": (self.input, INPUTS),
            "layout": (self.layout, LAYOUTS),
            "target": (self.target, [each.value for each in Target]),
            "precision": (self.precision, PRECISIONS),
            "calibration": (self.calibration, CALIBRATIONS),
            "time_form": (self.time_form, (AUTO, *TIME_FORMS)),
            "spike_counts": (self.spike_counts, [each.value for each in SpikeCounts]),
            "labels": (self.labels, LABEL_RULES),
        }
        for name, (word, choices) in words.items():
            if word is not None:
                check_choice(name, word, choices)


def _check_classes(classes: tuple[str, ...] | None) -> None:
    """Check that each class has a name of its own, of one line.

    Raises:
        BadInput: there are no names, or a name is empty, is given twice, or has a line break.
    """
    if classes is None:
        return
    if not classes:
        raise BadInput("`classes` has no class names")
    for name in classes:
        if not name.strip():
            raise BadInput("`classes` has an empty name; each class needs a name")
        if len(name.splitlines()) > 1:
            raise BadInput(f"`classes` has the name {name!r} with a line break; a name is one line")
        if classes.count(name) > 1:
            raise BadInput(f"`classes` has the name '{name}' twice; each class needs a different name")


def default_bundle(network: Path | nn.Module) -> Path:
    """The path of the bundle if the user names none: in this folder, with the name of the checkpoint or the class."""
    name = network.stem if isinstance(network, Path) else type(network).__name__
    return Path(f"{name}.bundle")


def check_options(request: ExportRequest) -> None:
    """Check that the options fit together, as far as this can be checked without the network and the data.

    Raises:
        BadInput: options contradict each other, or the report cannot be written.
    """
    _check_source(request)
    if NOTHING in request.keep and len(set(request.keep)) > 1:
        others = ", ".join(name for name in request.keep if name != NOTHING)
        raise BadInput(f"`keep` {NOTHING} keeps no layer, and `keep` {others} does; leave one of them out")
    if request.keep != ExportRequest.keep and request.precision == "fp32":
        raise BadInput("`keep` says what stays in float32 in a lower precision; give `precision` too, or leave it out")
    if request.calibration == RANDOM and (request.precision != "int8" or request.data is not None):
        raise BadInput(
            f"`calibration` {RANDOM} measures the scales of `precision` int8 without `data`; give that precision and "
            "no data, or leave it out"
        )
    if request.precision == "int8" and request.calibration != RANDOM and request.data is None:
        raise BadInput(
            "`precision` int8 measures its scales on windows, which should be real: give `data`; or accept scales of "
            f"random windows, which are wrong for others, with `calibration` {RANDOM}"
        )
    if request.report is None:
        return
    if request.out.absolute() in (request.report.absolute(), *request.report.absolute().parents):
        raise BadInput(f"`report` {request.report} is the path of the bundle, or is in it; choose another file")
    check_new_page(request.report, "`report`")


def _check_source(request: ExportRequest) -> None:
    """Check that options about a checkpoint, a user's own network or recordings have what they are about."""
    if request.weights is not None and request.checkpoint is None:
        raise BadInput("`weights` chooses weights in a checkpoint; give the checkpoint too, or leave it out")
    if request.checkpoint is not None and is_graph(request.checkpoint):
        own = {"model": request.model, "network": request.network, "weights": request.weights}
        for name in [name for name, value in own.items() if value is not None]:
            raise BadInput(f"{request.checkpoint} is a NIR graph, which holds its network; leave `{name}` out")
        if request.layout != "NT":
            raise BadInput("`layout` says what `model` takes; a NIR graph takes windows of `shape`, so leave it out")
    elif request.model is None and not request.trust_checkpoint and request.output is not None:
        raise BadInput("`output` chooses one of the values that `model` returns; give `model` too, or leave it out")
    elif request.model is None and not request.trust_checkpoint and request.says_input:
        raise BadInput(
            "`shape`, `input` and `layout` say what `model` takes; give `model` too, `trust_checkpoint` if the file "
            "holds the network itself, or leave them out"
        )
    if request.model is not None and (request.network or request.settings):
        raise BadInput("`network` and `settings` are for networks of the registry, not for `model`")
    for name in request.reading.given if request.data is None else ():
        raise BadInput(f"`{name}` is about recordings in `data`; give `data` too, or leave it out")
