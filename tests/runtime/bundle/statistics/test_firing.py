"""What is said of how a network fires, of drawn spike counts."""

import dataclasses
import re

import numpy as np
import pytest

from tcja_runtime import records
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.bundle.statistics.firing import FiringStatistics, fired
from tcja_runtime.bundle.statistics.inputs import FEWEST
from tcja_runtime.neuron import NeuronSpec

LAYERS = [Layer(name=name, shape=(1000,), neuron=NeuronSpec.linear(decay=0.5, strict=True)) for name in ("a", "b")]


def counts(n, seed, *, a=200, b=100, together=True, late=0.0):
    """Spike counts [n, 2, 4] of windows; where `a` has more spikes, `b` has more, or fewer."""
    random = np.random.default_rng(seed)
    level = random.normal(0, 0.3, (n, 1))
    steps = np.array([1 - late, 1, 1, 1 + late])
    rates = np.stack([a * 2**level * steps, b * 2 ** (level if together else -level) * steps], axis=1)
    return np.minimum(random.poisson(rates), 1000)


def figures(*given, **more):
    return fired(counts(*given, **more), LAYERS)


@pytest.fixture(scope="module")
def proof():
    return FiringStatistics.of(counts(40, 0), LAYERS)


@pytest.mark.parametrize("seed", range(1, 11))
def test_windows_like_those_of_the_proof(proof, seed):
    assert proof.unlike(figures(50, seed), LAYERS) == ""
    assert proof.outside(figures(50, seed), LAYERS) <= 1


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"a": 0}, r"in a 0 % of neurons and time steps fire, and there [\d.]+ % to [\d.]+ % do"),
        ({"b": 1000}, r"in b [\d.]+ % of neurons and time steps fire, and there [\d.]+ % to [\d.]+ % do"),
        ({"late": 1.0}, r"the spikes of . deviate between time steps by [\d.]+ of their mean, and there by .* to .*"),
    ],
    ids=str,
)
def test_other_windows(proof, changed, said):
    found = figures(10, 1, **changed)
    line = proof.unlike(found, LAYERS)
    assert re.fullmatch(f"the network fires unlike in the 40 windows that it was proven on: {said}", line)
    assert proof.outside(found, LAYERS) == 10


def test_the_firing_of_each_layer(proof):
    """The rate is the share of spikes in the median window, and the drift is in standard deviations of its log2."""
    given = counts(41, 3, b=150)
    rates = given.sum(axis=2) / (4 * 1000)
    proven = np.log2(counts(40, 0).sum(axis=2) / (4 * 1000))
    found = proof.by_layer(fired(given, LAYERS), LAYERS)
    assert list(found) == ["a", "b"]
    for at, layer in enumerate(found.values()):
        assert layer.rate == pytest.approx(np.median(rates[:, at]))
        drift = (np.log2(np.median(rates[:, at])) - proven[:, at].mean()) / proven[:, at].std()
        assert layer.drift == pytest.approx(drift)
    assert abs(found["a"].drift) < 1 < found["b"].drift
    assert proof.by_layer(figures(3, 1, a=0), LAYERS)["a"].rate == 0.0
    assert proof.by_layer(figures(0, 1), LAYERS) == {}


def test_rates_that_do_not_go_together(proof):
    """Each is within its range."""
    found = figures(200, 1, together=False)
    apart = found[np.argsort(-np.abs(found[:, 0] - found[:, 1] - 1))[:20]]
    assert "most in " in proof.unlike(apart, LAYERS)


@pytest.mark.parametrize(("windows", "known"), [(1, False), (FEWEST - 1, False), (FEWEST, True)])
def test_few_windows_have_no_statistics(windows, known):
    assert (FiringStatistics.of(counts(windows, 0), LAYERS) is not None) == known


def test_no_windows_say_nothing(proof):
    assert proof.unlike(figures(0, 1), LAYERS) == ""


def test_a_layer_that_never_fires():
    silent = FiringStatistics.of(counts(20, 0, a=0), LAYERS)
    assert silent.unlike(figures(20, 1, a=0), LAYERS) == ""
    assert re.search(
        r": in a [\d.]+ % of neurons and time steps fire, and there 0 % to 0 % do$",
        silent.unlike(figures(20, 1), LAYERS),
    )


def alike(a, b, extra=0):
    """Spike counts [16, 2, 4] of equal windows, with more spikes of the first layer in the first step of the first."""
    found = np.tile(np.array([[a], [b]]), (FEWEST, 1, 4))
    found[0, 0, 0] += extra
    return found


@pytest.mark.parametrize(("a", "b"), [(0, 0), (0, 100), (1, 0), (1, 300), (30, 2), (500, 500)])
@pytest.mark.parametrize("extra", [1, 2])
def test_a_spike_more_than_in_windows_that_are_alike(a, b, extra):
    """Windows that are alike do not say that no spike may differ."""
    found, changed = FiringStatistics.of(alike(a, b), LAYERS), fired(alike(a, b, extra)[:1], LAYERS)
    assert found.outside(changed, LAYERS) == 0
    assert found.unlike(changed, LAYERS) == ""


@pytest.mark.parametrize(
    ("a", "b", "now"), [(0, 100, (20, 100)), (30, 2, (0, 2)), (500, 500, (250, 500)), (500, 100, (610, 122))]
)
def test_many_spikes_more_than_in_windows_that_are_alike(a, b, now):
    """The last are within the range of each figure by its floor, and not together."""
    found, changed = FiringStatistics.of(alike(a, b), LAYERS), fired(alike(*now), LAYERS)
    assert found.outside(changed, LAYERS) == FEWEST
    assert found.unlike(changed, LAYERS)


@pytest.mark.parametrize("seed", range(5))
def test_windows_whose_spikes_are_drawn_after_windows_that_are_alike(seed):
    """Their counts deviate by their square roots; single windows may be outside, and their median is not."""
    found = FiringStatistics.of(alike(100, 40), LAYERS)
    drawn = fired(np.random.default_rng(seed).poisson(alike(100, 40)), LAYERS)
    assert found.unlike(drawn, LAYERS) == ""
    assert found.outside(drawn, LAYERS) < FEWEST / 4


def test_the_manifest_holds_them(proof):
    assert records.read(FiringStatistics, dataclasses.asdict(proof)) == proof
