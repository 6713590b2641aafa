"""Engines are judged by what they return: every mutated one is caught, and a right one never. No data has labels."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import onnx
import pytest

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.parity import wording
from tcja_runtime.bundle.bundle import GOLDEN, Bundle
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.evidence import golden

from ... import networks
from . import mutations
from .simulated_engines import model_of, reordered, verdict


def exported(folder, name="fashion_mnist", seed=0, **options):
    """A bundle of a small network, with spike counts, proven on 12 windows without labels."""
    small = networks.SMALL[name]
    contract = small.network.contract(small.sizes)
    data = folder / "data.npz"
    np.savez(data, **{contract.name: small.inputs(12, seed=seed + 7).numpy()})
    given = {"spike_counts": "on", "target": "onnx", "time_form": "fused", **options}
    checkpoint, out = small.checkpoint(folder / "model.pth", seed=seed), folder / "a.bundle"
    pipeline.export(ExportRequest(checkpoint=checkpoint, out=out, data=data, **given))
    return out


def test_a_right_engine_passes_with_all_counts(counted, tmp_path):
    found = verdict(counted, model_of(counted), tmp_path, batch=(1, 4, 30))
    manifest = Bundle.open(counted).manifest
    assert found.failures == []
    assert found.largest_batch == 30
    assert found.counts.counts == 12 * len(manifest.layers) * manifest.time_steps
    assert found.counts.counts / 2 < found.counts.settled < found.counts.counts
    assert found.counts.beyond == 0
    assert 0 < found.decided < 12
    assert (found.further, found.nearer) == (0, 0)


def mutated(counted):
    """Each mistake of the middle layer, of the attention and of the pools, and one in every weight."""
    manifest = Bundle.open(counted).manifest
    yield from mutations.of_neurons(manifest)
    yield from mutations.of_attention(manifest)
    yield from mutations.of_pooling(model_of(counted))
    for weight in manifest.weights:
        change = mutations.one_weight(weight.tensor, 2.0)
        yield mutations.Mutation(f"{weight.module}: a weight doubled", change, weight.module, "weight")


def test_every_mutated_engine_is_caught_that_fires_otherwise(counted, tmp_path):
    """Exactly those pass whose every spike count and output is that of the right engine."""
    right, caught = model_of(counted), []
    expected = verdict(counted, right, tmp_path).output_difference
    for mutation in mutated(counted):
        model = onnx.ModelProto()
        model.CopyFrom(right)
        mutation.apply(model)
        found = verdict(counted, model, tmp_path)
        alike = not found.counts.differing and found.output_difference == expected
        assert bool(found.failures) != alike, mutation.name
        caught += [mutation.name] if found.failures else []
    assert len(caught) > 10
    assert {"fc.2: soft reset", "fc.2: decay 0.49", "fc.2: windows run on", "fc.2: time reversed"} <= {*caught}


def test_the_first_wrong_layer_is_named(counted, tmp_path):
    model = model_of(counted)
    layer = Bundle.open(counted).manifest.layers[1]
    mutations.of_another(layer, dataclasses.replace(layer.neuron, threshold=1.2))(model)
    (failure,) = verdict(counted, model, tmp_path).failures
    assert failure.kind == "engine"
    assert failure.text.startswith("engine an engine fires ")
    assert " in conv.2 at time step " in failure.text
    assert "; rounding explains a difference of 0 at most; of 192 counts " in failure.text


def test_wrong_counts_of_a_right_output_are_caught(counted, tmp_path):
    """As of an engine that counts the spikes of another layer."""
    model = model_of(counted)
    rows = next(node for node in model.graph.node if node.op_type == "Concat" and node.output[0] == "spike_counts/all")
    rows.input[:2] = [rows.input[1], rows.input[0]]
    found = verdict(counted, model, tmp_path)
    assert found.undecided_beyond == found.decided_beyond == 0
    assert "in conv.0 at time step 1 of window" in found.failures[0].text


def test_a_wrong_output_of_right_counts_is_caught(counted, tmp_path):
    model = model_of(counted)
    mutations.inserted(model, Bundle.open(counted).manifest.output, "Mul", np.array(1.001, np.float32))
    found = verdict(counted, model, tmp_path)
    assert found.counts.beyond == 0
    beyond = found.decided_beyond + found.undecided_beyond
    assert 0 < found.decided < beyond
    assert f"beyond the rounding bound in {beyond} of 12 windows, by " in found.failures[0].text


def test_an_engine_without_counts_is_judged_by_its_output(counted, tmp_path):
    model = model_of(counted)
    del model.graph.output[1]
    found = verdict(counted, model, tmp_path)
    assert found.failures == []
    assert (found.counts, found.returns_counts, found.free_running) == (None, False, True)
    assert "It returns no spike counts" in wording.engine_output(found)
    assert " without an open neuron; " in wording.engine_output(found)
    mutations.inserted(model, Bundle.open(counted).manifest.output, "Mul", np.array(1.001, np.float32))
    assert verdict(counted, model, tmp_path).failures


def test_counts_without_bounds_are_not_judged(counted, tmp_path):
    """As of a network with an operation that has no rounding bound. Then the rules of the output alone hold."""
    bundle = shutil.copytree(counted, tmp_path / "a.bundle")
    with np.load(bundle / GOLDEN) as archive:
        arrays = {name: archive[name] for name in archive.files if name not in ("open", "open_output")}
    np.savez(bundle / GOLDEN, **arrays)
    write_manifest(bundle, Bundle.open(counted).manifest)
    model = model_of(bundle)
    found = verdict(bundle, model, tmp_path)
    assert (found.counts, found.returns_counts, found.free_running, found.failures) == (None, True, False, [])
    assert "Its spike counts cannot be judged" in wording.engine_output(found)
    mutations.inserted(model, Bundle.open(bundle).manifest.output, "Mul", np.array(1.5, np.float32))
    (failure,) = verdict(bundle, model, tmp_path).failures
    assert " windows without an undecided neuron, by " in failure.text


def test_tf32_has_no_bounds(counted, tmp_path):
    found = verdict(counted, model_of(counted), tmp_path, tf32=True)
    assert found.failures == []
    assert found.counts is None


def test_open_neurons_are_in_the_golden_vectors(counted):
    """Every undecided neuron is open, and behind it more are."""
    manifest = Bundle.open(counted).manifest
    vectors = golden.load(counted / GOLDEN, manifest.input)
    undecided = np.stack([vectors.recorded.undecided[layer.name] for layer in manifest.layers], axis=1)
    assert (vectors.free_running.open >= undecided).all()
    assert vectors.free_running.open.sum() > undecided.sum() > 0
    sizes = [int(np.prod(layer.shape)) for layer in manifest.layers]
    assert (vectors.free_running.open.max(axis=(0, 2)) <= sizes).all()
    assert (vectors.free_running.output >= vectors.recorded.output_bound).all()


def check_right_engines(folder, orders=3, **options):
    """Exports a network and judges right engines that add up in other orders. Returns the counts that differ."""
    out = exported(folder, **options)
    right = model_of(out)
    found = [verdict(out, reordered(right, order), folder) for order in range(orders)]
    assert [each.failures for each in found] == [[]] * orders
    return sum(each.counts.differing for each in found)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "seed"), [("fashion_mnist", 300), ("fashion_mnist", 301), ("dvs128", 302)])
def test_a_right_engine_is_never_refused(name, seed, tmp_path):
    """`benchmarks/parity/engines.py` does it with fifty."""
    check_right_engines(tmp_path, name=name, seed=seed)


@pytest.mark.slow
def test_a_right_engine_in_half_is_never_refused(tmp_path):
    """Rounding is so coarse there that spikes do differ."""
    assert check_right_engines(tmp_path, precision="fp16", keep=("nothing",)) > 0
