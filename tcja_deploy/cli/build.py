"""`tcja-deploy build`: its options."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import BatchSizes, BuildTimeout, Json, Key, PublicKeys, RequireSignature, Verbose
from tcja_deploy.console import out, print_json
from tcja_deploy.provenance import provenance
from tcja_deploy.texts.build import built_text
from tcja_runtime.choices import EngineTarget, Hardware
from tcja_runtime.errors import DONE

TargetChoice = Annotated[
    EngineTarget, typer.Option(help="The TensorRT that builds the engine; auto takes the one that is installed.")
]
Tf32 = Annotated[
    bool,
    typer.Option("--tf32", help="Round float32 products to TF32. The engine is faster, and some spikes flip."),
]
Level = Annotated[
    int | None,
    typer.Option(
        "--optimization-level",
        metavar="0..5",
        help="TensorRT's optimisation level: a higher level builds for longer, and may give a faster engine. "
        "Default: TensorRT's own.",
    ),
]
Workspace = Annotated[
    int | None,
    typer.Option(
        metavar="MIB",
        min=1,
        max=2**20,
        help="The GPU memory that a layer of the engine may use, in MiB. Default: half of the free memory.",
    ),
]
VersionCompatible = Annotated[
    bool,
    typer.Option("--version-compatible", help="Build an engine that later versions of TensorRT can load, too."),
]
HardwareCompatible = Annotated[
    Hardware | None,
    typer.Option(
        "--hardware-compatible",
        help="Build an engine that other GPUs can load, too: those from Ampere on, or those of the same compute "
        "capability.",
    ),
]
Plugin = Annotated[
    bool,
    typer.Option(
        "--plugin",
        help="Compute each spiking layer in one CUDA kernel. The kernel is a TensorRT plugin, which has never been "
        "run in a real TensorRT.",
    ),
]


def build(
    bundle: Annotated[Path, typer.Argument(help="The bundle to add an engine to.")],
    target: TargetChoice = EngineTarget.AUTO,
    batch: BatchSizes = "1:1:8",
    tf32: Tf32 = False,
    level: Level = None,
    workspace: Workspace = None,
    version_compatible: VersionCompatible = False,
    hardware: HardwareCompatible = None,
    plugin: Plugin = False,
    build_timeout: BuildTimeout = None,
    require_signature: RequireSignature = False,
    public_key: PublicKeys = None,
    key: Key = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Build an engine for this machine's TensorRT and GPU, and add it to the bundle. Run this command on the board.

    In a signed bundle, the manifest does not change: the engine is listed apart. --key signs that list.

    Examples:
        tcja-deploy build dvs128.bundle
        tcja-deploy build dvs128.bundle --batch 1:1:16
    """
    from tcja_deploy.build import build as built
    from tcja_runtime.tensorrt.build import Batch, BuildOptions

    how = BuildOptions(
        batch=Batch.parse(batch),
        tf32=tf32,
        level=level,
        workspace=None if workspace is None else workspace * 2**20,
        version_compatible=version_compatible,
        hardware=hardware and hardware.value,
        plugin=plugin,
        build_timeout=build_timeout,
    )
    trust = options.trust(False, require_signature, public_key)
    engine = built(bundle, target.value, how, options.progress(), key=key, trust=trust)
    if as_json:
        named = {"bundle": str(bundle), **provenance(engine.bundle_sha256), "engine": engine.name}
        print_json({**named, **dataclasses.asdict(engine.info)})
    else:
        out.print(built_text(engine, options.telling(verbose)))
    return DONE
