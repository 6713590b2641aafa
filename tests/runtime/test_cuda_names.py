"""Every name of NVIDIA's CUDA binding that the code uses is in the binding that is installed, and simulated."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

SOURCE = (Path(__file__).parents[2] / "runtime" / "tcja_runtime" / "sessions" / "cuda.py").read_text()


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


def test_what_is_simulated_has_them(simulated):
    assert lacking(importlib.import_module("cuda.bindings.runtime")) == set()


def test_a_name_that_is_lacking_is_found(simulated):
    runtime = importlib.import_module("cuda.bindings.runtime")
    simulated.delattr(runtime, "cudaGraphLaunch")
    assert lacking(runtime) == {"cudaGraphLaunch"}
