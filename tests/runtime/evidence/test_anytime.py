"""The class after each number of steps, on answers that are counted by hand."""

import numpy as np
import pytest

from tcja_runtime.data.windows import InMemoryWindows
from tcja_runtime.evidence.agreement import Accuracy, wilson
from tcja_runtime.evidence.anytime import STEPS_READ, curve, shown
from tcja_runtime.evidence.predictions import Predictions

# One window, three steps, two classes with two voters each: the votes are 2:0, 0:1, 0:2, so 2:0, 2:1, 2:3 in all.
VOTES = np.array([[[1, 1, 0, 0]], [[0, 0, 1, 0]], [[0, 0, 1, 1]]], np.float32)


def predicted(output: np.ndarray, steps: np.ndarray | None = None) -> Predictions:
    found = Predictions.of_output(output, steps)
    assert found is not None
    return found


def early(output: np.ndarray, steps: np.ndarray | None = None) -> list[list[int]]:
    return predicted(output, steps).early.tolist()


def test_consecutive_units_vote():
    rates = VOTES.mean(0).reshape(1, 2, 2).mean(2)
    assert early(rates, VOTES) == [[0, 0, 1]]
    assert predicted(rates, VOTES).likeliest.tolist() == [[1, 0]]


def test_an_output_of_each_step_tells_them_itself():
    assert early(np.array([[[3.0, 0.0], [0.0, 2.0], [0.0, 2.0]]], np.float32)) == [[0, 0, 1]]


def test_without_steps_nothing_is_told():
    assert early(np.array([[1.0, 0.0], [0.0, 1.0]])) == [[], []]
    assert Predictions.of_output(np.zeros((2, 1, 4, 4)), None) is None


def test_of_equals_the_first_comes_first_but_for_the_last_step_as_returned():
    """Thirds of spikes are rounded, and in which order decides between equals in what a network returns."""
    steps = np.array([[[1, 0, 1, 0]], [[0, 1, 0, 1]], [[0, 0, 0, 0]]], np.float32)
    third = np.float32(1 / 3)
    assert early(np.array([[third, np.nextafter(third, np.float32(1))]]), steps) == [[0, 0, 1]]
    assert early(np.array([[third, third]]), steps) == [[0, 0, 0]]


@pytest.mark.parametrize(("off", "is_told"), [(0.0, True), (1e-7, True), (1e-3, False), (np.nan, True)])
def test_steps_that_are_not_what_the_answer_is_made_of_tell_nothing(off, is_told):
    """What is no number is for others to judge."""
    rates = VOTES.mean(0).reshape(1, 2, 2).mean(2) + np.float32(off)
    assert (curve("a", STEPS_READ, predicted(rates, VOTES).early, None) is not None) == is_told


def test_a_curve():
    classes = np.array([[0, 1, 1, 1], [2, 2, 0, 2], [1, 1, 1, 1], [0, 0, 0, 0]], np.int32)
    found = curve("PyTorch", STEPS_READ, classes, np.array([1, 0, 1, 2, 0]))
    assert found is not None
    assert found.windows == 4
    assert found.agreement == [0.75, 1.0, 0.75, 1.0]
    assert found.accuracy == [Accuracy(right, 4) for right in (1, 2, 3, 2)]
    assert found.settled == 4
    figures = found.to_dict()
    assert (figures["settled"], figures["labelled"], figures["right"]) == (4, 4, [1, 2, 3, 2])
    assert figures["accuracy"] == [0.25, 0.5, 0.75, 0.5]
    assert figures["accuracy_interval"] == [wilson(right, 4) for right in (1, 2, 3, 2)]
    without = curve("PyTorch", STEPS_READ, classes, None)
    assert without is not None
    figures = without.to_dict()
    assert (figures["labelled"], figures["right"]) == (0, [0, 0, 0, 0])
    assert (figures["accuracy"], figures["accuracy_interval"]) == (None, None)


@pytest.mark.parametrize(("same", "settled"), [([98, 99, 100], 2), ([99, 98, 100], 3), ([99, 99, 100], 1)])
def test_settled_is_from_where_on_99_percent_have_their_final_class(same, settled):
    classes = np.array([[0 if window < n else 1 for n in same] for window in range(100)], np.int32)
    found = curve("a", STEPS_READ, classes, None)
    assert found is not None
    assert (found.same, found.settled) == (same, settled)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3, 1)], ids=["no window", "no steps", "one step"])
def test_there_is_no_curve_of_nothing(shape):
    assert curve("a", STEPS_READ, np.zeros(shape, np.int32), None) is None


def test_frames_are_shown_one_after_the_other():
    """The network says after each frame how many events there were: class 0 for less than 4, class 1 for more."""
    counts = np.array([[1, 1, 1, 9], [5, 0, 0, 0], [0, 3, 3, 3]], np.float32)
    frames = np.broadcast_to(counts[:, :, None, None, None] / 4, (3, 4, 1, 2, 2)).astype(np.float32)

    def run(inputs):
        events = np.maximum(inputs.sum(axis=(2, 3, 4)).sum(1, keepdims=True), 0) * np.ones((1, 4), np.float32)
        return predicted(np.stack([np.full_like(events, 4.0), events], axis=2))

    samples, done = InMemoryWindows(inputs=frames, labels=None, source="", real=True), []
    found = shown(run, samples, 4, 2, done.append)
    assert found.tolist() == [[0, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 1]]
    assert done == [2, 1]
    assert frames.sum() == counts.sum()
