"""An export whose builder does not end in the form fused: the layers are unrolled, and the bundle says so."""

from __future__ import annotations

import sys

import onnx
import pytest

from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle
from tcja_runtime.tensorrt import build

from ... import networks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tensorrt,
    pytest.mark.skipif("tensorrt-rtx" not in build.installed(), reason="tensorrt-rtx is not installed"),
]

BUILDER = """#!{python}
import json, os, subprocess, sys, time
if "tcja_runtime.tensorrt.builder_process" not in sys.argv:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
request = sys.stdin.read()
if b"Greater" in open(json.loads(request)["model"], "rb").read():
    time.sleep(600)
sys.argv[3] = str(os.getpid())
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


def test_an_export_falls_back_to_unrolled_steps(run, tmp_path, stuck):
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


def test_auto_does_not_take_a_form_whose_builder_does_not_end(run, tmp_path, stuck, monkeypatch):
    monkeypatch.setitem(build.BUILD_TIMEOUTS, "tensorrt-rtx", 15)
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    options = ("--target", "tensorrt-rtx", "--time-form", "auto")
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", *options)
    assert code == 0, err
    chosen = Bundle.open(tmp_path / "a.bundle").manifest.time_form
    assert chosen.form in ("scan", "unrolled")
    assert chosen.why.endswith("; the tensorrt-rtx builder did not end within 15 seconds in the form fused")


def test_a_form_that_was_asked_for_is_kept(run, tmp_path, stuck):
    checkpoint = networks.SMALL["fashion_mnist"].checkpoint(tmp_path / "model.pth")
    options = ("--target", "tensorrt-rtx", "--build-timeout", "1", "--time-form", "fused")
    code, _, err = run("export", checkpoint, "--out", tmp_path / "a.bundle", *options)
    says = "error: the tensorrt-rtx builder did not end within 1 second; give it more time with --build-timeout"
    assert (code, err.splitlines()[-1]) == (3, f"{says}, or export the network again with --time-form unrolled")
    assert not (tmp_path / "a.bundle").exists()
