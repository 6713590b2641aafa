"""The range stimulus has inputs of every size, the same on every machine."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from tcja_runtime.data.contract import InputContract
from tcja_runtime.evidence import input_range

FRAMES = InputContract.frames(4, 32, 32)
IMAGES = InputContract.images(1, 28, 28)
FEATURES = InputContract.of((8, 700))


@pytest.mark.parametrize("largest", [input_range.LARGEST, 2**14 - 1, 255, 15])
def test_counts_have_every_size_up_to_the_largest(largest):
    frames = input_range.inputs(FRAMES, 4, largest)
    assert frames.shape == (4, *FRAMES.shape)
    assert frames.dtype == np.float32
    assert (frames == np.floor(frames)).all()
    assert 0.9 * largest < frames.max() <= largest
    digits = np.floor(np.log2(frames[frames > 0]))
    assert set(digits.tolist()) == set(range(largest.bit_length()))
    assert frames[:, :, 0].max() > 0 < frames[:, :, 1].max()


def test_some_frames_are_sparse():
    shares = np.count_nonzero(input_range.inputs(FRAMES, 4, 255).reshape(16, -1), axis=1) / 2048
    assert shares.min() < 1 / 64
    assert shares.max() > 1 / 4


@pytest.mark.parametrize(
    "contract",
    [InputContract.of(FRAMES.shape), InputContract.frames(4, 32, 32, sensor=(64, 64))],
    ids=["own", "resized"],
)
def test_counts_that_may_have_fractions_have_some(contract):
    frames = input_range.inputs(contract, 1, input_range.LARGEST)
    assert (frames != np.floor(frames)).any()
    assert (frames == np.round(4 * frames.astype(np.float64)) / 4).all()
    assert frames.max() <= input_range.LARGEST


def test_intensities_are_between_those_of_8_bit_images():
    images = input_range.inputs(IMAGES, 4, input_range.LARGEST)
    assert images.min() == 0.0
    assert images.max() == 1.0
    values = images[(images > 0) & (images < 1)].astype(np.float64)
    assert (np.abs(values * 255 - np.round(values * 255)) > 1e-3).mean() > 0.99
    assert (values.astype(np.float16) != values).mean() > 0.9


@pytest.mark.parametrize("largest", [input_range.LARGEST, 2**14 - 1, 15])
def test_features_have_both_signs_every_size_and_every_digit(largest):
    values = input_range.inputs(FEATURES, 4, largest)
    assert values.shape == (4, *FEATURES.shape)
    some = values[values != 0].astype(np.float64)
    assert set(np.floor(np.log2(np.abs(some))).tolist()) == set(range(-12, largest.bit_length()))
    assert 0.3 < (some < 0).mean() < 0.7
    assert 0.9 * largest < np.abs(some).max() <= largest
    digits = np.frexp(some)[0] * 2**11  # float16 has 11 of them
    assert (digits != np.round(digits)).mean() > 0.9


def test_inputs_are_the_same_on_every_machine():
    made = [
        input_range.inputs(each, 2, input_range.LARGEST).astype("<f4").tobytes() for each in (FRAMES, IMAGES, FEATURES)
    ]
    assert [hashlib.sha256(each).hexdigest()[:16] for each in made] == SUMS


SUMS = ["2c45b6a9560aa776", "5dae15a30325868d", "369530511fe06825"]


def test_spikes_have_no_range():
    assert not input_range.takes_range(InputContract.latents(4, 8))
    assert input_range.takes_range(dataclasses.replace(FRAMES, split="time"))


@pytest.mark.parametrize(("neurons", "n"), [(100, 4), (2**22, 2), (2**26, 1)])
def test_a_larger_network_has_fewer_windows(neurons, n):
    assert input_range.windows([(neurons,)], 4) == n
