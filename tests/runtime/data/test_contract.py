import dataclasses
import json
import re

import numpy as np
import pytest

from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.split_rules import spoken
from tcja_runtime.data.windows import random_windows
from tcja_runtime.errors import BadInput

FRAMES = InputContract.frames(3, 4, 5)
IMAGES = InputContract.images(1, 4, 4)
VECTORS, SEQUENCES = InputContract.of((20, 6)), InputContract.of((5, 3, 32), "features")


@pytest.mark.parametrize("contract", [FRAMES, IMAGES, InputContract.images(3, 8, 8), VECTORS, SEQUENCES])
def test_drawn_windows_meet_the_contract_and_repeat(contract):
    samples = random_windows(contract, 3, seed=1)
    assert samples.inputs.shape == (3, *contract.shape)
    assert samples.inputs.dtype == np.float32
    assert samples.inputs.any(axis=tuple(range(1, samples.inputs.ndim))).all()
    assert not samples.real
    np.testing.assert_array_equal(samples.inputs, random_windows(contract, 3, seed=1).inputs)
    if contract.scaling == "counts":
        np.testing.assert_array_equal(samples.inputs, samples.inputs.round())
    elif contract.name == "features":
        assert abs(samples.inputs.mean()) < 0.5
        assert 0.5 < samples.inputs.std() < 2
    else:
        assert samples.inputs.min() >= 0
        assert samples.inputs.max() <= 1


@pytest.mark.parametrize(
    "contract",
    [
        FRAMES,
        IMAGES,
        InputContract.latents(3, 4),
        InputContract.of((4, 2, 5, 6)),
        VECTORS,
        SEQUENCES,
        InputContract.frames(3, 4, 5, sensor=(128, 200)),
        FRAMES.cut_by("time"),
        FRAMES.cut_by("duration-grid:50ms"),
        FRAMES.cut_by("event-count:3000"),
        dataclasses.replace(FRAMES, crop=(3, 2, 5, 4)),
        dataclasses.replace(FRAMES, crop=(3, 2, 10, 8), resize="sum", sensor=(480, 640)),
    ],
)
def test_contract_json_round_trip(contract):
    assert InputContract.from_dict(json.loads(json.dumps(dataclasses.asdict(contract)))) == contract


def test_contracts_from_before_there_were_durations_are_read():
    fields = {name: value for name, value in dataclasses.asdict(FRAMES).items() if value is not None}
    assert sorted(fields) == ["name", "polarity", "scaling", "shape", "split"]
    assert InputContract.from_dict(fields) == FRAMES


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "sounds"}, 'name is "sounds", and must be "frames" or "images" or "features" or "latents"'),
        ({"name": "features"}, "'features' cannot have the scaling 'counts'"),
        ({"scaling": "unit"}, "'frames' cannot have the scaling 'unit'"),
        ({"shape": [3, 2, 4]}, r"cannot have the shape \[3, 2, 4\]"),
        ({"shape": [3, 2, 4, 5.0]}, r"shape\[3\] is 5.0, and must be a whole number"),
        ({"shape": [3, 2, 4, 0]}, "cannot have the shape"),
        ({"shape": [3, 2, True, 5]}, r"shape\[2\] is true, and must be a whole number"),
        ({"shape": [2, 2, 2**14, 2**14]}, "cannot have the shape"),
        ({"shape": [3, 1, 4, 5]}, "frames .* cannot be cut from recordings"),
        ({"polarity": None}, "frames .* cannot be cut from recordings"),
        ({"polarity": ["on", "on"]}, "cannot have the split 'number' and the polarities"),
        ({"split": "size"}, 'split is "size", and must be "number" or '),
        ({"split": ["number"]}, "split is a list, and must be"),
        ({"split": "duration"}, "the split 'duration' cannot have the duration None"),
        ({"duration": 50}, "the split 'number' cannot have the duration 50"),
        ({"split": "duration", "duration": 0}, "cannot take 0 microseconds"),
        ({"split": "duration", "duration": 1.5}, "duration is 1.5, and must be a whole number"),
        ({"split": "duration-grid", "duration": 2**41}, "cannot take 2199023255552 microseconds"),
        ({"sensor": [4, 5]}, "cannot be resized by None from"),
        ({"resize": "bilinear"}, "cannot be resized by 'bilinear' from None"),
        ({"resize": "cubic", "sensor": [4, 5]}, 'resize is "cubic", and must be "bilinear" or "nearest" or "sum"'),
        ({"resize": "sum", "sensor": [3, 9]}, r"frames \[3, 2, 4, 5\] cannot be sums of 3 x 9 pixels"),
        ({"crop": [0, 0, 5, 5]}, r"frames \[3, 2, 4, 5\] cannot be the part \[0, 0, 5, 5\] of a sensor"),
        ({"crop": [1, 0, 5, 4], "sensor": [4, 5]}, r"cannot come from the part \[1, 0, 5, 4\] of a sensor of \(4, 5\)"),
        ({"crop": [0, 0, 5]}, "crop has 3 values, and must be a list of 4"),
        ({"crop": [-1, 0, 5, 4]}, "cannot come from the part"),
        ({"crop": [0, 0, 0, 4]}, "cannot come from the part"),
        ({"split": "event-count"}, "the split 'event-count' cannot have the count None"),
        ({"split": "time-window", "count": 5, "duration": 5}, "the split 'time-window' cannot have the count 5"),
        ({"split": "event-count", "count": 0}, "cannot take 0 events"),
        ({"resize": "bilinear", "sensor": [4]}, "sensor has 1 value, and must be a list of 2"),
        ({"resize": "bilinear", "sensor": [4, 2**15]}, "frames cannot come from a sensor"),
        ({"resize": "bilinear", "sensor": [4, 5.0]}, r"sensor\[1\] is 5.0"),
    ],
)
def test_contracts_that_cannot_be_are_refused(changed, said):
    with pytest.raises(ValueError, match=said):
        InputContract.from_dict({**dataclasses.asdict(FRAMES), **changed})


def test_images_are_neither_cut_nor_resized():
    for changed in ({"split": "number", "polarity": ["off", "on"]}, {"resize": "bilinear", "sensor": [4, 5]}):
        with pytest.raises(ValueError, match="^images .*cannot"):
            InputContract.from_dict({**dataclasses.asdict(InputContract.images(2, 4, 4)), **changed})


@pytest.mark.parametrize(
    ("shape", "kind", "name", "axes", "steps"),
    [
        ((4, 2, 5, 6), None, "frames", "N, T, P, H, W", 4),
        ((3, 5, 6), None, "images", "N, C, H, W", 0),
        ((3, 5, 6), "images", "images", "N, C, H, W", 0),
        ((20, 6), None, "features", "N, T, F", 20),
        ((20, 6), "features", "features", "N, T, F", 20),
        ((3, 5, 6), "features", "features", "N, T, C, L", 3),
    ],
)
def test_the_number_of_axes_is_a_kind_of_input_unless_one_is_named(shape, kind, name, axes, steps):
    contract = InputContract.of(shape, kind)
    assert (contract.name, contract.shape, contract.axes, contract.steps) == (name, shape, axes, steps)


@pytest.mark.parametrize(
    ("shape", "kind", "said"),
    [
        ((7,), None, "`shape` must be T,P,H,W (frames), C,H,W (images), T,F (features) or T,C,L (features), not 7"),
        ((), None, "not single numbers"),
        ((4, 2, 5, 6), "features", "`shape` must be T,F (features) or T,C,L (features), not 4,2,5,6"),
        ((3, 5, 6), "frames", "`shape` must be T,P,H,W (frames), not 3,5,6"),
        ((0, 6), None, ", not 0,6"),
        ((2**20, 2**10), None, "`shape` 1048576,1024 is too large; a window can have 268,435,456 values at most"),
        ((20, 6), "sounds", "`input` sounds"),
    ],
)
def test_shapes_that_are_no_input_are_refused(shape, kind, said):
    with pytest.raises(BadInput, match=re.escape(said)):
        InputContract.of(shape, kind)


@pytest.mark.parametrize(
    ("contract", "found", "hint"),
    [
        (VECTORS, (20, 9, 6), "; time is its first axis: give values.swapaxes(0, 1)"),
        (VECTORS, (9, 6, 20), "; its last two axes are in the other order: give values.swapaxes(-1, -2)"),
        (SEQUENCES, (5, 9, 3, 32), "; time is its first axis: give values.swapaxes(0, 1)"),
        (SEQUENCES, (9, 5, 32, 3), "; its last two axes are in the other order: give values.swapaxes(-1, -2)"),
        (SEQUENCES, (9, 5, 3, 31), ""),
    ],
)
def test_what_is_wrong_with_the_shape_of_features_is_hinted_at(contract, found, hint):
    assert contract.hint(found) == hint


@pytest.mark.parametrize(
    ("rule", "split", "duration"),
    [
        ("number", "number", None),
        ("time", "time", None),
        ("duration:50ms", "duration", 50_000),
        ("duration-grid:0.5s", "duration-grid", 500_000),
        ("duration:1us", "duration", 1),
        ("time-bins", "time-bins", None),
        ("event-bins", "event-bins", None),
        ("time-window:50ms", "time-window", 50_000),
    ],
)
def test_rules_of_cutting(rule, split, duration):
    cut = FRAMES.cut_by(rule)
    assert (cut.split, cut.duration) == (split, duration)
    assert FRAMES.cut_by(cut.rule) == cut
    assert dataclasses.replace(cut, split="number", duration=None) == FRAMES
    assert cut.cut_by("number") == FRAMES
    assert InputContract.of((3, 2, 4, 5)).cut_by(rule).polarity == ("off", "on")


def test_a_rule_by_a_number_of_events():
    cut = FRAMES.cut_by("event-count:3000")
    assert (cut.split, cut.duration, cut.count, cut.rule) == ("event-count", None, 3000, "event-count:3000")
    assert cut.cut_by("duration:5us").cut_by("number") == FRAMES


@pytest.mark.parametrize(
    "rule",
    [
        *("", "size", "number:50ms", "time:", "duration", "duration:", "duration:50", "duration:0us", "duration:1.5us"),
        *("time-bins:4", "event-bins:4", "time-window", "time-window:3000", "event-count", "event-count:0"),
        *("event-count:50ms", "event-count:-1"),
    ],
)
def test_rules_that_are_none_are_refused(rule):
    said = f"`split` {rule} must be number, time, duration:TIME or duration-grid:TIME (SpikingJelly); or event-bins, "
    with pytest.raises(BadInput, match=re.escape(said)):
        FRAMES.cut_by(rule)


def test_what_is_not_cut_from_recordings_has_no_rule():
    with pytest.raises(BadInput, match="`split` time cuts recordings into frames, but the network takes images; leave"):
        IMAGES.cut_by("time")
    with pytest.raises(BadInput, match="`split` time: events have 2 polarities, but .* frames have 3; leave"):
        InputContract.of((4, 3, 5, 5)).cut_by("time")


@pytest.mark.parametrize(("time", "said"), [(50_000, "50 ms"), (1_500_000, "1.5 s"), (7, "7 us"), (0, "0 us")])
def test_times_are_spoken(time, said):
    assert spoken(time) == said
