"""The examples do what their READMEs say."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_deploy.cli import app
from tcja_runtime.bundle.bundle import Bundle

from ..docs.blocks import ROOT, blocks

FASHION = Path(__file__).parents[2] / "examples" / "fashion_mnist"


def plain(text: str) -> str:
    """A text in one line, without the versions of packages."""
    return " ".join(re.sub(r"\d+\.\d+\.\d+(\+\w+)?", "VERSION", text).split())


@pytest.mark.slow
def test_the_demo_prints_what_the_readme_shows(tmp_path, monkeypatch, capsys):
    """The command of `make demo`, but without an engine; and the accuracy is that of the example's README."""
    (tmp_path / "examples").symlink_to(FASHION.parent)
    monkeypatch.chdir(tmp_path)
    files = ("examples/fashion_mnist/checkpoint.pth", "--data", "examples/fashion_mnist/test_1000.npz")
    assert app.run(["export", *files, "--out", "build/fashion_mnist.bundle", "--target", "onnx"]) == 0
    (shown,) = (block.code for block in blocks(ROOT / "README.md") if block.language == "text")
    printed = plain(capsys.readouterr().out)
    for part in shown.split("...\n"):
        assert plain(part) in printed
    manifest = Bundle.open("build/fashion_mnist.bundle").manifest
    assert manifest.network == "fashion_mnist"
    said = re.search(r"first 1,000[^|]*\|\s*([\d.]+) %", (FASHION / "README.md").read_text())
    assert said is not None
    report = json.loads((tmp_path / "build" / "fashion_mnist.bundle" / "parity.json").read_text())
    assert report["windows"] == 1000
    assert 100 * report["accuracy"] == pytest.approx(float(said[1]), abs=0.005)
    (found,) = report["backends"]
    assert found["agreement"] == 1.0
    assert found["accuracy"] == report["accuracy"]


def test_what_ships_is_small_and_in_the_published_layout():
    assert (FASHION / "checkpoint.pth").stat().st_size <= 2_000_000
    content = torch.load(FASHION / "checkpoint.pth", weights_only=True)
    assert set(content) == {"net", "optimizer", "lr_scheduler", "epoch", "max_test_acc"}
    with np.load(FASHION / "test_1000.npz") as data:
        assert data["images"].shape == (1000, 1, 28, 28)
        assert sorted(set(data["labels"].tolist())) == list(range(10))


def write_idx(path: Path, array: np.ndarray, *, compressed: bool) -> None:
    content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    if compressed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder of IDX files with two classes that a tiny network can tell apart."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 2000), ("t10k", 20)):
        labels = rng.integers(0, 2, count).astype(np.uint8)
        pictures = rng.integers(0, 60, (count, 28, 28)).astype(np.uint8)
        pictures[labels == 1, :14] += 180
        write_idx(tmp_path / f"{split}-images-idx3-ubyte", pictures, compressed=split == "train")
        write_idx(tmp_path / f"{split}-labels-idx1-ubyte", labels, compressed=split == "t10k")
    return tmp_path


def train(images: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    sizes = ["--time-steps", "2", "--channels", "4", "--hidden", "8", "--epochs", "2", "--kernel-t", "2"]
    command = [sys.executable, str(FASHION / "train.py"), "--data", str(images), "--out", str(out), *sizes, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_training_resumes_where_it_stopped(images, tmp_path):
    """A run that is killed after its first epoch and resumed ends with the weights of one that was not."""
    with train(images, tmp_path / "whole") as whole:
        said = whole.communicate()[0]
    assert whole.returncode == 0
    assert len(said.strip().splitlines()) == 2

    with train(images, tmp_path / "killed") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline().startswith("epoch 1/2")
        killed.kill()
    assert not (tmp_path / "killed" / "checkpoint.pth").exists()
    halfway = torch.load(tmp_path / "killed" / "checkpoint_latest.pth", weights_only=True)["net"]
    with train(images, tmp_path / "killed", "--resume") as resumed:
        assert resumed.communicate()[0].startswith("epoch 2/2")
    weights = [torch.load(tmp_path / run / "checkpoint.pth", weights_only=True)["net"] for run in ("whole", "killed")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not all(torch.equal(halfway[key], weights[1][key]) for key in halfway)


def test_a_data_folder_that_is_none_is_said(tmp_path):
    done = subprocess.run(
        [sys.executable, str(FASHION / "subset.py"), str(tmp_path / "a.npz"), "--data", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "not found: install Debian's dataset-fashion-mnist, or pass --data FOLDER" in done.stderr


def test_a_subset_is_a_data_file(images, tmp_path):
    command = [
        sys.executable,
        str(FASHION / "subset.py"),
        str(tmp_path / "a.npz"),
        "--count",
        "7",
        "--data",
        str(images),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with np.load(tmp_path / "a.npz") as data:
        assert data["images"].shape == (7, 1, 28, 28)
        assert data["images"].dtype == np.uint8
        assert data["labels"].shape == (7,)
