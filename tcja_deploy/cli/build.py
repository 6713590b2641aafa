"""`tcja-deploy build`: its options, and the engine as text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import BatchSizes, Json, Verbose
from tcja_deploy.console import out, print_json
from tcja_runtime.bundle.sidecar import EngineInfo
from tcja_runtime.choices import EngineTarget, Hardware
from tcja_runtime.errors import DONE
from tcja_runtime.tensorrt.plugin import NEVER_RUN


def build(
    bundle: Annotated[Path, typer.Argument(help="The bundle to add an engine to.")],
    target: Annotated[EngineTarget, typer.Option(help="What to build with: auto takes whichever is installed.")] = (
        EngineTarget.AUTO
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
    from tcja_runtime.tensorrt.build import Batch, BuildOptions

    how = BuildOptions(
        batch=Batch.parse(batch),
        tf32=tf32,
        level=level,
        workspace=None if workspace is None else workspace * 2**20,
        version_compatible=version_compatible,
        hardware=hardware and hardware.value,
        plugin=plugin,
    )
    engine = built(bundle, target.value, how, options.progress())
    if as_json:
        print_json({"bundle": str(bundle), "engine": engine.name, **dataclasses.asdict(engine.info)})
    else:
        out.print(engine_text(engine.name, engine.info), soft_wrap=True)
    return DONE


def engine_text(name: str, info: EngineInfo) -> str:
    """A built engine, in a line."""
    return (
        f"Engine {name}: {info.bytes:,} bytes for {info.device}, {info.layers} layers, "
        f"batch {':'.join(map(str, info.batch))}, built in {info.build_seconds} s{_plugin_text(info)}"
    )


def _plugin_text(info: EngineInfo) -> str:
    used = info.plugin
    if used is None:
        return ""
    return (
        f"; the plugin computes {used.nodes} spiking layers, {used.pools} with the pooling behind them "
        f"({NEVER_RUN}: verify before you rely on it)"
    )
