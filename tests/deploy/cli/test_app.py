from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Group
from rich.text import Text

from tcja_deploy import packages
from tcja_deploy.console import out
from tcja_deploy.texts.table import Rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export"], "Missing argument 'CHECKPOINT'"),
        (["export", "a.pth", "--colour"], "No such option: --colour"),
        (["export", "a.pth", "--target", "tpu"], "'tpu' is not one of 'auto', 'onnx', 'tensorrt', 'tensorrt-rtx'"),
        (["export", "a.pth", "--precision", "fp8"], "'fp8' is not"),
        (["export", "a.pth", "--samples", "many"], "Invalid value for '--samples'"),
        (["export", "a.pth", "--batch", "8:1:1"], "--batch 8:1:1: 1 <= MIN <= OPT <= MAX <= 1024 must hold"),
        (["export", "a.pth", "--batch", "1:1:99999999999999999999"], "1 <= MIN <= OPT <= MAX <= 1024 must hold"),
        (["export", "a.pth", "--samples", "9" * 30], "9 must be 1 to 1,000,000"),
        (["export", "a.pth", "--classes", "."], "--classes . is a folder, not a file"),
        (
            ["export", "a.pth", "--classes", "nowhere.txt"],
            "nowhere.txt is neither a file nor a list of names with commas",
        ),
        (["export", "a.pth", "--classes", "latin.txt"], "latin.txt is not a text file in UTF-8"),
        (["deploy"], "No such command 'deploy'"),
        (["verify", "nowhere.bundle"], "nowhere.bundle does not exist"),
        (["inspect", "nowhere"], "nowhere does not exist"),
        (["inspect", "nowhere", "--device", "orin"], "--device orin is not known; there are orin-nano, orin-nano-4gb,"),
        (["inspect", "nowhere", "--device", "thor:1W"], "thor has the power modes 120W, MAXN, 90W, 70W"),
        (["inspect", "nowhere", "--device", "thor"], "nowhere does not exist"),
        (["inspect", "nowhere", "--batch", "2"], "name the board with --device"),
        (["inspect", "nowhere", "--device", "thor", "--batch", "0"], "Invalid value for '--batch'"),
        (["inspect", "nowhere", "--batch", "x"], "(see 'tcja-deploy inspect --help')"),
        (["inspect", ".", "--network", "dvs128"], ". is a bundle, and --network is for checkpoints; leave it out"),
        (["inspect", ".", "--set", "T=4", "--trust-checkpoint"], "--set, --trust-checkpoint is for checkpoints; leave"),
        (["build", ".", "--workspace", "0"], "Invalid value for '--workspace'"),
        (["verify", ".", "--nope"], "(see 'tcja-deploy verify --help')"),
    ],
)
def test_bad_usage_is_one_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "latin.txt").write_bytes("Tür\nTor".encode("latin-1"))
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize("command", ["export", "verify", "bench", "run", "inspect", "doctor"])
def test_help_names_every_option(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "--json" in out
    assert "--verbose" in out


def test_without_arguments_the_help_is_shown(run):
    assert run() == (0, run("--help")[1], "")


def test_version(run):
    assert run("--version") == (0, f"tcja-deploy {importlib.metadata.version('tcja-deploy')}\n", "")


def test_version_where_it_runs_from_its_source(run, monkeypatch):
    monkeypatch.setattr(packages, "version", lambda _: None)
    assert run("--version") == (0, "tcja-deploy from its source\n", "")


@pytest.mark.parametrize(
    "arguments", [["inspect"], ["verify", "--json"], pytest.param(["verify"], marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_a_reader_that_goes_away_changes_nothing(bundle, arguments):
    """The end of `tcja-deploy ... | head` is no failure of the work."""
    command = [sys.executable, "-m", "tcja_deploy", *arguments, str(bundle)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 0
    assert all(line.startswith("✓") for line in done.stderr.splitlines())


def test_an_output_that_cannot_be_written_is_said(bundle):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "tcja_deploy", "inspect", str(bundle)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        3,
        "error: the output cannot be written: No space left on device; make room on its disk\n",
    )


def test_a_terminal_without_unicode(bundle):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = [sys.executable, "-m", "tcja_deploy", "verify", str(bundle)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Parity met" in done.stdout


def test_control_characters_of_a_name_are_not_printed(run, tmp_path):
    torch.save({"a\n\033[31mb": torch.zeros(1)}, tmp_path / "a.pth")
    _, out, err = run("inspect", tmp_path / "a.pth")
    assert "its keys begin a  [31mb" in err
    assert "\033" not in out + err


def test_control_characters_of_any_text_are_not_printed(capsys):
    table = Rows("a\033[31m", ["b\x9b1m"])
    table.add("c\033]0;d\a")
    out.print(Group(table, Text("e\033[2J")))
    printed = capsys.readouterr().out
    assert not set(printed) & {"\033", "\x9b", "\a"}
    assert all(part in printed for part in ("a[31m", "b1m", "c]0;d", "e[2J"))


def test_verbose_shows_the_traceback(run, tmp_path):
    code, _, err = run("inspect", tmp_path / "none", "--verbose")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: ")


def test_a_bug_says_that_it_is_one(run, tmp_path, monkeypatch):
    def broken() -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("tcja_deploy.doctor.examine", broken)
    code, _, err = run("doctor")
    assert code == 70
    (line,) = err.splitlines()
    assert line.startswith("error: a bug in tcja-deploy")
    assert "ZeroDivisionError: two lines" in line


def test_colours_are_off_when_asked():
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color", "FORCE_COLOR": ""}
    done = subprocess.run(
        [sys.executable, "-m", "tcja_deploy", "doctor"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0
    assert "\x1b[" not in done.stdout
