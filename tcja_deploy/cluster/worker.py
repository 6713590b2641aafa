"""What runs in the processes of Ray: one kind reads windows, and the other one computes on them.

What goes from one to the other, and back to the command, are rows with the columns `content`, a pickle, and `windows`.
An error is a row, too: the command raises the first one in the order of the windows, as one process does.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pickle  # its bytes come from processes of the same cluster, which run what the command says
import socket
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray
from ray import cloudpickle

from tcja_deploy.cluster.job import Computed, FileFact, Job, Runner, Unit
from tcja_runtime.backends.onnxruntime import limit_threads
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.dataset import Data
from tcja_runtime.data.recordings import Reading
from tcja_runtime.errors import TcjaError, Unavailable, user_error
from tcja_runtime.machine.conditions import processor

Row = dict[str, Sequence[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Read:
    """A chunk that was read.

    Attributes:
        number: the number of the chunk.
        data: the number of its data set.
        start: the number of its first window among all windows.
        readings: as of `Computed`.
        error: the error that ended the reading; None if there is none.
    """

    number: int
    data: int = 0
    start: int = 0
    readings: dict[int, Reading] = dataclasses.field(default_factory=dict)
    error: Exception | None = None


def read(batch: Row, reference: Any) -> Iterator[Row]:
    """Read the chunks of units. It is the first step of the pipeline.

    Args:
        batch: the pickled units, in the column `unit`.
        reference: where Ray holds the job.
    """
    for unit in map(pickle.loads, batch["unit"]):
        number = unit.first
        try:
            job = _job(reference)
            data = job.data[unit.data]
            _check_files(job, data, unit)
            for windows in _chunks(job, data, unit):
                begin = unit.before + unit.edges[number - unit.first]
                last = number - unit.first == len(unit.edges) - 2
                readings = data.readings(unit.parts) if last else {}
                found = _Read(number=number, data=unit.data, start=begin, readings=readings)
                yield {"content": [pickle.dumps(found)], "windows": [windows]}
                number += 1
        except Exception as error:
            found = _Read(number=number, error=_sent(error))
            yield {"content": [pickle.dumps(found)], "windows": [np.zeros((0, 0), np.float32)]}


class Session:
    """Computes on chunks. It is the second step of the pipeline; a worker has one.

    Args:
        reference: where Ray holds the job.
        threads: the number of threads that a session of the network may use.
    """

    def __init__(self, reference: Any, threads: int) -> None:
        self._reference, self._threads = reference, threads
        self._runner: Runner | None = None

    def __call__(self, batch: Row) -> Row:
        """Compute on a chunk."""
        read = pickle.loads(batch["content"][0])  # noqa: S301
        found = Computed(number=read.number, error=read.error)
        if not read.error:
            try:
                found = self._computed(read, batch["windows"][0])
            except Exception as error:
                found = dataclasses.replace(found, error=_sent(error))
        return {"content": [pickle.dumps(found)]}

    def _computed(self, read: _Read, windows: Floats) -> Computed:
        job = _job(self._reference)
        if self._runner is None:
            limit_threads(self._threads)
            self._runner = job.work.runner()
        starts = range(0, len(windows), job.size)
        return Computed(
            number=read.number,
            replaces=_process() if ray.get_runtime_context().was_current_actor_reconstructed else "",
            processor=processor(),
            title=self._runner.title,
            notes=self._runner.notes,
            outcomes=[self._runner.run(read.start + at, windows[at : at + job.size]) for at in starts],
            windows=len(windows),
            data=read.data,
            readings=read.readings,
        )


@functools.lru_cache(maxsize=1)
def _job(reference: Any) -> Job:
    """The job, which a process gets once. The current folder becomes that of the command, if this machine has it.

    Raises:
        Unavailable: the command is of another version than this process.
    """
    job: Job = cloudpickle.loads(ray.get(reference))
    job.check_producer()
    if job.folder.is_dir():
        os.chdir(job.folder)
    return job


def _chunks(job: Job, data: Data, unit: Unit) -> Iterator[Floats]:
    """Yield the windows of the chunks of a unit."""
    held: list[Floats] = []
    at, edges = unit.edges[0], list(unit.edges[1:])
    for inputs in data.batches(job.size, at):
        held.append(inputs)
        at += len(inputs)
        if at == edges[0]:
            yield np.concatenate(held)
            held = []
            del edges[0]
        if not edges:
            return


def _check_files(job: Job, data: Data, unit: Unit) -> None:
    """Check that the files are those that the command opened.

    Raises:
        Unavailable: a file is another one here.
    """
    for file in dict.fromkeys(data.parts[at].file for at in unit.parts):
        if file in job.facts and job.facts[file] != FileFact.of(file):
            raise Unavailable(
                f"{file} on the machine {socket.gethostname()} is not the file that this command opened: it was "
                "changed, or it is not on a disk that all machines of the cluster share"
            )


def _process() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


def _sent(error: Exception) -> Exception:
    """Return an error in a form that goes to another process: for the user, or a bug with its traceback."""
    found: Exception = user_error(error) or error
    if not isinstance(found, TcjaError):
        try:
            pickle.loads(pickle.dumps(found))  # noqa: S301
        except Exception:
            found = RuntimeError(f"{type(error).__name__}: {error}")
        if hasattr(found, "add_note"):  # from Python 3.11 on
            found.add_note("".join(traceback.format_exception(error)))
    return found
