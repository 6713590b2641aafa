"""`tcja-deploy check`: its options. Those that say what the network is are the options of `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.export import (
    CalibrationWindows,
    Checkpoint,
    Classes,
    Keep,
    Layout,
    Model,
    PerStep,
    Shape,
    Split,
    Streaming,
    TargetChoice,
    WeightPrecision,
)
from tcja_deploy.cli.options import (
    Columns,
    Crop,
    Json,
    Labels,
    NetworkName,
    ResizeMethod,
    Set,
    TimeUnit,
    Topic,
    Trust,
    Verbose,
    WeightsKey,
)
from tcja_deploy.console import out, print_json
from tcja_deploy.packages import needs
from tcja_deploy.texts.check import checked_text
from tcja_runtime.choices import Calibration, ForwardLayout, Precision, Target
from tcja_runtime.errors import DONE, BadInput
from tcja_runtime.events import ReadOptions

Data = Annotated[
    Path | None,
    typer.Option(
        help="The windows on which export would compare the network, as for export. The check reads two of them. "
        "Default: two random windows."
    ),
]


def check(
    checkpoint: Checkpoint,
    weights: WeightsKey = None,
    network: NetworkName = None,
    set_: Set = None,
    model: Model = None,
    shape: Shape = None,
    layout: Layout = ForwardLayout.NT,
    per_step: PerStep = False,
    classes: Classes = None,
    data: Data = None,
    time_unit: TimeUnit = None,
    columns: Columns = None,
    topic: Topic = None,
    target: TargetChoice = Target.AUTO,
    precision: WeightPrecision = Precision.FP32,
    keep: Keep = None,
    calibration: CalibrationWindows = Calibration.DATA,
    split: Split = None,
    crop: Crop = None,
    resize: ResizeMethod = None,
    labels: Labels = None,
    streaming: Streaming = False,
    trust_checkpoint: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Say what export would make of a checkpoint, in seconds: each module, the judged layers, nodes and memory.

    Examples:
        tcja-deploy check dvs128.pth
        tcja-deploy check own.pth --model net:Net --layout TN --shape 10,2,128,128
    """
    with needs("export"):
        from tcja_deploy.check import checker
        from tcja_deploy.export.request import ExportRequest, default_bundle
    request = ExportRequest(
        checkpoint=checkpoint,
        out=default_bundle(checkpoint),
        weights=weights,
        network=network,
        model=model,
        shape=options.shape(shape),
        layout=layout.value,
        settings=options.settings(set_),
        per_step=per_step,
        classes=options.class_names(classes),
        target=target.value,
        precision=precision.value,
        keep=tuple(keep) if keep else ExportRequest.keep,
        calibration=calibration.value,
        split=split,
        camera_view=options.view(crop, resize),
        labels=labels and labels.value,
        streaming=streaming,
        data=data,
        reading=ReadOptions(time_unit, columns, topic),
        trust_checkpoint=trust_checkpoint,
    )
    found = checker.check(request, options.progress())
    if as_json:
        print_json(found.to_dict())
    else:
        out.print(checked_text(found, options.telling(verbose)))
    if found.error is not None:
        raise BadInput(found.refusals[0]) from found.error
    return DONE
