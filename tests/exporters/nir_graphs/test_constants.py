"""The constants that a training code had, from those that it wrote."""

import numpy as np
import pytest
import torch

from tcja_exporters.nir_graphs.constants import Constants, restored
from tcja_exporters.nir_graphs.graph import Node

from . import graphs

DT = 1e-4


def snntorch_writes(beta):
    return np.float32(DT) / (np.float32(1) - beta)


def norse_writes(inverse):
    return (DT / torch.from_numpy(np.asarray(inverse))).numpy()


def test_what_a_code_wrote_is_restored_to_the_bit():
    drawn = np.random.default_rng(0).random(300).astype(np.float32)
    for had, writes, guess in (
        (drawn[drawn > 0.5], snntorch_writes, lambda tau: 1 - DT / tau),  # below, several betas give one tau
        (1000 * drawn, norse_writes, lambda tau: DT / tau),
    ):
        stored = np.stack([writes(value) for value in had])
        found = restored(stored, guess, writes)
        np.testing.assert_array_equal(np.stack([writes(value) for value in found.astype(np.float32)]), stored)
        assert (found == had).mean() > 0.6
        assert (guess(stored.astype(np.float64)) == had).mean() < 0.1  # what the inverse alone gives


@pytest.mark.parametrize("beta", [0.5, 0.9, 0.95, 0.3, 0.125])
def test_of_several_numbers_that_fit_the_shortest_is_taken(beta):
    stored = np.asarray(snntorch_writes(np.float32(beta)))
    assert restored(stored, lambda tau: 1 - DT / tau, snntorch_writes) == np.float32(beta)


def test_the_inverse_is_taken_where_no_number_fits():
    stored = np.float32([[0.5, 3.0]])
    np.testing.assert_array_equal(restored(stored, lambda tau: 1 / tau, lambda c: 0 * c), [[2.0, 1 / 3]])


def test_equal_values_are_one_and_the_expected_value_is_checked():
    node = Node(name="lif", kind="LIF", values=graphs.lif(2, 3, tau=0.5), sources=())
    constants = Constants(node)
    assert constants["tau"].shape == ()
    node.values.tau[0, 0] = 0.25
    assert constants["tau"].shape == (2, 3)
    with pytest.raises(ValueError, match="its tau is 0.25 to 0.5, and snnTorch writes 1"):
        constants.expect("tau", 1.0, "snnTorch writes 1")
    node.values.tau[0, 0] = -1
    with pytest.raises(ValueError, match="its tau is -1 to 0.5, and must be positive"):
        constants.positive("tau")
