"""All time forms of a whole window against the equations in numpy, where rounding and thresholds are hardest."""

import dataclasses

import numpy as np
import pytest
from onnx import helper

from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.choices import TIME_FORMS
from tcja_runtime.evidence.stimulus import ties
from tcja_runtime.neuron import NeuronSpec, fire, membranes
from tcja_runtime.neuron_rules import RESET_KINDS

from .one_layer import defined, model, ran

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
LINEAR = ("TET", "integrate", "linear", "instant")
LIKE = ("integrate", "instant", "leaky, by its rate")
"""Charges with the equations of another one."""
DELAYED = ("late", "refractory")
RESETS = {
    "hard": lambda _: {},
    "to another value": lambda threshold: {"v_reset": -0.25 * threshold},
    "soft": lambda _: {"reset": "soft"},
    "late": lambda _: {"reset": "late"},
    "refractory": lambda _: {"reset": "refractory"},
    "none": lambda _: {"reset": "none"},
}
THRESHOLDS = (1.0, 0.2, 0.5, 3.0, 1e-6, np.float32(2.0**-120))
BELOW = (0.0, -0.75)
"""Thresholds at which a neuron fires at rest."""
REST = {"v_reset": -0.25}
"""A membrane that starts, and to which a charge leaks, elsewhere than at 0."""


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
        if reset not in DELAYED or charge in LINEAR
    ],
)
def test_every_neuron_is_exact(charge, reset, form):
    for strict in (False, True):
        for threshold in (*THRESHOLDS, *(() if reset in DELAYED or charge in RECTIFIED else BELOW)):
            spec = CHARGES[charge](strict=strict, threshold=float(threshold), **RESETS[reset](float(threshold)))
            x = currents(threshold)
            expected = fire(spec, x)
            np.testing.assert_array_equal(ran(model(spec, form, STEPS), x), expected.astype(np.float32))
            assert reset == "none" or 0.01 < expected.mean() < 0.999


@pytest.mark.parametrize("form", TIME_FORMS)
def test_every_integrator_is_exact(form):
    """Its membranes are those of the equations to the bit, also in the function that defines the operator."""
    x = currents(1.0)
    silent = np.zeros(x.shape, np.bool_)
    charges = [charge for name, charge in CHARGES.items() if name not in RECTIFIED]
    for spec in (charge(strict=False, threshold=1.0, **hard).integrator() for charge in charges for hard in ({}, REST)):
        expected = membranes(spec, x, silent)
        np.testing.assert_array_equal(ran(model(spec, form, STEPS), x), expected)
        np.testing.assert_array_equal(ran(defined(spec, STEPS), x), expected)


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


def drawn(seed):
    """A neuron of a layer [3, 4, 5] with drawn constants: numbers, values by channel and values by neuron."""
    draw = np.random.default_rng(seed)

    def constant(low, high):
        return draw.uniform(low, high, ((), (3, 1, 1), (3, 4, 5))[draw.integers(3)])

    strict, threshold, initial = bool(draw.integers(2)), draw.uniform(0.2, 1.5, (3, 4, 5)), constant(-0.5, 0.19)
    threshold = threshold if seed % 3 else 0.5
    reset = RESET_KINDS[seed % 5]
    hard = {"v_reset": constant(-0.5, 0.1)} if reset == "hard" else {}
    common = {"strict": strict, "threshold": threshold, "reset": reset, "v_initial": initial, **hard}
    if reset in DELAYED or draw.integers(2):
        return NeuronSpec.linear(decay=constant(0, 1), gain=constant(0.5, 2), bias=constant(-0.1, 0.1), **common)
    leak = {"tau": constant(1.1, 8)} if draw.integers(2) else {"rate": constant(0.1, 0.9)}
    return NeuronSpec.leaky(decay_input=bool(draw.integers(2)), **leak, v_rest=constant(-0.2, 0.2), **common)


@pytest.mark.parametrize("form", [*TIME_FORMS, None], ids=str)
def test_constants_that_differ_by_channel_or_neuron_are_exact(form):
    for seed in range(12):
        spec = drawn(seed)
        x = ties(Layer(name="layer", shape=(3, 4, 5), neuron=spec), STEPS)
        expected = fire(spec, x)
        assert 0.05 < expected.mean() < 0.95
        for each in (x, x[:, :1]):
            found = ran(model(spec, form, STEPS, neurons=x.shape[2:]), each)
            np.testing.assert_array_equal(found, expected[:, : each.shape[1]].astype(np.float32), str(spec))


@pytest.mark.parametrize("form", [*TIME_FORMS, None], ids=str)
def test_the_size_of_a_model_does_not_depend_on_its_arrays(form):
    numbers = NeuronSpec.linear(decay=0.5, strict=True, threshold=0.9, v_initial=0.1)
    arrays = NeuronSpec.linear(
        decay=0.5, strict=True, threshold=np.linspace(0.5, 1, 60).reshape(3, 4, 5), v_initial=0.1
    )
    one, other = (len(model(spec, form, STEPS, neurons=(3, 4, 5)).graph.node) for spec in (numbers, arrays))
    assert one <= other <= one + 4  # an array is spread over the neurons


@pytest.mark.rtx
def test_the_parser_of_tensorrt_reads_arrays():
    import tensorrt_rtx as trt

    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    for form in (*TIME_FORMS, None):
        network = builder.create_network(0)  # the parser does not keep it
        parser = trt.OnnxParser(network, logger)
        read = parser.parse(model(drawn(0), form, STEPS, neurons=(3, 4, 5)).SerializeToString())
        assert read, [parser.get_error(i).desc() for i in range(parser.num_errors)]
