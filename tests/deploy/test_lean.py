"""On a board: numpy and ONNX Runtime, no torch, no onnx, no TensorRT."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from .. import networks
from ..streams import atis, drawn

BLOCKED = ("torch", "onnx", "onnxscript", "onnx_graphsurgeon", "tensorrt", "tensorrt_rtx", "spikingjelly")


MAIN = f"""
import contextlib, io, json, sys
for name in {BLOCKED!r}: sys.modules[name] = None
from tcja_deploy.cli.app import main
done = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code
    done.append((code, out.getvalue(), err.getvalue()))
json.dump(done, sys.stdout)
"""


def lean(*commands: Sequence[object]) -> list[tuple[int, str, str]]:
    """Run commands in one process: the exit code, stdout and stderr of each."""
    given = json.dumps([list(map(str, arguments)) for arguments in commands])
    done = subprocess.run([sys.executable, "-W", "error", "-c", MAIN, given], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [tuple(each) for each in json.loads(done.stdout)]


@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_bundles_are_verified_inspected_measured_and_run(bundle, data, name):
    commands = [["verify"], ["inspect"], ["verify", "--json"], ["inspect", "--json"]]
    measured = ["bench", bundle, "--seconds", "0.1", "--warm-up", "0"]
    for code, out, err in lean(*([*command, bundle] for command in commands), measured, ["run", bundle, data[name]]):
        assert (code, "error" in err) == (0, False), err
        assert bundle.stem in out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dvs128"])
def test_events_are_classified(bundle, tmp_path):
    (tmp_path / "a.bin").write_bytes(atis(drawn(500)))
    ((code, out, err),) = lean(["stream", bundle, tmp_path / "a.bin", "--speed", "max", "--window", "200ms"])
    assert (code, "error" in err) == (0, False), err
    assert "5 windows of 500 events" in out


def test_doctor_runs_and_help_is_there():
    assert [code for code, _, _ in lean(["doctor"], ["--help"], ["export", "--help"])] == [0, 0, 0]


def test_what_needs_more_says_so(tmp_path: Path, bundle):
    checkpoint = networks.SMALL["dvs128"].checkpoint(tmp_path / "model.pth")
    priced = ["inspect", bundle, "--device", "orin-nano"]
    for code, _, err in lean(
        ["export", checkpoint], ["inspect", checkpoint], ["inspect", bundle / "model.onnx"], priced
    ):
        assert code == 3
        (line,) = err.splitlines()
        assert line.startswith("error: this needs the package ")
        assert "run \"pip install 'tcja-deploy[export]'\"" in line
