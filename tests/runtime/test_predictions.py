"""Predictions: the likeliest classes as numpy sorts them, and texts for people."""

from __future__ import annotations

import numpy as np
import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.predictions import Prediction, Predictions, without_score

NAMES = ("cat", "dog", "eel")
SCORES = np.array([[0.25, 0.5, 0.25], [0, 0, 0], [-1, -3, -2]], np.float32)


@pytest.fixture
def found() -> Predictions:
    return Predictions(scores=SCORES, class_names=NAMES, output="rates")


def test_the_likeliest_classes(found):
    assert found.classes == ["dog", "cat", "cat"]
    assert found.indices.tolist() == SCORES.argmax(1).tolist()
    assert found.top(2) == [[("dog", 0.5), ("cat", 0.25)], [("cat", 0), ("dog", 0)], [("cat", -1), ("eel", -2)]]
    assert [[place.name for place in window] for window in found.top()][2] == ["cat", "eel", "dog"]


def test_many_scores_are_sorted_as_numpy_does():
    scores = np.random.default_rng(0).integers(0, 4, (7, 40)).astype(np.float32)  # many of them are equal
    found = Predictions(scores=scores, class_names=[str(i) for i in range(40)], output="logits")
    expected = np.argsort(-scores, axis=1, kind="stable")
    assert [[int(place.name) for place in window] for window in found.top(40)] == expected.tolist()
    assert [int(name) for name in found.classes] == expected[:, 0].tolist()


def test_a_window_of_them(found):
    window = found[0]
    assert isinstance(window, Prediction)
    assert (window.name, window.score, window.likeliest) == ("dog", 0.5, [1, 0, 2])
    assert [each.name for each in found] == found.classes
    assert (len(found), found[-1].name) == (3, "cat")
    with pytest.raises(IndexError):
        found[3]
    with pytest.raises(TypeError):
        found[:2]


@pytest.mark.parametrize(
    ("output", "scores", "named"),
    [
        ("logits", [3, 0, -1], ["cat", "dog", "eel"]),
        ("logits", [-1, 0, -3], ["dog", "cat", "eel"]),
        ("logits", [0, 0, 0], ["cat", "dog", "eel"]),
        ("rates", [3, 0, -1], ["cat", "dog", "eel"]),
        ("rates", [0, 0.5, 0.25], ["dog", "eel"]),
        ("rates", [0, 0, 0], ["cat"]),
    ],
)
def test_only_a_rate_of_0_is_nothing(output, scores, named):
    window = Prediction(scores=np.float32(scores), class_names=NAMES, output=output)
    assert [each.name for each in window.standing_out(3)] == named
    assert str(window).count("(") == min(len(named), 2)


def test_windows_without_a_score():
    assert without_score(SCORES).tolist() == [False, True, False]
    assert not without_score(np.zeros((2, 1), np.float32)).any()
    assert not without_score(np.zeros(1, np.float32))


def test_texts(found):
    assert repr(found) == "Predictions(3 windows, 3 classes)"
    assert str(found).splitlines() == [
        "3 windows; scores are the output 'rates'",
        "  0: dog (0.5), cat (0.25)",
        "  1: cat (0)",
        "  2: cat (-1), eel (-2)",
    ]
    many = Predictions(scores=np.ones((1200, 3), np.float32), class_names=NAMES, output="logits")
    assert len(str(many).splitlines()) == 12
    assert str(many).splitlines()[-1] == "  and 1,190 windows more"


@pytest.mark.parametrize("k", [0, 1.5, "2"])
def test_a_number_of_classes(found, k):
    with pytest.raises(BadInput, match="`k`"):
        found.top(k)
