"""Recordings as frames, held to SpikingJelly's own functions of both its releases."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.data import frame_edges, integration
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.integration import integrate
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events

from ..recordings import COLUMNS, ROWS, InMemory, at_times, counted, drawn
from .spikingjelly_frames import DURATIONS, FRAMES

ROOT = Path(__file__).parents[3]
RELEASES = {"duration": None, "duration-grid": Path(sys.prefix) / "spikingjelly-2"}
"""By what they make of a duration: up to 0.0.0.0.14, which is installed, and 2."""
EXAMPLE = [0, 1, 2, 50, 51, 99, 100]
CASES = {
    "drawn": drawn(1000, 900),
    "sparse": drawn(40, 2000, seed=1),
    "ties": drawn(300, 12, seed=2),
    "fewer": at_times([5, 9, 400]),
    "one": at_times([77]),
    "instant": at_times([3] * 9),
    "example": at_times(EXAMPLE),
    "gap": at_times([*range(0, 60, 5), *range(10_000, 10_060, 5)]),
    "exactly": at_times(range(0, 2101, 10)),  # ends with a frame of each duration
    "early": at_times(np.arange(-500, 500, 20)),
}


def contract(steps: int, rule: str) -> InputContract:
    return InputContract.frames(steps, ROWS, COLUMNS).cut_by(rule)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """By release, what SpikingJelly makes of all cases."""
    folder = tmp_path_factory.mktemp("spikingjelly")
    arrays = {f"{name}.{key}": getattr(events, key) for name, events in CASES.items() for key in "txyp"}
    np.savez(folder / "events.npz", **arrays)
    script, started = Path(__file__).with_name("spikingjelly_frames.py"), {}
    for release, path in RELEASES.items():
        if path and not path.is_dir():
            continue
        paths = [str(ROOT), *([str(path)] if path else [])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, script, folder / "events.npz", folder / f"{release}.npz", str(ROWS), str(COLUMNS)]
        started[release] = subprocess.Popen(command, env=environment)
    assert [process.wait() for process in started.values()] == [0] * len(started)
    return {release: dict(np.load(folder / f"{release}.npz")) for release in started}


@pytest.mark.parametrize("size", [1, 3, 2**20])
@pytest.mark.parametrize("steps", FRAMES)
@pytest.mark.parametrize("rule", ["number", "time"])
def test_a_number_of_frames(published, rule, steps, size):
    for case, events in CASES.items():
        windows = integrate(InMemory(events, size), contract(steps, rule)).windows
        assert windows.shape == (1, steps, 2, ROWS, COLUMNS)
        assert windows.dtype == np.float32
        for made in published.values():
            wanted = made.get(f"{case}.{rule}.{steps}")
            if wanted is None:
                assert rule == "time"
                assert case in ("one", "instant", "fewer", "gap", "example")
                wanted = by_time(events, steps)
                assert not wanted.any(axis=(1, 2, 3)).all() or steps == 1
            np.testing.assert_array_equal(windows[0], wanted)


def by_time(events: Events, steps: int) -> np.ndarray:
    """Frames as "time" is defined, where SpikingJelly ends with an IndexError."""
    each = (events.t[-1] - events.t[0]) // steps
    edges = [events.t[0] + i * each for i in range(steps)] + [events.t[-1] + 1]
    within = [(events.t >= begin) & (events.t < end) for begin, end in itertools.pairwise(edges)]
    return np.stack([counted(events.where(mask)) for mask in within])


@pytest.mark.parametrize("size", [1, 3, 2**20])
@pytest.mark.parametrize("duration", DURATIONS)
@pytest.mark.parametrize("rule", ["duration", pytest.param("duration-grid", marks=pytest.mark.releases)])
def test_a_duration(published, rule, duration, size):
    if rule not in published:
        pytest.skip("this release is not installed")
    for case, events in CASES.items():
        asked = InMemory(events, size), contract(1, f"{rule}:{duration}us")
        wanted = published[rule].get(f"{case}.duration.{duration}")
        if wanted is None:
            assert (rule, case) in {("duration-grid", "instant"), ("duration-grid", "one")}
            with pytest.raises(BadInput, match="make 0 frames"):
                integrate(*asked)
        else:
            np.testing.assert_array_equal(integrate(*asked).windows[:, 0], wanted)


def test_an_empty_time_is_an_empty_frame():
    done = integrate(InMemory(CASES["gap"]), contract(4, "time"))
    assert done.windows.sum(axis=(0, 2, 3, 4)).tolist() == [12, 0, 0, 12]
    assert done.remarks == ["2 of 4 frames have no event"]


def test_the_two_rules_for_a_duration_differ():
    def counts(rule: str) -> list[int]:
        windows = integrate(InMemory(at_times(EXAMPLE)), contract(1, rule)).windows
        return windows.sum(axis=(1, 2, 3, 4)).astype(int).tolist()

    assert counts("duration:50us") == [4, 3]
    assert counts("duration-grid:50us") == [3, 4]
    assert counts("duration:30us") == [3, 2, 2]
    assert counts("duration-grid:30us") == [3, 2, 0, 2]


def test_frames_of_a_duration_make_whole_windows():
    events = drawn(500, 1000)
    single = integrate(InMemory(events), contract(1, "duration-grid:90us")).windows
    assert len(single) == 12
    done = integrate(InMemory(events, 7), contract(5, "duration-grid:90us"))
    np.testing.assert_array_equal(done.windows, single[:10].reshape(2, 5, 2, ROWS, COLUMNS))
    assert done.remarks == ["2 frames of 90 us after the last whole window are left out"]
    assert done.events == 500


@pytest.mark.parametrize("rule", ["number", "time", "duration:30us", "duration-grid:30us"])
@pytest.mark.parametrize("case", ["drawn", "gap", "exactly", "early"])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_windows_have_the_events_of_their_times(case, rule, steps):
    events = CASES[case]
    done = integrate(InMemory(events, 11), contract(steps, rule))
    within = [np.count_nonzero((events.t >= begin) & (events.t < end)) for begin, end in done.times]
    assert within == done.counts.tolist() == done.windows.sum((1, 2, 3, 4)).tolist()
    assert done.times[0, 0] == events.t[0]
    if not rule.startswith("duration"):
        assert done.times.tolist() == [[events.t[0], events.t[-1] + 1]]


def test_a_segment_of_one_window_is_as_long_as_was_asked_for():
    done = integrate(InMemory(drawn(900, 3000)), contract(3, "time"), 1_000_100, 1_002_000)
    assert done.times.tolist() == [[1_000_100, 1_002_000]]


def test_a_segment_is_what_its_times_are_in():
    events = drawn(900, 3000)
    begin, end = int(events.t[200]), int(events.t[600])
    within = (events.t >= begin) & (events.t < end)
    assert np.count_nonzero((events.t >= begin) & (events.t <= end)) > np.count_nonzero(within)
    for rule in ("number", "time", "duration:100us", "duration-grid:100us"):
        wanted = integrate(InMemory(events.where(within)), contract(3, rule))
        done = integrate(InMemory(events, 11), contract(3, rule), begin, end)
        np.testing.assert_array_equal(done.windows, wanted.windows)
        assert done.events == np.count_nonzero(within)
    events.x[250] = 99
    number = 250 - int(np.flatnonzero(within)[0])
    with pytest.raises(BadInput, match=rf"aedat from {begin:,} us to {end:,} us: event {number} is at column"):
        integrate(InMemory(events, 11), contract(3, "number"), begin, end)
    with pytest.raises(BadInput, match=r"waving\.aedat from 9,000,000 us has no events"):
        integrate(InMemory(events), contract(3, "number"), begin=9_000_000)


def test_polarities_the_other_way_round():
    events = drawn(50, 100)
    turned = InputContract.from_dict({**vars(contract(3, "number")), "polarity": ["on", "off"]})
    there, back = (integrate(InMemory(events), c).windows for c in (contract(3, "number"), turned))
    assert not np.array_equal(there, back)
    np.testing.assert_array_equal(there, back[:, :, ::-1])


def test_counts_are_of_the_sensor_and_frames_of_the_network():
    events = drawn(2000, 100, rows=9, columns=12)
    small = InputContract.frames(2, 4, 6, sensor=(9, 12))
    whole = integrate(InMemory(events), InputContract.frames(2, 9, 12)).windows
    done = integrate(InMemory(events), small).windows
    assert done.shape == (1, 2, 2, 4, 6)
    np.testing.assert_allclose(done.mean(), whole.mean(), rtol=0.05)


def test_large_recordings_are_read_twice_and_never_held(monkeypatch):
    """Sixty chunks of 100,000 events, 13 bytes each, in the memory of a few of them."""

    class Long:
        path, format, sensor = Path("long"), "drawn", None
        read = 0

        def chunks(self):
            self.read += 1
            for i in range(60):
                yield at_times(np.arange(100_000) + i * 100_000, seed=i, rows=16, columns=16)

    recording, taken = Long(), InputContract.frames(4, 16, 16)
    monkeypatch.setattr(integration, "_FEW", 1)
    tracemalloc.start()
    try:
        windows = integrate(recording, taken).windows
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert recording.read == 2
    assert peak < 100_000 * 13 * 6
    assert windows.sum(axis=(0, 2, 3, 4)).tolist() == [1_500_000] * 4
    half = InputContract.frames(2, 16, 16).cut_by("duration:2999999us")
    np.testing.assert_array_equal(integrate(recording, half).windows[0, 0], windows[0, :2].sum(0))


def test_times_that_go_back_do_not_matter_to_numbers():
    times = [5, 9, 2, 8, 1, 3, 7, 7]
    done = integrate(InMemory(at_times(times), 3), contract(2, "number"))
    np.testing.assert_array_equal(
        done.windows, integrate(InMemory(at_times(sorted(times))), contract(2, "number")).windows
    )
    assert done.remarks == [
        "time goes back at 2 events, first at event 2; frames are cut by number, in the order of the recording"
    ]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("rule", ["time", "duration:1us", "duration-grid:1us", "time-bins", "time-window:1us"])
def test_times_that_go_back_are_refused_elsewhere(rule, size):
    said = r"waving\.aedat: time goes back from 9 to 2 us at event 3, so it cannot be cut by .*; sort its events, or"
    with pytest.raises(BadInput, match=said):
        integrate(InMemory(at_times([4, 5, 9, 2, 8, 1]), size), contract(2, rule))


def test_what_is_unusual_is_remarked():
    done = integrate(InMemory(at_times([1, 2, 3]), sensor=(4, 7)), contract(5, "number"))
    assert done.remarks == [
        "recorded with 7x4 pixels, fewer than the network's 7x5; the rest of the picture stays empty",
        "3 events are fewer than the 5 frames: all of them are in the last frame",
    ]
    assert integrate(InMemory(drawn(99, 100), sensor=(ROWS, COLUMNS)), contract(5, "number")).remarks == []


@pytest.mark.parametrize(
    ("events", "taken", "said"),
    [
        (Events.none(), contract(2, "number"), r"waving\.aedat has no events; give another"),
        (
            at_times([0, 120]),
            contract(4, "duration:50us"),
            r"120 us of events make 2 frames of 50 us, the network takes 4 \(200 us\); give a longer recording, or",
        ),
        (
            at_times([0, 10**9]),
            contract(4, "duration-grid:1us"),
            r"makes more than 3,834,792 frames of 1 us, too many for memory; cut it into segments, or stream it",
        ),
        (
            at_times([-(2**62), 2**62]),
            contract(4, "time"),
            r"times from -4,611,686,018,427,387,904 to 4,611,686,018,427,387,904 us are out of range",
        ),
        (
            at_times([3] * 9),
            contract(4, "time-bins"),
            "0 us of events are too few for 4 frames, and `split` time-bins would",
        ),
        (
            at_times([1, 5, 9]),
            contract(4, "event-bins"),
            "3 events are too few for 4 frames, and `split` event-bins would",
        ),
        (
            at_times([1, 5, 9]),
            contract(4, "event-count:2"),
            r"3 events make 1 frame of 2 events, the network takes 4 \(8 events\); give a longer recording",
        ),
        (at_times([1]), InputContract.images(1, 4, 4), "the network takes images, not events"),
        (at_times([1]), InputContract.latents(4, 4), "the network takes latents, not events"),
        (at_times([1]), InputContract.of((4, 2, 5, 7)), "cuts recordings into frames is not known .* `split` number"),
    ],
)
def test_what_makes_no_window_is_refused(events, taken, said):
    with pytest.raises(BadInput, match=said):
        integrate(InMemory(events), taken)


def test_too_many_frames_are_not_looked_for(monkeypatch):
    monkeypatch.setattr(frame_edges, "LARGEST", 4 * 2 * ROWS * COLUMNS)
    assert len(integrate(InMemory(at_times(range(0, 40, 10))), contract(2, "duration:1us")).windows) == 2
    with pytest.raises(BadInput, match="makes more than 4 frames of 1 us"):
        integrate(InMemory(at_times(range(0, 50, 10))), contract(2, "duration:1us"))


def test_another_camera_is_refused_before_it_is_read():
    with pytest.raises(
        BadInput, match=r"waving\.aedat is of a camera of 9x9 pixels; the network takes 7x5; as in training"
    ):
        integrate(InMemory(at_times([1, 2, 3]), sensor=(9, 9)), contract(3, "number"))


@pytest.mark.parametrize("rule", ["number", "time", "duration:100us", "duration-grid:100us"])
def test_frames_of_spikingjelly_are_cropped_after_they_were_cut(rule):
    events = drawn(900, 1500, rows=9, columns=12)
    whole = integrate(InMemory(events, 50), InputContract.frames(3, 9, 12).cut_by(rule))
    part = dataclasses.replace(contract(3, rule), crop=(2, 3, COLUMNS, ROWS))
    done = integrate(InMemory(events, 50, sensor=(9, 12)), part)
    np.testing.assert_array_equal(done.windows, whole.windows[..., 3 : 3 + ROWS, 2 : 2 + COLUMNS])
    np.testing.assert_array_equal(done.times, whole.times)
    assert done.counts.tolist() == done.windows.sum((1, 2, 3, 4)).tolist()


@pytest.mark.parametrize("rule", ["number", "time-bins"])
def test_a_crop_without_events_is_refused(rule):
    part = dataclasses.replace(contract(3, rule), crop=(200, 100, COLUMNS, ROWS))
    with pytest.raises(BadInput, match=r"waving\.aedat has no events in the part of the picture that is taken; "):
        integrate(InMemory(drawn(50, 100)), part)


@pytest.mark.parametrize(("x", "y"), [(COLUMNS, 0), (0, ROWS), (65535, 65535)])
def test_events_beside_the_sensor_are_refused(x, y):
    events = drawn(20, 100)
    events.x[13], events.y[13] = x, y
    said = (
        rf"waving\.aedat: event 13 is at column {x}, row {y}; the network takes 7x5; as in training, take a part with"
    )
    with pytest.raises(BadInput, match=said):
        integrate(InMemory(events, 6), contract(2, "number"))


def test_what_changes_between_the_passes_is_refused(monkeypatch):
    class Growing(InMemory):
        def chunks(self):
            self.size += 1
            yield self.events[: self.size]

    monkeypatch.setattr(integration, "_FEW", 1)
    with pytest.raises(BadInput, match=r"waving\.aedat changed while it was read"):
        integrate(Growing(drawn(20, 100), 10), contract(2, "number"))
