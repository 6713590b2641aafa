"""`export --spike-counts`: what is chosen, and that a bundle with the counts is proven and run as one without."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from tcja_deploy.console import silent
from tcja_deploy.export import spike_counts
from tcja_deploy.export.trials import Trials
from tcja_exporters.precision import Lowered
from tcja_exporters.reference import recorder
from tcja_exporters.time_forms.spike_counts import MOST_NEURONS
from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle import conformance
from tcja_runtime.bundle.bundle import GOLDEN, MODEL, PLAIN_MODEL, Bundle
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.evidence import golden
from tcja_runtime.files.folder import Folder
from tcja_runtime.model_file.tensor_names import SPIKE_COUNTS

from ... import networks

NAME = "fashion_mnist"


def returned(bundle, model):
    """What a model of a bundle returns for its golden windows."""
    manifest = Bundle.open(bundle).manifest
    inputs = golden.windows(Folder(bundle), manifest.input)
    return OnnxRuntimeSession.open(bundle / model).run({manifest.input.name: inputs})


def test_the_plain_model_returns_them(counted):
    manifest = Bundle.open(counted).manifest
    assert manifest.spike_counts
    vectors = golden.load(counted / GOLDEN, manifest.input)
    assert list(returned(counted, MODEL)) == [manifest.output]
    found = returned(counted, PLAIN_MODEL)
    assert list(found) == [manifest.output, SPIKE_COUNTS]
    assert found[SPIKE_COUNTS].shape == (12, len(manifest.layers), manifest.time_steps)
    differs = found[SPIKE_COUNTS] != vectors.counts.transpose(1, 0, 2)
    assert differs.mean() < 0.05  # rounding may decide a spike
    np.testing.assert_array_equal(found[manifest.output], returned(counted, MODEL)[manifest.output])


def test_the_bundle_is_proven_and_run(run, counted, data):
    code, _, err = run("verify", counted)
    assert code == 0, err
    code, out, err = run("run", counted, data[NAME], "--json")
    assert code == 0, err
    assert len(json.loads(out)["windows"]) == 12


def test_a_model_without_the_counts_that_its_manifest_tells_of_is_refused(bundle):
    (scores,) = returned(bundle, PLAIN_MODEL).values()
    manifest = dataclasses.replace(Bundle.open(bundle).manifest, spike_counts=True)
    layers, steps = len(manifest.layers), manifest.time_steps
    scores = rf"'rates' float32 \[N, {scores.shape[1]}\]"
    wanted = rf"returns {scores}, not {scores} and 'spike_counts' int32 \[N, {layers}, {steps}\]"
    with pytest.raises(ParityNotMet, match=wanted):
        conformance.check(Folder(bundle), manifest.signature)


def test_a_manifest_of_an_older_version_has_none(bundle):
    fields = dataclasses.asdict(Bundle.open(bundle).manifest)
    assert not fields.pop("spike_counts")
    assert not Manifest.from_dict(fields).spike_counts


@pytest.fixture(scope="module")
def lowered(exports):
    small = networks.SMALL[NAME]
    exported, _ = exports[NAME]
    network = small.module()
    contract = small.network.contract(small.sizes)
    signature = recorder.signature(network, contract, small.network.output, small.sizes.time_steps)
    return Lowered(exported, network, "fp32"), signature


def trials(target):
    return Trials(target=target, precision="fp32", time_steps=4)


@pytest.mark.parametrize(
    ("wish", "target", "found"),
    [
        ("on", None, True),
        ("on", "tensorrt", True),
        ("off", "tensorrt", False),
        ("auto", None, False),
        ("auto", "tensorrt", False),
    ],
)
def test_the_choice(lowered, wish, target, found):
    assert spike_counts.chosen(wish, target and trials(target), *lowered, {}, silent()) is found


@pytest.mark.tensorrt
@pytest.mark.rtx
def test_auto_asks_the_kernel_plan_where_weights_are_most_of_what_moves(lowered, monkeypatch):
    """With a small share of the counts, the engine with them moves as much as the one without."""
    network, signature = lowered
    few = dataclasses.replace(signature, layers=signature.layers[-1:])
    forms = {layer.name: "fused" for layer in signature.layers}
    monkeypatch.setattr(spike_counts, "SHARE", 0.2)
    asked = trials("tensorrt-rtx"), network, few, forms, silent()
    assert spike_counts.is_open(network, few, forms)
    assert spike_counts.chosen("auto", *asked)
    monkeypatch.setattr(spike_counts, "SHARE", 0.0001)
    assert not spike_counts.is_open(network, few, forms)
    assert not spike_counts.chosen("auto", *asked)


def test_a_layer_too_large_to_be_counted(lowered):
    network, signature = lowered
    first, *others = signature.layers
    layers = [dataclasses.replace(first, shape=(1025, 128, 128)), *others]
    large = dataclasses.replace(signature, layers=layers)
    assert math.prod(layers[0].shape) > MOST_NEURONS
    with pytest.raises(BadInput, match="`spike_counts` on: conv.0 has 16,793,600 neurons, .* up to 16,777,216; leave"):
        spike_counts.chosen("on", None, network, large, {}, silent())
    assert not spike_counts.chosen("auto", trials("tensorrt"), network, large, {}, silent())
