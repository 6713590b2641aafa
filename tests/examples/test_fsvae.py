"""The example that generates images does what its README says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_deploy.cli import app
from tcja_deploy.export.pipeline import export
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_runtime.bundle.bundle import Bundle

from ..pictures import pixels

ROOT = Path(__file__).parents[2]
FSVAE = ROOT / "examples" / "fsvae"
README = (ROOT / "examples/fsvae/README.md").read_text()
TINY = ("--time-steps", "2", "--latent", "6", "--widths", "16", "8", "8", "4", "--epochs", "2", "--kernel-t", "2")


def sample(*options: object) -> str:
    command = [sys.executable, str(FSVAE / "sample.py"), *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def halves(picture: bytes) -> tuple[np.ndarray, np.ndarray]:
    """PyTorch's images and ONNX Runtime's."""
    grey = pixels(picture)[..., 0]
    middle = len(grey) // 2
    assert (grey[middle - 4 : middle + 4] == 255).all()
    return grey[: middle - 4], grey[middle + 4 :]


@pytest.mark.slow
def test_the_shipped_generator_is_exported_with_its_latents(tmp_path, monkeypatch, capsys):
    """By the README's command: not a spike differs, and the images are the same but for rounding."""
    (tmp_path / "examples").symlink_to(FSVAE.parent)
    monkeypatch.chdir(tmp_path)
    (command,) = re.findall(r"^tcja-deploy (export .*)$", README, re.MULTILINE)
    assert app.run([*command.split(), "--target", "onnx"]) == 0
    bundle = tmp_path / "build" / "fsvae.bundle"
    manifest = Bundle.open(bundle).manifest
    report = json.loads((bundle / "parity.json").read_text())
    assert (manifest.network, manifest.time_steps, manifest.classes) == ("fsvae", 8, [])
    assert report["met"]
    assert report["windows"] == 64
    (found,) = report["backends"]
    assert found["changed_windows"] == 0
    assert all(layer["flips"] == [0] * 8 for layer in found["layers"])
    said = sample("compare", FSVAE / "latents.npz", bundle, tmp_path / "a.png")
    measured = re.search(r"largest difference over 64 images: (\S+)", said)
    assert measured is not None
    # Rounding is the processor's, and PyTorch's sums in float32 are not always the same: a spike of its own that flips
    # moves pixels by some 1e-5.
    assert float(measured[1]) <= 1e-3
    ours, theirs = halves((tmp_path / "a.png").read_bytes())
    shipped, _ = halves((FSVAE / "picture.png").read_bytes())
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
    assert np.abs(ours.astype(int) - shipped.astype(int)).mean() < 1


def test_the_shipped_generator_makes_images_of_full_range():
    found = identify(load_checkpoint(FSVAE / "checkpoint.pth"))
    assert f"{found.parameters:,} parameters" in README
    with np.load(FSVAE / "latents.npz") as data:
        latents = data["latents"]
    assert (latents.shape, latents.dtype, latents.max()) == ((64, 8, 64), np.uint8, 1)
    with torch.no_grad():
        images = found.model(torch.from_numpy(latents).float())
    assert images.shape == (64, 1, 32, 32)
    assert -1 <= images.min() < -0.9
    assert 0.5 < images.max() <= 1
    # What it draws differs from image to image, and the corners are black as in the data set.
    assert images.std(0).mean() > 0.2
    assert images[:, :, :2, :2].max() < -0.8


def test_what_ships_is_small_and_holds_the_whole_autoencoder():
    assert (FSVAE / "checkpoint.pth").stat().st_size <= 3_000_000
    content = torch.load(FSVAE / "checkpoint.pth", weights_only=True)
    assert set(content) == {"net", "optimizer", "lr_scheduler", "epoch", "test_mse"}
    parts = {key.split(".")[0] for key in content["net"]}
    assert {"encoder", "before_latent_layer", "posterior", "prior", "decoder_input", "decoder", "tcja"} <= parts
    assert all(value.dtype in (torch.float32, torch.int64) for value in content["net"].values())
    assert f"{content['test_mse']:.4f}" in README


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A folder of IDX files with few images."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 48), ("t10k", 4)):
        pictures = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        for name, array in (("images-idx3", pictures), ("labels-idx1", np.zeros(count, np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{split}-{name}-ubyte").write_bytes(header + array.tobytes())
    return folder


def train(images: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(FSVAE / "train.py"), "--data", str(images), "--out", str(out), *TINY, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def trained(images, tmp_path_factory) -> tuple[Path, str]:
    """The checkpoint of a training that nothing stopped, and what it printed."""
    out = tmp_path_factory.mktemp("trained")
    with train(images, out, "--batch", "2") as whole:
        said = whole.communicate()[0]
    assert whole.returncode == 0
    return out / "checkpoint.pth", said


@pytest.mark.slow
def test_what_is_trained_is_found_drawn_from_and_exported(trained, tmp_path):
    checkpoint, said = trained
    assert [line.split()[1] for line in said.strip().splitlines()] == ["1/2", "2/2"]
    found = identify(load_checkpoint(checkpoint))
    assert (found.name, found.time_steps, found.contract.shape) == ("fsvae", 2, (2, 6))
    latents, bundle, picture = tmp_path / "latents.npz", tmp_path / "a.bundle", tmp_path / "a.png"
    sample("--checkpoint", checkpoint, "draw", latents, "--count", 16)
    with np.load(latents) as data:
        assert (data["latents"].shape, data["latents"].dtype) == ((16, 2, 6), np.uint8)
    export(ExportRequest(checkpoint=checkpoint, out=bundle, data=latents, target="onnx"))
    sample("--checkpoint", checkpoint, "compare", latents, bundle, picture, "--rows", 2)
    ours, theirs = halves(picture.read_bytes())
    assert ours.shape == theirs.shape == (2 * 2 * 32, 8 * 2 * 32)


@pytest.mark.slow
def test_training_resumes_where_it_stopped(images, trained, tmp_path):
    """A run that is killed after its first epoch and resumed ends with the weights of one that was not."""
    with train(images, tmp_path / "killed", "--batch", "2") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline().startswith("epoch 1/2")
        killed.kill()
    assert not (tmp_path / "killed" / "checkpoint.pth").exists()
    with train(images, tmp_path / "killed", "--batch", "2", "--resume") as resumed:
        assert resumed.communicate()[0].startswith("epoch 2/2")
    files = trained[0], tmp_path / "killed" / "checkpoint.pth"
    weights = [torch.load(file, weights_only=True)["net"] for file in files]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_latent_spikes_are_those_of_integrate_and_fire_neurons(monkeypatch):
    """SpikingJelly's neuron, started at the phase, at a constant current; and the gradient by the rate is 1."""
    from spikingjelly.clock_driven import neuron

    monkeypatch.syspath_prepend(str(FSVAE))
    import model

    from tcja_exporters.networks.fsvae import Sizes

    net = model.Fsvae(Sizes(latent=40, widths=(4, 4, 4, 4)))
    rates = torch.rand(50, 40, requires_grad=True)
    theirs = neuron.IFNode(v_threshold=1.0, v_reset=None)
    theirs.v = torch.full((50, 40), 0.5)
    with torch.no_grad():
        expected = torch.stack([theirs(rates) for _ in range(16)], 1)
    spikes = net.fired(rates, noise=False)
    # A membrane that adds up rounds otherwise than a product, so one may fire a step later.
    assert (spikes.round() != expected).float().mean() < 1e-3
    spikes.sum().backward()
    torch.testing.assert_close(rates.grad, torch.full((50, 40), 16.0))
    drawn = torch.cat([net.fired(rates.detach()) for _ in range(200)])
    means = drawn.reshape(200, 50, 16, 40).mean((0, 2))
    torch.testing.assert_close(means, rates.detach(), rtol=0, atol=0.03)
