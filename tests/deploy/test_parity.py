"""Correct exports pass, changed ones do not: models of a real bundle are changed and verified again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tcja_deploy import parity
from tcja_deploy.verification import verify
from tcja_runtime import golden
from tcja_runtime.bundle import MODEL, PLAIN_MODEL, Bundle, write_manifest
from tcja_runtime.golden import Recorder

Change = Callable[[onnx.ModelProto], None]


def change(bundle: Path, apply: Change, files: tuple[str, ...] = (PLAIN_MODEL,)) -> None:
    """Change models of a bundle, and put its hashes right, as a faulty exporter would."""
    manifest = Bundle.open(bundle).manifest
    for file in files:
        model = onnx.load(bundle / file)
        apply(model)
        onnx.save(model, bundle / file)
    write_manifest(bundle, manifest)


def test_a_correct_export_passes(bundle, name):
    opened, report = verify(bundle)
    assert report.met
    assert not report.failures
    assert [model.model for model in report.models] == [MODEL, PLAIN_MODEL]
    for model in report.models:
        assert model.agreement == 1.0
        assert model.largest_margin < 1e-5
        assert [layer.layer for layer in model.layers] == [layer.name for layer in opened.manifest.layers]
        assert all(sum(layer.spikes) > 0 for layer in model.layers)
    assert report.accuracy == report.models[0].accuracy == pytest.approx(10 / 12)


def test_spikes_are_counted_by_step(bundle):
    opened, report = verify(bundle)
    counts = golden.load(bundle / "golden.npz", opened.manifest.input).trace.spike_counts()
    assert [layer.spikes for layer in report.models[0].layers] == counts.sum(axis=1).tolist()


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
    "decay 0.5 -> 0.49": constant("gain", 0.51),
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
    change(bundle, apply)
    report = verify(bundle)[1]
    assert not report.met
    assert report.models[0].met
    assert any(PLAIN_MODEL in failure for failure in report.failures)


def test_models_that_differ_from_each_other_fail_even_within_rounding(bundle):
    """Both within rounding of the reference is not enough: the two models must fire the same spikes."""
    opened = Bundle.open(bundle)
    flipped = golden.load(bundle / "golden.npz", opened.manifest.input)
    change(bundle, weight(1.001))
    report = verify(bundle)[1]
    assert len(flipped.samples) == 12
    assert any(f"{MODEL} and {PLAIN_MODEL} fire different spikes in" in failure for failure in report.failures)


def test_a_flip_at_the_threshold_is_rounding(bundle):
    """The reference's own spikes, changed where its membrane is nearest the threshold, count as explained flips."""
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    vectors = golden.load(bundle / "golden.npz", manifest.input)
    layer = manifest.layers[-1]
    before = verify(bundle)[1].models[0].flips

    spikes = vectors.trace.spikes[layer.name].copy()
    spikes[-1, 0, 0] ^= True  # the last step, so that nothing follows from it
    recorder = Recorder()
    recorder.add(type(vectors.trace)(vectors.trace.output, {**vectors.trace.spikes, layer.name: spikes}))
    golden.save(bundle / "golden.npz", recorder.golden(vectors.samples), manifest.input)
    write_manifest(bundle, manifest)

    model = verify(bundle)[1].models[0]
    assert model.flips == before + 1
    assert model.layers[-1].root_flips == 1
    assert model.layers[-1].flips[-1] == 1
    assert model.met == (model.largest_margin <= parity.MARGIN)
    assert not model.met  # no membrane of this layer is that near the threshold


def test_wrong_outputs_fail_without_a_flip(bundle):
    def shifted(model: onnx.ModelProto) -> None:
        last = model.graph.node[-1]
        last.output[0] = "before"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(0.01), "offset"))
        model.graph.node.append(helper.make_node("Add", ["before", "offset"], [model.graph.output[0].name]))

    change(bundle, shifted, files=(MODEL, PLAIN_MODEL))
    report = verify(bundle)[1]
    assert all("the output differs by 0.01 where all spikes agree" in failure for failure in report.failures)
    assert len(report.failures) == 2


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
