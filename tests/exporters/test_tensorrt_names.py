"""Every name of TensorRT's Python module that the code uses exists in every version that it is for.

`tensorrt_api.json` was read from the bindings of those versions: for each class and name, bit i of a mask says whether
versions[i] has it.
"""

from __future__ import annotations

import ast
import functools
import json
import operator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ["exporters/tcja_exporters/engine_builder.py"]
API = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text())
ALL = (1 << len(API["versions"])) - 1

TYPES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "plan": "IHostMemory",
    "layer": "ILayer",
    "source": "ITensor",
    "tensor": "ITensor",
    "t": "ITensor",
    "merged": "ITimingCache",
}
"""What the code's variables are."""
COME_TOGETHER = {"num_compute_capabilities": {"set_compute_capability", "ComputeCapability"}}
"""Names that a version has if it has another, which the code asks for."""


def chain(node: ast.expr) -> list[str]:
    """The names of `a.b.c`; empty if it does not begin with a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and chain(node.value):
        return [*chain(node.value), node.attr]
    return []


def of_module(name: str) -> int:
    """Which versions have a name in the module itself; a class, if it has any member there."""
    members = API["names"].get(name, {}).values()
    return functools.reduce(operator.or_, members, API["module"].get(name, ("", 0))[1])


def asked_for(tree: ast.AST) -> set[str]:
    """Names that the code asks for with `hasattr`, and those that come with them."""
    asked = {
        call.args[1].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and chain(call.func) == ["hasattr"] and isinstance(call.args[1], ast.Constant)
    }
    return asked | {name for each in asked for name in COME_TOGETHER.get(each, ())}


def missing(source: str) -> set[str]:
    """Names of TensorRT in a source text that some version lacks, and unknown roots of attributes."""
    tree, found = ast.parse(source), set()
    modules = {
        alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    guarded = asked_for(tree)
    for node in ast.walk(tree):
        names = chain(node) if isinstance(node, ast.Attribute) else []
        if not names or names[0] in modules or names[1] in guarded or names[-1] in guarded:
            continue
        if names[0] == "trt":
            masks = {names[1]: of_module(names[1])}
            if len(names) > 2:
                masks[".".join(names[1:3])] = API["names"].get(names[1], {}).get(names[2], 0)
        elif names[0] in TYPES:
            masks = {f"{TYPES[names[0]]}.{names[1]}": API["names"][TYPES[names[0]]].get(names[1], 0)}
        else:
            continue
        for name, mask in masks.items():
            if mask != ALL:
                versions = [version for i, version in enumerate(API["versions"]) if not mask >> i & 1]
                found.add(f"{name} is not in {', '.join(versions)}")
    return found


@pytest.mark.parametrize("file", FILES)
def test_every_name_exists_in_every_version(file):
    source = (ROOT / file).read_text()
    assert missing(source) == set()
    used = {chain(node)[0] for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute) and chain(node)}
    assert "trt" in used
    assert used >= set(TYPES)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("config.set_flag(trt.BuilderFlag.STRICT_NANS)", "BuilderFlag.STRICT_NANS is not in 10.3.0"),
        ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag.FP16 is not in 11.0.0, 11.4.0, rtx-1.7.1"),
        ("network.add_plugin([], None)", "INetworkDefinition.add_plugin is not in 10.3.0, rtx-1.7.1"),
        ("trt.IStreamWriter()", "IStreamWriter is not in 10.3.0, 10.9.0"),
        ("builder.made_up()", f"Builder.made_up is not in {', '.join(API['versions'])}"),
    ],
)
def test_a_name_that_a_version_lacks_is_found(line, said):
    source = (ROOT / FILES[0]).read_text()
    found = missing(f"{source}\n\ndef more(trt, builder, network, config):\n    {line}\n")
    assert len(found) == 1
    assert found.pop() == said
