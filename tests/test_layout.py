"""Rules of the whole project: which package may import which, and that its documents name what there is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "tcja_deploy": {"tcja_deploy", "tcja_exporters", "tcja_runtime"},
    "exporters/tcja_exporters": {"tcja_exporters", "tcja_runtime"},
    "runtime/tcja_runtime": {"tcja_runtime"},
}


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_dependencies_point_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        ours = {name for name in imported(file) if name.startswith("tcja_")}
        assert ours <= MAY_IMPORT[package], file
