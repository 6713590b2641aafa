"""The child process of a command that uses Ray: it starts or joins the cluster, and runs jobs on it.

Ray prints to stdout, changes how signals are answered, and must be told before its import which addresses it may open.
So it runs in a process of its own. The command writes jobs to its stdin, and it answers on its stdout. It ends when its
stdin ends, also if the command was killed.

A message is its length in 8 bytes and a pickle: of a `Task` to this process, of an answer (`Answer`) from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle  # messages are from the process that started this one, and from the cluster that its user chose
import queue
import secrets
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tcja_deploy.cluster.options import LOCAL
from tcja_runtime.errors import BadInput, TcjaError, Unavailable, first_line
from tcja_runtime.machine.gpu import chip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A job for the cluster.

    Attributes:
        number: its number; the command has given up the tasks before it.
        job: the pickled `Job`.
        device: as of its `Work`.
    """

    number: int
    job: bytes
    device: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer of this process.

    Attributes:
        task: the number of the task; 0 for an answer about the cluster.
        workers: the number of workers: the answer to a task, before the chunks of its job.
        chunk: the pickled `Computed` of a chunk; empty if the answer is not about one.
        error: an error, after which nothing follows on the task; None if there is none.
    """

    task: int = 0
    workers: int = 0
    chunk: bytes = b""
    error: Exception | None = None


def main(address: str, workers: str, folder: str) -> None:
    """Start or join a cluster, say so with an empty answer, and run the tasks of stdin.

    A new task ends the one before it, whose command has got an error and wants no more of it.

    Args:
        address: `ClusterOptions.ray`.
        workers: `ClusterOptions.workers`; "0" for None.
        folder: a folder for Ray's files, which only this user can enter. It becomes the current one.
    """
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    tasks: queue.Queue[Task] = queue.Queue()
    _prepare(address, folder)
    threading.Thread(target=_listen, args=(tasks, folder), daemon=True).start()

    def answer(**content: Any) -> None:
        with contextlib.suppress(OSError):  # the command ended, and `_listen` ends this process
            send(answers, Answer(**content))

    try:
        _join(address, int(workers), folder)
    except Exception as error:
        answer(error=_of_ray(error, address))
        threading.Event().wait()  # until `_listen` ends the process
    answer()
    while True:
        task = tasks.get()
        try:
            for content in _answers(task, int(workers)):
                answer(task=task.number, **content)
                if not tasks.empty():
                    break
        except Exception as error:
            answer(task=task.number, error=_of_ray(error, address))


def send(stream: IO[bytes], message: Task | Answer) -> None:
    """Write a message."""
    content = pickle.dumps(message)
    stream.write(len(content).to_bytes(8, "little") + content)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read a message; None at the end of the stream."""
    head = stream.read(8)
    content = stream.read(int.from_bytes(head, "little"))
    whole = len(head) == 8 and len(content) == int.from_bytes(head, "little")
    return pickle.loads(content) if whole else None  # noqa: S301


def _prepare(address: str, folder: str) -> None:
    """Set the current folder, and the variables that Ray reads.

    Ray tells its processes to take modules from the current folder of this one, which may be one of downloaded files.
    Of a Ray that is started here, they get this process's path of modules. Its servers listen on this machine's own
    address only, as on systems for which Ray makes no clusters, and they want a token, which only processes of this
    user can read.
    """
    os.chdir(folder)
    if address == LOCAL:
        os.environ.update(
            PYTHONPATH=os.pathsep.join(sys.path),
            RAY_USAGE_STATS_ENABLED="0",
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",
            RAY_AUTH_MODE="token",
            RAY_AUTH_TOKEN=secrets.token_hex(32),
        )


def _listen(tasks: queue.Queue[Task], folder: str) -> None:
    """Put the tasks of stdin into a queue. When stdin ends, end this process and all that it started."""
    while (task := receive(sys.stdin.buffer)) is not None:
        tasks.put(task)
    try:
        _signal_session(signal.SIGSTOP)  # first: this process ends with Ray's main one, and none writes any more
        shutil.rmtree(folder, ignore_errors=True)
        while _signal_session(signal.SIGKILL):
            time.sleep(0.01)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def _signal_session(number: signal.Signals) -> int:
    """Send a signal to the other processes of this session, and return how many there are.

    The command has made the session for this process. Those of a Ray that was started here are all in it, also if Ray
    is interrupted while it starts. On a cluster that was joined, what this process began ends with it.
    """
    own = os.getpid()
    others = [pid for pid in _processes() if pid != own and _session(pid) == own] if os.getsid(0) == own else []
    for pid in others:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    return len(others)


def _processes() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdecimal()]


def _session(pid: int) -> int | None:
    """The session of a process that runs; None if it has ended, or was killed and waits to be noticed."""
    try:
        state, _, _, session, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else int(session)


def _join(address: str, workers: int, folder: str) -> None:
    """Start or join the cluster (`main`)."""
    import logging

    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.CRITICAL}
    if address == LOCAL:
        cpus = workers or len(os.sched_getaffinity(0))
        gpus = 1 if chip() else None  # Ray counts those that NVIDIA's driver for PCs lists, so none on a Jetson
        ray.init(
            address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, _temp_dir=f"{folder}/ray", **quiet
        )
    else:
        ray.init(address=address, **quiet)


def _answers(task: Task, workers: int) -> Iterator[dict[str, Any]]:
    """Run a task, and yield the fields of the answers."""
    import ray

    from tcja_deploy.cluster import pipeline

    there = ray.cluster_resources()
    gpus = int(there.get("GPU", 0))
    on_gpu = task.device == "gpu" or (task.device == "any" and gpus > 0)
    most = gpus if on_gpu else int(there.get("CPU", 0))
    kind = "GPUs" if on_gpu else "CPUs"
    if not most:
        raise Unavailable(f"the cluster of Ray has no {kind}")
    if workers > most:
        raise BadInput(f"`workers` {workers:,} is more than the cluster of Ray has {kind}, which is {most:,}")
    yield {"workers": workers or most}
    for chunk in pipeline.chunks(task.job, workers or most, on_gpu=on_gpu):
        yield {"chunk": chunk}


def _of_ray(error: Exception, address: str) -> Exception:
    """Return the error for the command, from an error of Ray."""
    if isinstance(error, TcjaError):
        return error
    import ray

    if isinstance(error, ConnectionError):
        return Unavailable(
            f"no cluster of Ray answers at {address}, or it wants another token: {first_line(error)}; see 'ray status'"
        )
    while isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, Exception):
        error = error.cause
    if isinstance(error, ImportError):
        return Unavailable(
            f"the processes of Ray cannot import {error.name or 'a module'} ({first_line(error)}): each machine of the "
            "cluster needs tcja-deploy, in the version of this machine"
        )
    if isinstance(error, (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError)):
        return Unavailable(
            "processes of Ray ended again and again at the same windows, so Ray gave up: is there too little memory? "
            "Fewer `workers` take less"
        )
    return Unavailable(f"Ray fails: {type(error).__name__}: {first_line(error)}")
