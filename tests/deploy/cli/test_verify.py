from __future__ import annotations

import json

import numpy as np

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.writing import write_manifest


def test_verify_fails_with_exit_code_1(run, tmp_path, bundle):
    manifest = Bundle.open(bundle).manifest
    with np.load(bundle / "golden.npz") as archive:
        golden = dict(archive)
    golden["output"] = golden["output"] + 0.5
    np.savez_compressed(bundle / "golden.npz", **golden)
    write_manifest(bundle, manifest)
    code, out, err = run("verify", bundle)
    assert code == 1
    assert "Parity not met" in out
    assert err.splitlines()[-1].startswith("error: ONNX Runtime ")
    code, out, _ = run("verify", bundle, "--json")
    assert (code, json.loads(out)["met"]) == (1, False)


def test_verify_shows_what_it_cannot_prove(run, bundle):
    manifest = Bundle.open(bundle).manifest
    out = " ".join(run("verify", bundle)[1].split())
    said = f"golden vectors cannot prove them: Input: {manifest.input.name} [{manifest.input.axes}], a window is "
    assert said in out
    assert f"Thresholds: 1 ({len(manifest.layers)} layers)" in out
    assert f"{len(manifest.classes)} classes: {manifest.classes[0]}, " in out
    assert ("recordings are cut by the rule number; polarity 0 is off" in out) == (manifest.input.name == "frames")
