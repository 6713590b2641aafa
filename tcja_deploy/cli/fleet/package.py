"""`tcja-deploy package`: its options."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from tcja_deploy.cli import options
from tcja_deploy.cli.options import Hop, Json, PublicKeys, RequireSignature, TrustEngine, Verbose
from tcja_deploy.console import out, print_json
from tcja_deploy.texts.fleet.package import isaac_ros_text, packaged_text
from tcja_runtime.choices import PackageKind, TritonBackend
from tcja_runtime.errors import DONE, BadInput
from tcja_runtime.streaming.packets import PacketRule

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
Cameras = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        metavar="N",
        help="The most cameras that a network of NAME_stream serves at once; more wait. Default: 16.",
    ),
]
Idle = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="The time after which a camera that sends nothing has ended, and its place is free. Default: 10s.",
    ),
]
PacketWindow = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="LENGTH",
        help="The length of the windows that the events of a camera are cut into, such as 500ms or 20000events. "
        "Default: the first request of each camera says it.",
    ),
]
PacketFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="The format of the events of the cameras, such as evt3. Default: it is found from the first bytes.",
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
    cameras: Cameras = None,
    idle: Idle = None,
    window: PacketWindow = None,
    hop: Hop = None,
    format_: PacketFormat = None,
    trust_engine: TrustEngine = False,
    require_signature: RequireSignature = False,
    public_key: PublicKeys = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Write a bundle as a server or a robot takes it.

    With the backend python, --require-signature and --public-key hold when the server loads the bundle, too; but a
    new version keeps what the configuration of the model requires.

    For triton, a bundle that was exported with --streaming becomes two models: NAME takes whole windows, and
    NAME_stream takes the frames or events of cameras as they come.

    Examples:
        tcja-deploy package triton dvs128.bundle models
        tcja-deploy package triton dvs128.bundle models --name gestures --delay 2ms
        tcja-deploy package triton dvs128.bundle models --backend onnxruntime
        tcja-deploy package isaac-ros dvs128.bundle robot
        tcja-deploy package triton dvs128.bundle models --window 500ms --format evt3
    """
    from tcja_deploy.package import isaac_ros
    from tcja_deploy.package.options import CameraOptions, TritonOptions
    from tcja_deploy.package.triton import package_triton

    trust = options.trust(trust_engine, require_signature, public_key)
    for_triton: dict[str, Any] = {
        "name": name,
        "backend": backend and backend.value,
        "instances": instances,
        "max_batch": max_batch,
        "delay": None if delay is None else options.duration("delay", delay),
        "new_version": new_version or None,
    }
    of_cameras = {
        "count": cameras,
        "idle": None if idle is None else options.duration("idle", idle),
        "rule": _rule(window, hop, format_),
    }
    served: dict[str, Any] = {argument: value for argument, value in of_cameras.items() if value is not None}
    if served:
        for_triton["cameras"] = CameraOptions(**served)
    given = {argument: value for argument, value in for_triton.items() if value is not None}
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


def _rule(window: str | None, hop: str | None, form: str | None) -> PacketRule | None:
    """Return how packets of events become frames; None if it is not said."""
    cut = options.window(window, hop)
    if form is not None and cut is None:
        raise BadInput(f"--format {form} needs --window, which says how long a window is")
    return None if cut is None else PacketRule(window=cut, form=form)
