"""`tcja-deploy package`: its options."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import Json, PublicKeys, RequireSignature, TrustEngine, Verbose
from tcja_deploy.console import out, print_json
from tcja_deploy.texts.fleet.package import isaac_ros_text, packaged_text
from tcja_runtime.choices import PackageKind, TritonBackend
from tcja_runtime.errors import DONE, BadInput

ModelName = Annotated[
    str | None,
    typer.Option("--name", help="The name of the model in the repository. Default: that of the bundle's folder."),
]
Backend = Annotated[
    TritonBackend | None,
    typer.Option(
        "--backend",
        help="The backend of the server that runs the network. Default: python, which checks and runs it as all "
        "commands do. The others are Triton's own; tensorrt takes an engine of the bundle.",
    ),
]
Instances = Annotated[
    int | None,
    typer.Option(
        min=1, max=1024, metavar="N", help="The number of networks that the server runs side by side. Default: 1."
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="The engine for --backend tensorrt and isaac-ros. Default: the last one of TensorRT that was built.",
    ),
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
    kind: Annotated[
        PackageKind,
        typer.Argument(
            metavar="KIND",
            help="triton: models of a Triton Inference Server. isaac-ros: parameters of NVIDIA's node for robots.",
        ),
    ],
    bundle: Annotated[Path, typer.Argument(help="The bundle to package. It is copied.")],
    folder: Annotated[
        Path,
        typer.Argument(
            help="For triton, the model repository. It may exist; other models in it stay. For isaac-ros, a new folder."
        ),
    ],
    name: ModelName = None,
    backend: Backend = None,
    instances: Instances = None,
    max_batch: MaxBatch = None,
    delay: Delay = None,
    new_version: NewVersion = False,
    engine: EngineName = None,
    trust_engine: TrustEngine = False,
    require_signature: RequireSignature = False,
    public_key: PublicKeys = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Write a bundle as a server or a robot takes it.

    With the backend python, --require-signature and --public-key hold when the server loads the bundle, too.

    Examples:
        tcja-deploy package triton dvs128.bundle models
        tcja-deploy package triton dvs128.bundle models --name gestures --delay 2ms
        tcja-deploy package triton dvs128.bundle models --backend onnxruntime
        tcja-deploy package isaac-ros dvs128.bundle robot
    """
    from tcja_deploy.package import isaac_ros
    from tcja_deploy.package.options import TritonOptions
    from tcja_deploy.package.triton import package_triton

    trust = options.trust(trust_engine, require_signature, public_key)
    for_triton = {
        "name": name,
        "backend": backend and backend.value,
        "instances": instances,
        "max_batch": max_batch,
        "delay": None if delay is None else options.duration("delay", delay),
        "new_version": new_version or None,
    }
    given: dict[str, Any] = {argument: value for argument, value in for_triton.items() if value is not None}
    if kind is PackageKind.ISAAC_ROS:
        if given:
            raise BadInput(f"`{next(iter(given))}` is for triton; leave it out")
        robot = isaac_ros.package(bundle, folder, engine=engine, trust=trust, progress=options.progress())
        if as_json:
            print_json({"folder": str(robot.folder), "engine": robot.engine.name, "parameters": robot.parameters})
        else:
            out.print(isaac_ros_text(robot))
        return DONE
    packaged = package_triton(bundle, folder, TritonOptions(engine=engine, trust=trust, **given), options.progress())
    if as_json:
        print_json({**dataclasses.asdict(packaged), "folder": str(packaged.folder)})
    else:
        out.print(packaged_text(packaged))
    return DONE
