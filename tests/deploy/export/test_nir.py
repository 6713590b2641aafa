"""NIR graphs through the whole export, and options that do not go with them."""

import numpy as np
import pytest
import torch
from torch import nn

from tcja_deploy.check import checker
from tcja_deploy.check.result import Becomes
from tcja_deploy.cli import app
from tcja_deploy.export.request import ExportRequest, check_options
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import BadInput

nir = pytest.importorskip("nir")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def graph(tmp_path):
    """A graph that norse wrote: a neuron for each pixel, a synaptic current, and a membrane as the output."""
    import norse.torch as norse

    torch.manual_seed(0)
    net = norse.SequentialState(
        nn.Linear(6, 8),
        norse.LIFBoxCell(norse.LIFBoxParameters(torch.full((8,), 250.0), torch.zeros(8), torch.linspace(0.1, 0.4, 8))),
        nn.Linear(8, 5),
        norse.LIFCell(norse.LIFParameters(v_th=torch.tensor(0.05))),
        nn.Linear(5, 3),
        norse.LIBoxCell(),
    )
    nir.write(tmp_path / "net.nir", norse.to_nir(net, torch.zeros(1, 6)), compression=None)
    return tmp_path / "net.nir"


OPTIONS = {
    "model": ({"model": "net:build"}, "is a NIR graph, which holds its network; leave `model` out"),
    "network": ({"network": "dvs128"}, "is a NIR graph, which holds its network; leave `network` out"),
    "weights": ({"weights": "ema"}, "is a NIR graph, which holds its network; leave `weights` out"),
    "layout": (
        {"layout": "TN"},
        "`layout` says what `model` takes; a NIR graph takes windows of `shape`, so leave it out",
    ),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options_that_do_not_go_with_a_graph_are_refused(option, graph, tmp_path):
    options, text = OPTIONS[option]
    with pytest.raises(BadInput) as raised:
        check_options(ExportRequest(checkpoint=graph, out=tmp_path / "b", **options))
    assert text in str(raised.value)


def test_a_graph_needs_the_shape_of_its_windows_and_check_says_so(graph, tmp_path):
    found = checker.check(ExportRequest(checkpoint=graph, out=tmp_path / "b", target="onnx"))
    assert str(found.error) == "the shape of the network's windows is not known; give `shape` or `data`"


@pytest.mark.slow
def test_a_graph_is_exported_and_verified(graph, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("test.npz", features=np.random.default_rng(0).poisson(1.0, (4, 5, 6)).astype(np.float32))
    command = "export net.nir --data test.npz --set dialect=norse --target onnx --anytime 0"
    assert app.run(command.split()) == 0, capsys.readouterr().err
    found = checker.check(
        ExportRequest(checkpoint=graph, out=tmp_path / "b", shape=(5, 6), settings={"dialect": "norse"}, target="onnx")
    )
    named = {module.name: module.becomes for module in found.modules if module.remark}
    assert named["5"] is Becomes.INTEGRATES
    assert named["1"] is Becomes.JUDGED
    bundle = Bundle.open(tmp_path / "net.bundle")
    manifest = bundle.manifest
    assert (manifest.network, manifest.dialect, manifest.time_steps) == ("net", "norse", 5)
    assert [layer.name for layer in manifest.layers] == ["1", "3.neuron"]
    assert manifest.output_shape == (3,)
    assert manifest.checkpoint["name"] == "net.nir"
    assert manifest.tools["nir"]
    assert "check this: dt = 0.001 s, assumed: a NIR file does not store its time step" in manifest.evidence
    assert app.run(["verify", "net.bundle"]) == 0, capsys.readouterr().err
