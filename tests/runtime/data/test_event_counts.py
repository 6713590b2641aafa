"""Events counted and resized, held to torch and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tcja_runtime.data import event_counts
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.event_counts import Counts, Planes

from ..recordings import at_times, counted

SIZES = [
    ((128, 128), (48, 48)),
    ((9, 12), (4, 6)),
    ((180, 240), (48, 48)),
    ((5, 7), (8, 9)),
    ((6, 6), (6, 3)),
    ((3, 2), (1, 1)),
]


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
    assert taken.outside(events) is None
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
