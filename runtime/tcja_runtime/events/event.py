"""Events, and what turns bytes into them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

CHUNK = 2**20
"""Events at a time, at most."""


@dataclasses.dataclass(frozen=True)
class Events:
    """A run of events in the order in which they were recorded.

    Attributes:
        t: when, int64 [E], in microseconds. Formats do not promise that it never goes back.
        x: column, uint16 [E].
        y: row, uint16 [E].
        p: polarity, bool [E]: False is off (darker), True is on (brighter).
    """

    t: npt.NDArray[np.int64]
    x: npt.NDArray[np.uint16]
    y: npt.NDArray[np.uint16]
    p: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, at: slice) -> Events:
        """Some of them, without a copy."""
        return Events(self.t[at], self.x[at], self.y[at], self.p[at])

    def where(self, mask: npt.NDArray[np.bool_]) -> Events:
        """Those that a mask [E] says; without a copy if it is all of them."""
        return self if mask.all() else Events(self.t[mask], self.x[mask], self.y[mask], self.p[mask])

    @classmethod
    def none(cls) -> Events:
        """No events."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.uint16), np.zeros(0, np.bool_))

    @classmethod
    def joined(cls, runs: Iterable[Events]) -> Events:
        """Runs one after the other."""
        held = list(runs) or [cls.none()]
        if len(held) == 1:
            return held[0]
        return cls(
            np.concatenate([run.t for run in held]),
            np.concatenate([run.x for run in held]),
            np.concatenate([run.y for run in held]),
            np.concatenate([run.p for run in held]),
        )


class Decoder(Protocol):
    """Turns the bytes of one recording into events, however they are cut on their way.

    What it keeps between calls is less than one packet of its format.

    Attributes:
        sensor: rows and columns of the camera, where the format or the bytes so far tell.
    """

    @property
    def sensor(self) -> tuple[int, int] | None: ...

    def feed(self, data: bytes) -> Events:
        """The events that are whole with these bytes.

        Raises:
            Damaged: the bytes are no events. Nothing can be fed after it.
        """
        ...

    def finish(self) -> None:
        """Say that there are no more bytes.

        Raises:
            Damaged: the last event, packet or header is not whole.
        """
        ...


class Recording(Protocol):
    """A file of events.

    Attributes:
        path: of the file.
        format: its name in `tcja_runtime.events.FORMATS`.
        sensor: rows and columns of the camera, where the file tells.
    """

    @property
    def path(self) -> Path: ...
    @property
    def format(self) -> str: ...
    @property
    def sensor(self) -> tuple[int, int] | None: ...

    def chunks(self) -> Iterator[Events]:
        """All events from the start, at most `CHUNK` at a time, in memory that does not grow with the file.

        Raises:
            BadInput: the file cannot be read.
            Damaged: it is damaged, which may be found only behind events that were given already; the message names
                the file.
        """
        ...


@dataclasses.dataclass(frozen=True)
class InMemory:
    """A `Recording` that is in no file.

    Attributes:
        runs: its events, in their order.
        path: what it is called in messages.
        sensor: rows and columns of the camera, where known.
        format: of none in `tcja_runtime.events.FORMATS`.
    """

    runs: Sequence[Events]
    path: Path = Path("events")
    sensor: tuple[int, int] | None = None
    format: str = "memory"

    def chunks(self) -> Iterator[Events]:
        for run in self.runs:
            yield from (run[at : at + CHUNK] for at in range(0, len(run), CHUNK))
