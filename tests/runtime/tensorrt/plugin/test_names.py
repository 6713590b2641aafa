"""Every name of TensorRT that the plugin uses exists in every version that it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tcja_runtime.tensorrt.plugin

from ..names import ALL, API, chain, missing

FOLDER = Path(tcja_runtime.tensorrt.plugin.__file__).parent
SINCE_10_9 = sum(1 << i for i, v in enumerate(API["versions"]) if v not in ("10.3.0", "rtx-1.7.1"))


def names(file: str, root: str) -> set[str]:
    tree = ast.parse((FOLDER / file).read_text())
    chains = (chain(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {".".join(each[1:]) for each in chains if each and each[0] == root}


def methods(name: str) -> set[str]:
    """What one of our classes defines and sets: TensorRT calls and reads it by its name."""
    tree = ast.parse((FOLDER / "at_run_time.py").read_text())
    (found,) = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)
    return {node.name for node in found.body if isinstance(node, ast.FunctionDef)} - {"__init__", "_kernel"}


@pytest.mark.parametrize("file", ["__init__.py", "at_run_time.py"])
def test_names_exist_from_10_3_on(file):
    source = (FOLDER / file).read_text()
    assert missing(source, {}) == set()
    assert names(file, "trt")


def test_names_of_the_plugin_module_exist_from_10_9_on():
    used = names("ahead_of_time.py", "trtp")
    assert len(used) > 8
    for name in used:
        _, mask = API["module"].get(f"plugin.{name}", ("", 0))
        if not mask and f"plugin.{name}" in API["names"]:
            members = API["names"][f"plugin.{name}"].values()
            mask = SINCE_10_9 if not members or any(each & SINCE_10_9 == SINCE_10_9 for each in members) else 0
        assert mask & SINCE_10_9 == SINCE_10_9, name
    assert API["names"]["QuickPluginCreationRequest"]["STRICT_AOT"] == SINCE_10_9  # what tells the two forms apart


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Plugin", ("IPluginV3", "IPluginV3OneCore", "IPluginV3OneBuild", "IPluginV3OneRuntime")),
        ("Creator", ("IPluginCreatorV3One",)),
    ],
)
def test_methods_are_those_that_tensorrt_calls(ours, theirs):
    called = {name for each in theirs for name, mask in API["names"][each].items() if mask == ALL}
    assert methods(ours)
    assert methods(ours) <= called


@pytest.mark.parametrize(
    ("kind", "used"),
    [
        ("IPluginRegistry", ("get_creator", "register_creator")),
        ("PluginField", ("data", "name")),
        ("PluginTensorDesc", ("dims", "format", "type")),
        ("DynamicPluginTensorDesc", ("desc",)),
        ("IExprBuilder", ("constant", "operation")),
        ("OnnxParser", ("parse",)),
        ("LayerType", ("PLUGIN_V3",)),
    ],
)
def test_members_exist_from_10_3_on(kind, used):
    assert [name for name in used if API["names"][kind].get(name) != ALL] == []
