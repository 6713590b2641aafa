"""The machinery of streams: what is dropped, late or lacking is counted, and said of the windows that lack it."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tcja_runtime.backends import select
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.camera import CameraView
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events
from tcja_runtime.events.buffer import MOST_GAPS, Gap, Gaps
from tcja_runtime.events.rate_limit import RateLimit
from tcja_runtime.streaming import results, runner
from tcja_runtime.streaming import stream as live

from ... import networks
from ...streams import Fed, cut_by_time, drawn, same, within

T, SIZE, N = 5, 64, 6000


@pytest.fixture(scope="module")
def events() -> Events:
    return drawn(N, seconds=0.6)


@pytest.fixture(scope="module")
def bundle(streamed) -> Path:
    """A network of 5 steps, whose training cut recordings by number."""
    return streamed(networks.SMALL["dvs128"])


@pytest.fixture
def timed(bundle, tmp_path) -> Path:
    """The same, cut by time."""
    return cut_by_time(bundle, tmp_path / "timed.bundle")


def streaming(bundle: Path, source: Fed, **options: Any) -> tuple[results.Summary, list[results.WindowPrediction]]:
    answers: list[results.WindowPrediction] = []
    stream = live.Stream.open(Bundle.open(bundle), source, live.StreamOptions(**options))
    return stream.run(answers.append), answers


@pytest.fixture
def stalled_until(monkeypatch) -> Callable[[int], Callable[[int], None]]:
    """A network that stays at its first frame until a source comes to a given run of events.

    The fixture returns a function. It takes the number of this run, and returns the `before` of the source.
    """
    begun, go_on = threading.Event(), threading.Event()
    take = runner.StepwiseRunner.push

    def wait(self, frame):
        begun.set()
        assert go_on.wait(10)
        return take(self, frame)

    def until(last: int) -> Callable[[int], None]:
        def before(k: int) -> None:
            if k == 1:
                assert begun.wait(10)
            if k == last:
                go_on.set()

        return before

    monkeypatch.setattr(runner.StepwiseRunner, "push", wait)
    return until


@pytest.mark.parametrize("limit", [100, 250, 1000])
def test_what_a_stalled_network_leaves_is_dropped_and_counted(bundle, events, stalled_until, limit):
    before = stalled_until(60)
    runs = [events[at : at + 100] for at in range(0, N, 100)]
    summary, answers = streaming(bundle, Fed(*runs, before=before), window=Window(100, "events"), buffer=limit)
    dropped = N - 100 - limit
    assert (summary.events, summary.dropped, summary.left) == (N, dropped, 0)
    assert summary.windows == len(answers) == 1 + -(-limit // 100)
    # The window whose first events are behind the gap is as whole as the others: none of its own are missing.
    assert [answer.events for answer in answers] == [100] * (1 + limit // 100) + [50] * (limit == 250)
    assert sum(answer.dropped for answer in answers) == 0
    assert answers[1].begin == events.t[100 + dropped]


def test_what_nobody_looked_at_is_counted(bundle, events, stalled_until):
    before = stalled_until(60)
    runs = [events[at : at + 100] for at in range(0, N, 100)]
    window = Window(100, "events")
    summary, _ = streaming(bundle, Fed(*runs, before=before), window=window, windows=1)
    assert (summary.ended, summary.windows, summary.dropped, summary.left) == ("windows", 1, 0, N - 100)


def test_windows_that_lack_events_say_so(timed, events, stalled_until):
    """Frames of 20 ms; what is dropped lies in the second window of 100 ms, and there alone."""
    t = events.t - events.t[0]
    first, held, end = np.searchsorted(t, [30_000, 160_000, 250_000])
    before = stalled_until(2)
    runs = events[: int(first)], events[int(np.searchsorted(t, 110_000)) : int(end)]
    summary, answers = streaming(timed, Fed(*runs, before=before), window=Window(100_000), buffer=int(end - held))
    lost = int(held - np.searchsorted(t, 110_000))
    assert summary.dropped == lost
    assert [answer.dropped for answer in answers] == [0, lost, 0]
    assert [answer.whole for answer in answers] == [True, True, False]


@pytest.mark.parametrize("behind", [True, False])
def test_events_dropped_where_the_clock_is_set_back_are_lacking(timed, events, stalled_until, behind):
    """Just behind them, or just before: the stream goes on from the last event that was looked at, and so do they."""
    before = stalled_until(3)
    later = dataclasses.replace(events, t=events.t + 3_000_000)
    first, held, end = np.searchsorted(events.t - events.t[0], [30_000, 160_000, 250_000]).tolist()
    runs = later[:first], (later if behind else events)[first:held], events[held:end]
    summary, answers = streaming(timed, Fed(*runs, before=before), window=Window(100_000), buffer=end - held)
    assert (summary.dropped, summary.resets) == (held - first, 1)
    assert [answer.dropped for answer in answers] == [held - first, 0]


def test_what_windows_lack_is_kept_in_few_pieces(events):
    """Gaps in a window without end stay a bounded number, and none of their events is forgotten."""
    gaps = Gaps()
    for at in range(0, N, 10):
        gaps.add(Gap.of(events[at : at + 10]))
    first, last = int(events.t[0]), int(events.t[-1])
    assert len(gaps) == MOST_GAPS
    assert gaps.within(first, last + 1) == N
    assert gaps.within(first, first + 1) == 10
    assert gaps.within(last, last + 1) == N - 10 * (MOST_GAPS - 1)


@pytest.mark.parametrize("lossless", [True, None])
def test_a_source_that_can_wait_loses_nothing(bundle, events, lossless):
    source = Fed(*(events[at : at + 700] for at in range(0, N, 700)))
    source.pausable = lossless is None
    summary, answers = streaming(bundle, source, window=Window(500, "events"), buffer=50, lossless=lossless)
    assert (summary.dropped, summary.windows, summary.events) == (0, 12, N)
    assert [answer.events for answer in answers] == [500] * 12


def test_events_that_a_window_has_no_room_for(bundle, events, monkeypatch):
    cutter = live.Cutter
    monkeypatch.setattr(live, "Cutter", lambda *arguments, **named: cutter(*arguments, **named, most=1500))
    summary, answers = streaming(bundle, Fed(events), window=Window(200_000))
    over = [len(within(events, int(events.t[0]) + k * 200_000, 200_000)) - 1500 for k in range(3)]
    assert min(over) > 0
    assert [answer.dropped for answer in answers] == over
    assert summary.dropped == sum(over)


def test_a_window_has_no_room_for_events_of_the_time_that_was_looked_at_last(bundle, events, monkeypatch):
    """The second run begins at the first window's last microsecond, where the first run ends."""
    cutter = live.Cutter
    monkeypatch.setattr(live, "Cutter", lambda *arguments, **named: cutter(*arguments, **named, most=5))
    runs = [
        dataclasses.replace(events[: len(times)], t=np.array(times)) for times in ([0, 10, 20, 30, 40, 99], [99, 150])
    ]
    _, answers = streaming(bundle, Fed(*runs), window=Window(100), buffer=6, lossless=True)
    assert [answer.dropped for answer in answers] == [2, 0]


def test_little_is_kept_of_runs_to_be_seen(bundle, events, monkeypatch):
    monkeypatch.setattr(live, "_OF_A_RUN", 100)
    stream = live.Stream.open(Bundle.open(bundle), Fed(*[events] * 40), live.StreamOptions(window=Window(200_000)))
    stream.run(lambda _: None)
    assert len(stream.recent) == live._RUNS
    for _, kept in stream.recent:
        assert same(kept, events[-100:])
        assert kept.t.base is None  # which would be all of the run


def test_a_clock_that_is_set_back_goes_on(bundle, events):
    again = [dataclasses.replace(events, t=events.t + 3_000_000 * (k == 0)) for k in range(2)]
    summary, _ = streaming(bundle, Fed(*again), window=Window(200_000))
    assert (summary.resets, summary.late, summary.windows) == (1, 0, 6)


@pytest.fixture
def answering(monkeypatch) -> Callable[[np.ndarray], None]:
    """Let the network return what it is told to."""

    def answer(output: np.ndarray) -> None:
        class Told:
            def run(self, _) -> dict[str, np.ndarray]:
                return {"rates": output}

        opened = select.opened
        monkeypatch.setattr(select, "opened", lambda *a, **o: dataclasses.replace(opened(*a, **o), session=Told()))

    return answer


def test_a_network_that_returns_no_numbers(bundle, events, answering):
    answering(np.full((1, 3), np.nan, np.float32))
    with pytest.raises(BadInput, match=r"returns scores that are NaN or infinite: run 'tcja-deploy verify .*bundle'"):
        streaming(bundle, Fed(events), window=Window(200_000))


def test_a_network_that_answers_at_each_step(bundle, events, answering):
    answering(np.arange(T * 3, dtype=np.float32).reshape(1, T, 3) * [[[1, -1, 0]]])
    _, answers = streaming(bundle, Fed(events), window=Window(200_000))
    assert [answer.scores.tolist() for answer in answers] == [[6, -7, 0]] * 3
    assert answers[0].likeliest == [0, 2, 1]


def test_late_events_are_counted(bundle, events):
    summary, _ = streaming(bundle, Fed(events, events[:70]), window=Window(10_000))
    assert (summary.late, summary.silent) == (70, 0)


@pytest.mark.parametrize("window", [None, Window(200_000)])
def test_an_event_outside_the_picture_ends_the_stream_at_once(bundle, events, window):
    beside = dataclasses.replace(events[:50], x=np.full(50, SIZE, np.uint16))
    never = dataclasses.replace(events[:1], t=np.array([-(2**62)]))
    with pytest.raises(BadInput, match=r"a test: event 6,000 is at column 64, row \d+; the network takes 64x64; as in"):
        streaming(bundle, Fed(events, beside, never), window=window)


@pytest.mark.parametrize("window", [None, Window(200_000)])
def test_another_camera_ends_the_stream_at_once(bundle, events, window):
    """Whether the size of the camera is known before the stream begins, or only from the first bytes."""
    source, said = Fed(events), "a test is of a camera of 640x480 pixels; the network takes 64x64; as in training, take"
    source.sensor = (480, 640)
    with pytest.raises(BadInput, match=said):
        streaming(bundle, source, window=window)
    late = Fed(events, before=lambda k: setattr(late, "sensor", (480, 640)) if k == 0 else None)
    with pytest.raises(BadInput, match=said):
        streaming(bundle, late, window=window)
    smaller = Fed(events, before=lambda k: setattr(smaller, "sensor", (64, 63)) if k == 0 else None)
    summary, found = streaming(bundle, smaller, window=window)
    assert summary.remarks == [
        "recorded with 63x64 pixels, fewer than the network's 64x64; the rest of the picture stays empty"
    ]
    assert found


@pytest.mark.parametrize("window", [None, Window(200_000)])
def test_a_larger_camera_is_cropped_and_made_smaller(bundle, events, window):
    """The same events, moved within a larger picture, and with others around them; and each pixel as a block."""
    wide = dataclasses.replace(events, x=events.x + np.uint16(300), y=events.y + np.uint16(200))
    around = dataclasses.replace(events, x=events.x + np.uint16(364), y=events.y)
    both = Events(*(np.stack([getattr(wide, n), getattr(around, n)], 1).ravel() for n in "txyp"))
    _, plain = streaming(bundle, Fed(events), window=window)
    larger = Fed(both)
    larger.sensor = (480, 640)
    _, found = streaming(bundle, larger, window=window, camera_view=CameraView((300, 200, SIZE, SIZE)))
    if window is not None:  # else the edges between frames are those of all events, as in SpikingJelly
        assert [each.events for each in found] == [each.events for each in plain]
    blocks = Fed(dataclasses.replace(events, x=events.x * np.uint16(3), y=events.y * np.uint16(5) + np.uint16(2)))
    blocks.sensor = (5 * SIZE, 3 * SIZE)
    _, summed = streaming(bundle, blocks, window=window, camera_view=CameraView(None, "sum"))
    for one, other in zip(summed, plain, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)


def test_a_rate_is_limited(bundle, events):
    limit = RateLimit(5_000)
    kept = Events.joined(each.events.where(each.kept) for each in (limit.push(events), limit.finish()))
    assert 0 < len(kept) < N
    _, wanted = streaming(bundle, Fed(kept), window=Window(100_000))
    pieces = [events[at : at + 700] for at in range(0, N, 700)]
    summary, found = streaming(bundle, Fed(*pieces), window=Window(100_000), max_rate=5_000)
    assert (summary.events, summary.thinned, summary.left, summary.dropped) == (N, N - len(kept), 0, 0)
    origin = int(events.t[0])
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        begin, end = origin + one.window * 100_000, origin + (one.window + 1) * 100_000
        of_window = np.count_nonzero((events.t >= begin) & (events.t < end))
        assert one.thinned == of_window - one.events > 0
    with pytest.raises(BadInput, match="`max_rate` needs `window`: a source that is one window is always read whole"):
        streaming(bundle, Fed(events), max_rate=5)


def test_the_latency_of_a_limited_rate_begins_when_the_event_arrived(bundle, events):
    """The event that ends the first window is held until the next events arrive."""
    begun = np.searchsorted(events.t, events.t[0] + 101_000)
    assert events.t[begun - 1] - events.t[0] >= 100_000
    fed = Fed(events[:begun], events[begun:], before=lambda run: time.sleep(0.2 * (run == 1)))
    _, found = streaming(bundle, fed, window=Window(100_000), max_rate=1_000_000)
    assert found[0].latency >= 0.2


@pytest.mark.parametrize(
    ("values", "said"),
    [(-1, "frames have values from -1 to -1; the network takes counts of events, which are not negative"), (7, None)],
)
@pytest.mark.parametrize("kind", [np.float32, np.int8, list])
def test_streams_take_what_a_session_takes(bundle, kind, values, said):
    streams = Streams.open(Bundle.open(bundle))
    frame = np.full((1, 2, SIZE, SIZE), values)
    with contextlib.nullcontext() if said is None else pytest.raises(BadInput, match=said):
        streams.push(frame.tolist() if kind is list else frame.astype(kind))
    assert streams.steps.tolist() == [int(said is None)]


def test_latencies_are_told_to_two_percent():
    rng = np.random.default_rng(0)
    seconds = 10 ** rng.uniform(-4.5, 2, 5000)
    latencies = results.LatencyHistogram()
    assert latencies.quantile(0.5) is None
    for each in seconds:
        latencies.add(float(each))
    for share in (0.01, 0.5, 0.99, 1.0):
        exact = np.quantile(seconds, share, method="inverted_cdf")
        assert exact <= latencies.quantile(share) <= 1.0201 * exact


def test_a_latency_of_hours_is_a_number():
    latencies = results.LatencyHistogram()
    latencies.add(1e6)
    assert 3600 < latencies.quantile(0.5) < 4000
