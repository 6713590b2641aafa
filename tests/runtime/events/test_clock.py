"""Streams whose clock begins anew."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tcja_runtime.events import Events
from tcja_runtime.events.clock import BACK, ContinuousClock

from ...streams import drawn, same


def corrected(events: Events, size: int) -> tuple[Events, int]:
    clock = ContinuousClock()
    found = Events.joined([clock.correct(events[at : at + size]) for at in range(0, len(events), size)])
    return found, clock.resets


@pytest.mark.parametrize("size", [1, 7, 400, 5000])
def test_a_clock_of_few_bits_goes_on(size):
    events = drawn(5000, seconds=30)
    short = dataclasses.replace(events, t=events.t % 2**23)
    found, resets = corrected(short, size)
    assert resets == 3
    gaps, expected = np.diff(found.t), np.diff(events.t)
    at = np.flatnonzero(np.diff(short.t) < 0)
    assert (gaps[at] == 0).all()
    assert (np.delete(gaps, at) == np.delete(expected, at)).all()
    assert found.t[0] == events.t[0]


@pytest.mark.parametrize("size", [1, 100, 1000])
def test_one_wild_time_does_not_hold_up_the_others(size):
    events = drawn(1000)
    times = events.t.copy()
    times[500] = 2**40
    found, resets = corrected(dataclasses.replace(events, t=times), size)
    assert resets == 1
    assert (np.diff(found.t)[501:] == np.diff(events.t)[501:]).all()


@pytest.mark.parametrize("back", [1, BACK])
def test_small_steps_back_are_left_alone(back):
    events = drawn(1000)
    times = events.t.copy() + BACK
    times[300:] -= back
    jittered = dataclasses.replace(events, t=times)
    found, resets = corrected(jittered, 77)
    assert (same(found, jittered), resets) == (True, 0)
