"""The rules and the pictures of tonic: frames by its own transforms, and by what its documentation says of them."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks.events.spikingjelly_datasets import StandIns
from tcja_runtime.data.camera import CameraView, seen_through
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.integration import integrate
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events

from ..recordings import COLUMNS, ROWS, InMemory, at_times, drawn

TONIC = Path(sys.prefix) / "tonic"
NEEDLESS = ("h5py", "importRosbag", "scipy", "requests", "tqdm", "librosa", "expelliarmus", "typing_extensions")
"""What tonic's data sets import, and its transforms do not need."""


def frames(events: Events, rule: str, steps: int = 1, size: int = 2**20) -> np.ndarray:
    """[frames, 2, H, W]."""
    taken = InputContract.frames(steps, ROWS, COLUMNS).cut_by(rule)
    return integrate(InMemory(events, size), taken).windows.reshape(-1, 2, ROWS, COLUMNS)


@pytest.mark.parametrize(
    ("rule", "steps", "times", "counts"),
    # By hand from the parameters of tonic 1.7's ToFrame; test_frames_are_tonics holds the same rows to tonic itself.
    [
        ("time-bins", 2, [0, 1, 2, 50, 51, 99, 100, 101], [3, 3]),  # 50 us each; 100 and 101 are the dropped rest
        ("time-bins", 4, [0, 1, 2, 50, 51, 99, 100, 101], [3, 0, 2, 1]),  # 25 us each
        ("time-bins", 3, [7, 8, 17], [2, 0, 0]),  # 3 us each, from 7; 17 is in the rest
        ("event-bins", 3, [0, 1, 2, 50, 51, 99, 100, 101], [2, 2, 2]),
        ("event-bins", 4, [0, 1, 2, 50, 51, 99, 100, 101], [2, 2, 2, 2]),
        ("event-count:3", 1, [0, 1, 2, 50, 51, 99, 100, 101], [3, 3]),
        ("event-count:9", 1, [0, 1, 2], [3]),  # fewer events than a frame has are a frame
        ("time-window:30us", 1, [0, 1, 2, 50, 51, 99, 100, 101], [3, 2, 0]),
        ("time-window:50us", 1, [0, 1, 2, 49, 50, 99, 100], [4, 2]),  # the last event is at the end of the last frame
        ("time-window:500us", 1, [0, 1, 2, 50], [4]),  # a recording shorter than a frame is a frame
    ],
)
def test_the_rules_of_tonic(rule, steps, times, counts):
    assert frames(at_times(times), rule, steps, 3).sum((1, 2, 3)).tolist() == counts


def test_the_rest_is_left_out_and_said():
    for rule, steps, remark in (
        ("time-bins", 2, "the events after the last frame are left out, as `split` time-bins does"),
        ("event-bins", 3, "the events after the last frame are left out, as `split` event-bins does"),
        ("time-window:20us", 2, "1 frame of 20 us after the last whole window is left out"),
        ("event-count:2", 3, "1 frame of 2 events after the last whole window is left out"),
    ):
        taken = InputContract.frames(steps, ROWS, COLUMNS).cut_by(rule)
        done = integrate(InMemory(at_times([0, 1, 2, 50, 51, 99, 100, 101]), 3), taken)
        assert remark in done.remarks
        assert done.counts.tolist() == done.windows.sum((1, 2, 3, 4)).tolist()


def test_windows_of_numbers_of_events_have_the_times_of_their_events():
    taken = InputContract.frames(2, ROWS, COLUMNS)
    for rule, times in (("event-bins", [[0, 100]]), ("event-count:2", [[0, 51], [51, 102]])):
        done = integrate(InMemory(at_times([0, 1, 2, 50, 51, 99, 100, 101, 150]), 4), taken.cut_by(rule))
        assert done.times.tolist() == ([[0, 102]] if rule == "event-bins" else times)


@pytest.fixture(scope="module")
def tonic() -> Iterator[ModuleType]:
    """tonic's own transforms."""
    if not TONIC.is_dir():
        pytest.skip("tonic is not installed")
    finder = StandIns(NEEDLESS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TONIC)
        sys.meta_path.append(finder)
        before = {*sys.modules}
        yield importlib.import_module("tonic.transforms")
        sys.meta_path.remove(finder)
        for name in {*sys.modules} - before:
            if name.partition(".")[0] in ("tonic", *NEEDLESS):
                del sys.modules[name]


def structured(events: Events) -> np.ndarray:
    """Events in an array, as tonic has them."""
    array = np.zeros(len(events), [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "<i8")])
    for name in "xytp":
        array[name] = getattr(events, name)
    return array


CASES = {
    "drawn": drawn(1000, 900),
    "sparse": drawn(40, 2000, seed=1),
    "ties": drawn(300, 12, seed=2),
    "one": at_times([77]),
    "instant": at_times([3] * 9),
    "example": at_times([0, 1, 2, 50, 51, 99, 100]),
    "gap": at_times([*range(0, 60, 5), *range(10_000, 10_060, 5)]),
    "exactly": at_times(range(0, 2101, 10)),
    "early": at_times(np.arange(-500, 500, 20)),
}
BINS = [("time-bins", "n_time_bins"), ("event-bins", "n_event_bins")]
SIZES = [("time-window:{}us", "time_window"), ("event-count:{}", "event_count")]


@pytest.mark.releases
@pytest.mark.parametrize("size", [3, 2**20])
@pytest.mark.parametrize("case", CASES)
def test_frames_are_tonics(tonic, case, size):
    """Where tonic has frames without any event of the recording, it is refused: nothing would be left of it."""
    events = CASES[case]
    for rule, parameter in BINS:
        for steps in (1, 4, 7):
            wanted = tonic.ToFrame((COLUMNS, ROWS, 2), **{parameter: steps})(structured(events))
            if not wanted.any():
                with pytest.raises(
                    BadInput, match=f"(are|is) too few for {steps} frames, and `split` {rule} would leave all"
                ):
                    frames(events, rule, steps, size)
            else:
                np.testing.assert_array_equal(frames(events, rule, steps, size), wanted)
    for rule, parameter in SIZES:
        for each in (1, 7, 30, 50, 100_000):
            wanted = tonic.ToFrame((COLUMNS, ROWS, 2), **{parameter: each})(structured(events))
            np.testing.assert_array_equal(frames(events, rule.format(each), 1, size), wanted)


@pytest.mark.releases
def test_random_recordings_are_cut_as_by_tonic(tonic):
    rng = np.random.default_rng(5)
    for seed in range(60):
        events = drawn(int(rng.integers(50, 400)), int(rng.integers(100, 5000)), seed)
        steps, each = int(rng.integers(1, 12)), int(rng.integers(1, 60))
        for rule, parameter, value in (
            *((rule, parameter, steps) for rule, parameter in BINS),
            *((rule.format(each), parameter, each) for rule, parameter in SIZES),
        ):
            wanted = tonic.ToFrame((COLUMNS, ROWS, 2), **{parameter: value})(structured(events))
            np.testing.assert_array_equal(frames(events, rule, steps if "bins" in rule else 1), wanted)


@pytest.mark.releases
@pytest.mark.parametrize("rule", ["time-bins", "event-bins", "time-window:200us", "event-count:50"])
def test_pictures_are_cropped_and_made_smaller_as_by_tonic(tonic, rule):
    """A crop in the middle, sums of pixels, and both, each before the events are cut into frames."""
    sensor, size = (46, 154), (8, 10)  # a width whose products in float64 are below whole numbers
    rows, columns = size
    events = drawn(3000, 5000, rows=sensor[0], columns=sensor[1])
    split, _, each = rule.partition(":")
    count = int(each.removesuffix("us") or 4)
    parameter = {"time-bins": "n_time_bins", "event-bins": "n_event_bins"}.get(split) or split.replace("-", "_")
    framed = tonic.ToFrame((columns, rows, 2), **{parameter: count})
    middle, wide = tonic.CenterCrop((*sensor[::-1], 2), (columns, rows)), tonic.CenterCrop((*sensor[::-1], 2), (40, 24))
    smaller = tonic.Downsample(sensor_size=(*sensor[::-1], 2), target_size=(columns, rows))
    of_part = tonic.Downsample(sensor_size=(40, 24, 2), target_size=(columns, rows))
    x, y = (154 - columns) // 2, (46 - rows) // 2
    steps = 4 if "bins" in split else 1
    contract = InputContract.frames(steps, rows, columns).cut_by(rule)
    for view, transforms in (
        (CameraView((x, y, columns, rows)), [middle]),
        (CameraView(None, "sum"), [smaller]),
        (CameraView(((154 - 40) // 2, (46 - 24) // 2, 40, 24), "sum"), [wide, of_part]),
    ):
        wanted = structured(events)
        for transform in transforms:
            wanted = transform(wanted)
        taken = seen_through(contract, view, sensor, "a.raw")
        assert dataclasses.replace(taken, crop=None, resize=None, sensor=None) == contract
        windows = integrate(InMemory(events, 100, sensor=sensor), taken).windows.reshape(-1, 2, rows, columns)
        np.testing.assert_array_equal(windows, framed(wanted))
