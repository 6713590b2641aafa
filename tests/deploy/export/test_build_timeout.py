"""An export whose builder does not end in the form fused: the layers are unrolled, and the bundle says so.

The quick tests have the simulated TensorRT (tests/simulated/README.md), the slow ones NVIDIA's builder. A builder that
does not end is a real process that sleeps.
"""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from tcja_deploy import console
from tcja_deploy.export import pipeline, spike_counts, time_form, trials
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.export.trials import Trials
from tcja_exporters.precision import Lowered
from tcja_exporters.reference import recorder
from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle
from tcja_runtime.errors import BuildTimeout
from tcja_runtime.machine import gpu
from tcja_runtime.tensorrt import build
from tcja_runtime.tensorrt.build import BuildRequest

from ... import networks

rtx = [
    pytest.mark.usefixtures("stuck"),
    pytest.mark.slow,
    pytest.mark.tensorrt,
    pytest.mark.rtx,
]

BUILDER = """#!{python}
import json, os, subprocess, sys, time
if "tcja_runtime.tensorrt.builder_process" not in sys.argv:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
request = sys.stdin.read()
if b"Greater" in open(json.loads(request)["model"], "rb").read():
    time.sleep(600)
sys.argv[-3] = str(os.getpid())
sys.exit(subprocess.run([{python!r}, *sys.argv[1:]], input=request, text=True).returncode)
"""


@pytest.fixture
def stuck(tmp_path, monkeypatch):
    """The real builder, which does not end for models with comparisons."""
    script = tmp_path / "python"
    script.write_text(BUILDER.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


OPTIONS = ("--target", "tensorrt-rtx", "--build-timeout", "15")
LIMIT = 7


@pytest.fixture
def limits(simulated, monkeypatch):
    """The limits of all builders. Those of models with comparisons do not end, and are ended after a tenth of a second.

    The others are those of the simulated TensorRT.
    """
    found = []

    def run(command, *, input, timeout, **options):  # noqa: A002
        found.append(timeout)
        is_stuck = b"Greater" in BuildRequest.from_json(input).model.read_bytes()
        if is_stuck:
            command = [sys.executable, "-c", "import time; time.sleep(600)"]
        return subprocess.run(command, input=input, timeout=0.1 if is_stuck else 100, **options)

    given = SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired)
    monkeypatch.setattr(build, "subprocess", given)
    return found


@pytest.fixture(scope="module")
def lowered(exports):
    """A small network with only the signature of its last spiking layer."""
    small = networks.SMALL["fashion_mnist"]
    network = small.module()
    signature = recorder.signature(network, small.network.contract(small.sizes), small.network.output, 4)
    few = dataclasses.replace(signature, layers=signature.layers[-1:])
    return Lowered(exports["fashion_mnist"][0], network, "fp32"), few


def asked(target):
    return Trials(target=target, precision="fp32", time_steps=4, build_timeout=LIMIT)


LATE = f"builder did not end within {LIMIT} seconds"


@pytest.mark.slow
def test_the_fallback(tmp_path, limits, monkeypatch):
    """Engines are also built to decide on spike counts: they have the same limit, and cannot end the export."""
    monkeypatch.setattr(spike_counts, "SHARE", 1000.0)
    (tmp_path / "stuck_net.py").write_text(networks.OWN_NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(0)
    data = tmp_path / "data.npz"
    np.savez(data, frames=np.arange(-1, 63, dtype=np.float32).reshape(1, 2, 2, 4, 4))
    given = {"model": "stuck_net:Net", "data": data, "layout": "TN", "per_step": True, "samples": 1}
    request = ExportRequest(**given, out=tmp_path / "a.bundle", target="tensorrt", build_timeout=LIMIT)
    progress = console.silent()
    manifest, _ = pipeline.export(request, progress)
    assert limits == [LIMIT] * 3
    said = "the data has values from -1 to 62 although counts are not negative; the bundle takes such values, too"
    assert progress.notes.count(said) == 1  # though the proof is repeated
    assert [note for note in progress.notes if LATE in note] == [
        f"the tensorrt {LATE} when engines with and without spike counts were compared; there are no spike counts",
        f"the tensorrt {LATE} in the form fused; the form unrolled is taken, and the proof is repeated",
    ]
    assert (manifest.time_form.form, manifest.spike_counts, len(manifest.engines)) == ("unrolled", False, 1)


@pytest.mark.slow
def test_a_builder_that_ends_in_no_form(tmp_path, simulated, monkeypatch):
    def late(request):
        raise BuildTimeout(f"the {request.target} builder did not end within {request.options.build_timeout} seconds")

    monkeypatch.setattr(build, "build", late)
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    request = ExportRequest(
        checkpoint=checkpoint, out=tmp_path / "a.bundle", target="tensorrt", build_timeout=LIMIT, spike_counts="off"
    )
    says = "give it more time with `build_timeout`, or build no engine here with `target` onnx"
    with pytest.raises(BuildTimeout, match=f"^the tensorrt {LATE}; {says}$"):
        pipeline.export(request)
    assert not request.out.exists()


def test_auto_measures_the_forms_whose_builders_end(lowered, limits):
    chosen = time_form.choose("auto", asked("tensorrt"), *lowered, console.silent())
    assert limits == [LIMIT] * 3
    assert chosen.form in ("scan", "unrolled")
    assert chosen.layers["fc.5"].keys() == {"form", "scan_ms", "unrolled_ms"}
    assert chosen.why.endswith(f" on this machine; the form fused is left out from fc.5 on: the tensorrt {LATE}")


def test_auto_needs_one_form_whose_builder_ends(lowered, monkeypatch):
    def late(request):
        raise BuildTimeout(f"the {request.target} builder did not end within {request.options.build_timeout} seconds")

    monkeypatch.setattr(gpu, "gpu", lambda: None)
    monkeypatch.setattr(trials, "build", late)
    with pytest.raises(
        BuildTimeout, match=rf"^no engine .*; the form fused is left out: the tensorrt-rtx {LATE}; give"
    ):
        time_form.choose("auto", asked("tensorrt-rtx"), *lowered, console.silent())


class TestTensorRtRtx:
    pytestmark = rtx

    def test_an_export_falls_back_to_unrolled_steps(self, run, tmp_path):
        checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
        code, out, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", *OPTIONS)
        assert code == 0, err
        why = "the tensorrt-rtx builder did not end within 15 seconds in the form fused"
        assert f"{why}; the form unrolled is taken, and the proof is repeated" in err
        assert "Engine sm80" in out
        manifest = Bundle.open(tmp_path / "a.bundle").manifest
        assert (manifest.time_form.form, manifest.time_form.why) == ("unrolled", why)
        assert set(manifest.time_form.forms.values()) == {"unrolled"}
        nodes = onnx.load(tmp_path / "a.bundle" / PLAIN_MODEL, load_external_data=False).graph.node
        assert "Greater" not in {node.op_type for node in nodes}
        assert run("verify", tmp_path / "a.bundle")[0] == 0

    def test_a_form_that_was_asked_for_is_kept(self, run, tmp_path):
        checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
        options = ("--target", "tensorrt-rtx", "--build-timeout", "1", "--time-form", "fused")
        code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", *options)
        says = "error: the tensorrt-rtx builder did not end within 1 second; give it more time with --build-timeout"
        assert (code, err.splitlines()[-1]) == (3, f"{says}, or export the network again with --time-form unrolled")
        assert not (tmp_path / "a.bundle").exists()
