"""tools/board_day.sh: what it does on a board, whose GPU and TensorRT are simulated (tests/simulated/README.md)."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from .. import networks
from ..streams import atis, drawn

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tools" / "board_day.sh"
PROGRAM = Path(sys.executable).with_name("tcja-deploy")
PAGE = ROOT / "docs/how-to/board-day.md"
COMMANDS = re.findall(r"```sh\n(.*?)\n```", PAGE.read_text())
BUNDLE = "scan-fp32.bundle"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The home of a person, whose name is nobody else's business."""
    made = tmp_path / "maria" / "home"
    made.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.setenv("TCJA_DEPLOY", str(PROGRAM))
    monkeypatch.setenv("BENCH", "0.1")
    return made


@pytest.fixture
def folder(home) -> Path:
    """The folder that goes to the board, in a path that the shell would split and sed would read."""
    made = home / "on the board | [day]*1"
    made.mkdir()
    return made


@pytest.fixture
def day(folder) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the script beside the folder."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [SCRIPT, *map(str, arguments)]
        return subprocess.run(command, cwd=folder.parent, capture_output=True, text=True)

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory, data) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder in which the commands of the page are run, and what was said when they made the folder for the board.

    There is no precision int9.
    """
    desk = tmp_path_factory.mktemp("desk")
    (desk / "tools").symlink_to(SCRIPT.parent)
    networks.SMALL["dvs128"].checkpoint(desk / "model.pth")
    shutil.copy(data["dvs128"], desk / "test.npz")
    settings = {"FORMS": "scan", "PRECISIONS": "int9 fp32", "TCJA_DEPLOY": str(PROGRAM)}
    command = shlex.split(COMMANDS[1])
    return desk, subprocess.run(command, cwd=desk, env={**os.environ, **settings}, capture_output=True, text=True)


def rows(text: str) -> dict[str, str]:
    """What the table at the end says of each step."""
    table = text.rpartition("\n\n")[0].rpartition("\n\n")[2]
    return dict(re.findall(r"^(\S.*?) +\d+ s  (.*)$", table, re.MULTILINE))


def opened(folder: Path) -> dict[str, str]:
    """The files of the archive that is in a folder, by their names."""
    (file,) = folder.glob("board_day-*.tar.gz")
    found = {}
    with tarfile.open(file) as archive:
        for member in archive:
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            if member.isfile():
                stream = archive.extractfile(member)
                assert stream is not None
                found[member.name.removeprefix("board_day/")] = stream.read().decode()
    return found


def step(files: dict[str, str], name: str, ending: str = "out") -> str:
    """A file of a step."""
    return next(text for file, text in files.items() if re.fullmatch(rf"\d\d-{name}\.{ending}", file))


@pytest.mark.slow
def test_bundles_are_made(made):
    """One that is refused stops none of the others."""
    desk, done = made
    folder = desk / "build" / "board_day"
    assert done.returncode == 3
    assert " not one of 'fp32', 'fp16', 'int8'" in rows(done.stdout)["scan-int9 export"]
    assert done.stdout.splitlines()[-1].startswith(f"Bundles in {folder}: 1. Copy this folder to the board")
    assert sorted(path.name for path in folder.iterdir()) == ["board_day.sh", "export-logs", BUNDLE]
    assert (folder / "board_day.sh").read_text() == SCRIPT.read_text()


@pytest.mark.slow
def test_a_day_with_a_board(day, simulated, home, folder, made):
    """One bundle is damaged, which stops none of the steps of the other."""
    for name in ("a.bundle", "b-fp32.bundle"):
        shutil.copytree(made[0] / "build" / "board_day" / BUNDLE, folder / name)
    (folder / "a.bundle" / "weights.bin").write_bytes(b"")
    recording = home / "maria at the window.bin"
    recording.write_bytes(atis(drawn(3000, seconds=0.6)))
    done = day("run", folder, recording)
    assert done.returncode == 3, done.stdout + done.stderr
    found = rows(done.stdout)
    refused = {name: found.pop(name) for name in ("a build", "a bench, stream, verify")}
    assert refused["a build"].startswith("exit code 2: error: a.bundle/weights.bin")
    assert refused["a bench, stream, verify"] == "not done: it has no engine"
    on_the_cpu, on_the_gpu = ("verify CPU", "bench CPU", "stream CPU"), (
        "build", "inspect", "bench", "run", "stream", "verify",
    )  # fmt: skip
    assert list(found) == [
        "machine",
        "doctor",
        "doctor as JSON",
        *(f"b-fp32 {each}" for each in on_the_cpu + on_the_gpu),
    ]
    assert set(found.values()) == {"done"}

    files = opened(folder)
    assert "NVIDIA Simulated, 8.7" in step(files, "machine")
    assert json.loads(step(files, "b-fp32-bench"))["backend"] == "tensorrt"
    (proven,) = json.loads(step(files, "b-fp32-verify"))["engines"]
    assert proven["decided_beyond"] == 0
    predictions = [json.loads(line) for line in step(files, "b-fp32-stream").splitlines()]
    assert predictions
    (sidecar,) = (text for file, text in files.items() if file.startswith("b-fp32/") and file.endswith("engine.json"))
    assert json.loads(sidecar)["module"] == "tensorrt"
    assert files["summary.txt"].splitlines()[-1].startswith("exit code 3, ")
    # Neither whose machine it is, nor the network: paths, models, weights and windows stay here.
    assert not [file for file, text in files.items() if "maria" in text or str(ROOT) in text]
    assert {Path(file).suffix for file in files} == {".code", ".command", ".err", ".json", ".log", ".out", ".txt"}
    assert sorted(path.name for path in folder.iterdir())[1:] == ["b-fp32.bundle", next(folder.glob("*.gz")).name]


@pytest.mark.slow
def test_a_machine_without_a_gpu_does_what_it_can(simulated, home, made):
    desk, _ = made
    simulated.setenv("SIMULATED_GPU", "")
    done = subprocess.run(shlex.split(COMMANDS[2]), cwd=desk, capture_output=True, text=True)
    assert done.returncode == 3
    found = rows(done.stdout)
    assert found["scan-fp32 verify CPU"] == found["scan-fp32 bench CPU"] == "done"
    assert found["scan-fp32 build"].startswith("exit code 3: error: tensorrt cannot start a builder on this machine")
    assert done.stdout.splitlines()[-1].startswith("No engine was built on this machine. The archive has what ONNX")
    assert json.loads(step(opened(desk / "build" / "board_day"), "scan-fp32-verify-CPU"))["backends"]


def test_without_time_nothing_is_begun(day, folder, monkeypatch):
    monkeypatch.setenv("MINUTES", "0")
    (folder / "a.bundle").mkdir()
    done = day("run", folder)
    assert done.returncode == 3
    assert set(rows(done.stdout).values()) == {"not done: no time left", "not done: it has no engine"}
    assert list(opened(folder)) == ["summary.txt"]


def test_an_interrupt_leaves_an_archive_of_what_was_done(folder):
    (folder / "a.bundle").mkdir()
    command = [SCRIPT, "run", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stdout is not None
        assert " machine " in running.stdout.readline()
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        said = running.stdout.read()
    assert running.returncode == 130
    assert rows(said)["the steps after this"] == "not done: interrupted"
    assert "00-machine.out" in opened(folder)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "tools/board_day.sh run FOLDER [RECORDING]"),
        (["run"], 2, "tools/board_day.sh bundles FOLDER"),
        (["walk", "."], 2, "tools/board_day.sh bundles FOLDER"),
        (["run", "nowhere"], 2, "error: nowhere is no folder; make it with 'board_day.sh bundles nowhere' on a"),
        (["run", "."], 2, " has no bundle; make them with 'board_day.sh bundles' on a workstation"),
        (["run", ".", "no.bin"], 2, "error: there is no recording no.bin"),
        (["bundles", "new", "no.pth"], 2, "error: there is no checkpoint no.pth"),
    ],
)
def test_what_is_refused(day, arguments, code, message):
    done = day(*arguments)
    assert done.returncode == code
    assert message in done.stderr


@pytest.mark.parametrize("value", ["x", "-1", "", " 1", "1x", "a[$(id)]"])
@pytest.mark.parametrize(("name", "what"), [("MINUTES", "a whole number of minutes"), ("BENCH", "a number of seconds")])
def test_a_variable_that_is_no_number(day, monkeypatch, name, what, value):
    monkeypatch.setenv(name, value or "1.")
    done = day("run", ".")
    assert (done.returncode, done.stderr) == (2, f"error: {name} is '{value or '1.'}', and must be {what}\n")


def test_a_program_that_is_not_there(day, monkeypatch, folder, tmp_path):
    monkeypatch.setenv("TCJA_DEPLOY", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", os.pathsep.join(["/usr/bin", "/bin"]))
    shutil.copy(SCRIPT, folder / "board_day.sh")  # no environment is beside this one
    done = subprocess.run([folder / "board_day.sh", "run", "."], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 3
    assert (
        done.stderr == "error: tcja-deploy was not found; activate its environment, or set TCJA_DEPLOY to the program\n"
    )
