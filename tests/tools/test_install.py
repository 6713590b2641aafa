"""The progress of the set-up: real pip installs a wheel that the test writes, and fails at what there is not."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .. import scripts

FILE = scripts.TOOLS / "install.py"
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}


@pytest.fixture(scope="module")
def script():
    return scripts.loaded("install")


@pytest.fixture
def wheel(tmp_path) -> Path:
    """A wheel of the package `nothing-much`, with one module."""
    file, info = tmp_path / "nothing_much-1.2-py3-none-any.whl", "nothing_much-1.2.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("nothing_much.py", f"text = '{'x' * 1950}'\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: nothing-much\nVersion: 1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"nothing_much.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return file


def install(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FILE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | OFFLINE)


def test_each_package_has_a_line_and_no_control_characters(wheel, tmp_path):
    done = install("--target", tmp_path / "there", wheel)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "there" / "nothing_much.py").is_file()
    texts = [line[8:] for line in done.stdout.splitlines()]
    size = f"{wheel.stat().st_size / 1000:.1f} kB"
    assert texts == [
        "choose the versions",
        f"take nothing-much 1.2 ({size}) from this disk",
        "install 1 package",
        "done",
    ]
    assert all(line[3] == ":" for line in done.stdout.splitlines())
    assert done.stdout.replace("\n", "").isprintable()


@pytest.mark.slow
def test_a_terminal_shows_the_seconds_of_a_step(wheel, tmp_path):
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "CI"} | OFFLINE | {"TERM": "xterm"}
    command = [sys.executable, FILE, "--target", tmp_path / "there", "--no-compile", wheel]
    done = subprocess.run(command, stdout=theirs, env=environment)
    os.close(theirs)
    text = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert [line.rpartition("\r")[2][8:] for line in text.replace("\r\n", "\n").splitlines()][-1] == "done"


def test_the_error_of_pip_is_the_last_line(tmp_path):
    done = install("--target", tmp_path, "no-such-package-here==7")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: No matching distribution found for no-such-package-here==7"
    assert "done" not in done.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("  Downloading typer-0.29.2-py3-none-any.whl (121 kB)", "fetch typer 0.29.2 (121 kB)"),
        ("  Downloading typer-0.29.2-py3-none-any.whl.metadata (15 kB)", None),
        ("Downloading onnx_ir-1.1.0-py3-none-any.whl (192 kB)", "fetch onnx-ir 1.1.0 (192 kB)"),
        ("  Downloading tensorrt_rtx-1.7.1.116.tar.gz (46 kB)", "fetch tensorrt-rtx 1.7.1.116 (46 kB)"),
        (
            "  Downloading https://example.org/torch-2.13.0%2Bcpu-cp311-cp311-manylinux_2_28_x86_64.whl (192.0 MB)",
            "fetch torch 2.13.0 (192.0 MB)",
        ),
        ("  Using cached ruff-0.17.6-py3-none-any.whl", "take ruff 0.17.6 from pip's cache"),
        ("Using cached ruff-0.17.6-py3-none-any.whl (10.6 MB)", "take ruff 0.17.6 (10.6 MB) from pip's cache"),
        ("Processing /gone/numpy-2.4.6-cp311.whl (from tcja-deploy==0.1.0)", "take numpy 2.4.6 from this disk"),
        ("  Installing build dependencies: started", "fetch the build tools"),
        ("  Building wheel for norse (pyproject.toml): started", "build norse"),
        ("  Building editable for tcja-deploy (pyproject.toml): started", "prepare tcja-deploy"),
        ("  Building editable for tcja-deploy (pyproject.toml): finished with status 'done'", None),
        ("Installing collected packages: mpmath, torch, rich", "install 3 packages"),
        ("Collecting typer>=0.12 (from tcja-deploy==0.1.0)", None),
        ("Requirement already satisfied: typer in ./lib", None),
        ("     ━━━━━━━━ 121.0/121.0 kB 163.1 MB/s eta 0:00:00", None),
        ("", None),
    ],
)
def test_steps_are_told_from_the_lines_of_pip(script, line, said):
    assert script.step(line) == said


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (8_900_000, "8.9 MB"),
        (999_700, "1.0 MB"),
        (2.5e9, "2.5 GB"),
    ],
)
def test_sizes_have_the_units_of_pip(script, count, text):
    assert script.size(count) == text


def test_errors_of_a_pip_inside_of_pip_are_last(script):
    said = ["  error: subprocess-exited-with-error", "      ERROR: No matching distribution found for setuptools>=77"]
    said += ["  note: This error originates from a subprocess", "ERROR: Failed to build x", "ERROR: Failed to build x"]
    found = script.failure(said)
    assert found[:2] == [said[0], said[2]]
    assert found[2:] == ["error: No matching distribution found for setuptools>=77", "error: Failed to build x"]
    assert script.failure(["a line"]) == ["a line", "error: pip failed; the lines above are its own"]


def test_a_server_that_was_not_reached_is_named_last(script):
    retried = "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError': /simple/torch/"
    said = [retried, "WARNING: something else", "ERROR: No matching distribution found for torch"]
    assert script.failure(said) == [
        "WARNING: something else",
        "error: No matching distribution found for torch",
        "error: a server was not reached: is there a network, and does it need a proxy?",
    ]
