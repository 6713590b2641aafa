"""requirements.txt, which tools/lock.py writes: all of it is pinned, has hashes, and is what constraints.txt says."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ..scripts import loaded

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"^([^#\s][^\\]*?) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE)
LINES = LINE.findall((ROOT / "requirements.txt").read_text())
PINS = [Requirement(text) for text, _ in LINES]
PYTHONS = ("3.10.13", "3.11.7", "3.12.1", "3.13.0")


def on(python: str, requirements: list[Requirement]) -> dict[str, str]:
    """The version of each package on Linux with a Python."""
    places = {"python_full_version": python, "python_version": python.rpartition(".")[0], "sys_platform": "linux"}
    chosen = [pin for pin in requirements if pin.marker is None or pin.marker.evaluate(places)]
    assert len({pin.name for pin in chosen}) == len(chosen)
    return {pin.name: str(pin.specifier).removeprefix("==") for pin in chosen}


def test_every_line_is_pinned_and_has_hashes():
    lines = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if not line.startswith(("#", " "))]
    assert len(lines) == len(LINES) > 50
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) for pin in PINS)


@pytest.mark.parametrize("python", PYTHONS)
def test_versions_are_those_of_the_constraints(python):
    text = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    wanted, found = on(python, [Requirement(line) for line in text]), on(python, PINS)
    assert {name: version for name, version in found.items() if wanted.get(name, version) != version} == {}
    assert {"numpy", "onnx", "onnxruntime", "pytest", "mypy", "ruff", "tensorrt-rtx"} <= {*found}


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "pytest", "typer", "import-linter", "aedat", "hypothesis"])
def test_what_a_package_needs_is_there(name):
    """As the package that is installed here says it."""
    found = on(".".join(map(str, sys.version_info[:3])), PINS)
    for text in importlib.metadata.requires(name) or ():
        needed = Requirement(text)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            assert needed.name.lower().replace("_", "-") in found, needed


def test_the_line_of_a_wheel_of_pytorch(tmp_path):
    wheel = tmp_path / "torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl"
    wheel.write_bytes(b"a wheel")
    line = loaded("lock").torch(wheel)
    assert line.startswith("torch==2.13.0 ; python_full_version >= '3.12' and python_full_version < '3.13' \\\n")
    assert line.endswith(f"--hash=sha256:{hashlib.sha256(b'a wheel').hexdigest()}\n")
