"""On a board: numpy and ONNX Runtime, no torch, no onnx, no TensorRT."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .. import networks
from ..streams import atis, drawn

BLOCKED = ("torch", "onnx", "onnxscript", "onnx_graphsurgeon", "tensorrt", "tensorrt_rtx", "spikingjelly")


def lean(*arguments: object) -> subprocess.CompletedProcess[str]:
    code = (
        f"import sys\nfor name in {BLOCKED!r}: sys.modules[name] = None\n"
        "from tcja_deploy.cli.app import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("command", [["verify"], ["inspect"], ["verify", "--json"], ["inspect", "--json"]])
@pytest.mark.parametrize("name", ["fashion_mnist"])
def test_bundles_are_verified_and_inspected(bundle, command):
    done = lean(*command, bundle)
    assert (done.returncode, "error" in done.stderr) == (0, False), done.stderr
    assert bundle.stem in done.stdout


def test_bundles_are_measured_and_run(bundle, data, name):
    for arguments in (["bench", bundle, "--seconds", "0.1", "--warm-up", "0"], ["run", bundle, data[name]]):
        done = lean(*arguments)
        assert (done.returncode, "error" in done.stderr) == (0, False), done.stderr
        assert bundle.stem in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dvs128"])
def test_events_are_classified(bundle, tmp_path):
    (tmp_path / "a.bin").write_bytes(atis(drawn(500)))
    done = lean("stream", bundle, tmp_path / "a.bin", "--speed", "max", "--window", "200ms")
    assert (done.returncode, "error" in done.stderr) == (0, False), done.stderr
    assert "5 windows of 500 events" in done.stdout


def test_doctor_runs():
    assert lean("doctor").returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"]])
def test_help_is_there(arguments):
    assert lean(*arguments).returncode == 0


def test_what_needs_more_says_so(tmp_path: Path, bundle):
    checkpoint = networks.SMALL["dvs128"].checkpoint(tmp_path / "model.pth")
    priced = ["inspect", bundle, "--device", "orin-nano"]
    for arguments in (["export", checkpoint], ["inspect", checkpoint], ["inspect", bundle / "model.onnx"], priced):
        done = lean(*arguments)
        assert done.returncode == 3
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: this needs the package ")
        assert "run \"pip install 'tcja-deploy[export]'\"" in line
