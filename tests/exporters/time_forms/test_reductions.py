"""Reductions behind the spikes of the form fused: the same results in ONNX Runtime, from other operators."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from benchmarks.engines import patterns
from tcja_exporters.time_forms.reductions import LARGEST_POOLED

STEPS = 5
ROUNDED = {
    *("mean of scaled spikes", "residual sum with the current", "attention to channels, by mean and maximum"),
    "convolution, then mean",
}
"""The patterns whose sums round, so that their order matters."""
BARRIERS = {
    *("mean over time and map", "sum over time", "sum over the map", "softmax", "layer normalization", "norm"),
    *("count of values", "attention to time"),
}
"""The patterns in which a reduction stays, behind a barrier."""
LEFT = {
    "average pooling of the map",
    *("linear layer, then mean over time", "product of spikes with spikes"),
}
"""The patterns in which products or pooling read the spikes."""


def ran(plain: onnx.ModelProto, steps: int = STEPS) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    frames = np.random.default_rng(1).poisson(0.5, (3, steps, 2, 16, 16)).astype(np.float32)
    (y,) = onnxruntime.InferenceSession(plain.SerializeToString(), options).run(["y"], {"frames": frames})
    return y


def kinds(plain: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in plain.graph.node)


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_results_are_those_of_the_reductions(pattern):
    plain = patterns.model(pattern, STEPS)
    onnx.checker.check_model(plain, full_check=True)
    found, expected = ran(plain), ran(patterns.model(pattern, STEPS, "unrolled"))
    assert expected.any()
    if pattern in ROUNDED:
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_what_replaces_a_reduction(pattern):
    before, after = kinds(patterns.model(pattern, STEPS, replaced=False)), kinds(patterns.model(pattern, STEPS))
    reductions = [kind for kind in before if kind.startswith(("Reduce", "Global"))]
    stay = [kind for kind in reductions if kind in after]
    if pattern in LEFT:
        assert after == before
    elif pattern == "maximum pooling, then mean":  # the maximum is one of slices, and no end of the kernel
        assert (after["MaxPool"], after["Max"], after["AveragePool"], stay) == (0, 3, 1, [])
    elif pattern == "average pooling, then mean":
        assert (after["AveragePool"], after["Slice"], stay) == (1, 4, [])
    elif pattern in BARRIERS:
        assert after["MaxPool"] == before["MaxPool"] + 1
    else:
        assert not stay
        pools = sum(before[kind] for kind in reductions)
        assert after["MaxPool"] + after["AveragePool"] == before["MaxPool"] + before["AveragePool"] + pools


@pytest.mark.parametrize("form", ["scan", "unrolled"])
def test_other_forms_keep_their_reductions(form):
    assert kinds(patterns.model("mean over the map", STEPS, form))["ReduceMean"] == 1


def test_a_window_that_is_too_large_stays_a_mean_behind_a_barrier():
    side = int(LARGEST_POOLED**0.5)
    found = kinds(patterns.model("mean over the map", 1, side=side))
    assert (found["AveragePool"], found["ReduceMean"], found["MaxPool"]) == (1, 0, 0)
    found = kinds(patterns.model("mean over the map", 1, side=side + 1))
    assert (found["AveragePool"], found["ReduceMean"], found["MaxPool"]) == (0, 1, 1)


def test_a_reduction_of_unknown_sizes_is_behind_a_barrier():
    """A network that loops over time itself has tensors whose sizes no model describes."""
    plain = patterns.model("mean of transposed spikes", 3, described=False)
    found = kinds(plain)
    assert (found["AveragePool"], found["ReduceMean"], found["MaxPool"], found["Shape"]) == (0, 1, 1, 1)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(plain), full_check=True)
    expected = ran(patterns.model("mean of transposed spikes", 3, "unrolled"), 3)
    np.testing.assert_array_equal(ran(plain, 3), expected)


def test_readers_of_the_same_spikes_share_a_barrier(monkeypatch):
    both = [
        patterns.reduced("ReduceSum", 3, 4, out="a"),
        patterns.reduced("ReduceSum", 3, 4, out="b"),
        patterns.op("Add", "a", "b"),
    ]
    monkeypatch.setitem(patterns.PATTERNS, "both", both)
    assert kinds(patterns.model("both", STEPS))["MaxPool"] == 1


def test_a_pooling_of_one_value_does_not_end_the_fusion(monkeypatch):
    """The builder removes it."""
    pool = [
        patterns.op("Reshape", patterns.SPIKES, "images", out="i"),
        patterns.op("MaxPool", "i", out="m", kernel_shape=[1, 1]),
        patterns.reduced("ReduceMean", 2, 3, of="m"),
    ]
    monkeypatch.setitem(patterns.PATTERNS, "pool", pool)
    assert kinds(patterns.model("pool", STEPS))["ReduceMean"] == 0


def test_integers_are_not_pooled(monkeypatch):
    whole = [
        patterns.op("Cast", patterns.SPIKES, out="i", to=TensorProto.INT32),
        patterns.reduced("ReduceMax", 3, 4, of="i", out="m"),
        helper.make_node("Cast", ["m"], ["y"], name="y", to=TensorProto.FLOAT),
    ]
    monkeypatch.setitem(patterns.PATTERNS, "whole", whole)
    plain = patterns.model("whole", STEPS)
    (pool,) = (node for node in plain.graph.node if node.op_type == "MaxPool")
    assert pool.input[0] == f"{patterns.SPIKES}/rows"
    onnx.checker.check_model(plain, full_check=True)
    np.testing.assert_array_equal(ran(plain), ran(patterns.model("whole", STEPS, "unrolled")))
