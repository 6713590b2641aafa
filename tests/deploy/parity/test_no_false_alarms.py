"""A correct export is never rejected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest

from ... import networks
from ...exporters.peers import odd

SEEDS = 4


@pytest.mark.slow
@pytest.mark.parametrize("name", list(networks.SMALL))
def test_no_false_alarm_in_drawn_networks(name, tmp_path):
    """Of other weights, and other windows; an alarm would be an exception."""
    flips = undecided = 0
    for seed in range(SEEDS // len(networks.SMALL)):
        checkpoint = networks.SMALL[name].checkpoint(tmp_path / f"{seed}.pth", seed=seed + 101)
        request = ExportRequest(checkpoint=checkpoint, out=tmp_path / f"{seed}.bundle", target="onnx", samples=4)
        _, report = pipeline.export(request)
        (found,) = report.backends
        assert found.unexplained == 0
        assert max(layer.undecided_share(report.windows) for layer in found.layers) < 0.01
        flips += found.flips
        undecided += sum(sum(layer.undecided) for layer in found.layers)
    assert undecided > flips  # some neurons were undecided, and few of them flipped


GROUPED = [name for name in odd.NETWORKS if name not in odd.ALONE]
GROUPS = [GROUPED[i : i + 6] for i in range(0, len(GROUPED), 6)]
QUICK = ("batch norm of snnTorch",)


def exported(network, folder: Path) -> None:
    """Export an odd network: parity must be met, and each weight has a tensor of its own."""
    request = ExportRequest(
        model=network, shape=network.shape, layout=network.layout, out=folder / "odd.bundle", target="onnx", samples=2
    )
    manifest, report = pipeline.export(request)
    assert report.met
    tensors = [weight.tensor for weight in manifest.weights]
    assert len({*tensors}) == len(tensors)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.slow) for n in odd.ALONE])
def test_no_false_alarm_in_an_odd_network(name, tmp_path):
    exported(odd.made(name), tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("names", GROUPS, ids=", ".join)
def test_no_false_alarm_in_odd_networks(names, tmp_path):
    """Their layers are called in loops, and their weights are shared, computed, transposed and used as other things."""
    exported(odd.Together(names), tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize(
    "name", ["batch norm", "a batch norm for each step", "one batch norm of two convolutions", "a shared bias"]
)
def test_no_false_alarm_in_lower_precision(name, precision, tmp_path):
    network = odd.made(name)
    np.savez(tmp_path / "data.npz", frames=odd.windows(network, 6))
    request = ExportRequest(
        model=network,
        data=tmp_path / "data.npz",
        out=tmp_path / "odd.bundle",
        target="onnx",
        precision=precision,
        keep=("nothing",),
    )
    manifest, report = pipeline.export(request)
    assert report.met
    assert precision in {weight.type for weight in manifest.weights}
