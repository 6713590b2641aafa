import dataclasses

import numpy as np
import pytest

from tcja_runtime.evidence.rounding import FLOAT16, FLOAT32, membranes_within
from tcja_runtime.neuron import NeuronSpec, fire, membranes

SPECS = {
    "lif": NeuronSpec.leaky(decay_input=True, tau=2.0),
    "plif": NeuronSpec.leaky(decay_input=True, rate=0.3),
    "not decayed": NeuronSpec.leaky(decay_input=False, tau=3.0, v_reset=-0.2),
    "rests elsewhere": NeuronSpec.leaky(decay_input=True, tau=2.0, v_reset=-0.2, v_initial=0.6, v_rest=0.1),
    "soft": NeuronSpec.leaky(decay_input=True, tau=1.7, reset="soft"),
    "tet": NeuronSpec.linear(decay=0.5, strict=True),
    "late": NeuronSpec.linear(decay=0.9, strict=True, reset="late", threshold=0.7),
    "refractory": NeuronSpec.linear(decay=0.9, strict=True, reset="refractory", threshold=0.7),
    "none": NeuronSpec.linear(decay=0.3, gain=1.3, bias=0.1, strict=False, reset="none"),
    "klif": dataclasses.replace(NeuronSpec.leaky(decay_input=True, tau=2.0, v_reset=-0.2), slope=1.3),
    "klif, rescales": dataclasses.replace(
        NeuronSpec.leaky(decay_input=False, tau=3.0, threshold=0.7, reset="soft"), slope=0.7, rescales=True
    ),
    "if": NeuronSpec.linear(decay=1.0, strict=False, reset="soft", threshold=1.3),
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("error", [0.0, 1e-4])
def test_membranes_in_float32_are_within_their_bounds(name, error):
    """Fed the same spikes, with currents that are as far off as they may be."""
    spec, rng = SPECS[name], np.random.default_rng(0)
    current = rng.normal(0.6, 1.0, (30, 3000)).astype(np.float32)
    spikes = fire(spec, current)
    assert 0.05 < spikes.mean() < 0.9
    off = (current + error * rng.choice([-1.0, 1.0], current.shape)).astype(np.float32)
    allowed = np.abs(off.astype(np.float64) - current)
    h, within = membranes_within(spec, FLOAT32, current.astype(np.float64), allowed, spikes)
    found = membranes(spec, off, spikes)
    assert (np.abs(found - h) <= within).all()
    # Without errors of the currents, a membrane is good to a few roundings of what it is made of.
    assert error or within.max() < 600 * 2.0**-24 * max(1.0, np.abs(h).max())


@pytest.mark.parametrize("name", SPECS)
def test_spikes_differ_only_where_rounding_decides(name):
    """Of float32 and float64, as long as their neurons' earlier spikes agree."""
    spec, rng = SPECS[name], np.random.default_rng(1)
    current = rng.normal(0.6, 1.0, (40, 20_000)).astype(np.float32)
    # Bring membranes to the threshold.
    current[0] = ((spec.threshold - spec.charge(np.full(1, spec.v_initial), 0.0, 0.0)) / spec.gain).astype(np.float32)
    single, double = fire(spec, current), fire(spec, current.astype(np.float64))
    h, within = membranes_within(spec, FLOAT32, current.astype(np.float64), np.zeros(current.shape), double)
    agree_before = np.cumsum(single != double, axis=0) - (single != double) == 0
    differs = (single != double) & agree_before
    assert (np.abs(h - spec.threshold) <= within)[differs].all()


@pytest.mark.parametrize("reset", ["hard", "soft", "late"])
def test_bounds_of_neurons_with_own_constants_are_those_of_each_alone(reset):
    rng = np.random.default_rng(2)
    decay, threshold, initial = rng.uniform(0.1, 0.9, 40), rng.uniform(0.3, 2, 40), rng.uniform(-0.5, 0.2, 40)
    spec = NeuronSpec.linear(decay=decay, threshold=threshold, v_initial=initial, strict=True, reset=reset)
    current, error = rng.normal(0.6, 1.0, (9, 40)), rng.uniform(0, 1e-3, (9, 40))
    spikes = fire(spec, current)
    h, within = membranes_within(spec, FLOAT32, current, error, spikes)
    for i in range(40):
        alone, at = spec.chosen((40,), np.array([i])), np.s_[:, i : i + 1]
        own_h, own = membranes_within(alone, FLOAT32, current[at], error[at], spikes[at])
        np.testing.assert_array_equal(own_h, h[at])
        np.testing.assert_array_equal(own, within[at])


def test_coarser_membranes_have_larger_bounds():
    current, spikes = np.full((5, 1), 0.4), np.zeros((5, 1), np.bool_)
    coarse = type(FLOAT16)(name="x", membrane=2.0**-11)
    bounds = [membranes_within(SPECS["lif"], a, current, np.zeros((5, 1)), spikes)[1] for a in (FLOAT32, coarse)]
    assert (bounds[1] > 1000 * bounds[0]).all()
