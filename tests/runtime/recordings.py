"""Recordings in memory, and events to put into them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tcja_runtime.events import Events

ROWS, COLUMNS = 5, 7


@dataclasses.dataclass
class InMemory:
    """A recording that gives its events `size` at a time."""

    events: Events
    size: int = 2**20
    sensor: tuple[int, int] | None = None
    path: Path = Path("waving.aedat")
    format: str = "memory"

    def chunks(self) -> Iterator[Events]:
        for at in range(0, len(self.events), self.size):
            yield self.events[at : at + self.size]


def at_times(times: npt.ArrayLike, seed: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> Events:
    """Events at these times, anywhere on a sensor."""
    rng = np.random.default_rng(seed)
    t = np.asarray(times, np.int64)
    n = len(t)
    return Events(
        t,
        rng.integers(0, columns, n).astype(np.uint16),
        rng.integers(0, rows, n).astype(np.uint16),
        rng.integers(0, 2, n).astype(np.bool_),
    )


def drawn(n: int, span: int, seed: int = 0, rows: int = ROWS, columns: int = COLUMNS) -> Events:
    """Events at random times of `span` microseconds."""
    times = np.sort(np.random.default_rng(seed).integers(0, span, n)) + 1_000_000
    return at_times(times, seed, rows, columns)


def counted(events: Events, rows: int = ROWS, columns: int = COLUMNS) -> npt.NDArray[np.float32]:
    """The frame [2, rows, columns] of some events, one after the other."""
    frame = np.zeros((2, rows, columns), np.float32)
    for x, y, p in zip(events.x, events.y, events.p, strict=True):
        frame[int(p), y, x] += 1
    return frame
