"""The results of a stream: a prediction for each window, and a summary."""

from __future__ import annotations

import bisect
import dataclasses
import math

from tcja_runtime.predictions import Prediction

_BINS = [1e-5 * 1.02**i for i in range(1000)]  # the upper edges in seconds, up to an hour


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class WindowPrediction(Prediction):
    """The prediction for a window of a stream. Besides these, it has the attributes of a `Prediction`.

    Attributes:
        window: the number of the window; windows without an event that is kept have a number, too, but no prediction.
        begin: the time at which the window begins, in microseconds of the camera's clock.
        end: the time at which the window ends, in microseconds; events at this time are not in the window.
        events: the number of events in the window.
        whole: whether the window is complete; False if the source ended before the end of the window.
        dropped: the largest number of events of the window that may have been dropped because more arrived than were
            classified.
        thinned: the number of events of the window that were dropped because of `StreamOptions.max_rate`. It is counted
            by milliseconds: those that begin in the window.
        latency: the seconds from the arrival of the event that ended the window to the prediction; None if the end of
            the source ended the window.
    """

    window: int
    begin: int
    end: int
    events: int
    whole: bool
    dropped: int
    thinned: int
    latency: float | None


class LatencyHistogram:
    """A histogram of latencies. Its bins are 2 % wide, and their number does not grow with the stream."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BINS) + 1)

    def add(self, seconds: float) -> None:
        """Count a latency."""
        self._counts[bisect.bisect_left(_BINS, seconds)] += 1

    def quantile(self, share: float) -> float | None:
        """Return a quantile of the latencies in seconds, as the upper edge of its bin; None if none was counted.

        Args:
            share: the share of the latencies that are at most as long as the quantile, 0.5 for the median.
        """
        wanted, past = math.ceil(share * sum(self._counts)), 0
        for count, most in zip(self._counts, [*_BINS, _BINS[-1]], strict=True):
            past += count
            if count and past >= wanted:
                return most
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """The counts, the latency and the end of a stream, from its begin until now.

    Attributes:
        source: the title of the source.
        network: the name of the network.
        backend: the title of the backend that runs it.
        stepwise: whether the network runs stepwise, frame by frame.
        ended: the reason why the stream ended: "end" for the end of the source, "stopped" for a signal or `stop`,
            "seconds" or "windows" for a limit, or "error"; None if it has not ended.
        seconds: the duration of the stream until now.
        windows: the number of windows with a prediction.
        cut_short: the number of these windows that the end of the source cut short.
        silent: the number of windows without an event, which have no prediction.
        emptied: the number of windows whose events were all dropped because of `StreamOptions.max_rate`, which have no
            prediction.
        events: the number of events that arrived.
        rate: the mean number of events that arrived in a second.
        dropped: the number of events that were dropped, because the queue was full or a window had no room for more.
        left: the number of events that were still in the queue when the stream was stopped.
        late: the number of events that were left out because they were older than every open window.
        thinned: the number of events that were dropped because of `StreamOptions.max_rate`.
        resets: the number of times that the camera's clock was set back; the stream's clock goes on.
        damaged: the number of datagrams that were left out because they are not events; 0 for other sources.
        lost: the number of datagrams that the system dropped before they were read; 0 for other sources.
        drifted: the number of windows in which a layer fired far outside the range of the windows of the proof; None if
            it is not known: the network returns no spike counts, or was proven on random windows or on fewer than 16.
        latency_median: the median of `WindowPrediction.latency`, in seconds, to 2 %; None without latencies.
        latency_99: the 99th percentile of `WindowPrediction.latency`, in seconds, to 2 %; None without latencies.
        remarks: remarks on the source: what was assumed about it, and what was left out of it.
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
    emptied: int
    events: int
    rate: float
    dropped: int
    left: int
    late: int
    thinned: int
    resets: int
    damaged: int
    lost: int
    drifted: int | None
    latency_median: float | None
    latency_99: float | None
    remarks: list[str]
