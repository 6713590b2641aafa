"""The runtime needs numpy alone: its modules import with everything heavy out of reach, each as the first one, too."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import tcja_runtime

MODULES = sorted(m.name for m in pkgutil.walk_packages(tcja_runtime.__path__, "tcja_runtime."))
BLOCKED = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnx_graphsurgeon",
    "tensorrt",
    "tensorrt_rtx",
    "tcja_exporters",
    "tcja_deploy",
)
EACH = """
import importlib, json, sys
modules, blocked, alone = json.load(sys.stdin)
for name in blocked:
    sys.modules[name] = None
import tcja_runtime
first, failed = {*sys.modules}, {}
for module in modules:
    for name in {*sys.modules} - first:
        if alone and name.startswith("tcja_runtime."):
            del sys.modules[name]
    try:
        importlib.import_module(module)
    except BaseException as error:
        failed[module] = repr(error)
print(json.dumps(failed))
"""
"""Imports each module; alone: as if it were the first after the package itself, the others are forgotten before."""


def imported(modules: list[str], *, alone: bool) -> dict[str, str]:
    """The errors of the modules that do not import."""
    command, given = [sys.executable, "-W", "error", "-c", EACH], json.dumps([modules, BLOCKED, alone])
    return json.loads(subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("alone", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_modules_import_with_numpy_alone(alone):
    assert len(MODULES) > 100
    assert imported(MODULES, alone=alone) == {}


def test_what_is_out_of_reach_is_noticed():
    failed = imported(["tcja_deploy", "onnx.helper", "tcja_runtime.errors"], alone=True)
    assert [*failed] == ["tcja_deploy", "onnx.helper"]
