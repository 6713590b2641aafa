"""Events for tests of streams, and bytes of them that no code of ours wrote."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.events import Events

from .described import described


def drawn(n: int, seed: int = 0, *, sensor: tuple[int, int] = (64, 64), seconds: float = 1.0) -> Events:
    """Events at random, in the order of their times."""
    rng = np.random.default_rng(seed)
    height, width = sensor
    return Events(
        np.sort(rng.integers(0, int(1e6 * seconds), n)),
        rng.integers(0, width, n).astype(np.uint16),
        rng.integers(0, height, n).astype(np.uint16),
        rng.random(n) < 0.5,
    )


def atis(events: Events) -> bytes:
    """The bytes of ATIS .bin: x, y, then polarity and 23 bits of time, the highest first."""
    found = bytearray()
    for t, x, y, p in zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True):
        found += bytes((x, y)) + (p << 23 | t).to_bytes(3, "big")
    return bytes(found)


def aedat2(events: Events) -> bytes:
    """The bytes of AEDAT 2.0 of a DVS128, whose axes are mirrored and swapped, and whose polarity is the other."""
    found = bytearray(b"#!AER-DAT2.0\r\n# made for a test\r\n")
    for t, x, y, p in zip(events.t.tolist(), events.x.tolist(), events.y.tolist(), events.p.tolist(), strict=True):
        found += ((127 - x) << 8 | (127 - y) << 1 | (1 - p)).to_bytes(4, "big") + t.to_bytes(4, "big")
    return bytes(found)


def same(found: Events, expected: Events) -> bool:
    """Whether events are the same."""
    pairs = ((getattr(found, name), getattr(expected, name)) for name in "txyp")
    return all(np.array_equal(one, other) for one, other in pairs)


class Fed:
    """A source that gives runs, each when it is let."""

    title, address, ends, pausable, recording, sensor, damaged, lost = "a test", "", True, False, None, None, 0, 0
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __init__(self, *runs: Events, before: Callable[[int], None] = lambda _: None) -> None:
        self._runs, self._before = runs, before

    def runs(self, _: threading.Event) -> Iterator[Events]:
        for k, run in enumerate(self._runs):
            self._before(k)
            yield run
        self._before(len(self._runs))

    def close(self) -> None:
        """Nothing is held."""


def within(events: Events, begin: int, length: int) -> Events:
    """The events of [begin, begin + length)."""
    a, b = np.searchsorted(events.t, [begin, begin + length])
    return events[int(a) : int(b)]


def cut_by_time(bundle: Path, copy: Path) -> Path:
    """A copy of a bundle whose training cut recordings into frames of equal times."""
    shutil.copytree(bundle, copy)
    described(copy, input=dataclasses.replace(Bundle.open(copy).manifest.input, split="time"))
    return copy
