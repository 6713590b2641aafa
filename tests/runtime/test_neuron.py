import dataclasses
import json
import math
from collections.abc import Callable

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
REFRACTORY = NeuronSpec.linear(decay=0.5, strict=True, reset="refractory")
UNRESET = NeuronSpec.linear(decay=0.5, strict=True, reset="none")
RESTED = NeuronSpec.linear(decay=0.5, gain=2.0, bias=0.25, strict=False, v_reset=-0.5)
BY_CHANNEL = NeuronSpec.linear(
    decay=np.array([0.5, 0.75]).reshape(2, 1, 1),
    threshold=np.array([1.0, 1.5]).reshape(2, 1, 1),
    strict=False,
    v_initial=-0.5,
)

RECTIFIED = dataclasses.replace(NeuronSpec.leaky(decay_input=True, tau=2.0), slope=2.0)
RESCALED = dataclasses.replace(NeuronSpec.leaky(decay_input=False, tau=2.0, reset="soft"), slope=2.0, rescales=True)

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
    pytest.param(REFRACTORY, [2.0, 5.0, 1.0, 1.0], [2.0, 0.0, 1.0, 1.5], [1, 0, 0, 1], id="the current of a step lost"),
    pytest.param(RECTIFIED, [0.5, -4.0, 1.5, 0.0], [0.5, 0.0, 1.5, 0.0], [0, 0, 1, 0], id="KLIF"),
    pytest.param(RESCALED, [0.25, 0.5, 0.0, -1.0], [0.5, 1.25, 0.125, 0.0], [0, 1, 0, 0], id="KLIF that rescales"),
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


@pytest.mark.parametrize(
    "spec", [LIF, TET, SOFT, RESTED, SCALED, LEAKY, LATE, REFRACTORY, UNRESET, RECTIFIED, RESCALED, BY_CHANNEL]
)
def test_json_round_trip(spec):
    assert NeuronSpec.from_dict(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NeuronSpec.leaky(decay_input=True, tau=1.0), "tau must be greater than 1 time step, got 1.0"),
        (lambda: NeuronSpec.linear(decay=1.5, strict=True), r"decay must be in \[0, 1\], got 1.5"),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, threshold=float("nan")), "threshold must be finite"),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, v_initial=math.nan), "v_initial must be finite"),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, reset="soft", v_reset=1.0), "soft reset has no v_reset"),
        (
            lambda: NeuronSpec.linear(decay=0.5, strict=True, reset="gone"),
            "'soft', 'late', 'refractory', 'none', got 'gone'",
        ),
        (lambda: NeuronSpec.linear(decay=0.5, strict=True, reset="late", threshold=-1.0), "late reset needs a"),
        (
            lambda: NeuronSpec.leaky(decay_input=True, tau=2.0, reset="late"),
            "a late reset needs a linear charge, got 'decayed'; use a soft reset",
        ),
        (
            lambda: NeuronSpec.leaky(decay_input=True, tau=2.0, rate=0.5),
            "needs either tau or rate, got tau = 2.0 and",
        ),
        (lambda: NeuronSpec.leaky(decay_input=False), "needs either tau or rate"),
        (
            lambda: dataclasses.replace(LIF, slope=0.0),
            "a slope is one number that is not 0, without a late or refractory reset, got 0",
        ),
        (lambda: dataclasses.replace(LATE, slope=2.0), "a slope is one number that is not 0, without a late or ref"),
        (
            lambda: dataclasses.replace(SOFT, rescales=True),
            "a neuron that rescales needs a slope, and a hard or a soft",
        ),
        (
            lambda: NeuronSpec.leaky(decay_input=True, tau=np.array([2.0, 1.0])),
            r"greater than 1 time step, got 1 to 2 \(2 values\)",
        ),
        (
            lambda: NeuronSpec.linear(decay=np.array([0.5, 1.5]), strict=True),
            r"in \[0, 1\], got 0.5 to 1.5 \(2 ",
        ),
        (
            lambda: NeuronSpec.linear(decay=0.5, strict=True, reset="late", v_initial=1.0),
            "late reset needs a v_initial below the threshold, got 1.0",
        ),
        (lambda: dataclasses.replace(LIF, reset="refractory"), "refractory reset needs a linear charge, got 'decayed'"),
        (lambda: dataclasses.replace(TET, reset="refractory", threshold=0.0), "refractory reset needs a positive"),
        (lambda: dataclasses.replace(TET, tau=2.0), "a linear charge has the tau None, .* got tau = 2.0, rate = 0.0"),
        (lambda: dataclasses.replace(TET, rate=0.5), r"the rate 0 .* got tau = None, rate = 0.5"),
        (lambda: dataclasses.replace(TET, v_rest=0.5), "its v_reset as v_rest, .* v_rest = 0.5 and v_reset = 0.0"),
        (lambda: dataclasses.replace(LEAKY, gain=2.0), "a leaky charge has the gain 1, got 2.0"),
        (
            lambda: dataclasses.replace(LIF, slope=2.0).integrator(),
            "membranes are rectified, and those of an integrator",
        ),
    ],
)
def test_impossible_constants_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("decay_input", [False, True])
def test_the_largest_constants_of_neurons_that_leak_by_rates_of_their_own(decay_input):
    spec = NeuronSpec.leaky(decay_input=decay_input, rate=np.array([0.1, 0.3]), v_rest=np.array([-0.5, 0.25]))
    assert (spec.largest.rate, spec.largest.decay, spec.largest.v_rest) == (0.3, 0.9, -0.5)


def test_constants_that_are_no_numbers_are_refused():
    with pytest.raises(BadInput, match="`tau` of a neuron is '2', and must be a number"):
        NeuronSpec.leaky(decay_input=True, tau="2")
    with pytest.raises(BadInput, match="`threshold` of a neuron is a value of type NoneType"):
        NeuronSpec.linear(decay=0.5, threshold=None, strict=True)


@pytest.mark.parametrize(
    ("spec", "rules"),
    [
        (NeuronSpec.linear(decay=1.0, strict=False), "h = v + x, h >= 1, reset to 0"),
        (LATE, "h = 0.5 v + x, h > 1, reset minus 1 at the next step"),
        (REFRACTORY, "h = 0.5 v + x, h > 1, reset to 0 at the next step, whose current is lost"),
        (RESTED, "h = 0.5 v + 2 x + 0.25, h >= 1, reset to -0.5"),
        (NeuronSpec.linear(decay=0.0, bias=-0.25, strict=False, reset="soft"), "h = x + -0.25, h >= 1, reset minus 1"),
        (LIF, "h = v + (x - v) / 2, h >= 1, reset to 0"),
        (LIF.integrator(), "h = v + (x - v) / 2, never fires, returns h"),
        (LEAKY.integrator(), "h = v - (v - -1) / 4 + x, never fires, returns h, v_0 = -1"),
        (RESCALED, "h = max(2 (v - v / 2 + x), 0), h >= 1, reset minus 1, divided by 2"),
        (
            BY_CHANNEL,
            "h = (0.5 to 0.75, 2 channels) v + x, h >= (1 to 1.5, 2 channels), reset to 0, v_0 = -0.5",
        ),
    ],
)
def test_rules_leave_out_what_says_nothing(spec, rules):
    assert spec.rules == rules


def test_the_membrane_starts_at_v_initial_and_is_reset_to_v_reset():
    spec = NeuronSpec.linear(decay=0.5, strict=False, v_reset=0.0, v_initial=1.0)
    current = np.array([0.5, 0.0])[:, None]
    np.testing.assert_array_equal(membranes(spec, current, fire(spec, current))[:, 0], [1.0, 0.0])


def test_records_of_older_versions_start_at_v_reset():
    fields = dataclasses.asdict(RESTED)
    del fields["v_initial"]
    assert NeuronSpec.from_dict(fields) == RESTED
    assert NeuronSpec.from_dict(fields).v_initial == -0.5


ORDERS: dict[str, Callable[..., NeuronSpec]] = {
    "linear": lambda a, b, c: NeuronSpec.linear(decay=a, gain=b, bias=c, threshold=b, strict=True),
    "soft": lambda a, b, c: NeuronSpec.linear(decay=a, threshold=b, bias=c, strict=False, reset="soft"),
    "late": lambda a, b, c: NeuronSpec.linear(decay=a, threshold=b, gain=c, strict=True, reset="late"),
    "refractory": lambda a, b, c: NeuronSpec.linear(decay=a, threshold=b, bias=c, strict=False, reset="refractory"),
    "decayed": lambda a, b, c: NeuronSpec.leaky(decay_input=True, tau=1 + b, threshold=b - a, v_reset=-c, v_initial=c),
    "leaky": lambda a, b, c: NeuronSpec.leaky(decay_input=False, rate=a, threshold=b, v_reset=-c),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_neurons_with_own_constants_fire_as_neurons_one_by_one(order, dtype):
    build = ORDERS[order]
    random = np.random.default_rng(0)
    a, c = random.uniform(0.0, 1.0, (2, 3, 1))
    b = random.uniform(0.5, 1.5, (3, 4))
    spec, shape = build(a, b, c), (3, 4)
    current = random.normal(1.0, 1.0, (9, 2, *shape)).astype(dtype)
    spikes = fire(spec, current)
    h = membranes(spec, current, spikes)
    assert h.dtype == dtype
    flat, own_spikes, own_h = (each.reshape(9, 2, 12) for each in (current, spikes, h))
    for i in range(12):
        alone = build(a.repeat(4)[i], b.reshape(-1)[i], c.repeat(4)[i])
        assert not alone.arrays
        assert spec.chosen(shape, np.array([i])) == alone
        np.testing.assert_array_equal(fire(alone, flat[:, :, i]), own_spikes[:, :, i])
        np.testing.assert_array_equal(membranes(alone, flat[:, :, i], own_spikes[:, :, i]), own_h[:, :, i])
    some = np.array([7, 0, 7])
    np.testing.assert_array_equal(fire(spec.chosen(shape, some), flat[:, :, some]), own_spikes[:, :, some])
    torch = pytest.importorskip("torch")
    as_tensor = torch.from_numpy(current)
    v, s = spec.start(as_tensor[0]), torch.zeros_like(as_tensor[0])
    for x, expected in zip(as_tensor, h, strict=True):
        charged = spec.charge(v, x, s)
        np.testing.assert_array_equal(charged.numpy(), expected)
        s = spec.fires(charged).to(charged.dtype)
        v = spec.after(charged, s)
