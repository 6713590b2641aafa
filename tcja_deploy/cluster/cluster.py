"""A cluster of Ray that a command uses. Ray itself runs in a child process (`tcja_deploy.cluster.driver`)."""

from __future__ import annotations

import contextlib
import os
import pickle  # of our own processes
import select
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO, Any, cast

from tcja_deploy.cluster.driver import Answer, Task, receive, send
from tcja_deploy.cluster.job import Computed, Job
from tcja_deploy.cluster.options import LOCAL, ClusterOptions
from tcja_deploy.console import Progress
from tcja_runtime.counting import agree, counted, listed
from tcja_runtime.errors import BadInput, Unavailable, user_error
from tcja_runtime.machine import children
from tcja_runtime.machine.versions import too_old, version

_JOINING_SECONDS = 60.0
"""The time that Ray gets to start, or to join a cluster. Where nothing answers, it would try for minutes."""
_LONGEST_ROOT = 20
"""The most characters of the folder for temporary files. The path of a socket below it may have 107 in all, of which
Ray, and the folders that are made for it, take up to 86."""
_REACHING_SECONDS = 10.0
"""The time that a connection to the machine of a cluster may take."""
_ENDING_SECONDS = 20.0
"""The time that Ray gets to end its processes."""
_WORKERS_PER_CPU = 4
"""The most workers for each CPU of a Ray that is started here. Each is a process, with a network in its memory."""


class Cluster:
    """A cluster that was started or joined.

    Args:
        process: the child process.
        log: what it writes to stderr.
        progress: where notes are shown.

    Attributes:
        progress: as given.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], progress: Progress) -> None:
        self._process, self._log, self.progress = process, log, progress
        self._stdin, self._stdout = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        self._tasks = 0

    def outcomes(self, job: Job) -> Iterator[Any]:
        """Yield what the workers keep of each batch, in the order of the windows.

        What they learn of recordings is stored in the job's data. Nothing is lost if a worker ends: another does its
        work, and a note says so.

        Raises:
            BadInput: a file is damaged, or more workers are asked for than there can be.
            Unavailable: a worker lacks something, or Ray fails.
        """
        from ray import cloudpickle  # pickle does not take the functions in recordings

        self._tasks += 1
        task = Task(number=self._tasks, job=cloudpickle.dumps(job.described()), device=job.work.device)
        with contextlib.suppress(BrokenPipeError):  # it ended; `_answer` says how
            send(self._stdin, task)
        workers = self._answer().workers
        chunks = sum(len(unit.edges) - 1 for unit in job.units(workers))
        self.progress.note(f"{counted(workers, 'worker')} of Ray {agree(workers, 'shares', 'share')} the windows")
        title, processors, replaced = "", set(), set()
        for number in range(chunks):
            found: Computed = pickle.loads(self._answer().chunk)  # noqa: S301
            if found.error:
                raise found.error
            if found.number != number:
                raise RuntimeError(f"chunk {found.number} came in place of chunk {number}")
            if title not in ("", found.title):
                raise Unavailable(
                    f"the machines of the cluster run the network in {title} and in {found.title}: install the same "
                    "packages on all of them, or name a `backend` that all of them have"
                )
            for note in found.notes if not title else ():
                self.progress.note(note)
            title = found.title
            replaced.add(found.replaces)
            processors.add(found.processor)
            job.data[found.data].learn(found.readings)
            yield from found.outcomes
        if len(processors) > 1:
            self.progress.note(
                f"the machines of the cluster have several processors ({listed(sorted(processors), 4)}), which may "
                "round in other ways: another run may differ in windows near a decision"
            )
        if ended := len(replaced - {""}):
            self.progress.note(
                f"{counted(ended, 'worker')} of Ray ended while {agree(ended, 'it', 'they')} worked; others did the "
                "work again"
            )

    def wait(self, address: str) -> None:
        """Wait until the cluster was started or joined.

        Args:
            address: its address.

        Raises:
            Unavailable: it cannot be.
        """
        if not select.select([self._stdout], [], [], _JOINING_SECONDS)[0]:
            if address == LOCAL:
                raise Unavailable(
                    f"Ray does not start on this machine within {_JOINING_SECONDS:g} s: close other programs, or leave "
                    "`ray` out"
                )
            raise Unavailable(
                f"Ray does not answer within {_JOINING_SECONDS:g} s: `ray` {address}; see 'ray status --address', and "
                "run the command on a machine of the cluster"
            )
        self._answer()

    def _answer(self) -> Answer:
        """Return the next answer of the child process to the last task, or raise its error."""
        while (found := cast(Answer | None, receive(self._stdout))) and found.task != self._tasks:
            pass  # it is about a task that was given up
        if found is None:
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip().splitlines()
            last = f": {said[-1]}" if said else ""
            raise Unavailable(f"the process that uses Ray ended (status {self._process.wait()}){last}")
        if found.error:
            raise found.error
        return found


@contextlib.contextmanager
def joined(options: ClusterOptions, progress: Progress) -> Iterator[Cluster]:
    """A context with a cluster: of Ray that is started on this machine and ends with the block, or one that exists.

    Args:
        options: which Ray is used; its address is not None.
        progress: where progress is shown.

    Raises:
        BadInput: there are more workers than this machine should start.
        Unavailable: Ray is not installed, cannot be started, or no cluster answers at the address.
    """
    _require()
    address, cpus = options.ray or LOCAL, len(os.sched_getaffinity(0))
    if address == LOCAL and (options.workers or 0) > _WORKERS_PER_CPU * cpus:
        raise BadInput(
            f"`workers` {options.workers:,} is more than this machine starts, {_WORKERS_PER_CPU * cpus}: "
            f"{_WORKERS_PER_CPU} for each of its {counted(cpus, 'CPU')}"
        )
    if ":" in address:
        _check_reached(address)
    root = tempfile.gettempdir()
    # Ray lets all users into its folder, but not into the one around it.
    folder = tempfile.mkdtemp(prefix="tcja-ray-", dir=root if len(root) <= _LONGEST_ROOT else "/tmp")  # noqa: S108
    command = children.main_of("tcja_deploy.cluster.driver", address, str(options.workers or 0), folder)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        cluster = Cluster(process, log, progress)
        try:
            with progress.step("start Ray" if address == LOCAL else f"join the cluster of Ray at {address}"):
                cluster.wait(address)
            yield cluster
        finally:
            _end(process)
            shutil.rmtree(folder, ignore_errors=True)  # the process does so, too, unless it ends with Ray's


def _check_reached(address: str) -> None:
    """Check that something listens at an address HOST:PORT. Ray itself would try for minutes.

    Raises:
        Unavailable: nothing does.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHING_SECONDS).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be one
        reason = getattr(error, "strerror", None) or error
        raise Unavailable(
            f"nothing answers at `ray` {address}: {reason}; 'ray status', on a machine of the cluster, says its address"
        ) from error


def _require() -> None:
    """Check that Ray Data is installed.

    Raises:
        Unavailable: it is not, or is too old.
    """
    if old := too_old("ray", version("ray")):
        raise Unavailable(f"{old}: run 'pip install -U \"tcja-deploy[ray]\"'")
    try:
        import pyarrow  # noqa: F401  # which Ray does not require, but Ray Data does
        import ray.cloudpickle  # noqa: F401
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise Unavailable(
            f"`ray` needs the package {package}, which is not installed: run 'pip install \"tcja-deploy[ray]\"'"
        ) from error
    except ImportError as error:
        raise user_error(error) or error from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child process, which ends what it started."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        process.wait(_ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
