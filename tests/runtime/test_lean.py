"""The runtime needs numpy alone: each of its modules imports, as the first one, with everything heavy out of reach."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

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
modules, blocked = json.load(sys.stdin)
for name in blocked:
    sys.modules[name] = None
import tcja_runtime
first, failed = {*sys.modules}, {}
for module in modules:
    for name in {*sys.modules} - first:
        if name.startswith("tcja_runtime."):
            del sys.modules[name]
    try:
        importlib.import_module(module)
    except BaseException as error:
        failed[module] = repr(error)
print(json.dumps(failed))
"""
"""Imports each module as if it were the first after the package itself, which Python imports before any of them: the
others are forgotten before. A process for each would import the package a hundred times."""


def imported(modules: list[str]) -> dict[str, str]:
    """The errors of the modules that do not import."""
    command = [sys.executable, "-W", "error", "-c", EACH]
    done = subprocess.run(command, input=json.dumps([modules, BLOCKED]), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_modules_import_with_numpy_alone():
    assert len(MODULES) > 100
    assert imported(MODULES) == {}


def test_what_is_out_of_reach_is_noticed():
    assert [*imported(["tcja_deploy", "onnx.helper", "tcja_runtime.errors"])] == ["tcja_deploy", "onnx.helper"]
