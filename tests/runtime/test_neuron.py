import dataclasses
import json

import numpy as np
import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.neuron import NeuronSpec, fire, membranes

LIF = NeuronSpec.leaky(decay_input=True, tau=2.0)
TET = NeuronSpec.linear(decay=0.5, strict=True)
SOFT = NeuronSpec.linear(decay=0.5, strict=False, reset="soft")
SCALED = NeuronSpec.leaky(decay_input=True, rate=0.25, strict=True, reset="soft")
LEAKY = NeuronSpec.leaky(decay_input=False, tau=4.0, v_reset=-1.0)
LATE = NeuronSpec.linear(decay=0.5, strict=True, reset="late")
UNRESET = NeuronSpec.linear(decay=0.5, strict=True, reset="none")
RESTED = NeuronSpec.linear(decay=0.5, gain=2.0, bias=0.25, strict=False, v_reset=-0.5)

# One neuron each, worked out by hand: currents, membranes before firing, spikes.
TRAJECTORIES = [
    pytest.param(LIF, [1.0, 2.0, 1.5, 0.0], [0.5, 1.25, 0.75, 0.375], [0, 1, 0, 0], id="decayed input, hard reset"),
    pytest.param(LIF, [2.0, 0.0, 2.0, 1.0], [1.0, 0.0, 1.0, 0.5], [1, 0, 1, 0], id="inclusive at the threshold"),
    pytest.param(TET, [1.0, 1.0, 1.0, 0.0], [1.0, 1.5, 1.0, 0.5], [0, 1, 0, 0], id="strict at the threshold"),
    pytest.param(SOFT, [1.0, 1.5, 0.0, 1.0], [1.0, 1.5, 0.25, 1.125], [1, 1, 0, 1], id="soft reset"),
    pytest.param(RESTED, [0.5, 0.5, 0.0, 0.0], [1.0, 1.0, 0.0, 0.25], [1, 1, 0, 0], id="gain, bias and v_reset"),
    pytest.param(SCALED, [4.0, 8.0, 0.0, 2.0], [1.0, 2.75, 1.3125, 0.734375], [0, 1, 1, 0], id="leak by its rate"),
    pytest.param(LEAKY, [1.0, 1.0, 0.5, 0.0], [0.0, 0.75, 0.8125, 0.359375], [0, 0, 0, 0], id="leaky, v_reset"),
    pytest.param(LATE, [2.0, 0.0, 0.0, 3.0], [2.0, 0.0, 0.0, 3.0], [1, 0, 0, 1], id="late reset, after the decay"),
    pytest.param(UNRESET, [2.0, 1.0, 0.0, 0.0], [2.0, 2.0, 1.0, 0.5], [1, 1, 0, 0], id="no reset"),
]


@pytest.mark.parametrize(("spec", "current", "h", "spikes"), TRAJECTORIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_trajectory(spec, current, h, spikes, dtype):
    x = np.array(current, dtype)[:, None]
    got_spikes = fire(spec, x)
    got_h = membranes(spec, x, got_spikes)
    np.testing.assert_array_equal(got_h[:, 0], np.array(h, dtype))
    np.testing.assert_array_equal(got_spikes[:, 0], np.array(spikes, bool))
    assert got_h.dtype == dtype


def test_membranes_follow_the_given_spikes_not_their_own():
    current = np.array([2.0, 0.0, 0.0])[:, None]
    silent = np.zeros((3, 1), bool)
    np.testing.assert_array_equal(membranes(LIF, current, silent)[:, 0], [1.0, 0.5, 0.25])
    np.testing.assert_array_equal(membranes(LIF, current, ~silent)[:, 0], [1.0, 0.0, 0.0])


def test_decayed_input_rounds_as_trained():
    v, x = np.random.default_rng(0).standard_normal((2, 100_000), np.float32)
    np.testing.assert_array_equal(LIF.charge(v, x, np.zeros_like(v)), v + (x - v) / np.float32(2))
    assert (LIF.charge(v, x, np.zeros_like(v)) != np.float32(0.5) * (v + x)).mean() > 0.1


@pytest.mark.parametrize("spec", [LIF, TET, SOFT, RESTED, SCALED, LEAKY, LATE, UNRESET])
def test_json_round_trip(spec):
    assert NeuronSpec.from_dict(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NeuronSpec.leaky(decay_input=True, tau=1.0), "tau must be greater than 1 time step, got 1.0"),
        (lambda: NeuronSpec.linear(decay=1.5, strict=True), r"decay must be in \[0, 1\], got 1.5"),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, threshold=float("nan")), "threshold must be finite"),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, reset="soft", v_reset=1.0), "soft reset has no v_reset"),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, reset="gone"), "'soft', 'late' or 'none', got 'gone'"),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, reset="late", threshold=-1.0), "late reset needs a"),
        (
            lambda: NeuronSpec.leaky(decay_input=True, tau=2.0, rate=0.5),
            "needs either tau or rate, got tau = 2.0 and",
        ),
        (lambda: NeuronSpec.leaky(decay_input=False), "needs either tau or rate"),
    ],
)
def test_impossible_constants_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NeuronSpec.leaky(decay_input=True, tau="2"), "`tau` of a neuron is '2', and must be a number"),
        (
            lambda: NeuronSpec.leaky(decay_input=True, rate=[0.5]),
            "`rate` of a neuron is a value of type list, and must",
        ),
        (
            lambda: NeuronSpec.leaky(decay_input=True, tau=2.0, threshold=None),
            "`threshold` of a neuron is a value of ty",
        ),
        (lambda: NeuronSpec.linear(decay="0.5", strict=True), "`decay` of a neuron is '0.5', and must be a number"),
        (
            lambda: NeuronSpec.linear(decay=np.ones(2), strict=True),
            "`decay` of a neuron is a value of type ndarray, and",
        ),
    ],
)
def test_what_is_no_number_is_refused(build, message):
    with pytest.raises(BadInput, match=message):
        build()


@pytest.mark.parametrize(
    ("spec", "rules"),
    [
        (NeuronSpec.linear(decay=1.0, strict=False), "h = v + x, h >= 1, reset to 0"),
        (LATE, "h = 0.5 v + x, h > 1, reset minus 1 at the next step"),
        (RESTED, "h = 0.5 v + 2 x + 0.25, h >= 1, reset to -0.5"),
        (NeuronSpec.linear(decay=0.0, bias=-0.25, strict=False, reset="soft"), "h = x + -0.25, h >= 1, reset minus 1"),
        (LIF, "h = v + (x - v) / 2, h >= 1, reset to 0"),
    ],
)
def test_rules_leave_out_what_says_nothing(spec, rules):
    assert spec.rules == rules
