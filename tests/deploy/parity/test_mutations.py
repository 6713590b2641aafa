"""Every mistake that an exporter could make fails verification, whatever the data shows, and is found."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tcja_deploy.cli import app
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.verify.options import VerifyOptions
from tcja_deploy.verify.verifier import verify
from tcja_exporters import libraries
from tcja_runtime.backends.probe import Probe
from tcja_runtime.bundle.bundle import GOLDEN, PLAIN_MODEL, Bundle
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.trace import Observation
from tcja_runtime.neuron import NeuronSpec

from ... import networks
from ...exporters.peers import odd, own
from . import mutations
from .mutations import Mutation, change

MOST = 6
"""The most layers of a network that get the same mistake."""
SMALL = (networks.SMALL["fashion_mnist"], networks.REGISTRY["tet_cifar10dvs"])


@dataclasses.dataclass(frozen=True)
class Exported:
    """A small network's bundle, made without data, and the running variances of its batch norms by module."""

    bundle: Path
    variances: dict[str, np.ndarray]


@pytest.fixture(
    scope="module",
    params=[pytest.param(small, marks=[] if small.name == "fashion_mnist" else pytest.mark.slow) for small in SMALL],
    ids=lambda small: small.name,
)
def exported(request, tmp_path_factory) -> Exported:
    small, folder = request.param, tmp_path_factory.mktemp(request.param.name)
    checkpoint = small.checkpoint(folder / "model.pth")
    bundle = folder / "original.bundle"
    pipeline.export(ExportRequest(checkpoint=checkpoint, out=bundle, target="onnx", samples=4))
    norms = {key: value.numpy() for key, value in small.state().items() if key.endswith(".running_var")}
    return Exported(bundle, {key.removesuffix(".running_var"): value for key, value in norms.items()})


def family(exported: Exported, name: str) -> Iterable[Mutation]:
    """The mistakes of a kind; one that fits more layers than `MOST` is made in some from the first to the last."""
    found = list(_all_of(exported, name))
    return found if len(found) <= MOST else [found[i * (len(found) - 1) // (MOST - 1)] for i in range(MOST)]


def _all_of(exported: Exported, name: str) -> Iterator[Mutation]:
    manifest = Bundle.open(exported.bundle).manifest
    if name == "norms":
        return mutations.of_norms(manifest, exported.variances)
    if name == "pooling":
        return mutations.of_pooling(onnx.load(exported.bundle / PLAIN_MODEL, load_external_data=False))
    return getattr(mutations, f"of_{name}")(manifest)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["neurons", "weights", "norms", "attention", "input", "pooling"])
def test_every_mistake_fails(exported, name, tmp_path, capsys):
    missed = []
    for mutation in family(exported, name):
        bundle = tmp_path / "changed.bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(exported.bundle, bundle)
        change(bundle, mutation.apply)
        code = app.run(["verify", str(bundle), "--bisect", "--json"])
        captured = capsys.readouterr()
        culprit = json.loads(captured.out)["culprit"]
        fits = any(mutation.kind in fit for fit in culprit["fits"])
        found = culprit["module"] == mutation.module and culprit["node"].startswith(f"{mutation.module}/")
        if code != 1 or "error: " not in captured.err or not fits or not found:
            missed.append((mutation.name, code, culprit))
    assert not missed


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_steps_with_batch_norms_of_their_own_are_judged_apart(tmp_path, capsys):
    """A step that has another step's weight or bias fails, although the convolution is the same at all steps."""
    network, original = odd.made("a batch norm for each step"), tmp_path / "original.bundle"
    pipeline.export(ExportRequest(model=network, shape=network.shape, out=original, target="onnx", samples=2))
    weights = [weight for weight in Bundle.open(original).manifest.weights if weight.norm]
    assert len(weights) == 3
    pairs = [(weights[i].tensor, weights[i - 1].tensor) for i in range(3)]
    pairs += [(str(weights[i].bias), str(weights[i - 1].bias)) for i in range(3)]
    for i, (tensor, other) in enumerate(pairs):
        bundle = Path(shutil.copytree(original, tmp_path / f"{i}.bundle"))
        change(bundle, mutations.of_another_tensor(tensor, other))
        assert app.run(["verify", str(bundle)]) == 1, tensor
        assert "the current of lif" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_weight_of_all_steps_is_judged(tmp_path, capsys):
    """In a loop over time, a folded weight is one tensor for all steps."""
    network, original = odd.made("batch norm"), tmp_path / "original.bundle"
    pipeline.export(ExportRequest(model=network, shape=network.shape, out=original, target="onnx", samples=2))
    for weight in Bundle.open(original).manifest.weights:
        bundle = Path(shutil.copytree(original, tmp_path / f"{weight.module}.bundle"))
        change(bundle, mutations.one_weight(weight.tensor))
        assert app.run(["verify", str(bundle)]) == 1, weight
        assert "rounding explains" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_a_mistake_in_a_network_of_long_windows_fails(tmp_path, capsys):
    """A network that takes one step, at 120 steps: few places are recorded, and each layer is in its model once."""
    network, original = own.awake(own.snntorch_hidden()), tmp_path / "original.bundle"
    shape = (120, *own.SHAPE[1:])
    request = ExportRequest(model=network, layout="step", shape=shape, out=original, target="onnx", samples=2)
    manifest, _ = pipeline.export(request)
    drawn = golden.load(original / GOLDEN, manifest.input).scenes["drawn"]
    assert len(drawn.witnesses["n1"].element) < len(drawn) * math.prod(manifest.layers[0].shape)
    missed = []
    for mutation in (*mutations.of_weights(manifest), *mutations.of_neurons(manifest)):
        bundle = Path(shutil.copytree(original, tmp_path / "changed.bundle", dirs_exist_ok=True))
        change(bundle, mutation.apply)
        missed += [mutation.name] if app.run(["verify", str(bundle)]) != 1 else []
        capsys.readouterr()
    assert not missed


def test_where_it_goes_wrong_is_said(exported, tmp_path, capsys):
    """In words, with both values and their place."""
    bundle = Path(shutil.copytree(exported.bundle, tmp_path / "changed.bundle"))
    weight = Bundle.open(bundle).manifest.weights[1]
    change(bundle, mutations.one_weight(weight.tensor, 1.5))
    assert app.run(["verify", str(bundle), "--bisect"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"First wrong: {weight.module}, node {weight.module}/Conv of model.plain.onnx" in said
    assert re.search(r"is \S+ instead of \S+ at window \d+, time step \d+, neuron \(\d+", said)
    assert "It can be explained by: weights of output channel" in said


def test_a_mistake_in_large_batches_alone_is_found(exported, monkeypatch):
    """It is sought in a large batch: the same windows in a small one are right."""
    stimulated, manifest = Probe.stimulated, Bundle.open(exported.bundle).manifest
    layer, largest = manifest.layers[1].name, manifest.parity.backends[0]["largest_batch"]

    def doubled(probe: Probe, inputs: np.ndarray, *args: Any, **options: Any) -> Observation:
        found = stimulated(probe, inputs, *args, **options)
        factors = {name: 2 if name == layer and len(inputs) == largest else 1 for name in found.signals}
        return dataclasses.replace(found, signals={name: each * factors[name] for name, each in found.signals.items()})

    monkeypatch.setattr(Probe, "stimulated", doubled)
    culprit = verify(exported.bundle, VerifyOptions(bisect=True)).culprit
    assert culprit is not None
    assert "in a large batch" in culprit.seen
    assert "scale" in culprit.fits


def test_nothing_is_said_of_a_correct_export(exported, capsys):
    assert app.run(["verify", str(exported.bundle), "--bisect", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["culprit"] is None


class Learned(nn.Module):
    """One time step of a network whose neurons have learned constants by channel and by neuron, and other first v."""

    def __init__(self, *neurons: NeuronSpec) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), OwnStep(neurons[0]), nn.Flatten(), nn.Linear(48, 5), OwnStep(neurons[1])
        )
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=random) / 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class OwnStep(nn.Module):
    """A user's neuron, called once a step."""

    def __init__(self, spec: NeuronSpec) -> None:
        super().__init__()
        self.spec, self.state = spec, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v, s = self.state or (self.spec.start(x), torch.zeros_like(x))
        h = self.spec.charge(v, x, s)
        s = self.spec.fires(h).to(x.dtype)
        self.state = self.spec.after(h, s), s
        return s

    def reset(self) -> None:
        self.state = None


BY_CHANNEL = NeuronSpec.linear(
    decay=np.array([0.5, 0.6, 0.7]).reshape(3, 1, 1),
    threshold=np.array([0.3, 0.35, 0.4]).reshape(3, 1, 1),
    v_initial=np.array([0.1, 0.12, 0.05]).reshape(3, 1, 1),
    strict=True,
)
BY_NEURON = NeuronSpec.leaky(
    decay_input=True, tau=np.linspace(1.5, 3, 5), threshold=0.25, v_reset=np.linspace(-0.2, 0, 5), v_initial=0.05
)


def one_percent_more(constant: Any) -> Any:
    """A constant with another value in its second channel, or with another value."""
    values = array_of(constant).copy()
    values.reshape(-1)[min(1, values.size - 1)] *= 1.01
    return values


@pytest.mark.slow
def test_constants_of_single_channels_are_proven(tmp_path, capsys, monkeypatch):
    """A constant of one channel that is 1 % off fails verify, which names it, and its neuron."""
    monkeypatch.setattr(libraries, "_registered", {})
    libraries.register(OwnStep, lambda neuron: neuron.spec)
    network, original = Learned(BY_CHANNEL, BY_NEURON), tmp_path / "original.bundle"
    request = ExportRequest(
        model=network, shape=(7, 2, 4, 4), layout="step", out=original, target="onnx", samples=4, streaming=True
    )
    pipeline.export(request)
    first, last = Bundle.open(original).manifest.layers
    assert (first.neuron, last.neuron) == (BY_CHANNEL, BY_NEURON)
    wrong = [
        (first, "threshold", "threshold (0.3535 instead of 0.35 in neuron (1, 0, 0))"),
        (first, "v_initial", "initial value ("),
        (last, "tau", "decay ("),
        (last, "v_reset", "reset value ("),
    ]
    for layer, name, said in wrong:
        bundle = Path(shutil.copytree(original, tmp_path / f"{layer.name} {name}.bundle"))
        value = one_percent_more(getattr(layer.neuron, name))
        changed = {"v_reset": value, "v_rest": value} if name == "v_reset" else {name: value}
        neuron = dataclasses.replace(layer.neuron, **changed)
        change(bundle, mutations.of_another(layer, neuron))
        assert app.run(["verify", str(bundle), "--bisect", "--json"]) == 1, said
        culprit = json.loads(capsys.readouterr().out)["culprit"]
        assert culprit["module"] == layer.name, (said, culprit)
        assert any(fit.startswith(said) for fit in culprit["fits"]), (said, culprit["fits"])
