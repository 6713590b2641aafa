"""The answers of both networks in a report: which windows are shown, what is said of them, what is confused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tcja_deploy.report.answers import SAMPLES, Answers, Network, answers, pairs
from tcja_runtime.data.windows import InMemoryWindows
from tcja_runtime.evidence.predictions import Predictions

from ...pictures import decoded
from .pages import MANIFEST, MET, PROFILE, Page, answered, page, rendered

CLASSES = 4


def scores(*chosen: int) -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[list(chosen)]


def predicted(chosen: list[int], labels: list[int] | None) -> Predictions:
    found = Predictions.of_output(scores(*chosen), None)
    return dataclasses.replace(found, labels=None if labels is None else np.array(labels))


def found(trained: list[int], exported: list[int], labels: list[int] | None) -> Answers:
    """The answers of two networks that were seen to choose these classes; window n has the input n everywhere."""
    n = len(trained)
    windows = InMemoryWindows(
        inputs=np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1) * np.ones((n, 1, 2, 2), np.float32),
        labels=None if labels is None else np.array(labels),
        source="a",
        real=True,
    )
    networks = (
        Network(
            run=lambda inputs, chosen=chosen: scores(*(chosen[int(x)] for x in inputs[:, 0, 0, 0])),
            predictions=predicted(chosen, labels),
        )
        for chosen in (trained, exported)
    )
    return answers(windows, *networks, CLASSES)


@pytest.mark.parametrize(
    ("trained", "exported", "labels", "numbers"),
    [
        ([0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 1, 2, 3]),
        # one of each class, then the first
        ([0, 1, 0, 0, 0, 0, 0, 0, 2], [0, 1, 0, 0, 0, 0, 0, 0, 2], None, [0, 1, 2, 3, 4, 8]),
        # half of them are wrong ones
        ([0] * 12, [0] * 12, [0] * 6 + [1] * 6, [0, 1, 2, 6, 7, 8]),
        # different answers come first, whatever the labels
        ([0] * 9, [0] * 3 + [1] * 6, [0] * 9, [3, 4, 5, 6, 7, 8]),
    ],
)
def test_windows_that_tell_most_are_shown(trained, exported, labels, numbers):
    samples = found(trained, exported, labels).samples
    assert samples.numbers == numbers
    assert len(samples) <= SAMPLES
    at = np.array(numbers)
    assert samples.inputs[:, 0, 0, 0].tolist() == at.tolist()
    assert (samples.trained == scores(*trained)[at]).all()
    assert (samples.exported == scores(*exported)[at]).all()
    assert (samples.labels is None) == (labels is None)
    assert labels is None or samples.labels.tolist() == np.array(labels)[at].tolist()
    assert samples.of == len(trained)


def test_networks_that_do_not_classify_answer_the_first_windows():
    """And scores of each time step are averaged."""
    windows = InMemoryWindows(inputs=np.ones((9, 1, 2, 2), np.float32), labels=None, source="a", real=False)
    steps = np.stack([scores(*range(4), 0, 1), scores(*[2] * 6)], axis=1)
    network = Network(run=lambda inputs: steps[: len(inputs)], predictions=Predictions.none())
    made = answers(windows, network, network, 0)
    assert made.samples.numbers == [0, 1, 2, 3, 4, 5]
    assert made.samples.trained[:2].tolist() == [[0.5, 0, 0.5, 0], [0, 0.5, 0.5, 0]]
    assert made.confusion is None


def test_confusions_are_counted_by_label_and_prediction():
    random = np.random.default_rng(0)
    labels, chosen = random.integers(0, CLASSES, (2, 200)).tolist()
    counts = found(labels, chosen, labels).confusion
    expected = np.zeros((CLASSES, CLASSES), int)
    for label, taken in zip(labels, chosen, strict=True):
        expected[label, taken] += 1
    assert (counts == expected).all()
    assert found(labels, chosen, None).confusion is None


def test_the_most_confused_pairs_come_first():
    counts = np.array([[9, 1, 0], [0, 5, 3], [2, 0, 7]])
    assert list(pairs(counts, 2)) == [(1, 2, 3), (2, 0, 2)]
    assert list(pairs(counts, 9)) == [(1, 2, 3), (2, 0, 2), (0, 1, 1)]
    assert list(pairs(np.diag([1, 2]), 5)) == []


def test_answers_are_told_with_their_labels():
    shown = page(MET)
    said = shown.text
    assert "The networks give 2 of these 3 windows the same class, and 1 window different ones; the exported" in said
    assert "right on 2 of 3. They were chosen for what they show, and are not typical." in said
    assert "window 2 label: clap both: clap (1) \u2713 window 3" in said
    assert "window 4 label: roll trained: roll (1) \u2713 exported: clap (1) \u2717" in said
    assert "Of 16 windows, those with different answers were chosen first, then wrong ones, then one of each" in said
    assert "Trained: PyTorch 2.13.0. Exported: model.plain.onnx in ONNX Runtime 1.32.0." in said
    samples = answered().samples
    assert (
        "class 1" in Page(rendered(dataclasses.replace(MANIFEST, classes=["a"]), MET, PROFILE, answers=answered())).text
    )
    unlabelled = dataclasses.replace(answered(), samples=dataclasses.replace(samples, labels=None))
    said = Page(rendered(MANIFEST, MET, PROFILE, answers=unlabelled)).text
    assert "window 4 no label trained: roll (1) exported: clap (1)" in said
    assert "the same class, and 1 window different ones. They were chosen" in said
    of = dataclasses.replace(unlabelled, samples=dataclasses.replace(unlabelled.samples, of=3))
    all_of_them = Page(rendered(MANIFEST, MET, PROFILE, answers=of)).text
    assert "They were chosen" not in all_of_them
    assert "They are all windows of the comparison." in all_of_them


def test_the_picture_of_a_window_has_the_events_of_all_frames():
    samples = answered().samples
    first, *_ = decoded(rendered(MANIFEST, MET, PROFILE))
    white = (first == 255).all(axis=2)
    assert (white == (samples.inputs[0].sum((0, 1)) == 0)).all()
    assert first.shape == (16, 16, 3)


def test_images_of_a_generator_are_shown_side_by_side():
    images = np.linspace(-1, 1, 2 * 28 * 28, dtype=np.float32).reshape(2, 1, 28, 28)
    images_of = dataclasses.replace(
        answered().samples,
        numbers=[1, 2],
        inputs=np.ones((2, 1, 20), np.float32),
        trained=images,
        exported=images[::-1],
    )
    text = rendered(MANIFEST, MET, PROFILE, answers=dataclasses.replace(answered(), samples=images_of))
    pictures = decoded(text)
    assert len(pictures) == 4
    assert (pictures[0] == pictures[3]).all()
    assert np.abs(pictures[0][..., 0] - (images[0, 0] + 1) / 2 * 255).max() <= 1
    assert (
        "Both networks made these 2 images from the same input; the largest difference of a value is 1"
        in Page(text).text
    )


def test_confusions_are_shown_as_a_matrix_or_as_pairs():
    shown = page(MET)
    # diag(1, 2, 3), 4 clap as roll, 2 roll as clap
    assert (
        "right on 6 of 12 windows with a label; its most frequent mistake is to predict roll for clap, in 4 of 5"
        in shown.text
    )
    cells = [a["title"] for a in shown.classes("step") if " as " in a.get("title", "")]
    assert cells == ["clap as clap: 1", "clap as roll: 4", "wave as wave: 2", "roll as clap: 2", "roll as roll: 3"]
    assert "clap roll 4 4 of 5 roll clap 2 2 of 5" in shown.text
    many = dataclasses.replace(MANIFEST, classes=[f"c{at}" for at in range(21)])
    shown = Page(rendered(many, MET, PROFILE, answers=answered(21)))
    assert not [a for a in shown.classes("step") if " as " in a.get("title", "")]
    assert "c0 c20 4 4 of 5 c20 c0 2 2 of 23" in shown.text
    right = dataclasses.replace(answered(), confusion=np.diag([2, 3, 4]))
    assert "is right on all 9 windows with a label." in Page(rendered(MANIFEST, MET, PROFILE, answers=right)).text
    unknown = dataclasses.replace(answered(), confusion=None)
    assert "What is taken for what" not in Page(rendered(MANIFEST, MET, PROFILE, answers=unknown)).text
