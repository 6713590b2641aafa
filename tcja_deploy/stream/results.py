"""What a stream gives: a prediction a window, and the figures of the whole."""

from __future__ import annotations

import bisect
import dataclasses
import math

from tcja_runtime.data.contract import Floats

_BINS = [1e-5 * 1.02**i for i in range(1000)]  # seconds; up to an hour


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What the network says of a window.

    Attributes:
        window: its number; windows without an event have one, too, and no answer.
        begin: in microseconds, as the camera counts.
        end: likewise; events of that time are behind it.
        events: in it.
        whole: whether the source went on to its end.
        dropped: events that it lacks because they were dropped, at most.
        latency: seconds from the arrival of the event that ended it to the answer; None where the source's end did.
        scores: of each class.
        likeliest: classes by their scores, the likeliest first.
    """

    window: int
    begin: int
    end: int
    events: int
    whole: bool
    dropped: int
    latency: float | None
    scores: Floats
    likeliest: list[int]


class Latencies:
    """Seconds, in bins that are 2 % wide, so that an hour of them takes no more than a minute's."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BINS) + 1)

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[bisect.bisect_left(_BINS, seconds)] += 1

    def quantile(self, share: float) -> float | None:
        """What that share of them is at most, or the last bin where they are longer; None without any."""
        wanted, past = math.ceil(share * sum(self._counts)), 0
        for count, most in zip(self._counts, [*_BINS, _BINS[-1]], strict=True):
            past += count
            if count and past >= wanted:
                return most
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What came of a stream.

    Attributes:
        source: what it was.
        network: the network's name.
        backend: what ran it.
        stepwise: whether frame by frame.
        ended: why: "end" of the source, "stopped", "seconds", "windows" or "error"; None while it goes on.
        seconds: that it took.
        windows: that were answered.
        cut_short: of them, those that the source's end cut short.
        silent: windows without an event, which have no answer.
        events: that arrived.
        rate: of them a second.
        dropped: of them, because the queue was full, or a window would have held too many.
        left: of them, that nobody had looked at when the stream was stopped.
        late: of them, older than every window that was open.
        outside: of them, beside the sensor.
        resets: how often the camera's clock was set back; it goes on from there.
        damaged: pieces of the source that were no events.
        lost: pieces of it that the system dropped before they were read.
        latency_median: seconds, as in `Answer`; to 2 %.
        latency_99: seconds that 99 % of the answers took at most.
        remarks: what else is to be known of a source that was answered as a whole.
    """

    source: str
    network: str
    backend: str
    stepwise: bool
    ended: str | None
    seconds: float
    windows: int
    cut_short: int
    silent: int
    events: int
    rate: float
    dropped: int
    left: int
    late: int
    outside: int
    resets: int
    damaged: int
    lost: int
    latency_median: float | None
    latency_99: float | None
    remarks: list[str]
