"""Events counted and resized, held to torch and Pillow."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from tcja_runtime.data import event_counts
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.event_counts import Counts, Planes
from tcja_runtime.events import Events

from ..recordings import at_times, counted

SIZES = [
    ((128, 128), (48, 48)),
    ((9, 12), (4, 6)),
    ((180, 240), (48, 48)),
    ((5, 7), (8, 9)),
    ((6, 6), (6, 3)),
    ((3, 2), (1, 1)),
]


def planes(size: tuple[int, int], **of: Any) -> Planes:
    return Planes(dataclasses.replace(InputContract.frames(1, *size), **of))


def pixels(sensor: tuple[int, int]) -> Events:
    """Some events on each pixel of a sensor, in no order."""
    rng = np.random.default_rng(3)
    at = rng.permutation(np.repeat(np.arange(sensor[0] * sensor[1]), rng.integers(0, 4, sensor[0] * sensor[1])))
    y, x = np.divmod(at, sensor[1])
    return Events(np.arange(len(at)), x.astype(np.uint16), y.astype(np.uint16), rng.random(len(at)) < 0.5)


def framed(taken: Planes, events: Events) -> np.ndarray:
    counts = Counts(taken)
    counts.add(taken.positions(taken.taken(events)))
    return counts.frame()


@pytest.mark.parametrize(("sensor", "size"), [*SIZES, ((480, 640), (128, 128)), ((260, 346), (48, 50))])
def test_nearest_is_torchs(sensor, size):
    events = pixels(sensor)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(counted(events, *sensor))[None], size)[0]
    np.testing.assert_array_equal(framed(planes(size, sensor=sensor, resize="nearest"), events), wanted)


@pytest.mark.parametrize(
    ("sensor", "size"), [((480, 640), (128, 128)), ((260, 346), (48, 50)), ((9, 12), (4, 6)), ((166, 154), (28, 10))]
)
@pytest.mark.parametrize("polarity", [("off", "on"), ("on", "off")])
def test_sums_are_of_events_that_are_moved(sensor, size, polarity):
    """As by tonic's Downsample, which `test_tonic` runs: it multiplies columns and rows, and cuts off the rest."""
    events = pixels(sensor)
    moved = dataclasses.replace(
        events,
        x=(events.x * (size[1] / sensor[1])).astype(np.uint16),
        y=(events.y * (size[0] / sensor[0])).astype(np.uint16),
    )
    wanted = counted(moved, *size)[:: 1 if polarity[0] == "off" else -1]
    frame = framed(planes(size, sensor=sensor, resize="sum", polarity=polarity), events)
    np.testing.assert_array_equal(frame, wanted)
    assert frame.sum() == len(events)


@pytest.mark.parametrize("split", ["number", "time-bins"])
@pytest.mark.parametrize("crop", [(0, 0, 6, 4), (5, 3, 6, 4), (6, 5, 6, 4), (2, 1, 9, 8)])
@pytest.mark.parametrize("resize", [None, "bilinear", "nearest", "sum"])
def test_a_crop_is_a_part_of_the_picture(split, crop, resize):
    x, y, width, height = crop
    if resize is None and (height, width) != (4, 6):
        return
    events = pixels((9, 12))
    part = counted(events, 9, 12)[:, y : y + height, x : x + width]
    taken = planes((4, 6), split=split, sensor=(9, 12), crop=crop, resize=resize)
    resized = {} if resize is None or (height, width) == (4, 6) else {"sensor": (height, width), "resize": resize}
    within = planes((4, 6), **resized)
    of_part = Events.joined(
        Events(np.zeros(n, np.int64), *(np.full(n, at, np.uint16) for at in (column, row)), np.full(n, bool(p)))
        for (p, row, column), n in np.ndenumerate(part.astype(int))
    )
    np.testing.assert_array_equal(framed(taken, events), framed(within, of_part))
    counts = Counts(taken)
    counts.add(taken.positions(taken.taken(events)))
    assert counts.events == part.sum() > 0


def resized(sensor: tuple[int, int], size: tuple[int, int], plane: np.ndarray) -> np.ndarray:
    return Planes(InputContract.frames(1, *size, sensor=sensor)).frame(plane.astype(np.int64).ravel())


@pytest.mark.parametrize(("sensor", "size"), SIZES)
def test_it_resizes_like_torch(sensor, size):
    plane = np.random.default_rng(0).poisson(3.0, (2, *sensor)).astype(np.float32)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(plane)[None], size, mode="bilinear", antialias=True, align_corners=False
    )[0]
    frame = resized(sensor, size, plane)
    assert frame.dtype == np.float32
    np.testing.assert_allclose(frame, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize(("sensor", "size"), SIZES)
def test_it_resizes_like_pillow(sensor, size):
    image = pytest.importorskip("PIL.Image")
    plane = np.random.default_rng(1).poisson(3.0, (2, *sensor)).astype(np.float32)
    wanted = [image.fromarray(p).resize(size[::-1], image.Resampling.BILINEAR) for p in plane]
    np.testing.assert_allclose(resized(sensor, size, plane), np.stack(wanted), rtol=2e-6, atol=2e-6)


def test_a_frame_of_the_sensors_size_is_not_touched():
    plane = np.random.default_rng(0).integers(0, 2**24, (2, 5, 7))
    np.testing.assert_array_equal(resized((5, 7), (5, 7), plane), plane)


@pytest.mark.parametrize("size", [(128, 128), (180, 240), (1, 3)])
@pytest.mark.parametrize("polarity", [("off", "on"), ("on", "off")])
def test_every_event_is_counted_once(monkeypatch, size, polarity):
    """Where positions fill 16 bits to the last, and where they need more."""
    monkeypatch.setattr(event_counts, "_MANY", 100)
    events = at_times(np.zeros(1000), rows=size[0], columns=size[1])
    events.x[-1], events.y[-1], events.p[-1] = size[1] - 1, size[0] - 1, True
    taken = Planes(InputContract.from_dict({**vars(InputContract.frames(2, *size)), "polarity": polarity}))
    wanted = counted(events, *size)[:: 1 if polarity[0] == "off" else -1]
    positions, counts = taken.positions(events), Counts(taken)
    for at in range(0, 1000, 7):
        counts.add(positions[at : at + 7])
    assert counts.events == 1000
    np.testing.assert_array_equal(counts.frame(), wanted)
    assert counts.events == 0
    assert not counts.frame().any()


def test_more_events_than_float32_counts_one_by_one(monkeypatch):
    monkeypatch.setattr(event_counts, "_MANY", 1)
    taken = Planes(InputContract.frames(1, 1, 1))
    counts = Counts(taken)
    pixel = taken.positions(at_times(np.zeros(2**22), rows=1, columns=1)) * 0
    for n in (2**22, 2**22, 2**22, 2**22, 1, 1):
        counts.add(pixel[:n])
    assert counts.frame()[0, 0, 0] == 2**24 + 2
