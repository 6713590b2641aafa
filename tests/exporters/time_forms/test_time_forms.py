"""All time forms of a whole window against the equations in numpy, where rounding and thresholds are hardest."""

import dataclasses

import numpy as np
import pytest
from onnx import helper

from tcja_runtime.choices import TIME_FORMS
from tcja_runtime.neuron import NeuronSpec, fire

from .one_layer import model, ran

STEPS = 9
CHARGES = {
    "TET": lambda **k: NeuronSpec.linear(decay=0.5, **k),
    "integrate": lambda **k: NeuronSpec.linear(decay=1.0, **k),
    "linear": lambda **k: NeuronSpec.linear(decay=0.75, gain=1.5, bias=k["threshold"] / 8, **k),
    "instant": lambda **k: NeuronSpec.linear(decay=0.0, gain=1.5, bias=k["threshold"] / 8, **k),
    "decayed": lambda **k: NeuronSpec.leaky(decay_input=True, tau=2.0, **k),
    "decayed, divided": lambda **k: NeuronSpec.leaky(decay_input=True, tau=3.0, **k),
    "rectified": lambda **k: dataclasses.replace(NeuronSpec.leaky(decay_input=True, tau=3.0, **k), slope=1.3),
    "rectified, rescaling": lambda **k: dataclasses.replace(
        NeuronSpec.leaky(decay_input=False, tau=2.0, **k), slope=0.7, rescales=k.get("reset") in (None, "soft")
    ),
    "leaky": lambda **k: NeuronSpec.leaky(decay_input=False, tau=3.0, **k),
    "leaky, by its rate": lambda **k: NeuronSpec.leaky(decay_input=False, rate=0.3, **k),
}
RECTIFIED = ("rectified", "rectified, rescaling")
LIKE = ("integrate", "instant", "leaky, by its rate")
"""Charges with the equations of another one."""
RESETS = {
    "hard": lambda _: {},
    "to another value": lambda threshold: {"v_reset": -0.25 * threshold},
    "soft": lambda _: {"reset": "soft"},
    "late": lambda _: {"reset": "late"},
    "none": lambda _: {"reset": "none"},
}
THRESHOLDS = (1.0, 0.2, 0.5, 3.0, 1e-6, np.float32(2.0**-120))
BELOW = (0.0, -0.75)
"""Thresholds at which a neuron fires at rest."""


def currents(threshold):
    """Currents [T, 2, 4000]: drawn ones, multiples of half the threshold, and neighbours of those in float32."""
    drawn = np.random.default_rng(0).normal(0.3, 1.5, (STEPS, 2, 4000)).astype(np.float32)
    size = np.float32(abs(threshold) or 1.0)
    exact = np.round(drawn[..., :2000] * 2) / 2
    towards = np.random.default_rng(1).choice([-np.inf, np.inf], exact.shape).astype(np.float32)
    exact[..., 1000:] = np.nextafter(exact, towards)[..., 1000:]
    return np.concatenate([exact, drawn[..., 2000:]], -1) * size


@pytest.mark.parametrize("form", TIME_FORMS)
@pytest.mark.parametrize(
    ("charge", "reset"),
    [
        pytest.param(charge, reset, marks=pytest.mark.slow if charge in LIKE else [])
        for charge in CHARGES
        for reset in RESETS
        if reset != "late" or charge not in RECTIFIED
    ],
)
def test_every_neuron_is_exact(charge, reset, form):
    for strict in (False, True):
        for threshold in (*THRESHOLDS, *(() if reset == "late" or charge in RECTIFIED else BELOW)):
            spec = CHARGES[charge](strict=strict, threshold=float(threshold), **RESETS[reset](float(threshold)))
            x = currents(threshold)
            expected = fire(spec, x)
            np.testing.assert_array_equal(ran(model(spec, form, STEPS), x), expected.astype(np.float32))
            assert reset == "none" or 0.01 < expected.mean() < 0.999


@pytest.mark.parametrize("form", TIME_FORMS)
def test_spikes_at_the_edge_of_float32(form):
    """The largest membranes fire and their negatives do not, though k times them is infinite."""
    largest = np.finfo(np.float32).max / 4  # a sum of them must be a number
    x = np.array([largest, -largest, largest / 2, -largest / 2, 2.0**120, -(2.0**120), 1e-45, 0.0], np.float32)
    x = np.broadcast_to(x, (STEPS, 1, 8)).copy()
    spec = NeuronSpec.linear(decay=0.5, strict=True)
    np.testing.assert_array_equal(ran(model(spec, form, STEPS), x), fire(spec, x).astype(np.float32))


def test_a_scan_is_as_large_for_any_number_of_steps_and_a_step_takes_few_operations():
    plain = model(NeuronSpec.leaky(decay_input=True, tau=2.0), "scan", STEPS)
    (scan,) = (node for node in plain.graph.node if node.op_type == "Scan")
    body = helper.get_attribute_value(next(a for a in scan.attribute if a.name == "body"))
    assert [node.op_type for node in body.node] == ["Add", "Mul", "Sub", "ThresholdedRelu", "HardSigmoid"]


def test_unrolled_saves_the_first_membrane_and_the_last():
    plain = model(NeuronSpec.leaky(decay_input=True, tau=2.0), "unrolled", STEPS)
    kinds = [node.op_type for node in plain.graph.node]
    assert "Scan" not in kinds
    assert kinds.count("Add") == STEPS - 1
    assert kinds.count("ThresholdedRelu") == STEPS - 1
    assert kinds.count("HardSigmoid") == 1
