"""`tcja-deploy bench`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli.options import Json, PublicKeys, RequireSignature, TrustEngine, Verbose, progress, telling, trust
from tcja_deploy.console import out, print_json
from tcja_deploy.texts.bench import bench_text
from tcja_runtime.choices import BackendName
from tcja_runtime.errors import DONE
from tcja_runtime.tensorrt.build import LARGEST_BATCH

Backends = Annotated[
    list[BackendName],
    typer.Option("--backend", help="The backend to measure. Repeat the option to compare several backends."),
]
BatchSizesToMeasure = Annotated[
    list[int],
    typer.Option(
        min=1,
        max=LARGEST_BATCH,
        metavar="N",
        help="The number of windows at a time. Repeat the option to see how the throughput grows.",
    ),
]
Canonical = Annotated[bool, typer.Option("--canonical", help="Also measure model.onnx in ONNX Runtime on the CPU.")]
Seconds = Annotated[
    float,
    typer.Option(
        help="The time in seconds to measure each case. It takes longer if there are too few runs by then.",
    ),
]
WarmUp = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="The time in seconds to run each case before it is measured."),
]


def bench(
    bundle: Annotated[Path, typer.Argument(help="The bundle to measure.")],
    backend: Backends = [BackendName.AUTO],  # noqa: B006  # typer copies it
    trust_engine: TrustEngine = False,
    require_signature: RequireSignature = False,
    public_key: PublicKeys = None,
    batch: BatchSizesToMeasure = [1],  # noqa: B006
    canonical: Canonical = False,
    seconds: Seconds = 5.0,
    warm_up: WarmUp = 1.0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Measure latency, throughput and memory on this machine, and energy if the board measures its power.

    With several backends or batch sizes, a run of each is measured in turn and energy is left out.

    Examples:
        tcja-deploy bench dvs128.bundle
        tcja-deploy bench dvs128.bundle --backend tensorrt --batch 1 --batch 8
    """
    from tcja_deploy.bench import benchmark

    options = benchmark.BenchOptions(
        backends=(*(name.value for name in backend), *[benchmark.CANONICAL] * canonical),
        batches=tuple(batch),
        trust=trust(trust_engine, require_signature, public_key),
        seconds=seconds,
        warm_up=warm_up,
    )
    found = benchmark.bench(bundle, options, progress())
    if as_json:
        print_json(found.to_dict())
    else:
        out.print(bench_text(found, telling(verbose)))
    return DONE
