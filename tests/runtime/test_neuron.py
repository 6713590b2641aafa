import dataclasses
import json

import numpy as np
import pytest

from tcja_runtime.neuron import NeuronSpec, membranes

LIF = NeuronSpec.decayed_input(tau=2.0)
TET = NeuronSpec.linear(decay=0.5, strict=True)
SOFT = NeuronSpec.linear(decay=0.5, strict=False, reset="soft")
RESTED = NeuronSpec.linear(decay=0.5, gain=2.0, bias=0.25, strict=False, v_reset=-0.5)

# One neuron each, worked out by hand: currents, membranes before firing, spikes.
TRAJECTORIES = [
    pytest.param(LIF, [1.0, 2.0, 1.5, 0.0], [0.5, 1.25, 0.75, 0.375], [0, 1, 0, 0], id="decayed input, hard reset"),
    pytest.param(LIF, [2.0, 0.0, 2.0, 1.0], [1.0, 0.0, 1.0, 0.5], [1, 0, 1, 0], id="inclusive at the threshold"),
    pytest.param(TET, [1.0, 1.0, 1.0, 0.0], [1.0, 1.5, 1.0, 0.5], [0, 1, 0, 0], id="strict at the threshold"),
    pytest.param(SOFT, [1.0, 1.5, 0.0, 1.0], [1.0, 1.5, 0.25, 1.125], [1, 1, 0, 1], id="soft reset"),
    pytest.param(RESTED, [0.5, 0.5, 0.0, 0.0], [1.0, 1.0, 0.0, 0.25], [1, 1, 0, 0], id="gain, bias and v_reset"),
]


def fire(spec: NeuronSpec, current: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The neuron on its own: spikes decide the reset as they come."""
    v, h, s = np.full_like(current[0], spec.v_reset), np.empty_like(current), np.empty(current.shape, bool)
    for t, x in enumerate(current):
        h[t] = spec.charge(v, x)
        s[t] = spec.fires(h[t])
        v = spec.after(h[t], s[t].astype(h.dtype))
    return h, s


@pytest.mark.parametrize(("spec", "current", "h", "spikes"), TRAJECTORIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_trajectory(spec, current, h, spikes, dtype):
    got_h, got_spikes = fire(spec, np.array(current, dtype)[:, None])
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
    np.testing.assert_array_equal(LIF.charge(v, x), v + (x - v) / np.float32(2))
    assert (LIF.charge(v, x) != np.float32(0.5) * (v + x)).mean() > 0.1


@pytest.mark.parametrize("spec", [LIF, TET, SOFT, RESTED])
def test_json_round_trip(spec):
    assert NeuronSpec.from_dict(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NeuronSpec.decayed_input(tau=1.0), "tau must be greater than 1 time step, got 1.0"),
        (lambda: NeuronSpec.linear(decay=1.5, strict=True), r"decay must be in \(0, 1\], got 1.5"),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, threshold=float("nan")), "threshold must be finite"),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, reset="soft", v_reset=1.0), "soft reset has no v_reset"),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, reset="none"), "'hard' or 'soft', got 'none'"),
    ],
)
def test_impossible_constants_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
