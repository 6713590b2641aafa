"""What a cluster computes on the windows of data sets, and how the windows are shared out.

One process runs windows in batches, and the rounding of a network may depend on the size of its batch. So a cluster
runs the same batches:

    batch       the windows that one process runs at once
    chunk       some consecutive batches of a data set: one process computes on it at a time, and gets all of it
    unit        some consecutive chunks, which one process reads one after the other

A file of windows can be read only from its beginning, so it is one unit. Other files begin a new unit with each chunk.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tcja_deploy.packages import producer
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.dataset import Data
from tcja_runtime.data.recordings import Reading
from tcja_runtime.errors import Unavailable

_CHUNK_BYTES = 32 * 2**20
"""The most bytes of the windows of a chunk, if it has several batches."""
_SHARES = 4
"""The least number of chunks for each worker, if there are so many batches: so no worker waits long for the last."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runner:
    """What a worker runs, after it was loaded.

    Attributes:
        title: the words for what computes, such as the backend. It must be the same in all workers.
        notes: notes for the user, a line each.
        run: a function that takes the number of a batch's first window among all windows, and the batch [n, ...]. It
            returns what is kept of the batch.
    """

    title: str
    run: Callable[[int, Floats], Any]
    notes: Sequence[str] = ()


class Work(Protocol):
    """What the workers of a cluster do. It goes to them as a pickle.

    Attributes:
        device: "cpu", "gpu", or "any" for a GPU if the cluster has one.
    """

    @property
    def device(self) -> str: ...

    def runner(self) -> Runner:
        """Load what is run. It is called once in each worker, in the current folder of the command."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileFact:
    """What tells whether a file is, on another machine, the one that the command opened.

    Attributes:
        size: its size in bytes.
        written: when it was written, in whole seconds, as some programs that copy files keep no more.
    """

    size: int
    written: int

    @classmethod
    def of(cls, path: Path) -> FileFact | None:
        """Return the facts about a file; None if it does not exist."""
        try:
            found = path.stat()
        except OSError:
            return None
        return cls(size=found.st_size, written=int(found.st_mtime))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """Work on the windows of data sets.

    Attributes:
        work: what the workers do.
        data: the data sets.
        size: the number of windows in a batch.
        window_bytes: the bytes of a window.
        start: the number of the first window of the first data set that is wanted.
        folder: the current folder of the command, to which paths are relative.
        facts: the facts about each file of the data; a file that a program gave has none.
        producer: the name and the version of the program that made it.
    """

    work: Work
    data: Sequence[Data]
    size: int
    window_bytes: int
    start: int = 0
    folder: Path = dataclasses.field(default_factory=Path.cwd)
    facts: dict[Path, FileFact] = dataclasses.field(default_factory=dict)
    producer: str = dataclasses.field(default_factory=producer)

    def check_producer(self) -> None:
        """Check, in a worker, that it is of the same program as the command.

        Raises:
            Unavailable: it is of another version, which may read windows in another way.
        """
        if self.producer != producer():
            raise Unavailable(
                f"the machine {socket.gethostname()} has {producer()}, and this command is of {self.producer}: install "
                "the same version on all machines of the cluster"
            )

    def described(self) -> Job:
        """Return the job with the facts about its files."""
        files = dict.fromkeys(part.file for each in self.data for part in each.parts)
        return dataclasses.replace(self, facts={file: fact for file in files if (fact := FileFact.of(file))})

    def units(self, workers: int) -> list[Unit]:
        """Return the units in which so many workers share the windows, in the order of the windows."""
        starts = [self.start, *[0] * (len(self.data) - 1)]
        batches = sum(math.ceil((len(each) - start) / self.size) for each, start in zip(self.data, starts, strict=True))
        most = max(1, _CHUNK_BYTES // (self.size * self.window_bytes))
        span = self.size * min(max(1, batches // (_SHARES * workers)), most)
        found: list[Unit] = []
        before = 0
        for number, (data, start) in enumerate(zip(self.data, starts, strict=True)):
            ends = list(itertools.accumulate(part.count for part in data.parts))
            for edges in _edges(ends, range(start, len(data), span), len(data)):
                parts = range(bisect.bisect_right(ends, edges[0]), bisect.bisect_left(ends, edges[-1]) + 1)
                first = found[-1].first + len(found[-1].edges) - 1 if found else 0
                found.append(Unit(first=first, data=number, parts=parts, before=before, edges=edges))
            before += len(data)
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unit:
    """Consecutive chunks that one process reads.

    Attributes:
        first: the number of the first of these chunks among all chunks.
        data: the number of the data set.
        parts: the numbers of the parts of the data set that the chunks are from.
        before: the number of windows in the data sets before this one.
        edges: the numbers of the windows where the chunks begin, and of the first one after the last chunk.
    """

    first: int
    data: int
    parts: range
    before: int
    edges: tuple[int, ...]


def _edges(ends: Sequence[int], starts: range, count: int) -> Iterator[tuple[int, ...]]:
    """Yield the edges of the chunks of each unit (`Unit.edges`).

    Args:
        ends: for each part of the data set, the first window after it.
        starts: where the chunks begin.
        count: the number of windows in the data set.
    """
    for _, same in itertools.groupby(starts, lambda at: bisect.bisect_right(ends, at)):
        edges = tuple(same)
        yield (*edges, min(edges[-1] + starts.step, count))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Computed:
    """What a worker returns for a chunk.

    Attributes:
        number: the number of the chunk.
        replaces: the machine and the process, if it replaces one that ended; else empty.
        processor: the name of the board or the processor; empty with an error.
        title: the title of the `Runner`; empty with an error.
        notes: its notes.
        outcomes: what is kept of each batch.
        windows: the number of windows in the chunk.
        data: the number of the data set.
        readings: what is known of the recordings that were read, by the number of their part (`Data.readings`).
        error: the error that ended the work on the chunk; None if there is none.
    """

    number: int
    replaces: str = ""
    processor: str = ""
    title: str = ""
    notes: Sequence[str] = ()
    outcomes: Sequence[Any] = ()
    windows: int = 0
    data: int = 0
    readings: dict[int, Reading] = dataclasses.field(default_factory=dict)
    error: Exception | None = None
