"""A network that a checkpoint stores whole, with its code: it is the network, if the user trusts the file."""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tcja_deploy.console import silent
from tcja_deploy.export.network import Known, trained_network
from tcja_deploy.export.request import ExportRequest, check_options
from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_runtime.errors import BadInput

from ... import networks

MODULE = "network_that_was_saved"
SHAPE = (3, 2, 4, 4)


class Mine(nn.Module):
    """A network in the script that saves it."""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with a user's module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / f"{MODULE}.py").write_text(networks.OWN_NETWORK)
    sys.modules.pop(MODULE, None)
    return tmp_path


def own() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    network: nn.Module = __import__(MODULE).Net()
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return network


def trained(path: str, **options) -> TrainedNetwork:
    request = ExportRequest(out=Path("x"), checkpoint=Path(path), **{"trust_checkpoint": True, **options})
    check_options(request)
    return trained_network(request, Known(), silent())


@pytest.mark.parametrize("key", ["", "net"])
@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel], ids=["bare", "parallel"])
def test_the_module_in_a_trusted_file_is_the_network(folder, key, wrap):
    network = own()
    torch.save({key: wrap(network), "epoch": 7} if key else wrap(network), "m.pth")
    found = trained("m.pth", shape=SHAPE, layout="TN")
    assert (found.contract.shape, found.time_steps, len(found.classes)) == (SHAPE, 3, 3)
    assert f"the network is the module that m.pth stores ({MODULE}.Net), with its own code" in found.evidence
    content = (folder / "m.pth").read_bytes()
    assert found.source == {
        "name": "m.pth",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "weights": key,
    }
    inputs = torch.poisson(torch.ones(4, *SHAPE), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(found.model(inputs), network(inputs.transpose(0, 1)).mean(0))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # when SpikingJelly is imported
def test_neurons_for_cupy_are_named(folder):
    from spikingjelly.activation_based import neuron

    network = nn.Sequential(nn.Flatten(2), nn.Linear(32, 4), neuron.LIFNode(step_mode="m"))
    network[2]._backend = "cupy"  # as in a file that was saved where CuPy is
    torch.save(network, "m.pth")
    found = trained("m.pth", shape=SHAPE, layout="TN")
    assert (
        "1 neuron of SpikingJelly has a backend for GPUs in the code; the export computes with its backend torch: 2"
        in (found.evidence)
    )


def test_data_may_tell_the_shape(folder):
    torch.save(own(), "m.pth")
    np.savez("a.npz", features=np.ones((4, 3, 32), np.float32))
    assert trained("m.pth", data=Path("a.npz"), layout="TN").contract.name == "features"
    np.savez("b.npz", frames=np.ones((3, 3, 2, 4, 4), np.float32))
    assert trained("m.pth", data=Path("b.npz"), layout="TN").contract.shape == SHAPE


def test_what_is_missing_is_said(folder):
    torch.save(own(), "m.pth")
    torch.save(own().state_dict(), "w.pth")
    said = f"m.pth is of no known network, and stores a module ({MODULE}.Net); to export this module, give `shape` or"
    with pytest.raises(BadInput, match=re.escape(said)):
        trained("m.pth")
    said = "`shape`, `input` and `layout` say what a network takes, and w.pth stores weights only; give `model` too"
    with pytest.raises(BadInput, match=re.escape(said)):
        trained("w.pth", shape=SHAPE)
    with pytest.raises(
        BadInput,
        match="`shape`, `input` and `layout` say what `model` takes; give `model` too, `trust_checkpoint` if the file",
    ):
        trained("m.pth", shape=SHAPE, trust_checkpoint=False)
    with pytest.raises(BadInput, match="m.pth holds more than weights: loading it would call .*`trust_checkpoint`"):
        trained("m.pth", trust_checkpoint=False)
    with torch.no_grad():
        broken = own()
        broken.a.weight[0, 0] = torch.nan
    torch.save(broken, "n.pth")
    with pytest.raises(BadInput, match=r"n.pth: a.weight holds 1 values that are NaN"):
        trained("n.pth", shape=SHAPE, layout="TN")


def test_a_class_that_is_gone_is_named_with_what_to_do(folder, monkeypatch):
    torch.save(own(), "m.pth")
    monkeypatch.setattr(Mine, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Mine", Mine, raising=False)
    torch.save(Mine(), "s.pth")
    monkeypatch.delattr(sys.modules["__main__"], "Mine")
    (folder / f"{MODULE}.py").unlink()
    sys.modules.pop(MODULE)
    said = f"m.pth stores an object of a class in the module {MODULE}, which is neither in {folder} nor among"
    with pytest.raises(BadInput, match=re.escape(said) + ".* or add that folder to PYTHONPATH"):
        trained("m.pth", shape=SHAPE)
    with pytest.raises(
        BadInput, match=r"s\.pth stores an object of the class Mine, which was in the script that saved it"
    ):
        trained("s.pth", shape=SHAPE)
