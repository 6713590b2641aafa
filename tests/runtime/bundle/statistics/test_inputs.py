"""Windows that are unlike those of the proof are named; others of the same kind are not, whatever is drawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tcja_runtime.bundle.statistics.inputs import InputStatistics, MeasuredWindows, Spread, measured, names
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.windows import InMemoryWindows

EVENTS = InputContract.frames(8, 32, 32)
IMAGES = InputContract.images(1, 28, 28)
FEATURES = InputContract.of((25, 6))


def recordings(n: int, seed: int, *, by_time: bool = False) -> np.ndarray:
    """Frames like those of a camera: the number of events differs by a factor of 5, and the scene moves.

    There are more on events than off events, as with a scene that is lit from one side.
    """
    random = np.random.default_rng(seed)
    frames = np.zeros((n, *EVENTS.shape), np.float32)
    for window in frames:
        events, balance = int(10 ** random.uniform(3.3, 4.0)), random.uniform(1.5, 2.5)
        shares = random.dirichlet(np.full(8, 3.0)) if by_time else np.full(8, 1 / 8)
        for frame, share in zip(window, shares, strict=True):
            place = random.normal(random.uniform(10, 22), 5, (int(events * share), 2)).astype(int).clip(0, 31)
            on = random.uniform(size=len(place)) < balance / (1 + balance)
            np.add.at(frame, (on.astype(int), place[:, 0], place[:, 1]), 1)
    return frames


def images(n: int, seed: int) -> np.ndarray:
    """Images whose brightness and size of the object differ by factors of 2 and 4."""
    random = np.random.default_rng(seed)
    row, column = np.mgrid[:28, :28] / 28
    found = np.zeros((n, *IMAGES.shape), np.float32)
    for image in found:
        radius, light = random.uniform(0.15, 0.3), random.uniform(0.5, 1.0)
        inside = (row - 0.5) ** 2 + (column - 0.5) ** 2 < radius**2
        image[0] = np.where(inside, light * random.uniform(0.5, 1.0, row.shape), 0)
    return found


def features(n: int, seed: int) -> np.ndarray:
    """Six axes of a sensor of motion: the third one feels gravity. How strongly it moves differs by a factor of 4."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(0, 0.3, (n, *FEATURES.shape)), axis=1) * random.uniform(0.5, 2.0, (n, 1, 1))
    walk[..., 3:] *= 40  # degrees in a second, beside multiples of gravity
    walk[..., 2] += 9.8
    return walk.astype(np.float32)


MADE = {EVENTS: recordings, IMAGES: images, FEATURES: features}


def statistics(contract: InputContract, windows: np.ndarray) -> InputStatistics:
    return InputStatistics.of(contract, measured(contract, windows))


CHANGED = {
    "polarities swapped": (EVENTS, lambda n, seed: recordings(n, seed)[:, :, ::-1], "are the polarities swapped?"),
    "cut by time": (EVENTS, lambda n, seed: recordings(n, seed, by_time=True), "were the frames cut by another rule?"),
    "counts of 0 and 1": (EVENTS, lambda n, seed: np.minimum(recordings(n, seed), 1), "?"),
    "a frame of 50": (EVENTS, lambda n, seed: recordings(n, seed) / 50, "?"),
    "0 to 255": (IMAGES, lambda n, seed: images(n, seed) * 255, "?"),
    "divided by 255 twice": (IMAGES, lambda n, seed: images(n, seed) / 255, "?"),
    "inverted": (IMAGES, lambda n, seed: 1 - images(n, seed), "?"),
    "black": (IMAGES, lambda n, seed: images(n, seed) * 0, ": all values are 0; is the source silent?"),
    "in mG": (FEATURES, lambda n, seed: features(n, seed) * 1000, "scaled, and in the order, as in training?"),
    "other order": (FEATURES, lambda n, seed: features(n, seed)[..., ::-1], "and in the order, as in training?"),
    "upside down": (FEATURES, lambda n, seed: -features(n, seed), "shifted, and of the sign, as in training?"),
    "no sensor": (FEATURES, lambda n, seed: features(n, seed) * 0, ": all values are 0; is the source silent?"),
    "silent": (EVENTS, lambda n, seed: recordings(n, seed) * 0, ": all values are 0; is the source silent?"),
}


@pytest.mark.parametrize("n", [1, 4, 20])
@pytest.mark.parametrize(("contract", "changed", "text"), CHANGED.values(), ids=CHANGED)
def test_other_inputs_are_named(contract, changed, text, n):
    proof = statistics(contract, MADE[contract](24, 0))
    found = proof.unlike(contract, measured(contract, changed(n, 1)))
    assert found.startswith("the inputs are unlike the 24 windows that the network was proven on: ")
    assert found.endswith(text)


@pytest.mark.parametrize(
    ("contract", "name", "said"),
    [
        (IMAGES, "mean of 0", "the mean value in channel 0 is"),
        (IMAGES, "filled 0", "the share of values in channel 0 that are not 0 is"),
        (EVENTS, "mean of on", "the mean value of polarity on is"),
        (EVENTS, "filled off", "the share of values of polarity off that are not 0 is"),
        (InputContract.latents(4, 8), "mean of latents", "the mean value of latents is"),
        (FEATURES, "size 3", "the root mean square in channel 3 is 512, and"),
        (FEATURES, "offset 3", "the mean in channel 3, as a share of its root mean square, is 9, and"),
        (FEATURES, "extreme", "the largest absolute value is 512, and"),
        (InputContract.of((4, 700)), "size all", "the root mean square of all features is"),
    ],
)
def test_a_figure_is_named_in_words(contract, name, said):
    spread = Spread(least=0.0, most=0.0, mean=0.0, deviation=0.0)
    proof = InputStatistics(windows=24, figures={name: spread})
    assert said in proof.unlike(contract, np.full((1, len(names(contract))), 9.0))


@pytest.mark.parametrize("of_proof", [16, 64])
@pytest.mark.parametrize(("contract", "make"), MADE.items(), ids=["events", "images", "features"])
def test_no_false_alarm(contract, make, of_proof):
    """Of other windows of the same kind, one at a time and all together."""
    proof = statistics(contract, make(of_proof, 100 + of_proof))
    figures = measured(contract, make(100, 7))
    assert not proof.unlike(contract, figures)
    alarms = sum(bool(proof.unlike(contract, figures[at : at + 1])) for at in range(100))
    assert alarms == 0


def test_few_windows_prove_nothing():
    proof = statistics(IMAGES, images(15, 0))
    assert not proof.unlike(IMAGES, measured(IMAGES, images(4, 0) * 255))
    assert not statistics(IMAGES, images(16, 0)).unlike(IMAGES, np.zeros((0, len(names(IMAGES)))))


@pytest.mark.parametrize(
    "contract",
    [
        EVENTS,
        IMAGES,
        InputContract.latents(4, 6),
        InputContract.of((1, 2, 8, 8)),
        InputContract.of((3, 4, 8, 8)),
        FEATURES,
        InputContract.of((2, 3, 9), "features"),
        InputContract.of((4, 700)),
    ],
    ids=str,
)
def test_every_figure_has_a_name(contract):
    assert measured(contract, np.ones((3, *contract.shape), np.float32)).shape == (3, len(names(contract)))


@pytest.mark.parametrize("real", [True, False])
def test_windows_are_measured_when_they_are_read(real):
    windows = InMemoryWindows(inputs=images(10, 0), labels=None, source="x", real=real)
    watched = MeasuredWindows(windows, IMAGES)
    assert watched.statistics is None
    list(watched.first(4).batches(3))
    assert len(watched.figures) == 4
    list(watched.batches(3, 3))
    assert (len(watched), watched.source, watched.real, watched.labels) == (10, "x", real, None)
    np.testing.assert_array_equal(watched.figures, measured(IMAGES, windows.inputs))
    expected = statistics(IMAGES, windows.inputs) if real else None
    assert watched.statistics == expected
    assert expected is None or dataclasses.asdict(expected)["windows"] == 10
