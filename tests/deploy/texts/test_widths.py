"""What commands print is whole in a terminal of 80 columns and in a pipe."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

from tcja_deploy.cli import app
from tcja_deploy.console import err, out

from ... import networks

pytestmark = pytest.mark.slow  # the like for tables alone is in test_table

NETWORK = (
    networks.OWN_LIF
    + """
class Block(nn.Module):
    def __init__(self, taken, units):
        super().__init__()
        self.projection_of_the_currents, self.spiking_layer_of_the_block = nn.Linear(taken, units), LIF()

    def forward(self, x):
        return self.spiking_layer_of_the_block(self.projection_of_the_currents(x))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone_of_the_classifier = nn.ModuleList([Block(32, 16), Block(16, 16)])
        self.last, self.votes = nn.Linear(16, 3), LIF()
        generator = torch.Generator().manual_seed(0)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator)

    def forward(self, x):
        x = x.flatten(2)
        for block in self.backbone_of_the_classifier:
            x = block(x)
        return self.votes(self.last(x)).mean(0)
"""
)
LAYERS = [*(f"backbone_of_the_classifier.{i}.spiking_layer_of_the_block" for i in (0, 1)), "votes"]
FLIPS = ["neurons", "firing rate", "undecided", "flips", "unexplained", "free-running"]
EXPORT = ["export", "w.pth", "--model", "wide_names:Net", "--layout", "TN", "--data", "data.npz", "--target", "onnx"]
COMMANDS = {
    "export": (["Parity met", "Accuracy: ", "Bundle: net.bundle", "tcja-deploy verify net.bundle"], []),
    "export --verbose": (["Neurons of", "Time form", *FLIPS], LAYERS),
    "check w.pth --model wide_names:Net --layout TN --shape 4,2,4,4 --verbose": (
        ["w.pth can be exported", "nodes"],
        LAYERS,
    ),
    "verify net.bundle": (["Parity met", "Accuracy: ", "tcja-deploy run net.bundle"], []),
    "verify net.bundle --verbose": (["On the exact stimulus", *FLIPS], LAYERS),
    "inspect net.bundle": (["neurons", "charge", "fires", "reset", "sha256"], LAYERS),
    "inspect net.bundle --device orin-nano": (["weights", "moved", "bound", "dense MACs", "energy"], LAYERS),
    "inspect w.pth --verbose": (["key", "shape", "float32"], ["backbone_of_the_classifier.1.projection_of_the"]),
    "inspect net.bundle/model.onnx": (["TcjaLif", "opsets", "checkpoint sha256"], []),
    "run net.bundle data.npz --verbose": (["file", "label", "runner-up", "Confusion"], []),
    "bench net.bundle --seconds 0.1 --warm-up 0 --verbose": (["latency p50", "memory", "Processor"], []),
    "doctor": (["This machine can", "verify bundles"], []),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("wide")
    (made / "wide_names.py").write_text(NETWORK)
    rng = np.random.default_rng(0)
    frames = rng.poisson(1.0, (12, 4, 2, 4, 4)).astype(np.float32)
    np.savez(made / "data.npz", frames=frames, labels=rng.integers(0, 3, 12))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(made)
        patch.chdir(made)
        torch.save(importlib.import_module("wide_names").Net().state_dict(), made / "w.pth")
        assert app.run([*EXPORT, "--out", "net.bundle"]) == 0
        yield made


@pytest.mark.parametrize("width", [80, None])
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_cut_or_broken(folder, run, monkeypatch, command, width):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("COLUMNS", raising=False)
    for console in (out, err):
        monkeypatch.setattr(console, "_width", width)
    words = command.split()
    if words[0] == "export":
        words = [*EXPORT, *words[1:], "--out", f"{width}{len(words)}/net.bundle"]
    code, text, said = run(*words)
    assert code == 0, said
    lines = text.replace("\N{NO-BREAK SPACE}", " ").splitlines()
    if width:
        assert [line for line in lines if len(line) > width] == []
    needed, names = COMMANDS[command]
    joined = " ".join(text.split()).replace(f"{width}{len(command.split())}/", "")
    for each in needed:
        assert each in joined, each
    for name in names:
        assert any(name in line for line in lines), name


def test_a_pipe_gets_each_sentence_in_a_line(folder, run, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(out, "_width", None)  # COLUMNS may have been set when it was made, as by pytest-xdist
    _, text, _ = run("verify", "net.bundle")
    lines = text.splitlines()
    assert len(lines) == 12
    assert lines[2].startswith("Early prediction: the final class from frame ")
    assert lines[3].startswith("Compared spike by spike with golden vectors (PyTorch")
    assert lines[3].endswith(".")
    assert len(lines[3]) > 80
