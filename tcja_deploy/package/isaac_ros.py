"""A bundle's engine for NVIDIA's node `isaac_ros_tensor_rt`: the parameters of the node, and a launch file.

    DIR/tensor_rt.yaml          the parameters of the node
    DIR/tensor_rt.launch.py     starts the node with them; it checks the hash of the engine first
    DIR/model.bundle            a copy of the bundle

By default, the node builds another engine at every start, in other types, and nobody has proven that one. The
parameters here make it load the engine of the bundle, and nothing else: the node would also build an engine if it found
no file at `engine_file_path`, so `model_file_path` names no model. Then it ends with an error.

Source: the parameters that src/tensor_rt_node.cpp declares, and launch/isaac_ros_tensor_rt.launch.py, in
github.com/NVIDIA-ISAAC-ROS/isaac_ros_dnn_inference (4.5.0); the form of a file of parameters, in launch_ros
(utilities/to_parameters_list.py).
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tcja_deploy.console import Progress, silent
from tcja_deploy.package.engine import chosen_engine
from tcja_deploy.package.repository import check_outside, copy_bundle
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import Engine
from tcja_runtime.bundle.sidecar import EngineInfo, TensorInfo
from tcja_runtime.errors import BadInput
from tcja_runtime.files.staging import staged
from tcja_runtime.records import argument
from tcja_runtime.signing.trust import Trust
from tcja_runtime.triton.server import BUNDLE

PARAMETERS, LAUNCH = "tensor_rt.yaml", "tensor_rt.launch.py"

_BYTES = {"FLOAT": 4, "INT8": 1, "INT32": 4, "INT64": 8, "UINT8": 1}
"""The types that the node can publish, by TensorRT's name, and the bytes of an element (tensor_rt_node.cpp)."""
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that JSON does not escape, and YAML does not take as they are, or takes for the end of a line."""


@dataclasses.dataclass(frozen=True)
class IsaacRosPackage:
    """What was written for Isaac ROS.

    Attributes:
        folder: the folder.
        engine: the engine that the node loads.
        parameters: the parameters of the node.
    """

    folder: Path
    engine: Engine
    parameters: dict[str, Any]


def package(
    path: Path | str,
    out: Path | str,
    *,
    engine: str | None = None,
    trust: Trust | None = None,
    progress: Progress | None = None,
) -> IsaacRosPackage:
    """Write the parameters and the launch file of a bundle's engine.

    Args:
        path: the folder of the bundle.
        out: the new folder.
        engine: the name of the engine; None takes the last built TensorRT engine of the bundle.
        trust: whom and what the user trusts; None for what the environment and the configuration files say.
        progress: where progress is shown; None shows nothing.

    Raises:
        BadInput: the bundle is damaged or not signed as required, has no such engine, or one that the node cannot run;
            the engine is of unknown origin; or the folder exists or cannot be written.
        Unavailable: the disk is full.
    """
    path, out = argument("path", path, Path), argument("out", out, Path)
    trust, progress = argument("trust", trust, Trust | None) or Trust(), progress or silent()
    with progress.step("check the hashes"):
        opened = Bundle.open(path, trust)
    check_outside(opened, out)
    with staged(out, "folder") as folder:
        with progress.step("copy the bundle"):
            copy_bundle(opened, folder)
            found = chosen_engine(Bundle.open(folder / BUNDLE, trust), path, engine)
            _check_fits(found)
        inside = found.file.relative_to(folder)
        parameters = _parameters(found.info, out.absolute() / inside)
        (folder / PARAMETERS).write_text(_yaml(found, parameters), encoding="utf-8")
        (folder / LAUNCH).write_text(_launch_file(found, inside))
    return IsaacRosPackage(out, dataclasses.replace(found, folder=out / inside.parent), parameters)


def _check_fits(engine: Engine) -> None:
    """Check that the node can run an engine.

    Raises:
        BadInput: it cannot carry one of the tensors.
    """
    for tensor in engine.info.tensors:
        if tensor.type not in _BYTES:
            raise BadInput(
                f"engine {engine.name} has the tensor {tensor.name} of type {tensor.type}, which NVIDIA's node cannot "
                f"carry; it carries {', '.join(_BYTES)}"
            )


def _parameters(info: EngineInfo, engine: Path) -> dict[str, Any]:
    """Return the parameters of the node.

    TensorRT runs only if all outputs have a place, so all are bound.

    Args:
        info: the sidecar of the engine.
        engine: the path of the engine.
    """
    inputs, outputs = ([t for t in info.tensors if t.input is kind] for kind in (True, False))
    return {
        "engine_file_path": str(engine),
        "force_engine_update": False,
        "model_file_path": "",
        "enable_fp16": False,
        "max_batch_size": info.batch[2],
        "input_binding_names": [tensor.name for tensor in inputs],
        "input_tensor_names": ["input_tensor"] if len(inputs) == 1 else [tensor.name for tensor in inputs],
        "output_binding_names": [tensor.name for tensor in outputs],
        "output_tensor_names": [*(["output_tensor"] if outputs else []), *(tensor.name for tensor in outputs[1:])],
        "memory_pool_block_size": max((_size(tensor, info.batch[2]) for tensor in outputs), default=0),
        "verbose": False,
    }


def _size(tensor: TensorInfo, batch: int) -> int:
    """Return the bytes of an output for the largest batch. The node takes this much for each message that it sends."""
    return _BYTES[tensor.type] * math.prod(batch if size < 0 else size for size in tensor.shape)


def _yaml(engine: Engine, parameters: dict[str, Any]) -> str:
    """Return the file of parameters.

    Texts and lists are those of JSON, which YAML reads, too. What YAML takes for the end of a line is written as an
    escape. So no name in a bundle can add a line.
    """
    info = engine.info
    lines = [
        f"# The engine {_json(engine.name)} in NVIDIA's node isaac_ros_tensor_rt,",
        "# written by tcja-deploy package isaac-ros.",
        f"# It needs TensorRT {_json(info.version)} and the GPU that it was built for, {_json(info.device)}.",
        *(f"# {'Input' if t.input else 'Output'} {_json(t.name)}: {t.type} {_shape(t.shape)}" for t in info.tensors),
        f"# N is the batch size, {info.batch[0]} to {info.batch[2]}.",
        "/**:",
        "  ros__parameters:",
        *(f"    {name}: {_json(value)}" for name, value in parameters.items()),
    ]
    return "\n".join(lines) + "\n"


def _json(value: Any) -> str:
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join('N' if size < 0 else str(size) for size in shape)}]"


def _launch_file(engine: Engine, inside: Path) -> str:
    """Return the launch file.

    Args:
        engine: the engine.
        inside: the path of the engine in the folder of the launch file.
    """
    return _LAUNCH_FILE.format(
        name=json.dumps(engine.name), parts=json.dumps(inside.as_posix()), sha256=json.dumps(engine.info.sha256)
    )


_LAUNCH_FILE = '''\
"""Runs the engine of a bundle in NVIDIA's node isaac_ros_tensor_rt; written by tcja-deploy package isaac-ros."""

import hashlib
from pathlib import Path

from launch import LaunchDescription
from launch_ros.actions import ComposableNodeContainer
from launch_ros.descriptions import ComposableNode

HERE = Path(__file__).resolve().parent
NAME = {name}
ENGINE = HERE / {parts}
SHA256 = {sha256}


def generate_launch_description():
    """Check the engine, which the node loads as it is, and start the node."""
    if not ENGINE.is_file() or hashlib.sha256(ENGINE.read_bytes()).hexdigest() != SHA256:
        raise RuntimeError(
            f"{{ENGINE}} is not the engine {{NAME}} that was packaged: it is missing or was changed; "
            "run tcja-deploy package isaac-ros again"
        )
    node = ComposableNode(
        name="tensor_rt",
        package="isaac_ros_tensor_rt",
        plugin="nvidia::isaac_ros::dnn_inference::TensorRTNode",
        parameters=[str(HERE / "tensor_rt.yaml"), {{"engine_file_path": str(ENGINE)}}],
        remappings=[("tensor_pub", "tensor_pub"), ("tensor_sub", "tensor_sub")],
    )
    container = ComposableNodeContainer(
        name="tensor_rt_container",
        namespace="",
        package="rclcpp_components",
        executable="component_container_mt",
        composable_node_descriptions=[node],
        output="screen",
    )
    return LaunchDescription([container])
'''
