"""The benchmark of speed: its peers compute what the exported network computes, and it tells what it promises."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.speed import peers, runners, speed
from tcja_exporters.modules.neurons import spiking_neurons
from tcja_exporters.networks import fsvae, ms_resnet, tet_cifar10dvs
from tcja_exporters.networks.base import Attention

from ... import networks

TCJA = Attention("tcja", "product", 3, ((4, 3),))
SMALL = {
    **networks.SMALL,
    "tet_cifar10dvs": networks.Small(
        "tet_cifar10dvs",
        tet_cifar10dvs.Sizes(tet_cifar10dvs.PUBLISHED._replace(attention=TCJA, widths=(8,) * 8, classes=4)),
    ),
    "ms_resnet": networks.Small(
        "ms_resnet", ms_resnet.Sizes(TCJA._replace(kernels=TCJA.kernels * 8), width=4, classes=5), scale=1.0
    ),
    "fsvae": networks.Small("fsvae", fsvae.Sizes(TCJA, latent=12, widths=(16, 12, 8))),
}
"""A network of each dialect's neurons."""


def spikes(model: nn.Module, names: list[str], batch: torch.Tensor) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: found.update({name: out}))
    with torch.no_grad():
        found["answer"] = model(batch)
    return found


@pytest.mark.parametrize("name", SMALL)
def test_the_training_codes_neurons_fire_the_same_spikes(name):
    """In float64, where nothing is near a threshold, every spike; so the equations are the same."""
    small = SMALL[name]
    ours, batch = small.module().double(), small.inputs(3).double()
    theirs = peers.as_trained(ours, small.network.dialect_of(small.sizes).name)
    layers = list(spiking_neurons(ours))
    assert layers
    assert not spiking_neurons(theirs)
    expected, found = spikes(ours, layers, batch), spikes(theirs, layers, batch)
    for layer in layers:
        assert 0 < expected[layer].mean() < 1
        torch.testing.assert_close(found[layer], expected[layer], rtol=0, atol=0)
    torch.testing.assert_close(found["answer"], expected["answer"], rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_plain_export_answers_the_same(name, tmp_path):
    """But for a spike that rounding may flip: no more than one answer in ten may differ by more than rounding."""
    small = SMALL[name]
    ours, batch = small.module(), small.inputs(8).numpy()
    theirs = peers.as_trained(ours, small.network.dialect_of(small.sizes).name)
    peers.export(theirs, batch, tmp_path / "plain.onnx")
    in_torch = peers.InTorch(theirs)
    with torch.no_grad():
        expected = ours(torch.from_numpy(batch)).numpy()
    assert np.ptp(expected) > 0.1
    in_onnxruntime = runners.InOnnxRuntime(tmp_path / "plain.onnx")
    for found in (in_torch.run(batch), in_torch.run(batch), in_onnxruntime.run(batch)):  # twice: membranes are set back
        assert np.mean(np.abs(found - expected) > 1e-4) <= 0.1


def test_the_floor_is_the_convolutions_alone(tmp_path):
    import onnx

    small = SMALL["dvs128"]
    floor, batch = peers.bare(small.module()), small.inputs(2).numpy()
    peers.check_numbers(floor, batch)
    peers.export(floor, batch, tmp_path / "floor.onnx")
    nodes = [node.op_type for node in onnx.load(tmp_path / "floor.onnx").graph.node]
    assert (nodes.count("Conv"), nodes.count("MaxPool"), nodes.count("Gemm")) == (5, 5, 2)
    assert not {"BatchNormalization", "Sigmoid", "Greater", "GreaterOrEqual", "Where", "Scan"} & set(nodes)
    assert runners.InOnnxRuntime(tmp_path / "floor.onnx").run(batch).shape == (2, 3)


@pytest.mark.parametrize("number", [float("inf"), 1e-40])
def test_numbers_that_would_take_longer_are_refused(number):
    model = nn.Sequential(nn.Linear(4, 4, bias=False))
    nn.init.constant_(model[0].weight, number)
    with pytest.raises(ValueError, match=r"module '0' returns numbers that are infinite or subnormal"):
        peers.check_numbers(model, np.ones((1, 4), np.float32))


def test_torch_compile_is_given_so_long():
    with pytest.raises(peers.TooLong, match=r"it took longer than 0.01 s"), peers._no_longer_than(0.01):
        try:
            while True:
                pass
        except peers.TooLong as error:
            raise RuntimeError("what a compiler makes of it") from error
    with pytest.raises(ZeroDivisionError), peers._no_longer_than(100):
        _ = 1 / 0


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> tuple[dict, str, str]:
    """A smoke run on a small network: its JSON, its tables, its plot."""
    folder = tmp_path_factory.mktemp("speed")
    checkpoint = networks.SMALL["dvs128"].checkpoint(folder / "small.pth")
    files = {"--json": folder / "speed.json", "--plot": folder / "speed.svg"}
    options = [part for pair in files.items() for part in pair]
    arguments = [checkpoint, "--engine", checkpoint, "--quick", "--markdown", *options]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr(sys, "argv", ["speed.py", *map(str, arguments)])
        speed.main()
    return json.loads(files["--json"].read_text()), out.getvalue(), files["--plot"].read_text()


@pytest.mark.slow
def test_the_json_has_what_is_promised(quick):
    result, _, _ = quick
    assert result["machine"]["before"]["cpus"] >= 1
    assert {"torch", "onnxruntime", "spikingjelly"} <= set(result["versions"])
    (network,) = result["networks"]
    contestants = network["contestants"]
    assert set(contestants) == {"tcja-deploy", "plain export", "floor", "PyTorch"}
    for name, found in contestants.items():
        assert found["latency"]["runs"] == 3
        assert found["throughput"] == pytest.approx(1 / found["median"])
        assert found["ratio"] == pytest.approx(contestants["tcja-deploy"]["median"] / found["median"])
        assert found["memory"] is None or 2**18 < found["memory"] < 2**31
        assert name == "floor" or found["difference"] < 0.5
    assert contestants["tcja-deploy"]["nodes"] < contestants["plain export"]["nodes"]
    steps, batches = result["growth"]["T"], result["growth"]["batch"]
    assert [row["T"] for row in steps["rows"]] == [2, 4]
    assert [row["batch"] for row in batches["rows"]] == [1, 2]
    assert len({row["nodes"]["model.onnx"] for row in steps["rows"]}) == 1
    assert len({row["nodes"]["plain export"] for row in steps["rows"]}) == 2
    assert set(steps["exponents"]["tcja-deploy"]) == {"time", "memory"}


@pytest.mark.slow
@pytest.mark.tensorrt
def test_engines_of_both_exports_are_built(quick):
    pytest.importorskip("tensorrt_rtx")
    engines = quick[0]["engines"]
    ours, plain = engines["contestants"]["tcja-deploy"], engines["contestants"]["plain export"]
    assert 0 < ours["layers"] < plain["layers"]
    assert min(ours["bytes"], plain["bytes"]) > 2**15
    assert min(ours["build_seconds"], plain["build_seconds"]) > 0


@pytest.mark.slow
def test_promises_are_judged_by_what_was_measured(quick):
    result = quick[0]
    promises = speed.promises(result)
    assert promises == result["promises"]
    assert all(each["kept"] == (each["measured"] <= each["at_most"]) for each in promises)
    by_name = {each["what"]: each for each in promises}
    assert by_name["nodes of model.onnx, T = 4 / T = 2"]["kept"]
    result["growth"]["T"]["rows"][1]["nodes"]["model.onnx"] += 1
    assert not speed.promises(result)[1]["kept"]
    result["networks"][0]["name"] = "dvs128"
    assert [each["what"] for each in speed.promises(result)[:2]] == [
        "dvs128, one window: time / plain export",
        "dvs128, one window: time / floor",
    ]


@pytest.mark.slow
def test_it_is_said_in_tables_and_drawn(quick):
    result, tables, plot = quick
    titles = [line for line in tables.splitlines() if line.startswith("### ")]
    assert titles[:3] == [
        "### Promises",
        "### Time of a run, and as a share of the others'",
        "### Latency, throughput and memory",
    ]
    for row in (line for line in tables.splitlines() if line.startswith("| PyTorch")):
        assert row.count("|") == 10
    assert "### Growth with T: dvs128 at 32x32, one window" in titles
    assert f"{result['growth']['T']['rows'][0]['nodes']['plain export']:,}" in tables
    svg = ET.fromstring(plot)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(svg.findall(".//{*}polyline")) == 4
