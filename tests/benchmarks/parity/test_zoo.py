"""A row of the table of other libraries' networks: checked, exported and compared in a process of its own."""

import json
import subprocess
import sys

import pytest

from ...docs.blocks import ROOT


@pytest.mark.slow
def test_a_row(tmp_path):
    command = [sys.executable, "-m", "benchmarks.parity.zoo", "--target", "onnx", "--json", tmp_path / "rows.json"]
    done = subprocess.run([*command, "SNN, MNIST example"], cwd=ROOT, capture_output=True, text=True, check=True)
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert (row["check"], row["flips"], row["unexplained"]) == ("accepted", 0, 0), done.stdout
    assert row["spikes"] > 0
