"""The small examples do what their READMEs say. Each README's commands are run as they are printed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..docs.blocks import ROOT, blocks, runnable

EXAMPLES = ROOT / "examples"


def run(readme: Path, folder: Path) -> str:
    """Run the commands of a README in a folder that looks like the project; returns what they print."""
    (folder / "bin").mkdir(exist_ok=True)
    for name, module in (("tcja-deploy", "-m tcja_deploy"), ("python", "")):
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {module} "$@"\n')
        program.chmod(0o755)
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "exporters", ROOT / "runtime")))
    environment = {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": paths}
    printed = ""
    for block in runnable(readme):
        if block.test is not None:
            command = ["bash", "-euc", block.code]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
            printed += done.stdout
    return printed


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with the examples, and with the bundle that several of them run."""
    folder = tmp_path_factory.mktemp("project")
    ignored = shutil.ignore_patterns("*.bundle", "weights.pth", "__pycache__")
    shutil.copytree(EXAMPLES, folder / "examples", ignore=ignored)
    (folder / "build").mkdir()
    assert "Parity met: not one spike differs." in run(ROOT / "examples/README.md", folder)
    return folder


@pytest.mark.slow
def test_a_recording_is_classified_as_its_readme_shows(project):
    readme = ROOT / "examples/recording/README.md"
    (shown,) = (block.code for block in blocks(readme) if block.language == "text")
    assert run(readme, project).endswith(shown)


@pytest.mark.slow
def test_a_live_camera_is_classified_in_windows(project):
    printed = run(ROOT / "examples/live_camera/README.md", project)
    sizes = [int(size) for size in re.findall(r"^window \d+, (\d+) events: Sandal", printed, re.MULTILINE)]
    recording = EXAMPLES / "event_fashion_mnist" / "recordings" / "sandal_00008.bin"
    assert sum(sizes) == 3 * recording.stat().st_size / 5  # it is played three times; an event of ATIS has 5 bytes
    assert set(sizes[:-1]) == {1000}
    assert "median latency" in printed


@pytest.mark.slow
def test_arrays_are_classified(project):
    printed = run(ROOT / "examples/python_on_board/README.md", project)
    assert printed.startswith("100.0% of 3 windows are right, on ONNX Runtime")
    assert "scores: (3, 10) float32" in printed


@pytest.mark.slow
def test_frames_are_given_one_by_one(project):
    printed = run(ROOT / "examples/stepwise/README.md", project)
    assert [int(step) for step in re.findall(r"^frame (\d):", printed, re.MULTILINE)] == list(range(8))
    assert printed.endswith("Sandal (1), and of the whole window Sandal (1)\n")


@pytest.mark.slow
def test_a_network_of_ones_own_is_trained_and_exported(project):
    printed = run(ROOT / "examples/own_network/README.md", project)
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", printed)]
    assert losses[-1] < 0.05 < losses[0]
    assert "40 of 40" in printed
    assert "Parity met" in printed


def test_the_tutorial_prints_the_files_of_the_example():
    printed = {block.file: block.code for block in blocks(ROOT / "docs" / "tutorial.md") if block.file}
    assert set(printed) == {"bars.py", "net.py", "train.py"}
    for name, code in printed.items():
        assert (EXAMPLES / "own_network" / name).read_text() == code


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/*.py")), ids=lambda file: file.name)
def test_a_program_of_one_idea_is_short(file):
    ideas = {"classify.py", "live.py", "board.py", "windows.py", "frame_by_frame.py", "export.py", "net.py", "train.py"}
    if file.parent.name in ("recording", "live_camera", "python_on_board", "stepwise", "own_network"):
        assert len(file.read_text().splitlines()) <= 30 or file.name not in ideas
