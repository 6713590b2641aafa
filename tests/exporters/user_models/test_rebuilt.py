"""Factories that build another network at each call: what the checkpoint does not have is named."""

import random
import sys

import numpy as np
import pytest
import torch

from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.user_models.factory import from_factory
from tcja_exporters.user_models.rebuilt import Built, check_rebuilt
from tcja_exporters.user_models.weights import load_weights
from tcja_runtime.data.contract import InputContract
from tcja_runtime.errors import BadInput

MODULE = """
import itertools
import random
import time
import types
import numpy as np
import torch
from torch import nn
from tcja_exporters.libraries import register
from tcja_runtime.neuron import NeuronSpec

calls = itertools.count()

class LIF(nn.Module):
    def __init__(self, theta=1.0):
        super().__init__()
        self.theta, self.mem = theta, None

    def reset(self):
        self.mem = None

    def forward(self, x):
        h = x if self.mem is None else self.mem * 0.5 + x
        spikes = (h > self.theta).float()
        self.mem = h * (1 - spikes)
        return spikes

register(LIF, lambda lif: NeuronSpec.linear(decay=0.5, threshold=lif.theta, strict=True))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.lif = nn.Linear(8, 3), LIF()

    def changed(self, x):
        return x

    def forward(self, x):  # [N, T, 2, 2, 2]
        return torch.stack([self.lif(self.a(self.changed(frame.flatten(1)))) for frame in x.unbind(1)], 1)

class Adding(Net):
    m = 0.0
    def changed(self, x):
        return x + torch.as_tensor(self.m).to(x)

def build():
    net = Adding()
    {change}
    return net
"""
PATH = "factory_of_mine:build"
CONTRACT = InputContract.of((3, 2, 2, 2))
WINDOWS = np.random.default_rng(0).poisson(1.0, (2, *CONTRACT.shape)).astype(np.float32)
SAME = f"{PATH}, called again with other random numbers, builds the same network"
OTHER = "each time factory_of_mine:build is called"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in which factories and the weights of their network are looked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("factory_of_mine", None)
    torch.save({"a.weight": torch.randn(3, 8), "a.bias": torch.zeros(3)}, tmp_path / "w.pth")
    yield tmp_path
    sys.modules.pop("factory_of_mine", None)


def check(folder, change: str, trained: bool = True) -> list[str]:
    (folder / "factory_of_mine.py").write_text(MODULE.replace("{change}", change))
    network = from_factory(PATH).network
    checkpoint = load_checkpoint(folder / "w.pth") if trained else None
    if checkpoint:
        load_weights(network, checkpoint)
    return check_rebuilt(Built(path=PATH, network=network, checkpoint=checkpoint), CONTRACT, "NT", WINDOWS)


NAMED = {
    "net.m = torch.randn(8)": "'m' is",
    "net.register_buffer('k', torch.randn(8), persistent=False)": "'k' is",
    "net.m = np.random.rand(8)": "'m' is",
    "net.m = np.random.default_rng().random()": "'m' is",
    "net.m = random.random()": "'m' is",
    "net.m = next(calls)": "'m' is",
    "net.masks = {'first': [torch.rand(8)]}": "'masks.first.0' is",
    "net.heads = [nn.Linear(2, 2)]": "'heads.0.weight', 'heads.0.bias' are",
    "net.kept = types.SimpleNamespace(mask=torch.rand(8))": "'kept.mask' is",
    "net.lif.theta = 1 + 1e-6 * random.random()": "'lif.theta' is",
}


@pytest.mark.parametrize(("change", "named"), NAMED.items())
def test_constants_that_the_factory_draws_are_named(folder, change, named):
    with pytest.raises(BadInput) as caught:
        check(folder, change)
    assert str(caught.value).startswith(f"{named} not in the checkpoint, and {named.split()[-1]} different {OTHER}; ")


def test_what_no_attribute_shows_is_found_in_what_the_network_computes(folder):
    change = "w = torch.randn(8); net.changed = lambda x: x + w.to(x)"
    with pytest.raises(BadInput, match=f"^'a' computes something else {OTHER}, although the weights are the same"):
        check(folder, change)


@pytest.mark.parametrize(
    "change",
    [
        "pass",
        "net.m = torch.randn(8, generator=torch.Generator().manual_seed(3))",
        "net.m = np.random.default_rng(0).random(8)",
        "net.m = torch.tensor(float('nan'))",
        "net.made = time.perf_counter()",
        "net.name = str(random.random())",
        "net.mem = torch.randn(8)",
    ],
)
def test_what_is_the_same_or_has_no_effect_is_not_refused(folder, change):
    assert check(folder, change) == [SAME]


@pytest.mark.parametrize("changed", ["x + random.random()", "x.no_such_attribute"])
def test_runs_that_cannot_be_compared_are_not_said_to_agree(folder, changed):
    said = (
        f"check this: {PATH}, called again with other random numbers, gives the same constants; runs were not compared"
    )
    assert check(folder, f"net.changed = lambda x: {changed}") == [said]


def test_the_random_numbers_go_on_as_before(folder):
    check(folder, "pass")  # the first call draws weights
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    network = from_factory(PATH).network
    check_rebuilt(Built(path=PATH, network=network, checkpoint=None), CONTRACT, "NT", WINDOWS)
    after = torch.rand(1), np.random.rand(), random.random()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    from_factory(PATH)
    assert after == (torch.rand(1), np.random.rand(), random.random())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("assert next(calls) == 0, 'only once'", "build() fails: AssertionError: only once"),
        ("net = net if next(calls) == 0 else Net()", "the first call returns Adding, the second Net"),
        ("net = net if next(calls) == 0 else 3", "build() returns an int, not a torch"),
    ],
)
def test_a_factory_for_one_call_fails_nothing(folder, change, why):
    (said,) = check(folder, change)
    assert said.startswith(f"check this: {PATH} cannot be called twice ({why}")


def test_without_a_checkpoint_random_weights_are_said(folder):
    (said,) = check(folder, "pass", trained=False)
    assert said.startswith(f"check this: {PATH} builds another network each time it is called (")
    assert said.endswith(
        "('a.weight', 'a.bias' differ), and no checkpoint was given; the bundle has the network of this call"
    )
