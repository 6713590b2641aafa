"""A packaged bundle as text."""

from __future__ import annotations

import shlex

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.package.isaac_ros import LAUNCH, IsaacRosPackage
from tcja_deploy.package.options import Packaged
from tcja_deploy.texts.table import whole
from tcja_runtime.choices import TritonBackend
from tcja_runtime.counting import agree, listed
from tcja_runtime.triton.server import BUNDLE

_NEEDS = {
    TritonBackend.PYTHON: "The server's Python needs tcja_runtime, and what the network's backend needs, such as "
    "onnxruntime.",
    TritonBackend.ONNXRUNTIME: "The models gave the bundle's answers to golden windows here, to the bit. The server "
    "checks neither hashes nor signatures.",
    TritonBackend.TENSORRT: "The server needs the engine's TensorRT and GPU, and checks neither its hash nor its "
    "signature. Prove the engine there: tcja-deploy verify.",
}
"""By backend, what the server needs, and what it does not do."""


def packaged_text(packaged: Packaged) -> RenderableType:
    """Return what was written, and how it is started."""
    folder, many = shlex.quote(str(packaged.folder)), len(packaged.models)
    return Group(
        Text(
            f"Written: version {packaged.version} of the {agree(many, 'model', 'models')} {listed(packaged.models)} in "
            f"{folder}, for Triton's {packaged.backend} backend."
        ),
        Text(_NEEDS[TritonBackend(packaged.backend)]),
        whole(f"Next: tritonserver --model-repository={folder} --disable-auto-complete-config"),
    )


def isaac_ros_text(packaged: IsaacRosPackage) -> RenderableType:
    """Return what was written for a robot, and how it is started."""
    folder = packaged.folder
    copy, launch = (shlex.quote(str(folder / name)) for name in (BUNDLE, LAUNCH))
    return Group(
        Text(f"Written: {folder} has the parameters of isaac_ros_tensor_rt for engine {packaged.engine.name}."),
        Text("The launch file checks the hash of the engine, and the node builds no other one."),
        whole(f"Next, on the robot: tcja-deploy verify {copy} && ros2 launch {launch}"),
    )
