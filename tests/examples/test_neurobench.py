"""NeuroBench's network is exported by the commands of the example's README, where a clone of NeuroBench is at hand."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import onnx
import pytest

from tcja_deploy.cli import app
from tcja_runtime.bundle.bundle import GOLDEN, MODEL, Bundle

from ..docs.blocks import ROOT, runnable

README = ROOT / "examples/neurobench/README.md"
CLONE = os.environ.get("NEUROBENCH")


@pytest.mark.slow
@pytest.mark.skipif(not CLONE, reason="NEUROBENCH names no clone of NeuroBench")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_command_of_the_readme_exports_it(tmp_path, monkeypatch, capsys):
    (block,) = (block for block in runnable(README) if "tcja-deploy export" in block.code)
    _, command = block.code.replace("\\\n", " ").splitlines()
    monkeypatch.chdir(Path(str(CLONE)) / "examples" / "dvs_gesture")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    words = [tmp_path / "a.bundle" if word.endswith(".bundle") else word for word in shlex.split(command)[1:]]
    code = app.run([*map(str, words), "--samples", "1"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    assert "Parity met" in printed.out
    manifest = Bundle.open(tmp_path / "a.bundle").manifest
    assert [layer.name for layer in manifest.layers] == [f"lif{n}" for n in (1, 2, 3, 4)]
    assert manifest.layers[0].neuron.threshold == pytest.approx(3.511291184386264)
    assert manifest.input.split == "time-bins"
    model = onnx.load(tmp_path / "a.bundle" / MODEL, load_external_data=False)
    assert len(model.graph.node) < 40  # each layer once, and not for each of the 150 time steps
    assert (tmp_path / "a.bundle" / GOLDEN).stat().st_size < 5e6
