"""What clients measure: answers that differ are counted, and a camera that falls behind is seen."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks.serving.clients import Client, Expected, Pace, as_fast_as_they_can, at_their_pace

SCORES = [np.full((1, 3), i, np.float32) for i in range(4)]


def client(change: Callable[[int], float], seconds: float = 0.001) -> Client:
    """A client whose scores are changed, by the number of the input, and who takes some seconds."""

    def ask(at: int) -> np.ndarray:
        time.sleep(seconds)
        return SCORES[at] + np.float32(change(at))

    return lambda: contextlib.nullcontext(ask)


def test_answers_that_differ_are_counted():
    """Each client asks for one input after the other, and one of them gets other scores for each fourth."""
    began, changed = list[float](), list[int]()

    def change(at: int) -> float:
        if at != 2:
            return 0.0
        changed.append(at)
        return 2.0**-20

    def ready() -> None:
        began.append(time.perf_counter())

    clients = [client(lambda _: 0.0), client(change), client(lambda _: 0.0)]
    found = as_fast_as_they_can(clients, Expected(SCORES), 0.4, ready)
    assert found.differ == len(changed) > 0
    assert found.largest == 2.0**-20
    assert len(began) == 1
    assert min(found.latencies) >= 0.001
    assert as_fast_as_they_can(clients[::2], Expected(SCORES), 0.1, ready).differ == 0


def test_a_camera_that_falls_behind_is_seen():
    """Each answer takes longer than the time between two windows, so each comes later than the one before."""
    found = at_their_pace(
        [client(lambda _: 0.0, seconds=0.02)], Expected(SCORES), Pace(seconds=0.1, every=0.01), lambda: None
    )
    assert len(found.latencies) == 10
    assert found.latencies == sorted(found.latencies)
    assert found.latencies[-1] >= 10 * 0.02 - 9 * 0.01


def test_an_error_of_a_client_is_raised():
    def change(at: int) -> float:
        raise ConnectionError("the server has gone")

    with pytest.raises(ConnectionError, match="has gone"):
        as_fast_as_they_can([client(lambda _: 0.0), client(change)], Expected(SCORES), 10.0, lambda: None)
