"""The request of an export: its options."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import nn

from tcja_exporters.checkpoint.identify import Settings
from tcja_exporters.precision import ADVISED
from tcja_runtime.tensorrt.build import Batch, BuildOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What to export, and how.

    Attributes:
        checkpoint: the file of the trained network; None where `model` has its weights.
        out: the path of the bundle, which must not exist.
        model: the user's own network, as a module or as ``pkg.mod:factory``; None for a network of the registry.
        shape: the shape of a window of `model`, (T, P, H, W), or of an image, (C, H, W); None takes that of the data.
        layout: the axes that `model` takes frames in, one of `tcja_runtime.choices.LAYOUTS`.
        network: the name of the network in the registry, where the checkpoint does not tell it.
        settings: settings of the network that the checkpoint does not tell, by name.
        per_step: whether the network should return its output at each time step instead of the mean.
        classes: the class names in the order of the output; None takes the network's own.
        target: "auto" (the TensorRT that is installed), "onnx" (no engine), "tensorrt" or "tensorrt-rtx".
        batch: the batch sizes of the engine.
        precision: the precision of weights and activations: "fp32", "fp16" or "int8".
        keep: what stays in float32 in a lower precision: names of modules or of spiking layers, "advised" for the
            layers that the advice names, or "nothing".
        time_form: the time form of the plain model: "scan", "unrolled", or "auto" to measure which is faster for each
            layer; None leaves it to the target (`tcja_deploy.export.time_form`).
        split: the rule that cuts recordings into frames (`tcja_runtime.data.contract.RULES`); None takes the network's.
        streaming: whether to split the network into head and tail, so that it can run stepwise
            (`tcja_exporters.graph.stepwise`).
        data: the path of the windows to compare on (`tcja_runtime.data.dataset.load`); None takes random windows.
        samples: the number of windows to compare on, the first of the data; None takes all.
        judge: the number of windows to judge spike by spike, the first of them; None judges as many as take minutes.
        anytime: the number of windows to show frame by frame, the first of them; None shows as many real windows as
            take little time (`tcja_runtime.evidence.anytime`).
        report: a second path of the report, which must not exist. It is written even if parity is not met.
        trust_checkpoint: whether a checkpoint that can run code may be loaded.
    """

    checkpoint: Path | None = None
    out: Path
    model: nn.Module | str | None = None
    shape: tuple[int, ...] | None = None
    layout: str = "NT"
    network: str | None = None
    settings: Settings = dataclasses.field(default_factory=dict)
    per_step: bool = False
    classes: tuple[str, ...] | None = None
    target: str = "auto"
    batch: Batch = BuildOptions.batch
    precision: str = "fp32"
    keep: tuple[str, ...] = (ADVISED,)
    time_form: str | None = None
    split: str | None = None
    streaming: bool = False
    data: Path | None = None
    samples: int | None = None
    judge: int | None = None
    anytime: int | None = None
    report: Path | None = None
    trust_checkpoint: bool = False
