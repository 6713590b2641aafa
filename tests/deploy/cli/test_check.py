from __future__ import annotations

import json
import sys

import pytest
import typer

from tcja_deploy.check.result import Checked
from tcja_deploy.cli.app import app
from tcja_deploy.cli.help.descriptions import descriptions
from tcja_deploy.cli.options import telling
from tcja_deploy.console import plain
from tcja_deploy.texts.check import checked_text

from ... import networks

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
NEURONS = """
import torch
from torch import nn
from spikingjelly.activation_based import neuron

class Net(nn.Module):
    def __init__(self, *neurons):
        super().__init__()
        self.a, self.b = nn.Linear(32, 16), nn.Linear(16, 3)
        self.n1, self.n2 = neurons

    def forward(self, x):
        return self.n2(self.b(self.n1(self.a(x.flatten(2)))))

def refused():
    return Net(neuron.QIFNode(step_mode="m"), neuron.EIFNode(step_mode="m"))
"""


@pytest.fixture
def _sized(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A checkpoint of a user's network, in the folder where the command runs."""
    import torch

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "refused_net.py").write_text(NEURONS)
    sys.modules.pop("refused_net", None)
    shapes = {"a.weight": (16, 32), "a.bias": (16,), "b.weight": (3, 16), "b.bias": (3,)}
    torch.save({key: torch.ones(shape) for key, shape in shapes.items()}, tmp_path / "net.pth")
    return tmp_path / "net.pth"


@pytest.mark.usefixtures("_sized")
def test_what_can_be_exported_is_told_verdict_first(run, tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    code, out, _ = run("check", checkpoint, "--target", "onnx")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "model.pth can be exported: 4 spiking layers would be judged, spike by spike."
    assert max(map(len, lines)) <= 80
    words = " ".join(out.split())
    assert "fashion_mnist (" in words
    assert "T = 4, images [N, 1, 28, 28] -> rates [N, 10]" in words
    assert "Rounding bounds: all are derived from the operations, none is an estimate" in words
    assert "Nodes: model.onnx " in words
    assert "Engine: the parser was not asked: --target onnx builds no engine" in words
    assert "conv.3 TCJA attention" in words
    assert words.endswith("Next: export it with the same options")
    assert "folded into" not in words
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.pth"]


@pytest.mark.slow
@pytest.mark.usefixtures("_sized")
def test_the_details_have_a_row_for_each_module(run, tmp_path):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    code, out, _ = run("check", checkpoint, "--target", "onnx", "--verbose")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "folded into conv.1.1" in " ".join(out.split())
    assert "k_t of" in out


@pytest.mark.usefixtures("_sized")
def test_what_is_refused_is_told_with_all_reasons(run, checkpoint):
    options = ("--model", "refused_net:refused", "--shape", "4,2,4,4", "--layout", "TN")
    code, out, err = run("check", checkpoint, *options)
    assert code == 2
    assert "error:" not in err
    assert out.startswith("net.pth would not be exported, for 2 reasons:\n  the neuron 'n1' (spikingjelly.QIFNode)")
    assert "  the neuron 'n2' (spikingjelly.EIFNode) cannot be exported" in out
    assert "or its class is registered" in " ".join(out.split())
    assert "Not reached: 2 Linear" in out
    said = run("export", checkpoint, *options)[2].splitlines()[-1]
    assert said.startswith("error: the neuron 'n1' (spikingjelly.QIFNode) cannot be exported: its membrane")
    assert run("check", checkpoint, *options, "--verbose")[2].splitlines()[-1] == said


def test_the_same_as_json(run, checkpoint):
    options = ("--model", "refused_net:refused", "--shape", "4,2,4,4", "--layout", "TN", "--json")
    code, out, err = run("check", checkpoint, *options)
    assert code == 2
    said = json.loads(out)
    assert (said["subject"], said["accepted"], len(said["refusals"])) == ("net.pth", False, 2)
    assert said["refusals"][0] in err
    assert {module["name"]: module["becomes"] for module in said["modules"]} == {
        "a": "not reached",
        "b": "not reached",
        "n1": "refused",
        "n2": "refused",
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("nowhere.pth",), "nowhere.pth"),
        (("net.pth", "--precision", "int8"), "--precision int8 measures its scales on windows, which should be real"),
        (
            ("net.pth", "--shape", "4,2,4,4"),
            "--shape, --input and --layout say what --model takes; give --model too, --trust-checkpoint if the file",
        ),
        (
            ("net.pth", "--time-unit", "ms"),
            "--time-unit is about recordings in --data; give --data too, or leave it out",
        ),
        (("net.pth", "--batch", "3:2:1"), "--batch 3:2:1: 1 <= MIN <= OPT <= MAX"),
        (("net.pth", "--samples", "0"), "--samples 0 must be 1 to 1,000,000"),
    ],
)
def test_bad_options_are_refused_as_export_does(run, checkpoint, arguments, reason):
    """They say nothing of the network, so no verdict is printed; a file that is missing does not make one, either."""
    code, out, err = run("check", *arguments)
    assert code == 2
    assert reason in err
    assert out == ""  # nothing else is known
    assert run("export", *arguments)[2].splitlines()[-1] == err.splitlines()[-1]


@pytest.mark.usefixtures("_sized")
def test_a_line_of_export_is_checked_with_one_word_changed(run, tmp_path):
    """The options on the proof, the engine and the output are taken."""
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    options = ("--target", "onnx", "--samples", "3", "--judge", "2", "--batch", "2", "--time-form", "unrolled")
    code, out, _ = run("check", checkpoint, *options, "--out", tmp_path / "a.bundle", "--report", tmp_path / "a.html")
    assert code == 0
    assert "model.plain.onnx has the time form unrolled (as requested)" in " ".join(out.split())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.pth"]


def test_a_machine_that_cannot_export_cannot_check(run, checkpoint, tmp_path, monkeypatch):
    """With two packages of ONNX Runtime, which overwrite each other."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        (tmp_path / f"{name.replace('-', '_')}-1.99.0.dist-info").mkdir()
        (tmp_path / f"{name.replace('-', '_')}-1.99.0.dist-info" / "METADATA").write_text(
            f"Name: {name}\nVersion: 1.99.0\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, err = run("check", checkpoint)
    assert (code, out) == (3, "")
    assert "onnxruntime and onnxruntime-gpu are both installed" in err
    assert run("export", checkpoint)[0] == 3


def test_check_and_export_have_the_same_options():
    flags = {
        command.name: [each.flags for each in command.parameters]
        for command in descriptions(typer.main.get_command(app).commands.items())
    }
    assert flags["check"] == flags["export"]
    assert ("--judge",) in flags["check"]


def test_remarks_name_flags():
    remark = "folders are read by number; choose with `labels`"
    found = Checked(subject="a", error=None, refusals=[], modules=[], network=None, models=None, remarks=[remark])
    assert "choose with --labels" in plain(checked_text(found, telling(False)))
    assert "choose with `labels`" in plain(checked_text(found))
