"""Correct exports pass, changed ones do not: models of a real bundle are changed and verified again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tcja_deploy import parity
from tcja_deploy.parity import Report
from tcja_deploy.probes import onnxruntime_probes
from tcja_deploy.verification import verify
from tcja_runtime import golden
from tcja_runtime.bundle import MODEL, PLAIN_MODEL, Bundle, write_manifest
from tcja_runtime.golden import Recorder
from tcja_runtime.neuron import membranes
from tcja_runtime.probe import current_tensor
from tcja_runtime.trace import Trace

Change = Callable[[onnx.ModelProto], None]


def change(bundle: Path, apply: Change, *, both: bool = False) -> None:
    """Change the plain model of a bundle, or both, and put its hashes right, as a faulty exporter would."""
    manifest = Bundle.open(bundle).manifest
    model = onnx.load(bundle / PLAIN_MODEL)
    apply(model)
    onnx.save(model, bundle / PLAIN_MODEL)
    if both:
        onnx.save(model, bundle / MODEL)
    write_manifest(bundle, manifest)


def test_a_correct_export_passes(bundle, name):
    opened, report = verify(bundle)
    assert report.met
    assert not report.failures
    (found,) = report.backends
    assert (found.model, found.twins) == (PLAIN_MODEL, [MODEL])
    assert found.agreement == 1.0
    assert found.largest_margin < 1e-5
    assert [layer.layer for layer in found.layers] == [layer.name for layer in opened.manifest.layers]
    assert all(sum(layer.spikes) > 0 for layer in found.layers)
    assert report.accuracy == found.accuracy == pytest.approx(10 / 12)


def test_spikes_are_counted_by_step(bundle):
    opened, report = verify(bundle)
    counts = golden.load(bundle / "golden.npz", opened.manifest.input).counts
    assert [layer.spikes for layer in report.backends[0].layers] == counts.sum(axis=1).tolist()


def constant(name: str, value: float) -> Change:
    """Change a constant of every neuron."""

    def apply(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name.endswith(f"/{name}"):
                tensor.CopyFrom(numpy_helper.from_array(np.float32(value), tensor.name))

    return apply


def weight(factor: float) -> Change:
    """Scale one weight of the first convolution."""

    def apply(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name.endswith("/weight"))
        values = numpy_helper.to_array(tensor).copy()
        values.flat[np.abs(values).argmax()] *= factor
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return apply


def soft_reset(model: onnx.ModelProto) -> None:
    for scan in (node for node in model.graph.node if node.op_type == "Scan"):
        body = next(helper.get_attribute_value(a) for a in scan.attribute if a.name == "body")
        where = next(node for node in body.node if node.op_type == "Where")
        spikes = next(node for node in body.node if node.op_type == "Cast").output[0]
        where.CopyFrom(helper.make_node("Sub", [where.input[2], spikes], [where.output[0]], name=where.name))


def reversed_time(model: onnx.ModelProto) -> None:
    for scan in (node for node in model.graph.node if node.op_type == "Scan"):
        scan.attribute.append(helper.make_attribute("scan_input_directions", [1]))
        scan.attribute.append(helper.make_attribute("scan_output_directions", [1]))


def swapped_padding(model: onnx.ModelProto) -> None:
    for conv in (node for node in model.graph.node if node.op_type == "Conv"):
        pads = next(a for a in conv.attribute if a.name == "pads")
        if len(pads.ints) == 2:
            pads.ints[:] = pads.ints[::-1]


def average_pooling(model: onnx.ModelProto) -> None:
    for pool in (node for node in model.graph.node if node.op_type == "MaxPool"):
        pool.op_type = "AveragePool"
        kept = [a for a in pool.attribute if a.name in ("kernel_shape", "strides", "pads", "ceil_mode")]
        del pool.attribute[:]
        pool.attribute.extend(kept)


CHANGES = {
    "decay 0.5 -> 0.49": constant("rate", 0.51),
    "threshold 1 -> 1.001": constant("threshold", 1.001),
    "v_reset 0 -> 0.01": constant("v_reset", 0.01),
    "one weight 1 %": weight(1.01),
    "soft reset": soft_reset,
    "time reversed": reversed_time,
    "padding on the left": swapped_padding,
    "average pooling": average_pooling,
}


@pytest.mark.parametrize("apply", CHANGES.values(), ids=CHANGES)
def test_a_changed_network_fails(bundle, apply):
    """Even if both models are changed alike, so that only the reference can tell."""
    change(bundle, apply, both=True)
    (found,) = verify(bundle)[1].backends
    assert found.twins == [MODEL]
    assert any("of the threshold away from it" in failure for failure in found.failures)


def negated(layer: str) -> Change:
    """Change the sign of the weights behind a layer's current."""

    def apply(model: onnx.ModelProto) -> None:
        makers = {output: node for node in model.graph.node for output in node.output}
        node = makers[current_tensor(layer)]
        while node.op_type not in ("Conv", "Gemm", "MatMul"):
            node = makers[node.input[0]]
        tensor = next(t for t in model.graph.initializer if t.name == node.input[1])
        tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))

    return apply


def test_every_layer_is_judged_on_its_own(bundle):
    """A flip in every window's first layer hides nothing that is wrong behind it."""
    first, *_, last = Bundle.open(bundle).manifest.layers

    def both(model: onnx.ModelProto) -> None:
        negated(first.name)(model)
        negated(last.name)(model)

    change(bundle, both, both=True)
    (found,) = verify(bundle)[1].backends
    flips = {layer.layer: sum(layer.flips) for layer in found.layers}
    assert flips.pop(first.name)
    assert flips.pop(last.name)
    assert not any(flips.values())
    assert all(sum(layer.running_flips) for layer in found.layers)


def test_what_is_wrong_behind_a_flip_fails(bundle):
    """The first layer flips within rounding in every window; the last layer's weights are wrong."""
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    vectors = golden.load(bundle / "golden.npz", manifest.input)
    trace = vectors.trace(slice(None))
    first, last = manifest.layers[0], manifest.layers[-1]
    (probe, *_) = onnxruntime_probes(bundle, manifest.input.name, manifest.output, manifest.layers)
    # A reference that flips where the membrane is nearest to the threshold, and fires on as it then must.
    spikes, current = probe.layer(first.name, vectors.samples.inputs, trace.spikes)
    h = membranes(first.neuron, current, spikes)
    nearest = np.abs(h[-1] - first.neuron.threshold).reshape(len(trace.output), -1).argmin(axis=1)
    flipped = spikes.copy()
    for window, neuron in enumerate(nearest):
        flipped[-1, window].flat[neuron] ^= True
    changed = Trace(trace.output, {**trace.spikes, first.name: flipped})

    def report() -> Report:
        recorder = Recorder()
        recorder.add(changed)
        golden.save(bundle / "golden.npz", recorder.golden(vectors.samples), manifest.input)
        write_manifest(bundle, manifest)
        return verify(bundle)[1]

    assert report().backends[0].changed_windows == len(trace.output)
    change(bundle, negated(last.name), both=True)
    (found,) = report().backends
    assert sum(found.layers[-1].flips) > 100
    assert any(f"a spike of {last.name}" in failure for failure in found.failures)


@pytest.mark.parametrize(
    ("which", "value"),
    [("threshold", 0.9999), ("threshold", 1.000001), ("rate", 0.500001), ("rate", 0.499999), ("v_reset", 1e-6)],
)
def test_a_constant_that_is_a_little_wrong_fails(bundle, which, value):
    change(bundle, constant(which, value), both=True)
    opened, report = verify(bundle)
    for layer in opened.manifest.layers:
        assert any(f"{layer.name} in {PLAIN_MODEL} does not fire as its neurons do" in each for each in report.failures)


@pytest.mark.parametrize("windows", [1, 3])
def test_windows_are_run_together_too(bundle, monkeypatch, windows):
    """A network too large to run two windows at once everywhere may still confuse them."""
    monkeypatch.setattr(parity, "_BATCH_BYTES", 1)
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    vectors = golden.load(bundle / "golden.npz", manifest.input)
    first = vectors.trace(slice(windows))
    recorder = Recorder()
    recorder.add(first)
    golden.save(bundle / "golden.npz", recorder.golden(vectors.samples.first(windows)), manifest.input)
    write_manifest(bundle, manifest)
    assert verify(bundle)[1].met

    def confused(model: onnx.ModelProto) -> None:
        """Take [T, N, ...] for [N, T, ...] before the last layer."""
        current = current_tensor(manifest.layers[-1].name)
        maker = next(node for node in model.graph.node if current in node.output)
        maker.output[0] = "whole"
        swapped = np.array([-1, manifest.time_steps, *manifest.layers[-1].shape], np.int64)
        model.graph.initializer.append(numpy_helper.from_array(swapped, "swapped"))
        at = list(model.graph.node).index(maker) + 1
        order = [1, 0, *range(2, 2 + len(manifest.layers[-1].shape))]
        model.graph.node.insert(at, helper.make_node("Transpose", ["other"], [current], perm=order))
        model.graph.node.insert(at, helper.make_node("Reshape", ["whole", "swapped"], ["other"]))

    change(bundle, confused, both=True)
    failures = verify(bundle)[1].failures
    assert failures
    assert all("two windows at once: " in failure for failure in failures)


COMPARISONS = {"Greater": "GreaterOrEqual", "GreaterOrEqual": "Greater"}


def test_the_wrong_comparison_fails_where_no_data_shows_it(bundle):
    def compared(model: onnx.ModelProto) -> None:
        for scan in (node for node in model.graph.node if node.op_type == "Scan"):
            for node in next(helper.get_attribute_value(a) for a in scan.attribute if a.name == "body").node:
                node.op_type = COMPARISONS.get(node.op_type, node.op_type)

    change(bundle, compared, both=True)
    opened, report = verify(bundle)
    assert not report.backends[0].flips
    for layer in opened.manifest.layers:
        for file in (MODEL, PLAIN_MODEL):
            message = f"{layer.name} in {file} does not fire as its neurons do (h >= 1, hard reset): "
            assert any(message in failure for failure in report.failures)


def test_a_manifest_that_says_another_neuron_fails(bundle):
    manifest = Bundle.open(bundle).manifest
    neuron = dataclasses.replace(manifest.layers[0].neuron, threshold=1.5)
    layers = [dataclasses.replace(manifest.layers[0], neuron=neuron), *manifest.layers[1:]]
    write_manifest(bundle, dataclasses.replace(manifest, layers=layers))
    assert any("does not fire as its neurons do (h >= 1.5," in failure for failure in verify(bundle)[1].failures)


def test_the_two_models_must_fire_the_same_spikes(bundle):
    change(bundle, weight(1.001))
    (found,) = verify(bundle)[1].backends
    assert not found.twins
    assert any(f"{MODEL} and {PLAIN_MODEL} differ in" in failure for failure in found.failures)


@pytest.mark.parametrize(("distance", "met"), [(1e-6, True), (1e-2, False)])
def test_a_flip_is_judged_by_its_distance_from_the_threshold(bundle, distance, met):
    """The reference fires once where the models do not; the models' membrane there is just below the threshold."""
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    vectors = golden.load(bundle / "golden.npz", manifest.input)
    layer = manifest.layers[-1]
    (probe, *_) = onnxruntime_probes(bundle, manifest.input.name, manifest.output, manifest.layers)
    everything = vectors.trace(slice(None))
    spikes = everything.spikes[layer.name].copy()
    _, current = probe.layer(layer.name, vectors.samples.inputs, everything.spikes)
    h = membranes(layer.neuron, current, spikes)
    below = np.where(spikes[-1], -np.inf, h[-1])  # the last step, so that nothing follows from the flip
    place = np.unravel_index(below.argmax(), below.shape)
    assert 0 < below[place] < 1

    # A current that brings this membrane to the chosen distance stands in for the right neuron at the right place.
    missing = (1 - distance - below[place]) / layer.neuron.gain

    def pushed(model: onnx.ModelProto) -> None:
        push = np.zeros((manifest.time_steps, *h.shape[1:]), np.float32)
        push[(-1, *place)] = missing
        model.graph.initializer.append(numpy_helper.from_array(push, "push"))
        neuron = next(n for n in model.graph.node if f"{layer.name}/current" in n.input)
        source = next(n for n in model.graph.node if f"{layer.name}/current" in n.output)
        source.output[0] = "unpushed"
        index = list(model.graph.node).index(neuron)
        model.graph.node.insert(index, helper.make_node("Add", ["unpushed", "push"], [f"{layer.name}/current"]))

    change(bundle, pushed, both=True)
    spikes[(-1, *place)] = True
    recorder = Recorder()
    everything = Trace(everything.output, {**everything.spikes, layer.name: spikes})
    recorder.add(Trace(probe.readout(vectors.samples.inputs, everything.spikes), everything.spikes))
    golden.save(bundle / "golden.npz", recorder.golden(vectors.samples), manifest.input)
    write_manifest(bundle, manifest)

    report = verify(bundle)[1]
    (found,) = report.backends
    assert found.layers[-1].flips[-1] == found.flips == found.running_flips == 1
    assert found.largest_margin == pytest.approx(distance, rel=0.2)
    assert report.met is met


def test_wrong_outputs_fail_without_a_flip(bundle):
    def shifted(model: onnx.ModelProto) -> None:
        last = model.graph.node[-1]
        last.output[0] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0.01), "offset"))
        model.graph.node.append(helper.make_node("Add", ["before", "offset"], [model.graph.output[0].name]))

    change(bundle, shifted, both=True)
    (failure,) = verify(bundle)[1].failures
    assert "the output differs by 0.01 where all spikes agree" in failure


def test_outputs_that_are_no_numbers_fail(bundle):
    def undefined(model: onnx.ModelProto) -> None:
        last = model.graph.node[-1]
        last.output[0] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(np.nan), "nan"))
        model.graph.node.append(helper.make_node("Add", ["before", "nan"], [model.graph.output[0].name]))

    change(bundle, undefined, both=True)
    report = verify(bundle)[1]
    assert any("the output differs by nan" in failure for failure in report.failures)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["backends"][0]["output_difference"] is None


def test_membranes_that_are_no_numbers_fail(bundle):
    """A membrane that is no number never fires, and is no rounding's distance from its threshold."""

    def undefined(model: onnx.ModelProto) -> None:
        current = current_tensor(Bundle.open(bundle).manifest.layers[0].name)
        maker = next(node for node in model.graph.node if current in node.output)
        maker.output[0] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(np.nan), "nan"))
        at = list(model.graph.node).index(maker) + 1
        model.graph.node.insert(at, helper.make_node("Add", ["before", "nan"], [current]))

    change(bundle, undefined, both=True)
    assert any("the membrane is inf of the threshold away" in failure for failure in verify(bundle)[1].failures)


def test_wrong_classes_fail(bundle, name):
    def reversed_classes(model: onnx.ModelProto) -> None:
        last = model.graph.node[-1]
        last.output[0] = "before"
        rate = model.graph.output[0]
        classes = rate.type.tensor_type.shape.dim[1].dim_value
        order = numpy_helper.from_array(np.arange(classes)[::-1].copy(), "order")
        model.graph.initializer.append(order)
        model.graph.node.append(helper.make_node("Gather", ["before", "order"], [rate.name], axis=1))

    change(bundle, reversed_classes)
    failures = verify(bundle)[1].failures
    assert any("the predicted class differs in" in failure for failure in failures)
