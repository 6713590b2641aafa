"""The time form fused of long windows: a Scan over blocks of steps, whose kernel reads each current once."""

import dataclasses
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tcja_exporters.time_forms.blocks import LONGEST, block_steps
from tcja_runtime.neuron import NeuronSpec, fire
from tcja_runtime.tensorrt.build import Batch, BuildOptions, BuildRequest, build

from .one_layer import model, ran

SPECS = {
    "hard": NeuronSpec.leaky(decay_input=True, tau=3.0),
    "hard, to another value": NeuronSpec.linear(decay=0.5, strict=True, v_reset=-0.3, v_initial=0.1),
    "hard, fires at rest": NeuronSpec.linear(decay=0.5, strict=True, threshold=-0.75),
    "hard, fires where it starts": NeuronSpec.linear(decay=0.5, strict=True, v_reset=-0.3, v_initial=1.5),
    "soft": NeuronSpec.leaky(decay_input=False, tau=3.0, reset="soft"),
    "soft, fires at rest": NeuronSpec.linear(decay=0.9, strict=False, threshold=-0.75, reset="soft"),
    "late": NeuronSpec.linear(decay=0.9, strict=True, reset="late"),
    "refractory": NeuronSpec.linear(decay=0.9, strict=True, reset="refractory"),
    "none": NeuronSpec.linear(decay=0.5, strict=True, reset="none"),
    "rescaling": dataclasses.replace(NeuronSpec.leaky(decay_input=False, tau=2.0), slope=0.7, rescales=True),
    "arrays": NeuronSpec.linear(
        decay=np.linspace(0.1, 0.9, 300), threshold=np.linspace(0.5, 2, 300), strict=False, v_initial=0.2
    ),
}
TYPES = {57: TensorProto.FLOAT, 60: TensorProto.INT32, 64: TensorProto.INT64}
"""Numbers of steps, and the types of their words."""


def scan_of(plain):
    (scan,) = (node for node in plain.graph.node if node.op_type == "Scan")
    return helper.get_attribute_value(next(a for a in scan.attribute if a.name == "body"))


@pytest.mark.parametrize("spec", SPECS)
def test_every_neuron_is_exact(spec):
    """Also one that fires always, one that never does, and neurons in another number."""
    neuron = SPECS[spec]
    for steps in TYPES if spec == "hard" else (60,):
        x = np.random.default_rng(steps).normal(0.5, 1, (steps, 2, 300)).astype(np.float32)
        x[..., 0], x[..., 1] = 5, -5
        plain = model(neuron, "fused", steps, neurons=(300,))
        for each in (x, x[:, :1]):
            expected = fire(neuron, each)
            assert expected[..., 0].all() == (spec != "refractory")
            assert not expected[..., 1].all()
            np.testing.assert_array_equal(ran(plain, each), expected.astype(np.float32))


@pytest.mark.parametrize(("steps", "kind"), TYPES.items())
def test_a_block_returns_one_word_in_a_type_that_holds_it(steps, kind):
    body = scan_of(model(SPECS["hard"], "fused", steps))
    _, words = body.output
    assert words.type.tensor_type.elem_type == kind


def test_a_current_in_half_is_cast_step_by_step():
    neuron, x = SPECS["soft"], np.random.default_rng(0).normal(0.5, 1, (60, 2, 300)).astype(np.float16)
    plain = model(neuron, "fused", 60, half=True)
    assert scan_of(plain).input[1].type.tensor_type.elem_type == TensorProto.FLOAT16
    np.testing.assert_array_equal(ran(plain, x), fire(neuron, x.astype(np.float32)).astype(np.float32))


@pytest.mark.parametrize(
    ("steps", "block"), [(50, 25), (57, 19), (60, 30), (64, 32), (72, 36), (100, 25), (150, 30), (53, 0), (2 * 53, 0)]
)
def test_a_block_divides_the_window_and_has_about_30_steps(steps, block):
    assert block_steps(steps) == block


@pytest.mark.parametrize("steps", [LONGEST, 53])
def test_other_windows_have_all_steps_one_after_the_other(steps):
    assert not [node for node in model(SPECS["hard"], "fused", steps).graph.node if node.op_type == "Scan"]


def test_integrators_have_all_steps_one_after_the_other():
    plain = model(SPECS["hard"].integrator(), "fused", 60)
    assert not [node for node in plain.graph.node if node.op_type == "Scan"]


@pytest.mark.tensorrt
@pytest.mark.rtx
@pytest.mark.parametrize(
    "spec", ["hard", *(pytest.param(each, marks=pytest.mark.slow) for each in ("soft", "late", "none"))]
)
def test_an_engine_has_one_kernel_for_a_block(tmp_path, spec):
    """An engine of TensorRT-RTX holds the source of its kernels. One compares every step, and loads each one time."""
    neurons, steps = (8, 32, 32), 60
    onnx.save(model(SPECS[spec], "fused", steps, neurons=neurons), tmp_path / "layer.onnx")
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
    (neuron,) = (text for text in kernels if "gtr___myln_bool___myln_float" in text)
    loads = re.findall(r"= \(\(__myln_[^)]*\*\)__v\d+\)\[", neuron)
    assert block_steps(steps) < len(loads) <= block_steps(steps) + 3  # and the membranes
    assert len(kernels) <= 5
