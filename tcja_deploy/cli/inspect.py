"""`tcja-deploy inspect`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import Json, NetworkName, Set, TrustCheckpoint, Verbose, WeightsKey
from tcja_deploy.console import out, print_json
from tcja_deploy.texts.inspect.facts import facts_text
from tcja_runtime.errors import DONE, BadInput
from tcja_runtime.tensorrt.build import LARGEST_BATCH


def inspect(
    file: Annotated[Path, typer.Argument(help="A checkpoint, a NIR graph, an .onnx file or a bundle.")],
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:MODE]",
            help="Also estimate the operations, bytes, memory, time and energy of each layer on this Jetson in this "
            "power mode, such as orin-nano, agx-orin:30W or thor. Default: no estimate.",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=LARGEST_BATCH, help="The number of windows at a time for which --device estimates. Default: 1."
        ),
    ] = None,
    weights: WeightsKey = None,
    network: NetworkName = None,
    set_: Set = None,
    trust_checkpoint: TrustCheckpoint = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Describe a checkpoint, a NIR graph, an ONNX file or a bundle: its network, layers, T, and its costs on a board.

    Examples:
        tcja-deploy inspect dvs128.bundle
        tcja-deploy inspect dvs128.bundle --device orin-nano:7W
        tcja-deploy inspect dvs128.pth --verbose
    """
    from tcja_deploy.inspect.describe import CheckpointOptions, opened
    from tcja_deploy.inspect.describe import facts as facts_of
    from tcja_deploy.inspect.estimate import estimate
    from tcja_exporters.costs.boards import Device

    if batch is not None and device is None:
        raise BadInput("--batch is the number of windows that a board takes at a time; name the board with --device")
    named = None if device is None else Device.named(device)
    given = CheckpointOptions(
        weights=weights, network=network, settings=options.settings(set_), trust_checkpoint=trust_checkpoint
    )
    found = opened(file, given)
    facts = facts_of(found, given)
    costs = None if named is None else estimate(found, named, batch or 1, options.progress(), given)
    if as_json:
        print_json(facts if costs is None else {**facts, "costs": costs.to_dict()})
    else:
        if "remark" in facts:
            options.progress().note(facts.pop("remark"))
        out.print(facts_text(facts, costs, options.telling(verbose)))
    return DONE
