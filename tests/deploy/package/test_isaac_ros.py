"""The parameters and the launch file for NVIDIA's node are read back, the launch file is run, and mistakes are refused.

There is no ROS here. So `launch` and `launch_ros` are records of what the launch file asks for, with the keywords of
the real ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tcja_deploy.package import isaac_ros
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.sidecar import PluginInfo
from tcja_runtime.errors import BadInput
from tcja_runtime.signing.trust import Trust

from ...runtime.bundle.sealing import reseal

pytestmark = pytest.mark.releases  # YAML is read by another program than the one that wrote it

yaml = pytest.importorskip("ruamel.yaml")

DECLARED: dict[type, str] = {
    str: "model_file_path engine_file_path custom_plugin_lib",
    list: "input_tensor_names input_binding_names input_tensor_formats "
    "output_tensor_names output_binding_names output_tensor_formats",
    bool: "force_engine_update verbose enable_fp16 relaxed_dimension_check",
    int: "max_workspace_size dla_core max_batch_size memory_pool_block_size memory_pool_num_blocks input_queue_size "
    "output_queue_size",
}
"""The parameters that the node declares, by their types (src/tensor_rt_node.cpp, 4.5.0)."""


def changed(bundle: Path, **changes: Any) -> Path:
    """Let a bundle say something else of its engine."""
    ((name, info),) = Bundle.open(bundle).manifest.engines.items()
    reseal(bundle, engines={name: dataclasses.asdict(dataclasses.replace(info, **changes))})
    return bundle


def parameters(folder: Path) -> dict[str, Any]:
    (found,) = yaml.YAML(typ="safe").load(folder / "tensor_rt.yaml").values()
    assert found.keys() == {"ros__parameters"}
    return dict(found["ros__parameters"])


@dataclasses.dataclass
class Asked:
    """What a launch file asks for."""

    kind: str
    keywords: dict[str, Any]


def launched(file: Path, monkeypatch) -> Asked:
    """The node that a launch file starts."""

    def recorded(kind: str, *keywords: str):
        def make(**given: Any) -> Asked:
            assert given.keys() <= {*keywords}
            return Asked(kind, given)

        return make

    node = ("package", "plugin", "name", "namespace", "parameters", "remappings", "extra_arguments", "condition")
    container = ("name", "namespace", "package", "executable", "composable_node_descriptions", "output")
    modules = {
        "launch": {"LaunchDescription": list},
        "launch_ros": {},
        "launch_ros.actions": {"ComposableNodeContainer": recorded("container", *container)},
        "launch_ros.descriptions": {"ComposableNode": recorded("node", *node)},
    }
    for name, contents in modules.items():
        module = types.ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    ((only,),) = [runpy.run_path(str(file))["generate_launch_description"]()]
    assert only.kind == "container"
    (started,) = only.keywords["composable_node_descriptions"]
    return started


def test_the_node_loads_the_proven_engine_and_builds_none(built, tmp_path, monkeypatch):
    written = isaac_ros.package(built, tmp_path / "robot")
    assert sorted(each.name for each in (tmp_path / "robot").iterdir()) == [
        "model.bundle",
        "tensor_rt.launch.py",
        "tensor_rt.yaml",
    ]
    found = parameters(tmp_path / "robot")
    assert found == written.parameters
    for name, value in found.items():
        assert name in DECLARED[type(value)].split()
    opened = Bundle.open(tmp_path / "robot" / "model.bundle")  # whole, and the engine is still known
    ((engine, info),) = opened.manifest.engines.items()
    plan = Path(found["engine_file_path"])
    assert plan == tmp_path / "robot" / "model.bundle" / "engines" / engine / "model.engine"
    assert hashlib.sha256(plan.read_bytes()).hexdigest() == info.sha256
    assert (found["force_engine_update"], found["enable_fp16"], found["model_file_path"]) == (False, False, "")
    inputs, outputs = ([t.name for t in info.tensors if t.input is kind] for kind in (True, False))
    assert (found["input_binding_names"], found["output_binding_names"]) == (inputs, outputs)
    assert len(outputs) == len(found["output_tensor_names"]) == 2
    assert found["max_batch_size"] == 4
    text = (tmp_path / "robot" / "tensor_rt.yaml").read_text()
    assert f'# Input "{inputs[0]}": FLOAT {["N", *opened.manifest.input.shape]}'.replace("'N'", "N") in text
    layers, steps = len(opened.manifest.layers), opened.manifest.time_steps
    assert found["memory_pool_block_size"] == 4 * 4 * layers * steps  # the spike counts are larger than the scores
    node = launched(tmp_path / "robot" / "tensor_rt.launch.py", monkeypatch)
    assert node.keywords["plugin"] == "nvidia::isaac_ros::dnn_inference::TensorRTNode"
    file, own = node.keywords["parameters"]
    assert file == str(tmp_path / "robot" / "tensor_rt.yaml")
    assert own == {"engine_file_path": str(plan)}


def test_a_folder_that_moved_or_was_changed(built, tmp_path, monkeypatch):
    isaac_ros.package(built, tmp_path / "robot")
    moved = (tmp_path / "robot").rename(tmp_path / "elsewhere")
    node = launched(moved / "tensor_rt.launch.py", monkeypatch)
    plan = Path(node.keywords["parameters"][1]["engine_file_path"])
    assert plan.is_relative_to(moved)
    plan.write_bytes(plan.read_bytes() + b"more")
    with pytest.raises(RuntimeError, match="is not the engine .* it is missing or was changed; run tcja-deploy"):
        launched(moved / "tensor_rt.launch.py", monkeypatch)
    plan.unlink()
    with pytest.raises(RuntimeError, match="is missing or was changed"):
        launched(moved / "tensor_rt.launch.py", monkeypatch)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"module": "tensorrt_rtx"}, "has no engine of TensorRT .*\\(tensorrt-rtx\\)\\); run", id="RTX"),
        pytest.param(
            {"plugin": PluginInfo(form="at run time", nodes=3, halves=0, pools=0)},
            "has a plugin that only Python registers, so other programs cannot load it; build one without it",
            id="plugin",
        ),
        pytest.param({"tensors": "HALF"}, "of type HALF, which NVIDIA's node cannot carry; it", id="type"),
    ],
)
def test_what_the_node_cannot_run_is_refused(built, tmp_path, changes, message):
    if "tensors" in changes:
        (info,) = Bundle.open(built).manifest.engines.values()
        changes = {"tensors": [dataclasses.replace(each, type=changes["tensors"]) for each in info.tensors]}
    with pytest.raises(BadInput, match=message):
        isaac_ros.package(changed(built, **changes), tmp_path / "robot")
    assert not (tmp_path / "robot").exists()


def test_an_engine_of_unknown_origin_or_name(built, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="has no engine 'other' of TensorRT \\(its engines: nvidia-simulated"):
        isaac_ros.package(built, tmp_path / "robot", engine="other")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nobody"))
    with pytest.raises(
        BadInput, match=re.escape(f"tcja-deploy build {built} --target tensorrt' on the machine that will run it")
    ):
        isaac_ros.package(built, tmp_path / "robot")
    assert isaac_ros.package(built, tmp_path / "robot", trust=Trust(trust_engine=True)).engine.trusted


def test_no_name_in_a_bundle_adds_a_line(built, tmp_path):
    for n, (end, written) in enumerate(
        {
            "\n": "\\n",
            "\r": "\\r",
            "\x85": "\\u0085",
            "\u2028": "\\u2028",
            "\u2029": "\\u2029",
            "\x7f": "\\u007f",
        }.items()
    ):
        robot = tmp_path / f"robot {n} \u2028 \U0001f916"
        isaac_ros.package(changed(built, device=f'orin"{end}/**: {{force_engine_update: true}}'), robot)
        found = parameters(robot)
        assert found["force_engine_update"] is False
        assert Path(found["engine_file_path"]).is_relative_to(robot)
        said = f'built for, "orin\\"{written}/**: {{force_engine_update: true}}".'
        assert said in (robot / "tensor_rt.yaml").read_text()


def test_a_changed_bundle_is_refused(built, tmp_path):
    (built / "weights.bin").write_bytes(b"other")
    with pytest.raises(BadInput, match="weights.bin has 5 bytes, the manifest says"):
        isaac_ros.package(built, tmp_path / "robot")


def test_the_command(run, built, tmp_path):
    for place in (built, built / "engines"):
        place.chmod(0o555)
    code, out, err = run("package", "isaac-ros", built, tmp_path / "robot", "--json")
    assert code == 0, err
    assert json.loads(out)["parameters"] == parameters(tmp_path / "robot")
    code, out, _ = run("package", "isaac-ros", built, tmp_path / "other")
    said, copy = " ".join(out.split()), tmp_path / "other" / "model.bundle"
    assert f"Next, on the robot: tcja-deploy verify {copy} && ros2 launch" in said
    assert [each.stat().st_mode & 0o777 for each in (copy, copy / "engines")] == [0o755, 0o755]
    code, _, err = run("package", "isaac-ros", built, tmp_path / "third", "--instances", 2)
    assert (code, err.splitlines()[-1]) == (2, "error: --instances is for triton; leave it out")
    inside = f"error: {built / 'robot'} is in the bundle {built}; name a folder outside it"
    for place, said in {
        tmp_path / "robot": f"error: {tmp_path / 'robot'} exists; choose another folder or remove it",
        built / "robot": inside,
    }.items():
        code, _, err = run("package", "isaac-ros", built, place)
        assert (code, err.splitlines()[-1]) == (2, said)
    assert not (built / "robot").exists()
