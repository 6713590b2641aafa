"""Correct exports pass, changed ones do not: models of a real bundle are changed and verified again."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import numpy as np
import onnx
import pytest
from onnx import helper

from tcja_deploy.consistency import contradictions
from tcja_deploy.parity.failures import OUTPUT
from tcja_deploy.verify.verifier import verify
from tcja_runtime import budget
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL, Bundle
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.trace import Reference
from tcja_runtime.model_file.tensor_names import current_tensor
from tcja_runtime.neuron import membranes

from ...described import described
from .mutations import Change, change, edited, inserted, of_another, one_weight, reversed_time


def test_a_correct_export_passes(bundle, name):
    verified = verify(bundle)
    opened, report = verified.bundle, verified.report
    assert report.met
    assert not report.failures
    (found,) = report.backends
    assert (found.model, found.twins) == (PLAIN_MODEL, [MODEL])
    assert found.agreement == 1.0
    assert found.unexplained == 0
    assert [layer.layer for layer in found.layers] == [layer.name for layer in opened.manifest.layers]
    assert all(sum(layer.spikes) > 0 for layer in found.layers)
    assert all(layer.undecided_share(report.windows) < 0.01 for layer in found.layers)
    assert report.accuracy == found.accuracy == pytest.approx(10 / 12)


def test_every_signal_is_judged_in_every_scene(bundle, name):
    verified = verify(bundle)
    opened, report = verified.bundle, verified.report
    layers = {layer.name for layer in opened.manifest.layers}
    always = layers | {tap.name for tap in opened.manifest.taps if tap.on_windows}
    drawn = layers | {tap.name for tap in opened.manifest.taps}
    assert len(drawn) > len(always) > len(layers)
    found = {(signal.scene, signal.signal): signal for signal in report.backends[0].signals}
    first = opened.manifest.layers[0].name
    scenes = {"windows": always, "drawn": drawn, "dyadic": drawn, "range": {first}, "wide": layers}
    expected = {(scene, signal) for scene, signals in scenes.items() for signal in {*signals, OUTPUT}}
    assert found.keys() == expected
    assert all(signal.share < 0.7 and signal.seen for signal in found.values())
    # With drawn weights, all is exact but what a gate has touched, or a mean over 14 x 14.
    if name == "dvs128":
        assert all(found["dyadic", tap.name].exact for tap in opened.manifest.taps if tap.tensor.endswith("/Conv"))
    assert sum(found["dyadic", layer.name].exact for layer in opened.manifest.layers) >= 2
    assert not any(found["drawn", layer.name].exact for layer in opened.manifest.layers)


def test_spikes_are_counted_by_step(bundle):
    verified = verify(bundle)
    opened, report = verified.bundle, verified.report
    counts = golden.load(bundle / "golden.npz", opened.manifest.input).counts
    assert [layer.spikes for layer in report.backends[0].layers] == counts.sum(axis=1).tolist()


@pytest.mark.parametrize(
    ("which", "value"),
    [
        ("threshold", 0.9999),
        ("threshold", 1.000001),
        ("rate", 0.500001),
        ("rate", 0.499999),
        ("v_reset", 1e-6),
        ("v_reset", 0.01),
    ],
)
def test_a_constant_that_is_a_little_wrong_fails(bundle, which, value):
    for layer in Bundle.open(bundle).manifest.layers:
        wrong = {which: value, "tau": None} if which == "rate" else {which: value}
        change(bundle, of_another(layer, dataclasses.replace(layer.neuron, **wrong)))
    verified = verify(bundle)
    opened, report = verified.bundle, verified.report
    for layer in opened.manifest.layers:
        assert any(f"{layer.name} in {PLAIN_MODEL} does not fire as its neurons do" in each for each in report.failures)


def behind(layer: str) -> Change:
    """Change the sign of the weights behind a layer's current."""

    def apply(model: onnx.ModelProto) -> None:
        makers = {output: node for node in model.graph.node for output in node.output}
        node = makers[current_tensor(layer)]
        while node.op_type not in ("Conv", "Gemm", "MatMul"):
            node = makers[node.input[0]]
        edited(node.input[1], lambda values: -values)(model)

    return apply


def test_every_layer_is_judged_on_its_own(bundle):
    """A flip in every window's first layer hides nothing that is wrong behind it."""
    first, *_, last = Bundle.open(bundle).manifest.layers

    def both(model: onnx.ModelProto) -> None:
        behind(first.name)(model)
        behind(last.name)(model)

    change(bundle, both)
    (found,) = verify(bundle).report.backends
    unexplained = {layer.layer: sum(layer.unexplained) for layer in found.layers}
    assert unexplained.pop(first.name)
    assert unexplained.pop(last.name)
    assert not any(unexplained.values())
    assert all(sum(layer.free_running_flips) for layer in found.layers)
    assert found.divergence is not None
    assert (found.divergence.layer, found.divergence.window) == (first.name, 0)
    assert found.divergence.spikes.keys() == {layer.layer for layer in found.layers}
    assert {failure.signal for failure in found.failures if failure.kind == "spikes"} == {first.name, last.name}


def replaced(bundle, wide=(), **changes) -> None:
    """Put other golden vectors of the windows into a bundle, which names signals whose bounds are wide."""
    manifest = Bundle.open(bundle).manifest
    manifest = dataclasses.replace(manifest, parity=dataclasses.replace(manifest.parity, wide_bounds=list(wide)))
    parity = json.loads((bundle / "parity.json").read_text())
    (bundle / "parity.json").write_text(json.dumps(parity | {"wide_bounds": list(wide)}))
    vectors = golden.load(bundle / "golden.npz", manifest.input)
    recorder = golden.Recorder()
    reference = dataclasses.replace(vectors.reference(slice(None)), **changes)
    undecided = {name: contradictions.Decisions.of(reference, manifest, name).undecided for name in reference.undecided}
    recorder.add(dataclasses.replace(reference, undecided=undecided))
    for scene, recorded in vectors.scenes.items():
        recorder.add_scene(scene, recorded, vectors.largest)
    golden.save(
        bundle / "golden.npz",
        recorder.golden(vectors.samples, vectors.predictions),
        manifest.input,
    )
    write_manifest(bundle, manifest)


def of(bundle) -> Reference:
    manifest = Bundle.open(bundle).manifest
    return golden.load(bundle / "golden.npz", manifest.input).reference(slice(None))


@pytest.mark.parametrize(("bound", "met"), [(4.0, True), (0.5, False)])
def test_a_flip_is_judged_by_its_bound(bundle, bound, met):
    """The reference fires once where the models do not: its membrane is as near as its bound, or not."""
    opened = Bundle.open(bundle)
    layer, reference = opened.manifest.layers[-1], of(bundle)
    witnesses, spikes = reference.witnesses[layer.name], reference.spikes[layer.name].copy()
    fired = witnesses.of(spikes)
    h = membranes(layer.neuron, witnesses.values, fired)
    below = np.where(fired[-1], -np.inf, h[-1])  # the last step, so that nothing follows from the flip
    k = int(below.argmax())
    assert 0 < below[k] < 1
    # Twice the current that is missing brings the reference's membrane as far above the threshold as it was below.
    missing = (1.0 - below[k]) / layer.neuron.gain
    values, bounds = witnesses.values.copy(), witnesses.bounds.copy()
    values[-1, k] += 2 * missing
    bounds[-1, k] = bound * missing
    spikes.reshape(*spikes.shape[:2], -1)[-1, witnesses.window[k], witnesses.element[k]] = True
    changed = dataclasses.replace(witnesses, values=values, bounds=bounds)
    replaced(
        bundle,
        wide=[layer.name, "the output"],
        spikes={**reference.spikes, layer.name: spikes},
        witnesses={**reference.witnesses, layer.name: changed},
        output_bound=np.full_like(reference.output_bound, 0.3),  # a spike of four or five steps
    )
    report = verify(bundle).report
    (found,) = report.backends
    assert found.layers[-1].flips[-1] == found.flips == found.free_running_flips == 1
    assert found.unexplained == (0 if met else 1)
    assert report.met is met
    if not met:
        at = f"window {witnesses.window[k]}, time step {opened.manifest.time_steps}, "
        said = f"1 spike of {layer.name} in {PLAIN_MODEL} differs and rounding does not explain it, at {at}"
        assert any(said in failure for failure in report.failures)


def test_a_flip_far_from_any_threshold_fails(bundle):
    """Of a neuron that is not even among the witnesses."""
    opened = Bundle.open(bundle)
    reference = of(bundle)
    layer = next(layer for layer in opened.manifest.layers if np.prod(layer.shape) > 520)
    witnesses, spikes = reference.witnesses[layer.name], reference.spikes[layer.name].copy()
    known = set(witnesses.element[witnesses.window == 0].tolist())
    element = next(i for i in range(int(np.prod(layer.shape))) if i not in known)
    spikes.reshape(*spikes.shape[:2], -1)[0, 0, element] ^= True
    replaced(bundle, spikes={**reference.spikes, layer.name: spikes})
    failures = verify(bundle).report.failures
    place = tuple(map(int, np.unravel_index(element, layer.shape)))
    said = f"explain it, at window 0, time step 1, neuron {place}, where the neuron is not undecided"
    assert any(said in failure for failure in failures)


@pytest.mark.parametrize("windows", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_windows_are_run_together_too(bundle, monkeypatch, windows):
    """A network too large to run two windows at once everywhere may still confuse them."""
    monkeypatch.setattr(budget, "_BATCH_BYTES", 1)
    manifest = Bundle.open(bundle).manifest
    vectors = golden.load(bundle / "golden.npz", manifest.input)
    recorder = golden.Recorder()
    recorder.add(vectors.reference(slice(windows)))
    for scene, recorded in vectors.scenes.items():
        recorder.add_scene(scene, recorded, vectors.largest)
    golden.save(
        bundle / "golden.npz",
        recorder.golden(vectors.samples.first(windows), vectors.predictions),
        manifest.input,
    )
    write_manifest(bundle, manifest)
    assert verify(bundle).report.met

    def confused(model: onnx.ModelProto) -> None:
        """Take [T, N, ...] for [N, T, ...] before the last layer."""
        current = current_tensor(manifest.layers[-1].name)
        swapped = np.array([-1, manifest.time_steps, *manifest.layers[-1].shape], np.int64)
        inserted(model, current, "Reshape", swapped)
        order = [1, 0, *range(2, 2 + len(manifest.layers[-1].shape))]
        maker = next(node for node in model.graph.node if current in node.output)
        maker.output[0] = "other"
        at = list(model.graph.node).index(maker) + 1
        model.graph.node.insert(at, helper.make_node("Transpose", ["other"], [current], perm=order))

    change(bundle, confused)
    failures = verify(bundle).report.failures
    assert failures
    assert all("on the random stimulus" in failure for failure in failures)


def test_the_wrong_comparison_fails_where_no_data_shows_it(bundle):
    layers = Bundle.open(bundle).manifest.layers

    for layer in layers:
        change(bundle, of_another(layer, dataclasses.replace(layer.neuron, strict=True)))
    report = verify(bundle).report
    assert not report.backends[0].flips
    for layer in layers:
        for file in (MODEL, PLAIN_MODEL):
            message = f"{layer.name} in {file} does not fire as its neurons do (h >= 1, hard reset): "
            assert any(message in failure for failure in report.failures)


def test_a_manifest_that_says_another_neuron_fails(bundle):
    manifest = Bundle.open(bundle).manifest
    neuron = dataclasses.replace(manifest.layers[0].neuron, threshold=1.5)
    layers = [dataclasses.replace(manifest.layers[0], neuron=neuron), *manifest.layers[1:]]
    shutil.copy(bundle / PLAIN_MODEL, bundle / MODEL)  # whose nodes say nothing of its neurons
    write_manifest(bundle, manifest)
    described(bundle, layers=layers)
    with pytest.raises(BadInput, match=r"golden.npz stores [\d,]+ spikes of .* that its currents do not give;"):
        verify(bundle)


@pytest.mark.parametrize("model", [PLAIN_MODEL, MODEL])
def test_each_model_is_judged(bundle, model):
    manifest = Bundle.open(bundle).manifest
    changed = onnx.load(bundle / model)
    behind(manifest.layers[0].name)(changed) if model == PLAIN_MODEL else one_weight(manifest.weights[0].tensor)(
        changed
    )
    onnx.save(changed, bundle / model)
    write_manifest(bundle, manifest)
    (found,) = verify(bundle).report.backends
    assert {failure.model for failure in found.failures if failure.kind == "values"} == {model}


def test_the_two_models_must_fire_the_same_spikes(bundle):
    """A neuron that runs backwards in one of them."""
    layer = Bundle.open(bundle).manifest.layers[0]
    change(bundle, reversed_time(layer), both=False)
    (found,) = verify(bundle).report.backends
    assert not found.twins
    assert any(f"{MODEL} and {PLAIN_MODEL} differ in {layer.name}" in failure.text for failure in found.failures)


def test_wrong_outputs_fail_without_a_flip(bundle):
    def shifted(model: onnx.ModelProto) -> None:
        inserted(model, model.graph.output[0].name, "Add", np.float32(0.01))

    change(bundle, shifted)
    report = verify(bundle).report
    assert not report.backends[0].flips
    assert {failure.signal for failure in report.backends[0].failures} == {OUTPUT}
    assert any("the output is " in failure for failure in report.failures)


def test_values_that_differ_in_their_last_bits_are_told_apart(bundle):
    """As where a convolution by Fourier transforms makes exact sums inexact."""
    first = Bundle.open(bundle).manifest.layers[0]
    change(bundle, lambda model: inserted(model, current_tensor(first.name), "Mul", np.float32(1 + 2**-22)))
    (failure, *_) = (each for each in verify(bundle).report.failures if "where rounding explains" in each)
    found, expected = re.search(r" is (\S+) instead of (\S+) at ", failure).groups()
    assert f"{float(found):.6g}" == f"{float(expected):.6g}"
    assert found != expected


def test_outputs_that_are_no_numbers_fail(bundle):
    def undefined(model: onnx.ModelProto) -> None:
        inserted(model, model.graph.output[0].name, "Add", np.float32(np.nan))

    change(bundle, undefined)
    report = verify(bundle).report
    assert any("the output is nan instead of" in failure for failure in report.failures)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["backends"][0]["output_difference"] is None


def test_currents_that_are_no_numbers_fail(bundle):
    """A membrane that is no number never fires."""
    first = Bundle.open(bundle).manifest.layers[0]
    change(bundle, lambda model: inserted(model, current_tensor(first.name), "Add", np.float32(np.nan)))
    report = verify(bundle).report
    assert report.backends[0].layers[0].unexplained
    assert any(f"the current of {first.name} is nan instead of" in failure for failure in report.failures)


def test_wrong_classes_fail(bundle):
    def reversed_classes(model: onnx.ModelProto) -> None:
        rate = model.graph.output[0]
        classes = rate.type.tensor_type.shape.dim[1].dim_value
        inserted(model, rate.name, "Gather", np.arange(classes)[::-1].copy())
        next(node for node in model.graph.node if rate.name in node.output).attribute.append(
            helper.make_attribute("axis", 1)
        )

    change(bundle, reversed_classes)
    report = verify(bundle).report
    assert not report.met
    assert {(each.kind, each.signal) for each in report.backends[0].failures} == {
        ("values", OUTPUT),
        ("accuracy", None),
    }
