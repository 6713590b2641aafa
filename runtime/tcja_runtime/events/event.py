"""Events, and the interfaces that return events: decoders of bytes, recordings in files, and live sources."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput, check_choice
from tcja_runtime.records import check_arguments

CHUNK = 2**20
"""The most events in a chunk of a recording."""

TIME_UNITS = {"ns": 0.001, "us": 1.0, "ms": 1e3, "s": 1e6}
"""The units of time in files of events, each in microseconds."""


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """What the user says about files of events that do not say it themselves.

    Attributes:
        time_unit: the unit of the times, a key of `TIME_UNITS`; None if the file says it.
        columns: the order of the columns in an array [E, 4], a permutation of "txyp"; None if the file says it.
        topic: the name of the events in a file that has several, such as a topic of a ROS bag or a group of an HDF5
            file; None if there are no others.

    Raises:
        BadInput: an attribute has another value.
    """

    time_unit: str | None = None
    columns: str | None = None
    topic: str | None = None

    def __post_init__(self) -> None:
        check_arguments(self)
        if self.time_unit is not None:
            check_choice("time_unit", self.time_unit, tuple(TIME_UNITS))
        if self.columns is not None and sorted(self.columns) != sorted("txyp"):
            raise BadInput(f"`columns` {self.columns} must have each of the letters t, x, y and p once, such as txyp")

    @property
    def given(self) -> dict[str, str]:
        """The attributes that are not None."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Events:
    """Events in the order in which they were recorded; E is their number.

    Attributes:
        t: the times in microseconds, int64 [E]. An event may have an earlier time than the event before it.
        x: the columns, uint16 [E].
        y: the rows, uint16 [E].
        p: the polarities, bool [E]: False is off (darker), True is on (brighter).
    """

    t: npt.NDArray[np.int64]
    x: npt.NDArray[np.uint16]
    y: npt.NDArray[np.uint16]
    p: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, at: slice) -> Events:
        """A slice of the events, as views of the same arrays."""
        return Events(self.t[at], self.x[at], self.y[at], self.p[at])

    def where(self, mask: npt.NDArray[np.bool_]) -> Events:
        """The events where a mask bool [E] is True; returns the same object if the mask is True everywhere."""
        return self if mask.all() else Events(self.t[mask], self.x[mask], self.y[mask], self.p[mask])

    @classmethod
    def none(cls) -> Events:
        """Events with empty arrays (E = 0)."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.uint16), np.zeros(0, np.bool_))

    @classmethod
    def joined(cls, runs: Iterable[Events]) -> Events:
        """The events of several runs, one run after the other."""
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
    """Decodes the bytes of one recording. The bytes may come in pieces of any size.

    Between calls a decoder keeps less than one packet of its format.

    Attributes:
        sensor: the rows and columns of the camera; None if they are not known from the format or the bytes so far.
        remarks: notes for the user about what was left out so far, a line each.
    """

    @property
    def sensor(self) -> tuple[int, int] | None: ...
    @property
    def remarks(self) -> Sequence[str]: ...

    def feed(self, data: bytes) -> Events:
        """Returns the events that are complete with the next bytes: each event whose last byte is in `data`.

        Raises:
            Damaged: the bytes are not valid in this format. The decoder cannot be used any more.
        """
        ...

    def finish(self) -> None:
        """End the recording.

        Raises:
            Damaged: the last event, packet or header is incomplete.
        """
        ...


class Recording(Protocol):
    """A file of events.

    Attributes:
        path: the file.
        format: the name of its format in `tcja_runtime.events.FORMATS`.
        sensor: the rows and columns of the camera; None if the file does not store them.
        remarks: notes for the user, a line each: what was assumed about the file, and what was left out of it. What was
            left out is known after all chunks were read once.
    """

    @property
    def path(self) -> Path: ...
    @property
    def format(self) -> str: ...
    @property
    def sensor(self) -> tuple[int, int] | None: ...
    @property
    def remarks(self) -> Sequence[str]: ...

    def chunks(self) -> Iterator[Events]:
        """Yields all events from the start, at most `CHUNK` at a time. Each call reads the file again.

        The memory does not grow with the size of the file.

        Raises:
            BadInput: the file cannot be read.
            Damaged: the file is damaged. Events before the damage may have been yielded already.
        """
        ...


class Source(Protocol):
    """A source of events.

    Attributes:
        title: the name of the source in messages.
        address: the address that other programs send to; empty if the source is not a socket.
        ends: whether the source ends by itself.
        pausable: whether the source can be paused without losing events. Only a recording that is read as fast as
            possible can.
        recording: the recording that is played; None for any other source.
        sensor: the rows and columns of the camera; None while they are not known from the bytes so far.
        damaged: the number of datagrams that were skipped because they are not valid events.
        lost: the number of datagrams that the kernel dropped because they came faster than they were read.
        remarks: notes for the user about what was assumed and what was left out so far, a line each.
        warnings: notes that the user must see while the source is read, a line each; the newest is the last.
    """

    @property
    def title(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def ends(self) -> bool: ...
    @property
    def pausable(self) -> bool: ...
    @property
    def recording(self) -> Recording | None: ...
    @property
    def sensor(self) -> tuple[int, int] | None: ...
    @property
    def damaged(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def remarks(self) -> Sequence[str]: ...
    @property
    def warnings(self) -> Sequence[str]: ...

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        """Yields the events as they arrive, until the source ends or `stop` is set.

        A source ends within a tenth of a second after `stop` is set.

        Raises:
            BadInput: the source cannot be read any further.
            Damaged: the recording is damaged. The events before the damage were yielded.
        """
        ...

    def close(self) -> None:
        """Close the file or the socket of the source."""
        ...


@dataclasses.dataclass(frozen=True)
class InMemory:
    """A `Recording` whose events are in memory.

    Attributes:
        runs: the events, in their order.
        path: the name of the recording in messages.
        sensor: the rows and columns of the camera; None if they are not known.
        format: "memory", which is not a key of `tcja_runtime.events.FORMATS`.
        remarks: notes for the user about the events.
    """

    runs: Sequence[Events]
    path: Path = Path("events")
    sensor: tuple[int, int] | None = None
    format: str = "memory"
    remarks: Sequence[str] = ()

    def chunks(self) -> Iterator[Events]:
        """Yields the events from the start (`Recording.chunks`)."""
        for run in self.runs:
            yield from (run[at : at + CHUNK] for at in range(0, len(run), CHUNK))
