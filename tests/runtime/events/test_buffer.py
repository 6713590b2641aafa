"""The queue between a source and a network: nothing is lost uncounted, and it never holds more than it may."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

from tcja_runtime.events import Events
from tcja_runtime.events.buffer import Buffer, Gap, Run

from ...streams import drawn, same


def taken(buffer: Buffer) -> list[Run]:
    """All that is in it."""
    runs = []
    while (run := buffer.take(0)) is not None:
        runs.append(run)
    return runs


def cut(events: Events, sizes: list[int]) -> list[Events]:
    edges = np.cumsum([0, *sizes])
    return [events[int(a) : int(b)] for a, b in itertools.pairwise(edges)]


@pytest.mark.parametrize("sizes", [[1000], [1] * 1000, [300, 700], [0, 999, 0, 1]])
@pytest.mark.parametrize("waits", [True, False])
def test_what_goes_in_comes_out(sizes, waits):
    events = drawn(1000)
    buffer = Buffer(1000, waits=waits)
    for each in cut(events, sizes):
        assert buffer.put(each)
    assert (buffer.arrived, buffer.held, buffer.dropped) == (1000, 1000, 0)
    runs = taken(buffer)
    assert same(Events.joined(run.events for run in runs), events)
    assert all(run.gap is None for run in runs)
    assert buffer.held == 0


@pytest.mark.parametrize("sizes", [[5000], [1] * 5000, [1500, 3500], [4999, 1], [250] * 20])
@pytest.mark.parametrize("limit", [1, 64, 1501, 4999])
def test_the_oldest_make_room_and_are_counted(sizes, limit):
    events = drawn(5000)
    buffer = Buffer(limit, waits=False)
    for each in cut(events, sizes):
        assert buffer.put(each)
        assert buffer.held <= limit
    assert (buffer.arrived, buffer.held, buffer.dropped) == (5000, limit, 5000 - limit)
    first, *others = taken(buffer)
    assert same(Events.joined(run.events for run in (first, *others)), events[5000 - limit :])
    lost = events.t[: 5000 - limit]
    assert first.gap == Gap(5000 - limit, lost.min(), lost.max())
    assert all(run.gap is None for run in others)


def test_gaps_are_told_where_they_are():
    events = drawn(60)
    buffer = Buffer(20, waits=False)
    buffer.put(events[:30])
    first = buffer.take(0)
    assert first is not None
    assert first.gap == Gap(10, events.t[0], events.t[9])
    buffer.put(events[30:50])
    second = buffer.take(0)
    assert second is not None
    assert second.gap is None
    buffer.put(events[:5])
    buffer.put(events[5:60])
    assert [run.gap for run in taken(buffer)] == [Gap(40, events.t[0], events.t[39])]


def test_few_runs_are_held_however_small_they_are():
    """A run costs as much memory as tens of events, and a datagram may hold a single one."""
    buffer = Buffer(10_000, waits=False)
    events = drawn(10_000)
    for at in range(len(events)):
        buffer.put(events[at : at + 1])
    assert len(taken(buffer)) < 25


def test_large_runs_are_cut(monkeypatch):
    monkeypatch.setattr("tcja_runtime.events.buffer.CHUNK", 1100)
    buffer = Buffer(3000, waits=True)
    buffer.put(drawn(3000))
    assert [len(run.events) for run in taken(buffer)] == [1100, 1100, 800]


@pytest.mark.parametrize("limit", [1, 7, 64])
def test_a_source_that_waits_loses_nothing(limit):
    events = drawn(500)
    buffer = Buffer(limit, waits=True)

    def fill() -> None:
        for each in cut(events, [100, 1, 399]):
            buffer.put(each)
        buffer.close()

    thread = threading.Thread(target=fill)
    thread.start()
    runs = []
    while not buffer.over:
        assert buffer.held <= limit
        run = buffer.take(5)
        runs += [run] if run else []
    thread.join()
    assert same(Events.joined(run.events for run in runs), events)
    assert (buffer.arrived, buffer.dropped) == (500, 0)


def test_a_source_that_waits_is_let_go_when_nobody_wants_more():
    buffer, wanted = Buffer(10, waits=True), []
    thread = threading.Thread(target=lambda: wanted.append(buffer.put(drawn(11))))
    thread.start()
    for _ in range(1000):
        if buffer.held == 10:
            break
        time.sleep(0.01)
    buffer.close()
    thread.join()
    assert (buffer.held, wanted) == (10, [False])
    assert not buffer.put(drawn(1))


def test_a_failure_comes_behind_what_came_before_it():
    buffer = Buffer(10, waits=False)
    buffer.put(drawn(3))
    buffer.close(ValueError("damaged"))
    assert not buffer.over
    assert len(taken(buffer)) == 1
    with pytest.raises(ValueError, match="damaged"):
        _ = buffer.over


def test_arrivals_are_when_they_came(monkeypatch):
    now = iter([1.0, 2.0, 3.0])
    monkeypatch.setattr("tcja_runtime.events.buffer.time.monotonic", lambda: next(now))
    buffer = Buffer(10_000, waits=False)
    for size in (10, 10, 2000):
        buffer.put(drawn(size))
    # The second is joined to the first, and never said to be younger than it is.
    assert [(len(run.events), run.arrived) for run in taken(buffer)] == [(20, 1.0), (2000, 3.0)]
