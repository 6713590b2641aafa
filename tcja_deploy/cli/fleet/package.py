"""`tcja-deploy package`: its options."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import Json, PublicKeys, RequireSignature, TrustEngine, Verbose
from tcja_deploy.console import out, print_json
from tcja_deploy.texts.fleet.package import packaged_text
from tcja_runtime.choices import PackageKind, TritonBackend
from tcja_runtime.errors import DONE

ModelName = Annotated[
    str | None,
    typer.Option("--name", help="The name of the model in the repository. Default: that of the bundle's folder."),
]
Backend = Annotated[TritonBackend, typer.Option("--backend", help="The backend of the server that runs the network.")]
Instances = Annotated[
    int, typer.Option(min=1, max=1024, metavar="N", help="The number of networks that the server runs side by side.")
]
MaxBatch = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=4096,
        metavar="N",
        help="The most windows that the server runs at once. Default: what the engines of the bundle take, or the "
        "memory allows; 64 at most.",
    ),
]
Delay = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="The longest that a request waits for others to share its batch, such as 500us or 2ms. Default: it does "
        "not wait; what comes while a batch runs makes up the next one.",
    ),
]
NewVersion = Annotated[
    bool,
    typer.Option(
        "--new-version",
        help="Add the bundle as the next version of a model that the repository has. The server loads it before it "
        "lets go of the old one. The configuration stays.",
    ),
]


def package(
    kind: Annotated[PackageKind, typer.Argument(metavar="KIND", help="triton: a Triton Inference Server.")],
    bundle: Annotated[Path, typer.Argument(help="The bundle to package. It is copied.")],
    folder: Annotated[
        Path, typer.Argument(help="For triton, the model repository. It may exist; other models in it stay.")
    ],
    name: ModelName = None,
    backend: Backend = TritonBackend.PYTHON,
    instances: Instances = 1,
    max_batch: MaxBatch = None,
    delay: Delay = None,
    new_version: NewVersion = False,
    trust_engine: TrustEngine = False,
    require_signature: RequireSignature = False,
    public_key: PublicKeys = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Write a bundle as a server takes it. --require-signature and --public-key hold when the server loads it, too.

    Examples:
        tcja-deploy package triton dvs128.bundle models
        tcja-deploy package triton dvs128.bundle models --name gestures --delay 2ms
    """
    from tcja_deploy.package.options import TritonOptions
    from tcja_deploy.package.triton import package_triton

    how = TritonOptions(
        name=name,
        backend=backend.value,
        instances=instances,
        max_batch=max_batch,
        delay=options.duration("delay", delay),
        new_version=new_version,
        trust=options.trust(trust_engine, require_signature, public_key),
    )
    packaged = package_triton(bundle, folder, how, options.progress())
    if as_json:
        print_json({**dataclasses.asdict(packaged), "folder": str(packaged.folder)})
    else:
        out.print(packaged_text(packaged))
    return DONE
