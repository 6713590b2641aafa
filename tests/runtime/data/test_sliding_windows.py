"""Endless streams cut into windows, held to a plain cutter that goes from event to event."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from tcja_runtime.data.camera import cropped
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.event_counts import Collector, Frame
from tcja_runtime.data.integration import integrate
from tcja_runtime.data.sliding_windows import Cutter, Window
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events
from tcja_runtime.events.rate_limit import RateLimit

from ..recordings import COLUMNS, ROWS, InMemory, at_times, counted, drawn

STEPS = 4
COUNTERS = ("events", "late", "dropped", "silent")


def contract(rule: str, steps: int = STEPS) -> InputContract:
    return InputContract.frames(steps, ROWS, COLUMNS).cut_by(rule)


class Plain:
    """The same as `Cutter`, one event after the other: every window's events are a list."""

    def __init__(self, taken: InputContract, window: Window, most: int = 2**24) -> None:
        self.steps, self.window, self.most = taken.shape[0], window, most
        self.timed = window.unit == "us"
        self.at_once = self.timed and taken.split in ("number", "event-bins")
        self.drops = taken.split in ("event-bins", "time-bins")
        self.events = self.late = self.dropped = self.silent = 0
        self.origin: int | None = None
        self.clock = 0
        self.open: dict[int, list[tuple[int, Events]]] = {}
        self.given: dict[int, int] = {}
        self.seen = -1

    def edges(self, number: int) -> list[int]:
        begin, each = number * self.window.hop, self.window.length // self.steps
        inner = [begin + i * each for i in range(self.steps)]
        return [*inner, inner[-1] + each if self.drops and not self.at_once else begin + self.window.length]

    def push(self, events: Events) -> Iterator[Frame]:
        for i in range(len(events)):
            yield from self.one(events[i : i + 1])

    def one(self, event: Events) -> Iterator[Frame]:
        self.events += 1
        if self.timed:
            if self.origin is None:
                self.origin = int(event.t[0])
            own = int(event.t[0]) - self.origin
            clock = max(own, self.clock)
        else:
            own = clock = self.clock
        hop, length = self.window.hop, self.window.length
        numbers = [k for k in range(clock // hop + 1) if k * hop + length > clock]
        if own < self.edges(numbers[0])[0]:
            self.late += 1
            return
        self.clock = clock
        self.silent += max(numbers[0] - self.seen - 1, 0)
        for k in numbers:
            if k > self.seen:
                self.open[k], self.given[k], self.seen = [], 0, k
        yield from self.until(clock)
        for k in numbers:
            if k not in self.open:  # the event is in the rest that the rule drops
                continue
            if self.at_once and len(self.open[k]) == self.most:
                self.dropped += 1
            else:
                self.open[k].append((clock, event))
        if not self.timed:
            self.clock += 1
            yield from self.until(self.clock)

    def until(self, clock: int | None) -> Iterator[Frame]:
        while self.open:
            ends = {k: self.edges(k)[-1 if self.at_once else self.given[k] + 1] for k in self.open}
            k = min(ends, key=lambda k: (ends[k], k))
            if clock is not None and ends[k] > clock:
                return
            for _ in range(self.steps if self.at_once else 1):
                yield self.frame(k, whole=clock is not None)
            if self.given[k] == self.steps:
                del self.open[k]

    def frame(self, k: int, *, whole: bool) -> Frame:
        step, edges, held = self.given[k], self.edges(k), self.open[k]
        self.given[k] += 1
        if self.at_once:
            each = len(held) // self.steps
            inside = (
                held[step * each :]
                if step + 1 == self.steps and not self.drops
                else held[step * each : (step + 1) * each]
            )
            begin, end = edges[0], edges[-1]
        else:
            inside = [(clock, event) for clock, event in held if edges[step] <= clock < edges[step + 1]]
            begin, end = edges[step : step + 2]
        if self.timed:
            begin, end = begin + self.origin, end + self.origin
        else:
            end = max(int(event.t[0]) for _, event in held)
            begin = int(inside[0][1].t[0]) if inside else end
        counts = counted(Events.joined([event for _, event in inside]))
        last = step + 1 == self.steps
        return Frame(
            window=k, step=step, counts=counts, begin=begin, end=end, events=len(inside), last=last, whole=whole
        )

    def finish(self) -> Iterator[Frame]:
        return self.until(None)


def cut(cutter: Cutter | Plain, events: Events, cuts: list[int] | None = None) -> list[Frame]:
    """All frames of a stream that comes in pieces."""
    frames, at = [], 0
    for to in [*(cuts or []), len(events)]:
        frames += cutter.push(events[at:to])
        at = to
    return [*frames, *cutter.finish()]


def assert_same(frames: list[Frame], wanted: list[Frame]) -> None:
    assert [dataclasses.replace(f, counts=None) for f in frames] == [
        dataclasses.replace(f, counts=None) for f in wanted
    ]
    for frame, like in zip(frames, wanted, strict=True):
        np.testing.assert_array_equal(frame.counts, like.counts)
        assert frame.counts.dtype == np.float32


def counters(cutter: Cutter | Plain) -> dict[str, int]:
    return {name: getattr(cutter, name) for name in COUNTERS}


def wild(seed: int) -> Events:
    """Bursts, pauses, ties, and times that go back a little and far."""
    rng = np.random.default_rng(seed)
    steps = rng.choice([0, 1, 3, 40, 700, -2, -60], 400, p=[0.3, 0.3, 0.2, 0.1, 0.02, 0.06, 0.02])
    steps[rng.integers(0, 400)] = -4000
    return at_times(steps.cumsum() - 77, seed)


WINDOWS = [
    Window(100),
    Window(103, hop=40),
    Window(90, hop=30),
    Window(64, "events"),
    Window(31, "events", 9),
    Window(20, "events", 10),
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("rule", ["number", "time", "event-bins", "time-bins"])
def test_it_cuts_like_the_plain_one_however_the_events_come(rule, window):
    taken = contract(rule)
    for seed in range(3):
        events = wild(seed)
        plain = Plain(taken, window, most=25)
        wanted = cut(plain, events)
        rng = np.random.default_rng(seed)
        for cuts in ([], sorted(rng.integers(0, 400, 30).tolist()), list(range(400))):
            cutter = Cutter(taken, window, most=25)
            assert_same(cut(cutter, events, cuts), wanted)
            assert counters(cutter) == counters(plain)
        if window.unit == "us":
            assert plain.late
            assert plain.silent
        assert bool(plain.dropped) == (rule in ("number", "event-bins") and window.unit == "us")


@pytest.mark.parametrize("block", [1, 7, 64])
def test_it_works_on_as_many_at_a_time_as_it_likes(monkeypatch, block):
    events, taken, window = wild(5), contract("time"), Window(103, hop=40)
    wanted = cut(Plain(taken, window), events)
    monkeypatch.setattr("tcja_runtime.data.sliding_windows._BLOCK", block)
    monkeypatch.setattr("tcja_runtime.data.event_counts._MANY", 5)
    assert_same(cut(Cutter(taken, window), events), wanted)


def test_a_recording_in_one_window_is_integrated():
    events = drawn(1003, 5000)
    span = int(events.t[-1] - events.t[0]) + 1
    for rule, window in (
        ("number", Window(span)),
        ("number", Window(1003, "events")),
        ("time", Window(span)),
        ("duration-grid:1ms", Window(STEPS * 1000)),
    ):
        taken = contract(rule)
        wanted = integrate(InMemory(events), taken).windows[0]
        frames = cut(Cutter(taken, window), events)[:STEPS]
        np.testing.assert_array_equal([frame.counts for frame in frames], wanted)
        assert sum(frame.events for frame in frames) == wanted.sum()


def test_frames_come_as_soon_as_they_are_known():
    def pushed(cutter: Cutter, times: list[int]) -> list[tuple[int, int]]:
        return [(frame.window, frame.step) for frame in cutter.push(at_times(times))]

    by_time = Cutter(contract("time", 2), Window(100))
    assert pushed(by_time, [0, 10, 49]) == []
    assert pushed(by_time, [50]) == [(0, 0)]
    assert pushed(by_time, [99]) == []
    assert pushed(by_time, [160]) == [(0, 1), (1, 0)]
    by_number = Cutter(contract("number", 2), Window(100))
    assert pushed(by_number, [0, 10, 49, 99]) == []
    assert pushed(by_number, [100]) == [(0, 0), (0, 1)]
    of_events = Cutter(contract("number", 2), Window(5, "events"))
    assert pushed(of_events, [0]) == []
    assert pushed(of_events, [1]) == [(0, 0)]
    assert pushed(of_events, [2, 3]) == []
    assert pushed(of_events, [4]) == [(0, 1)]


def test_what_has_not_ended_is_given_and_told_so():
    cutter = Cutter(contract("time", 2), Window(100, hop=50))
    frames = cut(cutter, at_times([0, 20, 60, 70, 80]))
    assert [(f.window, f.step, f.whole, f.events, f.begin, f.end) for f in frames] == [
        (0, 0, True, 2, 0, 50),
        (0, 1, False, 3, 50, 100),
        (1, 0, False, 3, 50, 100),
        (1, 1, False, 0, 100, 150),
    ]
    assert [f.last for f in frames] == [False, True, False, True]


def test_a_jump_of_years_costs_nothing():
    year = 366 * 24 * 3600 * 10**6
    times = [0, 5, 10 * year, 10 * year + 7, 3, 20 * year]
    cutter = Cutter(contract("number"), Window(10, hop=5))
    frames = cut(cutter, at_times(times))
    assert {frame.window for frame in frames} == {
        0,
        1,
        *(years * year // 5 - i for years in (10, 20) for i in (0, 1)),
        10 * year // 5 + 1,
    }
    assert counters(cutter) == {
        "events": 6,
        "late": 1,
        "dropped": 0,
        "silent": 10 * year // 5 - 3 + 10 * year // 5 - 3,
    }


@pytest.mark.parametrize(
    ("rule", "window", "most"),
    [
        ("number", Window(10**6, hop=250_000), 10_000),
        ("time", Window(10**6, hop=250_000), 1),
        ("time", Window(2**24, "events"), 1),
    ],
)
def test_a_burst_is_survived_in_bounded_memory(rule, window, most):
    """A million events at one time, in the memory of 65,536: 13 bytes each, and what is computed of them."""
    cutter = Cutter(contract(rule), window, most)
    burst = at_times(np.zeros(2**20))
    list(cutter.push(at_times([0])))
    tracemalloc.start()
    try:
        frames = [frame for _ in range(2) for frame in cutter.push(burst)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert frames == []
    assert peak < 2**16 * 60
    frames = list(cutter.finish())
    assert cutter.dropped == (2**21 + 1 - most if rule == "number" else 0)
    assert sum(frame.events for frame in frames) == (most if rule == "number" else 2**21 + 1)


def test_events_one_by_one_are_held_in_bounded_memory():
    cutter = Cutter(contract("number"), Window(10**6), most=3000)
    event = at_times([0])
    for _ in range(3000):
        list(cutter.push(event))
    tracemalloc.start()
    try:
        for _ in range(3000):
            list(cutter.push(event))
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()
    assert cutter.dropped == 3000


@pytest.mark.parametrize("window", [Window(4000), Window(700), Window(9000, hop=2500)], ids=str)
@pytest.mark.parametrize("crop", [None, (2, 1, 3, 4)])
def test_events_beyond_a_rate_move_the_clock_and_empty_windows(window, crop):
    """With a limit, windows begin and end where they do without it, and each of them is accounted for."""
    steps = np.random.default_rng(window.length).choice([0, 1, 100, 900, 20_000], 2000, p=[0.4, 0.3, 0.26, 0.03, 0.01])
    events, taken = at_times(steps.cumsum()), contract("time")
    if crop:  # a rule of tonic crops before it cuts
        taken = dataclasses.replace(InputContract.frames(STEPS, crop[3], crop[2]).cut_by("time-bins"), crop=crop)
    plain = Cutter(taken, window)
    wholes = {frame.window: frame.whole for frame in cut(plain, events)}
    for size in (2000, 150, 1):
        limited = Cutter(taken, window, limit=RateLimit(300))
        frames = [frame for at in range(0, 2000, size) for frame in limited.push(events[at : at + size])]
        frames += limited.finish()
        found = {frame.window: frame.whole for frame in frames}
        assert found.items() <= wholes.items()
        assert limited.emptied == len(wholes) - len(found) > 0
        assert limited.silent == plain.silent > 0
        assert limited.events == plain.events == 2000


def test_events_beyond_a_rate_end_a_window():
    cutter = Cutter(contract("time", 2), Window(1000), limit=RateLimit(1))
    ended = [
        [(frame.window, frame.step, frame.whole, frame.events) for frame in cutter.push(at_times(times))]
        for times in ([0, 10], [999, 1000], [1500, 2000])
    ]
    assert ended == [[], [(0, 0, True, 1)], [(0, 1, True, 0)]]
    assert (list(cutter.finish()), cutter.emptied, cutter.silent, cutter.late) == ([], 2, 0, 0)


def test_times_that_are_none_are_refused():
    cutter = Cutter(contract("time"), Window(100))
    with pytest.raises(BadInput, match=r"times from 0 to 2,305,843,009,213,693,952 us are out of range; the stream is"):
        list(cutter.push(at_times([0, 2**61])))


def test_events_outside_the_picture_are_refused():
    events = at_times(range(0, 100, 5))
    events.y[13] = ROWS
    cutter = Cutter(contract("time"), Window(100), title="tcp://127.0.0.1:7")
    list(cutter.push(events[:10]))
    with pytest.raises(
        BadInput, match=r"tcp://127.0.0.1:7: event 13 is at column \d, row 5; the network takes 7x5; as in"
    ):
        list(cutter.push(events[10:]))


@pytest.mark.parametrize("rule", ["number", "time", "time-bins"])
def test_streams_are_cropped(rule):
    """Before they are cut by a rule of tonic, as a stream of the part would be; else after."""
    events, window = drawn(900, 1500, rows=9, columns=12), Window(400)
    part = dataclasses.replace(contract(rule), crop=(2, 3, COLUMNS, ROWS))
    whole = cut(Cutter(InputContract.frames(STEPS, 9, 12).cut_by(rule), window), events)
    frames = cut(Cutter(part, window), events)
    if rule == "time-bins":
        whole = cut(Cutter(contract(rule), window), cropped(events, part.crop))
    for frame, like in zip(frames, whole, strict=True):
        picture = like.counts if rule == "time-bins" else like.counts[:, 3 : 3 + ROWS, 2 : 2 + COLUMNS]
        np.testing.assert_array_equal(frame.counts, picture)
        assert frame.events == picture.sum()
        assert (frame.window, frame.begin, frame.end) == (like.window, like.begin, like.end)


def test_frames_of_a_number_of_events_keep_it():
    taken = contract("event-count:25")
    events = drawn(250, 1500)
    frames = cut(Cutter(taken, Window(100, "events")), events)
    assert [frame.events for frame in frames[:8]] == [25] * 8
    np.testing.assert_array_equal(
        [f.counts for f in frames[:8]], integrate(InMemory(events), taken).windows.reshape(8, 2, ROWS, COLUMNS)
    )
    for window in (Window(1000), Window(120, "events")):
        with pytest.raises(BadInput, match="the network's frames have 25 events each, so `window` must be 100events"):
            Cutter(taken, window)


def test_frames_are_collected_to_windows():
    events, taken = drawn(500, 1000), contract("time")
    frames = cut(Cutter(taken, Window(300, hop=100)), events)
    collector = Collector(taken)
    windows = [window for frame in frames if (window := collector.add(frame)) is not None]
    numbers = list(dict.fromkeys(frame.window for frame in frames if frame.last))
    assert len(windows) == len(numbers) == 10
    for number, window in zip(numbers, windows, strict=True):
        np.testing.assert_array_equal(window, [frame.counts for frame in frames if frame.window == number])


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (("500ms",), Window(500_000, "us", 500_000)),
        (("500ms", "250ms"), Window(500_000, "us", 250_000)),
        (("1s",), Window(1_000_000)),
        (("1.5s", "30000us"), Window(1_500_000, "us", 30_000)),
        (("50000events",), Window(50_000, "events")),
        (("50000events", "10000events"), Window(50_000, "events", 10_000)),
    ],
)
def test_windows_are_parsed(said, wanted):
    assert Window.parse(*said) == wanted


@pytest.mark.parametrize(
    ("length", "hop", "said"),
    [
        ("500", None, "`window` '500' must be a time or a number of events, such as 500ms or 50000events"),
        ("0ms", None, "`window` '0ms' must be"),
        ("1.0000001s", None, "`window` '1.0000001s' must be"),
        ("-5ms", None, "must be a time"),
        ("0events", None, "`window` 0 events must be 1 to"),
        ("99999999999999us", None, "must be a time"),
        (
            "9999999999999events",
            None,
            "`window` 9,999,999,999,999 events must be 1 to 1,099,511,627,776 events long",
        ),
        ("5ms", "foo", "`hop` 'foo' must be a time or a number of events, such as 500ms or 50000events"),
        ("5ms", "6ms", "`hop` 6,000 us must be 1 to 5,000 us, the length of a window: events between windows would"),
        (
            "5ms",
            "100events",
            "`window` 5ms and `hop` 100events have different units; give both in time, or both in events",
        ),
        ("64ms", "999us", "`hop` 999 us puts an event into 65 windows of 64,000; an event can be in 64 windows"),
    ],
)
def test_windows_that_cannot_be_are_refused(length, hop, said):
    with pytest.raises(BadInput, match=said):
        Window.parse(length, hop)


def test_windows_shorter_than_their_frames_are_refused():
    with pytest.raises(BadInput, match="`window` 3 events cannot be cut into 4 frames; take a longer one"):
        Cutter(contract("number"), Window(3, "events"))
    with pytest.raises(BadInput, match="the network takes images, not events"):
        Cutter(InputContract.images(1, 2, 2), Window())
