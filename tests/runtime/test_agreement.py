import itertools

import numpy as np
import pytest

from tcja_runtime.agreement import agreement, mcnemar, wilson


@pytest.mark.parametrize(
    ("successes", "n", "expected"),
    [
        (81, 263, (0.2553, 0.3662)),  # Newcombe, Statistics in Medicine 17 (1998), table I
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (29, 29, (0.8830, 1.0)),
    ],
)
def test_wilson_intervals_are_the_published_ones(successes, n, expected):
    assert wilson(successes, n) == pytest.approx(expected, abs=5e-5)


def test_nothing_seen_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    assert mcnemar(0, 0) == 1.0


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_mcnemar_counts_every_outcome(n):
    outcomes = [sum(flips) for flips in itertools.product([0, 1], repeat=n)]
    for seen in range(n + 1):
        as_far = sum(abs(outcome - n / 2) >= abs(seen - n / 2) for outcome in outcomes)
        assert mcnemar(seen, n - seen) == pytest.approx(as_far / len(outcomes))


def test_mcnemar_of_many_windows():
    assert mcnemar(5000, 5000) == 1.0
    assert mcnemar(4900, 5100) == pytest.approx(0.0466, abs=2e-4)
    assert mcnemar(0, 2000) < 1e-300 or mcnemar(0, 2000) == 0.0


def test_windows_are_counted():
    original = np.eye(6)[[0, 1, 2, 3, 4]] + np.linspace(0, 0.5, 6)
    exported = np.eye(6)[[0, 1, 2, 4, 0]]
    found = agreement(original, exported, np.array([0, 2, 2, 3, 0]))
    assert found is not None
    assert (found.windows, found.same_class, found.top, found.in_top) == (5, 3, 5, 4)
    assert (found.labelled, found.both, found.only_original, found.only_exported) == (5, 2, 1, 1)
    assert found.accuracy == 0.6
    assert found.accuracy_interval == wilson(3, 5)
    assert found.p_value == 1.0


def test_answers_of_each_step_decide_by_their_mean():
    steps = np.array([[[1.0, 0.0], [0.0, 3.0]]])
    found = agreement(steps, steps, None)
    assert found is not None
    assert (found.same_class, found.labelled, found.accuracy) == (1, 0, None)


def test_images_have_no_class():
    images = np.zeros((2, 1, 4, 4))
    assert agreement(images, images, None) is None
