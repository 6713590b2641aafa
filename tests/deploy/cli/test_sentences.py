"""Commands on networks and data at the edges: one window, one step, one class, no labels, no spikes, no classes.

Whatever they print holds no plural after 1, no part of nothing, no percentage of few windows.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_deploy.cli import app
from tcja_deploy.console import err, out

from ... import networks
from ...sentences import faults, lonely_percentages, sentences

NETWORK = (
    networks.OWN_LIF
    + """
class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.first, self.neuron, self.last = nn.Linear(32, 8), LIF(), nn.Linear(8, classes)
        self.votes = LIF()
        generator = torch.Generator().manual_seed(0)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator) * (0.7 if p.ndim > 1 else 0.0)

    def forward(self, x):
        return self.votes(self.last(self.neuron(self.first(x.flatten(2))))).mean(0)

def one_class():
    return Net(1)
"""
)

OWN = {"own": ("Net", 4), "one step": ("Net", 1), "one class": ("one_class", 2)}
OF_OWN = [pytest.param(name, marks=[] if name == "one class" else pytest.mark.slow) for name in OWN]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Export networks without data, on one window; what was printed, and the bundle."""
    folder, made = tmp_path_factory.mktemp("edges"), {}
    (folder / "edge_networks.py").write_text(NETWORK)

    def export(name: str, capsys) -> tuple[str, Path]:
        if name not in made:
            path, bundle = folder / f"{name}.pth", folder / f"{name}.bundle"
            if name in OWN:
                factory, steps = OWN[name]
                torch.save(getattr(importlib.import_module("edge_networks"), factory)().state_dict(), path)
                more = ["--model", f"edge_networks:{factory}", "--shape", f"{steps},2,4,4", "--layout", "TN"]
            else:
                more = []
                networks.REGISTRY[name].checkpoint(path)
            command = ["export", str(path), "--out", str(bundle), "--target", "onnx", "--samples", "1", *more]
            assert app.run(command) == 0
            captured = capsys.readouterr()
            made[name] = captured.out + captured.err, bundle
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield export


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    for console in (out, err):
        monkeypatch.setattr(console, "_width", 2000)


def data(folder: Path, name: str, n: int, *, labelled: bool = True, empty: bool = False) -> Path:
    steps = OWN[name][1]
    frames = np.random.default_rng(0).poisson(1.0, (n, steps, 2, 4, 4)).astype(np.float32) * (not empty)
    np.savez(folder / "data.npz", frames=frames, **({"labels": np.zeros(n, np.int64)} if labelled else {}))
    return folder / "data.npz"


def check(text: str) -> list[str]:
    """Check what was printed; return its sentences."""
    said = sentences(text)
    assert said
    assert faults(said) == []
    return said


@pytest.mark.parametrize("name", [*OF_OWN, pytest.param("fsvae", marks=pytest.mark.slow)])
def test_export_verify_inspect_and_bench(exported, run, capsys, name):
    printed, bundle = exported(name, capsys)
    assert lonely_percentages(check(printed)) == []
    assert " 1 window " in printed
    assert "No real data was used" in printed
    assert ("so accuracy is unknown" in printed) == (name != "fsvae")
    for command in (["verify", bundle], ["inspect", bundle], ["bench", bundle, "--seconds", "0.1", "--warm-up", "0"]):
        code, text, _ = run(*command, "--verbose")
        assert code == 0
        check(text)
    verified = json.loads(run("verify", bundle, "--json")[1])
    assert verified["met"]
    assert not {"untold", "streamed"} & verified.keys()
    assert verified["verdict"] == "Parity met: not one spike differs."


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("n", [1, 9])
@pytest.mark.parametrize("name", OF_OWN)
def test_verify_and_run_with_data(exported, run, capsys, tmp_path, name, n, labelled):
    _, bundle = exported(name, capsys)
    file = data(tmp_path, name, n, labelled=labelled)
    code, text, _ = run("verify", bundle, "--data", file, "--verbose")
    assert code == 0
    said = check(text)
    assert lonely_percentages([line for line in said if "at least 99 % of the windows" not in line]) == []
    whole = " ".join(said)
    assert "No real data was used" not in whole
    assert "The spikes were compared on random windows only" in whole
    assert ("so accuracy is unknown" in whole) == (not labelled)
    assert (f" of {n} window{'s' * (n > 1)} with a label (" in whole) == labelled
    code, text, _ = run("run", bundle, file)
    assert code == 0
    assert lonely_percentages(check(text)) == []
    assert (f" of {n} window{'s' * (n > 1)} with a label (" in text) == labelled


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", [pytest.param("own", marks=pytest.mark.slow), "one class"])
def test_a_class_without_a_score_is_not_a_runner_up(exported, run, capsys, tmp_path, name, n):
    _, bundle = exported(name, capsys)
    code, text, _ = run("run", bundle, data(tmp_path, name, n, empty=True))
    assert code == 0
    check(text)
    rows = [line.split() for line in text.splitlines() if "data.npz" in line]
    assert rows == [["data.npz", str(window), "0", "0", "0"] for window in range(n)]
    remark = f"In {n} window{'s' * (n > 1)} all scores are 0, and the first class is named."
    assert (remark in text) == (name == "own")
    top = json.loads(run("run", bundle, tmp_path / "data.npz", "--json")[1])["windows"][0]["top"]
    assert {each["score"] for each in top} == {0.0}


def test_inspect_names_the_device_as_it_was_given(exported, run, capsys):
    _, bundle = exported("own", capsys)
    code, _, said = run("inspect", bundle, "--device", "Orin-NX:99W")
    assert (code, "--device orin-nx:99W: orin-nx has the power modes" in said) == (2, True)
    code, _, said = run("inspect", bundle, "--device", "Orin-Nanno")
    assert (code, "--device Orin-Nanno is not known" in said) == (2, True)


@pytest.mark.slow
def test_a_verdict_of_data_in_the_registry(bundle, run):
    code, text, _ = run("verify", bundle, "--verbose")
    assert code == 0
    said = check(text)
    assert lonely_percentages(said) == []
    assert "10 of 12 windows with a label (55.20 % to 95.30 % with 95 % confidence)" in " ".join(said)
