"""The judgement of spike counts: what is equal, what may differ, and which wrong count is named."""

import numpy as np
import pytest

from tcja_runtime.evidence.spike_counts import FreeRunningBounds, WrongCount, judge_counts

LAYERS = ["first", "second"]


def bounds() -> FreeRunningBounds:
    """For 2 windows, 2 layers and 3 time steps."""
    is_open = np.zeros((2, 2, 3), np.int64)
    is_open[1, 1] = [0, 2, 5]
    return FreeRunningBounds(open=is_open, output=np.zeros((2, 4), np.float32))


EXPECTED = np.arange(100, 112).reshape(2, 2, 3)


def test_equal_counts():
    found = judge_counts(EXPECTED.astype(np.int32), EXPECTED, bounds(), LAYERS)
    assert (found.counts, found.settled, found.differing, found.beyond, found.first) == (12, 10, 0, 0, None)


@pytest.mark.parametrize("by", [-2, -1, 1, 2])
def test_a_difference_of_open_neurons_is_rounding(by):
    counts = EXPECTED.copy()
    counts[1, 1, 1] += by
    found = judge_counts(counts, EXPECTED, bounds(), LAYERS)
    assert (found.differing, found.beyond, found.first) == (1, 0, None)


@pytest.mark.parametrize(("at", "by"), [((0, 0, 0), 1), ((1, 1, 0), -1), ((1, 1, 1), 3), ((1, 1, 2), -6)])
def test_a_larger_difference_is_wrong(at, by):
    counts = EXPECTED.copy()
    counts[at] += by
    found = judge_counts(counts, EXPECTED, bounds(), LAYERS)
    assert (found.differing, found.beyond) == (1, 1)
    assert found.first == WrongCount(
        window=at[0],
        layer=LAYERS[at[1]],
        time_step=at[2] + 1,
        expected=EXPECTED[at],
        found=counts[at],
        open=bounds().open[at],
    )


def test_the_first_layer_is_named_then_the_earliest_step():
    counts = EXPECTED.copy()
    for at in ((0, 1, 0), (1, 0, 2), (0, 0, 2), (1, 0, 1)):
        counts[at] += 7
    first = judge_counts(counts, EXPECTED, bounds(), LAYERS).first
    assert (first.layer, first.time_step, first.window) == ("first", 2, 1)
    assert judge_counts(counts, EXPECTED, bounds(), LAYERS).beyond == 4


def test_bounds_are_joined_over_windows():
    joined = FreeRunningBounds.joined([bounds(), bounds()])
    assert joined.open.shape == (4, 2, 3)
    assert joined.output.shape == (4, 4)
