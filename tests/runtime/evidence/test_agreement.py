import dataclasses
import itertools

import numpy as np
import pytest

from tcja_runtime.evidence.agreement import Accuracy, Agreement, agreement, hypergeometric, mcnemar, wilson
from tcja_runtime.evidence.predictions import Predictions, likeliest


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


@pytest.mark.parametrize(("n", "earlier"), [(1, 1), (3, 4), (5, 2)])
def test_the_hypergeometric_tail_counts_every_outcome(n, earlier):
    for successes, before in itertools.product(range(n + 1), range(earlier + 1)):
        ways = list(itertools.combinations(range(n + earlier), successes + before))
        as_few = sum(sum(place < n for place in chosen) <= successes for chosen in ways)
        assert hypergeometric(successes, n, before, earlier) == pytest.approx(as_few / len(ways))


def test_the_hypergeometric_tail_of_many_windows():
    assert hypergeometric(9_990, 10_000, 10_000, 10_000) == pytest.approx(0.5**10, rel=0.01)
    assert hypergeometric(4, 16, 16, 16) < 1e-5


def counted(original: np.ndarray, exported: np.ndarray, labels: list[int] | None) -> Agreement:
    first, second = Predictions.of_output(original, None), Predictions.of_output(exported, None)
    assert first is not None
    assert second is not None
    known = None if labels is None else np.array(labels)
    return agreement(first, dataclasses.replace(second, source="data", labels=known))


def test_windows_are_counted():
    original = np.eye(6)[[0, 1, 2, 3, 4]] + np.linspace(0, 0.5, 6)
    exported = np.eye(6)[[0, 1, 2, 4, 0]]
    found = counted(original, exported, [0, 2, 2, 3, 0])
    assert (found.source, found.windows, found.paired, found.same_class) == ("data", 5, 5, 3)
    assert (found.top, found.in_top) == (5, 4)
    assert (found.accuracy, found.compared) == (Accuracy(right=3, labelled=5), 5)
    assert (found.only_original, found.only_exported, found.neither) == (1, 1, 1)
    assert found.same == found.accuracy.share == 0.6
    assert found.original_accuracy == found.accuracy
    assert found.accuracy.interval == wilson(3, 5)
    assert found.p_value == 1.0
    counts = {"windows": 5, "paired": 5, "same_class": 3, "top": 5, "in_top": 4, "labelled": 5, "right": 3}
    assert found.to_dict() == {"source": "data", **counts, "only_original": 1, "only_exported": 1, "neither": 1}


def test_the_original_may_be_known_on_the_first_windows_or_on_none():
    exported = np.eye(2)[[0, 1, 1]]
    some = counted(np.eye(2)[[0, 0]], exported, [0, 1, 0])
    assert (some.windows, some.paired, some.same_class, some.compared) == (3, 2, 1, 2)
    assert (some.accuracy, some.original_accuracy, some.only_exported) == (Accuracy(2, 3), Accuracy(1, 2), 1)
    none = counted(np.zeros((0, 2)), exported, [0, 1, 0])
    assert (none.paired, none.same, none.accuracy, none.original_accuracy) == (0, None, Accuracy(2, 3), Accuracy(0, 0))
    more = counted(np.eye(2)[[0, 1, 1, 1]], exported, None)
    assert (more.paired, more.same, more.accuracy, more.original_accuracy) == (3, 1.0, Accuracy(0, 0), Accuracy(0, 0))
    assert more.accuracy.share is None


def test_a_network_is_worse_where_no_chance_explains_it():
    wrong, right = np.eye(2)[np.ones(40, int)], np.eye(2)[np.zeros(40, int)]
    labels = [0] * 40
    assert counted(right, wrong, labels).worse
    assert not counted(wrong, right, labels).worse
    assert not counted(right[:15], wrong[:15], labels[:15]).worse


def test_answers_of_each_step_decide_by_their_mean():
    classes = likeliest(np.array([[[1.0, 0.0, 0.5], [0.0, 3.0, 0.5]]]))
    assert classes is not None
    assert classes.tolist() == [[1, 0, 2]]


def test_of_equal_classes_the_first_comes_first():
    classes = likeliest(np.array([[0.0, 2.0, 1.0, 2.0, 1.0, 0.0, 0.0]]))
    assert classes is not None
    assert classes.tolist() == [[1, 3, 2, 4, 0]]


def test_images_have_no_class():
    assert likeliest(np.zeros((2, 1, 4, 4))) is None
