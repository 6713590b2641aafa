"""Every name of NVIDIA's CUDA binding that the code uses is in the binding that is installed, and simulated."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

SOURCE = (Path(__file__).parents[3] / "runtime" / "tcja_runtime" / "tensorrt" / "cuda.py").read_text()


def names() -> set[str]:
    """Functions that are called by name, and what is read of the module, with what is read of that."""
    found = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("cuda"):
            found.add(node.value)
        if isinstance(node, ast.Attribute):
            chain = ast.unparse(node).removeprefix("self.").removeprefix("_")
            if chain.startswith("api."):
                found.add(chain.removeprefix("api."))
    return {name for name in found if name.isidentifier() or "." in name} - {"cuda.bindings"}


def lacking(runtime) -> set[str]:
    def has(name: str) -> bool:
        at = runtime
        for part in name.split("."):
            if not hasattr(at, part):
                return False
            at = getattr(at, part)
        return True

    return {name for name in names() if not has(name)}


def test_the_installed_binding_has_them():
    runtime = pytest.importorskip("cuda.bindings.runtime")
    assert {"cudaMalloc", "cudaError_t.cudaSuccess", "cudaMemcpyKind.cudaMemcpyHostToDevice"} <= names()
    assert lacking(runtime) == set()


NULL = 0
CALLS = {
    "cudaGetDeviceCount": ((), 2),
    "cudaGetErrorString": (("error",), 2),
    "cudaGetLastError": ((), 1),
    "cudaMalloc": ((256,), 2),
    "cudaHostAlloc": ((256, 0), 2),
    "cudaFree": ((NULL,), 1),
    "cudaFreeHost": ((NULL,), 1),
    "cudaMemcpyAsync": ((256, 512, 16, "kind", 1), 1),
    "cudaStreamCreateWithFlags": ((1,), 2),
    "cudaStreamDestroy": ((1,), 1),
    "cudaStreamSynchronize": ((1,), 1),
    "cudaStreamBeginCapture": ((1, "mode"), 1),
    "cudaStreamEndCapture": ((1,), 2),
    "cudaGraphInstantiate": ((1, 0), 2),
    "cudaGraphDestroy": ((1,), 1),
    "cudaGraphExecDestroy": ((1,), 1),
    "cudaGraphLaunch": ((1, 1), 1),
}
"""For each function, arguments of the types that it is given, and how many results it has."""


def test_all_functions_are_called_as_the_installed_binding_wants():
    """Without a driver each of them refuses, but takes what it is given: plain numbers for addresses and handles."""
    runtime = pytest.importorskip("cuda.bindings.runtime")
    if runtime.cudaGetDeviceCount()[0] == runtime.cudaError_t.cudaSuccess:
        pytest.skip("this machine has a GPU, which must not be given made-up addresses")
    said = {
        "error": runtime.cudaError_t.cudaErrorNoDevice,
        "kind": runtime.cudaMemcpyKind.cudaMemcpyHostToDevice,
        "mode": runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal,
    }
    assert {name for name in names() if callable(getattr(runtime, name, None)) and name[4].isupper()} >= CALLS.keys()
    called = {name for name in names() if "." not in name and name not in said and not name.endswith("_t")}
    constants = {"cudaHostAllocDefault", "cudaStreamNonBlocking", "cudaMemcpyKind", "cudaStreamCaptureMode"}
    assert called - constants == CALLS.keys()
    for name, (arguments, results) in CALLS.items():
        returned = getattr(runtime, name)(*(said.get(a, a) if isinstance(a, str) else a for a in arguments))
        assert len(returned) == results, name
        assert isinstance(returned[0], runtime.cudaError_t), name


def test_what_is_simulated_has_them(simulated):
    assert lacking(importlib.import_module("cuda.bindings.runtime")) == set()


def test_a_name_that_is_lacking_is_found(simulated):
    runtime = importlib.import_module("cuda.bindings.runtime")
    simulated.delattr(runtime, "cudaGraphLaunch")
    assert lacking(runtime) == {"cudaGraphLaunch"}
