"""The time form fused: its operations, which are few, words that hold spikes, and currents in half."""

import re
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import helper

from tcja_exporters.time_forms.fused import CONCAT_VALUES, HALF_STEPS, WORD_STEPS
from tcja_runtime.neuron import NeuronSpec, fire
from tcja_runtime.tensorrt.build import Batch, BuildOptions, BuildRequest, build

from .one_layer import CURRENT, HALF, model, ran

STEPS = 6
SPECS = {
    "integrate": (NeuronSpec.linear(decay=1.0, strict=True), {"Add": 5, "Where": 5}),
    "TET": (NeuronSpec.linear(decay=0.5, strict=True), {"Mul": 5, "Add": 5, "Where": 5}),
    "decayed": (NeuronSpec.leaky(decay_input=True, tau=2.0), {"Sub": 5, "Mul": 6, "Add": 5, "Where": 5}),
    "divided": (NeuronSpec.leaky(decay_input=True, tau=3.0), {"Sub": 5, "Div": 6, "Add": 5, "Where": 5}),
    "PLIF": (NeuronSpec.leaky(decay_input=True, rate=0.3), {"Sub": 5, "Mul": 6, "Add": 5, "Where": 5}),
    "soft": (NeuronSpec.linear(decay=1.0, strict=False, reset="soft"), {"Add": 5, "Sub": 5, "Where": 5}),
    "late": (NeuronSpec.linear(decay=0.9, strict=True, reset="late"), {"Mul": 5, "Add": 5, "Sub": 5, "Where": 5}),
    "refractory": (NeuronSpec.linear(decay=0.9, strict=True, reset="refractory"), {"Mul": 5, "Add": 5, "Where": 5}),
    "none": (NeuronSpec.linear(decay=0.5, strict=True, reset="none"), {"Mul": 5, "Add": 5}),
}
PACKED = {
    "Where": STEPS,
    "Add": STEPS - 1,
    "Reshape": 2,
    "MaxPool": 1,
    "Mul": 3,
    "Floor": 2,
    "Sub": 1,
    "Identity": 1,
    "Split": 1,
    "Greater": STEPS,
    "Cast": 2,
    "Concat": 2,
    "Shape": 1,
}
JOINED = {"Identity": 1, "Split": 1, "Greater": STEPS, "Concat": 1, "Cast": 1}
LARGE = (8, CONCAT_VALUES // 48 + 1)
"""A shape of neurons whose spikes are packed, at six steps; half as many are joined by a Concat."""


def kinds(plain):
    return Counter(node.op_type for node in plain.graph.node)


@pytest.mark.parametrize("spec", SPECS)
def test_a_step_takes_one_comparison_and_a_selection(spec):
    neuron, few = SPECS[spec]
    packed = model(neuron, "fused", STEPS, neurons=LARGE)
    assert kinds(packed) == Counter(few) + Counter(PACKED)
    joined = model(neuron, "fused", STEPS, neurons=(4, LARGE[1]))
    assert kinds(joined) == Counter(few) + Counter(JOINED)


@pytest.mark.parametrize("neurons", [None, (500,), (LARGE[1] * 8,), LARGE], ids=["unknown", "few", "a row", "maps"])
@pytest.mark.parametrize("steps", [1, 3, 4, HALF_STEPS, HALF_STEPS + 1, WORD_STEPS, WORD_STEPS + 1, 2 * WORD_STEPS + 1])
def test_any_number_of_steps(steps, neurons):
    """Words hold every spike: a neuron that fires always, one that never does, and others."""
    neuron = NeuronSpec.leaky(decay_input=True, tau=2.0)
    x = np.random.default_rng(steps).normal(1, 1, (steps, 2, *(neurons or (300,)))).astype(np.float32)
    x[..., 0], x[..., 1] = 5, -5
    expected = fire(neuron, x)
    assert expected[..., 0].all()
    assert not expected[..., 1].any()
    np.testing.assert_array_equal(ran(model(neuron, "fused", steps, neurons=neurons), x), expected.astype(np.float32))


@pytest.mark.parametrize("neurons", [LARGE, (4, 8, LARGE[1]), (2, 8, 8, LARGE[1])], ids=["3 axes", "4 axes", "5 axes"])
def test_neurons_run_in_any_number(neurons):
    """Parity runs them alone, in other numbers than those of the network."""
    neuron, fewer = NeuronSpec.leaky(decay_input=True, tau=2.0), (3, *range(5, 4 + len(neurons)))
    x = np.random.default_rng(0).normal(1, 1, (STEPS, 2, *fewer)).astype(np.float32)
    plain = model(neuron, "fused", STEPS, neurons=neurons)
    assert kinds(plain)["MaxPool"] == 1
    for dim in (
        dim for value in (*plain.graph.input, *plain.graph.output) for dim in value.type.tensor_type.shape.dim[1:]
    ):
        dim.Clear()
    del plain.graph.value_info[:]
    np.testing.assert_array_equal(ran(plain, x), fire(neuron, x).astype(np.float32))


def test_a_barrier_stands_between_packing_and_unpacking():
    """A window of one value would be removed by the builder; this one has padding, so the model must hold it."""
    (pool,) = (node for node in model(SPECS["TET"][0], "fused", STEPS).graph.node if node.op_type == "MaxPool")
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in pool.attribute}
    assert (found["kernel_shape"], found["pads"]) == ([3, 1], [1, 0, 1, 0])


@pytest.mark.parametrize(("steps", "casts"), [(HALF_STEPS, 2), (HALF_STEPS + 1, 0)])
def test_words_of_few_steps_are_in_half(steps, casts):
    assert kinds(model(SPECS["TET"][0], "fused", steps))["Cast"] == casts


@pytest.mark.parametrize("spec", SPECS)
def test_a_current_in_half_is_cast_step_by_step(spec):
    neuron, _ = SPECS[spec]
    plain = model(neuron, "fused", STEPS, half=True)
    assert CURRENT not in {output for node in plain.graph.node for output in node.output}
    (split,) = (node for node in plain.graph.node if node.op_type == "Split")
    assert list(split.input) == [HALF]
    assert kinds(plain)["Cast"] == STEPS + 2  # and those of the words
    x = np.random.default_rng(0).normal(0.5, 1, (STEPS, 2, 500)).astype(np.float16)
    expected = fire(neuron, x.astype(np.float32))
    np.testing.assert_array_equal(ran(plain, x), expected.astype(np.float32))
    assert 0.01 < expected.mean() < 0.99


@pytest.mark.parametrize("form", ["scan", "unrolled"])
def test_other_forms_cast_it_once(form):
    plain = model(SPECS["TET"][0], form, STEPS, half=True)
    assert [node.output[0] for node in plain.graph.node if node.op_type == "Cast"] == [CURRENT]


def test_a_current_that_something_else_reads_is_cast_once():
    behind = [helper.make_node("Neg", [CURRENT], ["negated"])]
    plain = model(SPECS["TET"][0], "fused", STEPS, half=True, behind=behind)
    (split,) = (node for node in plain.graph.node if node.op_type == "Split")
    assert list(split.input) == [CURRENT]


@pytest.mark.parametrize(("strict", "compared"), [(True, "Greater"), (False, "GreaterOrEqual")])
def test_a_threshold_of_0_is_not_compared_with_a_subnormal_number(strict, compared):
    """A GPU may take a subnormal number for 0."""
    plain = model(NeuronSpec.linear(decay=0.5, threshold=0.0, strict=strict), "fused", STEPS)
    assert kinds(plain)[compared] == STEPS


@pytest.mark.tensorrt
@pytest.mark.rtx
@pytest.mark.parametrize("half", [False, True], ids=["float", "half"])
@pytest.mark.parametrize(
    "spec", [each if each == "decayed" else pytest.param(each, marks=pytest.mark.slow) for each in SPECS]
)
def test_the_kernel_of_an_engine_reads_each_current_once(tmp_path, spec, half):
    """An engine of TensorRT-RTX holds the source of its kernels. That of the neurons loads every time step one time."""
    steps, neurons = 20, (8, 64, 64)
    onnx.save(model(SPECS[spec][0], "fused", steps, half=half, neurons=neurons), tmp_path / "layer.onnx")
    request = BuildRequest(
        model=tmp_path / "layer.onnx",
        engines=tmp_path / "engines",
        target="tensorrt-rtx",
        precision="fp32",
        shapes={"x": (steps, 1, *neurons)},
        options=BuildOptions(batch=Batch(1, 1, 1)),
        time_steps=steps,
    )
    engine = build(request)
    kernels = [text.split("\0")[0] for text in engine.plan().decode("latin1").split("__global__")[1:]]
    (neuron,) = (text for text in kernels if text.count("gtr___myln_bool___myln_float") >= steps)
    loads = re.findall(r"= \(\(__myln_[^)]*\*\)__v\d+\)\[", neuron)
    assert len(loads) == steps
    assert engine.info.plan
    window = steps * 8 * 64 * 64
    assert engine.info.plan.bytes < (2 if half else 4) * window + 4 * window + 20 * window / steps
