"""A limit of the rate: which events are kept, held to the equations one event after the other."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events
from tcja_runtime.events import rate_limit as limits
from tcja_runtime.events.rate_limit import RateLimit

from ...streams import same
from ..recordings import at_times


def plain(events: Events, rate: int) -> tuple[Events, dict[int, int]]:
    """What is kept, and by the begin of its millisecond how many events were dropped."""
    origin, latest, slices = int(events.t[0]), 0, {}
    for number, time in enumerate(events.t.tolist()):
        latest = max(latest, time - origin)
        slices.setdefault(latest // 1000, []).append(number)
    kept, dropped = [], {}
    for i, numbers in slices.items():
        most, n = math.ceil((i + 1) * rate / 1000) - math.ceil(i * rate / 1000), len(numbers)
        kept += [number for k, number in enumerate(numbers) if n <= most or k * most // n > (k - 1) * most // n]
        dropped[origin + i * 1000] = max(0, n - most)
    mask = np.zeros(len(events), bool)
    mask[kept] = True
    return events.where(mask), dropped


def limited(limit: RateLimit, events: Events, cuts: list[int]) -> Events:
    runs = [limit.push(events[a:b]) for a, b in itertools.pairwise([0, *cuts, len(events)])]
    runs.append(limit.finish())
    assert same(Events.joined(run.events for run in runs), events)
    return Events.joined(run.events.where(run.kept) for run in runs)


@pytest.mark.parametrize("rate", [1, 700, 1999, 30_000, 10**9])
def test_events_are_kept_as_the_equations_say_however_they_come(rate):
    rng = np.random.default_rng(rate)
    steps = rng.choice([0, 1, 3, 40, 2500, -2, -60], 3000, p=[0.35, 0.3, 0.2, 0.08, 0.01, 0.05, 0.01])
    events = at_times(steps.cumsum() - 77)
    wanted, dropped = plain(events, rate)
    assert (len(wanted) < len(events)) == (rate < 10**9)
    for cuts in ([], sorted(rng.integers(0, 3000, 40).tolist()), list(range(3000))):
        limit = RateLimit(rate)
        assert same(limited(limit, events, cuts), wanted)
        assert (limit.arrived, limit.held, limit.dropped) == (3000, 0, 3000 - len(wanted))
        edges = range(-77, 40_000, 5000)
        told = [limit.dropped_within(a, b) for a, b in itertools.pairwise(edges)]
        assert told == [sum(n for at, n in dropped.items() if a <= at < b) for a, b in itertools.pairwise(edges)]


def test_what_is_dropped_lies_evenly_between_what_is_kept():
    events = at_times(np.arange(1000))  # an event a microsecond, for a millisecond
    limit = RateLimit(250_000)
    assert limited(limit, events, []).t.tolist() == list(range(0, 1000, 4))
    assert limit.dropped == 750


def test_a_millisecond_of_any_length_is_held_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(limits, "_MOST_HELD", 100)
    limit = RateLimit(50_000)
    kept = [limit.push(at_times([0] * 30)) for _ in range(40)]
    assert limit.held <= 100
    kept.append(limit.finish())
    assert sum(int(each.kept.sum()) for each in kept) == 50
    assert limit.dropped == 1150


@pytest.mark.parametrize("rate", [0, -5, 10**10 + 1])
def test_rates_that_cannot_be_are_refused(rate):
    with pytest.raises(BadInput, match=rf"`max_rate` {rate:,} must be 1 to 10,000,000,000 events a second"):
        RateLimit(rate)
