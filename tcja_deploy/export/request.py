"""What `export` is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import nn

from tcja_exporters.checkpoint.identify import Settings
from tcja_exporters.precision import (
    ADVISED,
)
from tcja_runtime.tensorrt.build import Batch, BuildOptions


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What to export, and how.

    Attributes:
        checkpoint: the trained network's file; None where `model` has its weights.
        model: a network of one's own, as a module or as ``pkg.mod:factory``; None for one of the registry.
        shape: of its windows, (T, P, H, W) or of images (C, H, W); None takes that of the data.
        layout: how it takes frames (`tcja_runtime.choices.LAYOUTS`).
        out: where the bundle goes; must not exist.
        network: its name, where the checkpoint does not tell.
        settings: what else the checkpoint does not tell of the network, by name.
        per_step: whether it should return what it answers at each step instead of the mean.
        classes: class names in the order of the output; None takes the network's own.
        target: "auto" (whichever TensorRT is installed), "onnx" (no engine), "tensorrt" or "tensorrt-rtx".
        batch: batch sizes of the engine.
        precision: of weights and activations: "fp32", "fp16" or "int8".
        keep: what stays in float32 all the same: modules, spiking layers, or "advised" for what margins advise.
        time_form: how time is laid out in the plain model: "scan", "unrolled", "auto" to measure which is faster, layer
            by layer; None leaves it to the target (`tcja_deploy.export.time_form`).
        split: how recordings are cut into frames (`tcja_runtime.data.contract.RULES`); None leaves it to the network.
        streaming: whether to split the network so that it can be streamed frame by frame
            (`tcja_exporters.graph.stepwise`).
        data: windows to compare on (`tcja_runtime.data.dataset.load`); None draws some.
        samples: how many windows to compare on; None takes all of the data.
        judge: how many of them, the first, to judge spike by spike; None judges what takes minutes. All are classified.
        anytime: how many of them, the first, to show the network frame by frame; None for as many real ones as cost
            little (`tcja_runtime.evidence.anytime`).
        report: where to write the report too, even if parity is not met; must not exist.
        trust_checkpoint: whether to unpickle a checkpoint that can run code.
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
