"""docs/how-to/python.md: each of its programs runs as it is printed, and prints what other code finds."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tcja_deploy.cli import app
from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle

from .. import networks
from ..streams import atis, drawn
from .blocks import ROOT

PAGE = (ROOT / "docs/how-to/python.md").read_text()
BLOCKS = dict(re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def name() -> str:
    return "fashion_mnist"


@pytest.fixture
def folder(bundle, streamed, data, tmp_path, monkeypatch) -> Path:
    """The files that the programs name, in the current folder."""
    monkeypatch.chdir(tmp_path)
    bundle.rename("clothes.bundle")
    shutil.copytree(streamed(networks.SMALL["dvs128"]), "gestures.bundle")
    shutil.copy(data["fashion_mnist"], "test.npz")
    Path("recording.bin").write_bytes(atis(drawn(6000, seconds=0.6)))
    return tmp_path


def printed(head: str, capsys) -> list[str]:
    """The lines that the program under a heading prints."""
    exec(compile(BLOCKS[head], head, "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out.splitlines()


def test_there_are_four_programs_of_ten_lines():
    assert len(BLOCKS) == PAGE.count("```python") == 4
    for program in BLOCKS.values():
        assert len([line for line in program.splitlines() if line]) <= 10


def test_images(folder, capsys):
    lines = printed("Classify images", capsys)
    session = onnxruntime.InferenceSession(str(folder / "clothes.bundle" / PLAIN_MODEL))
    with np.load("test.npz") as data:
        (scores,) = session.run(None, {"images": data["images"][:5]})
    classes = Bundle.open("clothes.bundle").manifest.classes
    assert lines[0].startswith("fashion_mnist of clothes.bundle, in ONNX Runtime")
    assert lines[-2] == str([classes[at] for at in scores.argmax(1)])
    assert re.findall(r"name='([^']+)'", lines[-1]) == [classes[at] for at in np.argsort(-scores[0], kind="stable")[:3]]


@pytest.mark.parametrize(
    ("head", "command", "windows"),
    [
        ("Classify a recording", ("run", "--window", "200ms"), 3),
        ("Classify a camera", ("stream", "--window", "100ms", "--speed", "max"), 5),
        ("Frame by frame", ("run",), 1),
    ],
)
def test_recordings(folder, capsys, head, command, windows):
    lines = printed(head, capsys)
    first, *options = command
    assert app.run([first, "gestures.bundle", "recording.bin", *options, "--csv", "--top", "1"]) == 0
    rows = [line.split(",") for line in capsys.readouterr().out.splitlines()]
    place, score = (rows[0].index(cell) for cell in ("class_1", "score_1"))
    expected = [f"{row[place]} ({float(row[score]):.2f})" for row in rows[1:]][:windows]
    found = [line.partition(": ")[2].partition(",")[0] for line in lines if re.match(r"\d\.\d s: |the window", line)]
    assert found == expected
    assert len(found) == windows
    if head == "Frame by frame":
        assert lines[:-1] == [f"frame {step} of 5" for step in range(1, 5)]
    if head == "Classify a camera":
        assert re.fullmatch(r"5 windows, latency \d+\.\d ms", lines[-1])
