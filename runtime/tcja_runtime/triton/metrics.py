"""What a Triton server says of a model at its address of metrics, beside the server's own figures.

    tcja_loaded_instances{bundle}          the number of instances that run this bundle now
    tcja_windows_total                     windows that were answered
    tcja_refused_requests_total            requests that were refused, such as for a wrong shape
    tcja_dropped_events_total              events of streams that are in no window, such as those that came too late
    tcja_drifted_windows_total             windows in which a layer fired far outside the range of the proof
    tcja_open_streams                      streams that are open
    tcja_unlike_proof{kind}                1 if the windows ("inputs"), or how the network fires in them ("firing"), are
                                           unlike those of the proof; else 0
    tcja_firing_rate{layer}                the share of neurons and time steps that fire
    tcja_firing_drift{layer}               the standard deviations from log2 of this rate to its mean in the proof

All have the labels `model` and `version`. The last four are of one instance, and have the label `model_instance`. The
rates and their drift are medians over the newest 16 windows; they need a bundle with spike counts and the statistics of
at least 16 windows. The others are of all instances of a model together, and go on when the model is loaded again. The
windows with which the server warms a model up are not counted.

An update of a metric is a message to the server, and takes about 15 us. So what has a label by instance, and the number
of drifted windows and dropped events, is brought up to date with the first request after EVERY seconds.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from tcja_runtime.backends.proven import Watched
from tcja_runtime.triton import server

logger = logging.getLogger("tcja_runtime")

EVERY = 1.0
"""The seconds between two updates of the metrics of an instance."""

COUNTERS = {
    "tcja_windows_total": "Windows that were answered",
    "tcja_refused_requests_total": "Requests that were refused",
    "tcja_dropped_events_total": "Events of streams that are in no window",
    "tcja_drifted_windows_total": "Windows in which a layer fired far outside the range of the proof",
}
GAUGES = {
    "tcja_loaded_instances": "Instances that run this bundle now",
    "tcja_open_streams": "Streams that are open",
    "tcja_unlike_proof": "1 if the newest windows are unlike those of the proof, else 0",
    "tcja_firing_rate": "Share of neurons and time steps that fire, median over the newest windows",
    "tcja_firing_drift": "Standard deviations between log2 of the firing rate and its mean in the proof",
}


class Metric(Protocol):
    """A metric of the server."""

    def increment(self, value: float) -> None: ...

    def set(self, value: float) -> None: ...


class _NoMetric:
    """What a server without metrics has in place of one."""

    def increment(self, value: float) -> None: ...

    def set(self, value: float) -> None: ...


class Metrics:
    """The metrics of one instance of a model. Make them with `open`, and keep them as long as the process lives.

    A metric that Python frees is removed from the server, and so from all instances that have it, also from those that
    the model was loaded in anew.

    Args:
        make: a function that makes a metric of its name and its labels, beside those of the model.
        bundle: the hash of the bundle that the instance runs (`Bundle.sha256`).
        instance: the name of the instance.
        warm_up: the number of windows that the server warms the instance up with.
    """

    def __init__(self, make: Callable[[str, dict[str, str]], Metric], bundle: str, instance: str, warm_up: int) -> None:
        self._make, self._instance = make, {"model_instance": instance}
        self._counters = {name: make(name, {}) for name in COUNTERS}
        self._loaded = make("tcja_loaded_instances", {"bundle": bundle})
        self._gauges: dict[tuple[str, ...], Metric] = {}
        self._warm_up, self._is_warm, self._due = warm_up, False, -math.inf
        self._drifted = self._dropped = 0

    @classmethod
    def open(cls, arguments: server.Arguments, bundle: str) -> Metrics:
        """Make the metrics of an instance, and count it as loaded.

        A server that has no custom metrics gets none, which is said as a warning in its log.

        Args:
            arguments: the arguments of the model's `initialize`.
            bundle: the hash of the bundle that the instance runs (`Bundle.sha256`).
        """
        module, families = server.utils(), dict[str, Any]()
        try:
            kinds = module.MetricFamily
            for kind, texts in ((kinds.COUNTER, COUNTERS), (kinds.GAUGE, GAUGES)):
                families |= {name: kinds(name=name, description=text, kind=kind) for name, text in texts.items()}
        except (AttributeError, module.TritonModelException) as error:
            logger.warning("this server has no custom metrics, so the model has none: %s", error)
        labels = {"model": arguments["model_name"], "version": arguments["model_version"]}

        def make(name: str, more: dict[str, str]) -> Metric:
            if name not in families:
                return _NoMetric()
            found: Metric = families[name].Metric(labels={**labels, **more})
            return found

        opened = cls(make, bundle, arguments["model_instance_name"], server.warm_up(arguments))
        opened._loaded.increment(1)
        return opened

    def due(self) -> bool:
        """Whether to bring up to date now what is of this instance alone. It is so once in EVERY seconds."""
        now = time.monotonic()
        if not self._is_warm or now < self._due:
            return False
        self._due = now + EVERY
        return True

    def answered(self, windows: int) -> None:
        """Count windows that were answered."""
        self._is_warm = not self._warm_up
        counted = max(0, windows - self._warm_up)
        self._warm_up = max(0, self._warm_up - windows)
        self._add("tcja_windows_total", counted)

    def refused(self, requests: int) -> None:
        """Count requests that were refused."""
        self._add("tcja_refused_requests_total", requests)

    def streams(self, number: int, dropped: int) -> None:
        """Say how many streams this instance has open, and how many events of its streams are in no window so far."""
        self._set("tcja_open_streams", number)
        self._add("tcja_dropped_events_total", dropped - self._dropped)
        self._dropped = dropped

    def watched(self, found: Watched) -> None:
        """Say what is known of the windows of this instance beside those of the proof."""
        self._set("tcja_unlike_proof", bool(found.inputs), kind="inputs")
        if found.drifted is None:
            return
        self._set("tcja_unlike_proof", bool(found.firing), kind="firing")
        self._add("tcja_drifted_windows_total", found.drifted - self._drifted)
        self._drifted = found.drifted
        for name, layer in found.layers.items():
            self._set("tcja_firing_rate", layer.rate, layer=name)
            self._set("tcja_firing_drift", layer.drift, layer=name)

    def close(self) -> None:
        """Say that the instance ends: it is not counted any more, and what is of it alone is not known (NaN)."""
        self._loaded.increment(-1)
        for metric in self._gauges.values():
            metric.set(math.nan)

    def _add(self, name: str, number: int) -> None:
        if number:
            self._counters[name].increment(number)

    def _set(self, name: str, number: float, **labels: str) -> None:
        key = (name, *labels.values())
        if key not in self._gauges:
            self._gauges[key] = self._make(name, {**self._instance, **labels})
        self._gauges[key].set(number)
