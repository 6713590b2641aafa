"""Networks of images that are exported and classify with pictures: the bundle stores how they are made smaller."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tcja_runtime.bundle.bundle import Bundle

from ... import networks

SMALL = networks.SMALL["fashion_mnist"]

image = pytest.importorskip("PIL.Image")


@pytest.mark.slow
def test_pictures_are_the_data_of_an_export(run, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (4, 56, 70)).astype(np.uint8)
    classes = SMALL.network.classes(SMALL.sizes)[1:5]
    for name, each in zip(classes, values, strict=True):
        (tmp_path / "data" / name).mkdir(parents=True)
        image.fromarray(each).save(tmp_path / "data" / name / "a.png")
    checkpoint, out = SMALL.checkpoint(tmp_path / "a.pth"), tmp_path / "a.bundle"
    view = ["--crop", "7,0,56,56", "--resize", "nearest"]
    export = ["export", checkpoint, "--data", tmp_path / "data", *view, "--target", "onnx", "--out", out]
    code, _, err = run(*export)
    assert code == 0, err
    contract = Bundle.open(out).manifest.input
    assert (contract.crop, contract.resize) == ((7, 0, 56, 56), "nearest")
    code, text, err = run("run", out, tmp_path / "data", "--json")
    assert code == 0, err
    found = json.loads(text)
    assert found["labelled"] == 4
    np.savez(tmp_path / "same.npz", images=values[:, None, ::2, 7:63:2])
    order = np.argsort(classes)
    same = json.loads(run("run", out, tmp_path / "same.npz", "--json")[1])["windows"]
    assert [row["top"] for row in found["windows"]] == [same[at]["top"] for at in order]
    assert run("verify", out, "--data", tmp_path / "data")[0] == 0
