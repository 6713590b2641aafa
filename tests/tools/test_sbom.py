"""The list of what a release was tested with, as `make sbom` writes it: cyclonedx-py checks it against the schema."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
(COMMAND,) = re.findall(r"^\t(\S*cyclonedx-py (?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
MADE = "dist/tcja-deploy.cdx.json"


@pytest.mark.releases
def test_what_is_installed_is_listed_with_its_licences(tmp_path):
    places = {
        ".venv/audit/bin/": f"{sys.prefix}/audit/bin/",
        "$(BIN)/python": sys.executable,
        MADE: f"{tmp_path}/a.json",
    }
    command = COMMAND.replace("\\\n", "")
    for place, here in places.items():
        assert command.count(place) == 1
        command = command.replace(place, here)
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, cwd=ROOT, env=variables)
    assert done.returncode == 0, done.stderr
    said = json.loads((tmp_path / "a.json").read_text())
    assert (said["bomFormat"], "timestamp" in said["metadata"]) == ("CycloneDX", False)
    root = said["metadata"]["component"]
    assert (root["name"], root["version"]) == ("tcja-deploy", importlib.metadata.version("tcja-deploy"))
    assert "Apache-2.0" in json.dumps(root["licenses"])
    listed = {each["name"].lower(): each for each in said["components"]}
    for name in ("numpy", "torch", "onnx", "onnxruntime", "typer"):
        assert listed[name]["version"].partition("+")[0] == importlib.metadata.version(name).partition("+")[0]
        assert listed[name]["licenses"]
    needs = {each["ref"]: set(each.get("dependsOn", ())) for each in said["dependencies"]}
    assert {listed[name]["bom-ref"] for name in ("numpy", "rich", "typer")} <= needs[root["bom-ref"]]
