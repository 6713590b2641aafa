"""Names of TensorRT's Python module, by the versions that have them.

`tensorrt_api.json` was read from the bindings of those versions: for each class and name, bit i of a mask says whether
versions[i] has it.
"""

from __future__ import annotations

import ast
import functools
import json
import operator
from pathlib import Path

API = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text())
ALL = (1 << len(API["versions"])) - 1
COME_TOGETHER = {"num_compute_capabilities": {"set_compute_capability", "ComputeCapability"}}
"""Names that a version has if it has another, which the code asks for."""


def chain(node: ast.expr) -> list[str]:
    """The names of `a.b.c`; empty if it does not begin with a name."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and chain(node.value):
        return [*chain(node.value), node.attr]
    return []


def own(names: list[str]) -> list[str]:
    """The same with `self._engine` as `engine`."""
    return [names[1].removeprefix("_"), *names[2:]] if names[:1] == ["self"] else names


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


def missing(source: str, types: dict[str, str]) -> set[str]:
    """Names of TensorRT in a source text that some version lacks."""
    tree, found = ast.parse(source), set()
    modules = {
        alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    guarded = asked_for(tree)
    for node in ast.walk(tree):
        names = own(chain(node)) if isinstance(node, ast.Attribute) else []
        if len(names) < 2 or names[0] in modules or names[1] in guarded or names[-1] in guarded:
            continue
        if names[0] == "trt":
            masks = {names[1]: of_module(names[1])}
            if len(names) > 2:
                masks[".".join(names[1:3])] = API["names"].get(names[1], {}).get(names[2], 0)
        elif names[0] in types:
            masks = {f"{types[names[0]]}.{names[1]}": API["names"][types[names[0]]].get(names[1], 0)}
        else:
            continue
        for name, mask in masks.items():
            if mask != ALL:
                versions = [version for i, version in enumerate(API["versions"]) if not mask >> i & 1]
                found.add(f"{name} is not in {', '.join(versions)}")
    return found
