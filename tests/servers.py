"""A real Triton Inference Server for tests and benchmarks: the one in nvidia-pytriton, in a process on this machine.

    with serving(repository, scratch) as server:
        client = server.grpc()
        client.infer("gestures", [...])

It answers on addresses of this machine only. It is killed at the end of the block, and with this process.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
RUNTIME = ROOT / "runtime"
PACKAGES = Path(sys.prefix) / "triton"
"""The environment of the server: pytriton, onnxruntime, and a NumPy that its backend reads (`make test-all`)."""
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"


def installed() -> Path | None:
    """The folder of the server; None where it is not installed."""
    found = PACKAGES / "lib" / PYTHON / "site-packages" / "pytriton" / "tritonserver"
    return found if found.is_dir() else None


NEEDED = pytest.mark.skipif(installed() is None, reason=f"{PACKAGES} has no server for {PYTHON}")
"""The mark of tests with a server."""
_STARTING = 60.0  # seconds
_GUARD = """
import contextlib, glob, os, sys
sys.stdin.buffer.read()
with contextlib.suppress(ProcessLookupError):
    os.killpg(int(sys.argv[1]), 9)
for left in glob.glob(sys.argv[2]):
    os.unlink(left)
"""
"""Kills a group of processes and removes files when its standard input ends: when this process closes it, or has ended.
A server that is killed leaves its shared memory, and the processes of its models.
"""


class Server:
    """A running server.

    Attributes:
        repository: its model repository.
        address: its address for HTTP, and `grpc_address` that for gRPC, "127.0.0.1:PORT".
        log: the file with what it and its models print.
        pid: its process.
        shared_memory: the begin of the names of its files in /dev/shm.
    """

    def __init__(self, repository: Path, ports: Sequence[int], log: Path, pid: int) -> None:
        self.repository, self.log, self.pid = repository, log, pid
        self.shared_memory = _shared_memory(ports)
        self.address, self.grpc_address, self._metrics = (f"127.0.0.1:{port}" for port in ports)

    def http(self, **options: Any) -> Any:
        """A new client of `tritonclient.http`; close it."""
        from tritonclient import http

        return http.InferenceServerClient(self.address, **options)

    def grpc(self, **options: Any) -> Any:
        """A new client of `tritonclient.grpc`; close it."""
        from tritonclient import grpc

        return grpc.InferenceServerClient(self.grpc_address, **options)

    def metrics(self) -> dict[str, float]:
        """The metrics, by name with labels, as the server writes them: 'nv_inference_count{model="a",version="1"}'."""
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all lines that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        found = [
            value
            for line, value in self.metrics().items()
            if re.match(rf"{name}(\{{|$)", line) and all(each in line for each in wanted)
        ]
        return sum(found)

    def ready(self) -> bool:
        """Whether it answers, and all models are loaded that it was started with."""
        try:
            with urllib.request.urlopen(f"http://{self.address}/v2/health/ready", timeout=5):
                return True
        except (OSError, urllib.error.URLError):
            return False

    def said(self) -> str:
        """What it and its models printed so far."""
        return self.log.read_text(errors="replace")


@contextlib.contextmanager
def serving(
    repository: Path, scratch: Path, models: Sequence[str] = (), *options: str, first: Sequence[Path] = ()
) -> Iterator[Server]:
    """A context with a running server. If the block ends with an error, the log of the server is in it as a note.

    Args:
        repository: the model repository.
        scratch: a folder for the server's own files.
        models: the models that are loaded at the start; others are loaded by `load_model` of a client.
        options: further options of `tritonserver`.
        first: folders that its Python takes packages from before those of `PACKAGES`.
    """
    home = installed()
    assert home is not None, f"{PACKAGES} has no server; run 'make test-all' once"
    scratch.mkdir(parents=True, exist_ok=True)
    python, backends = _python(scratch, first), _backends(home, scratch)
    libraries = [str(sysconfig.get_config_var("LIBDIR")), os.environ.get("LD_LIBRARY_PATH", "")]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    variables |= {
        "PATH": os.pathsep.join([str(python), os.environ["PATH"]]),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    ports, log = _free_ports(3), scratch / "server.log"
    command = [str(home / "bin" / "tritonserver"), f"--model-repository={repository}"]
    command += [f"--backend-directory={backends}", "--model-control-mode=explicit"]
    for name, port in zip(("http", "grpc", "metrics"), ports, strict=True):
        command += [f"--{name}-address=127.0.0.1", f"--{name}-port={port}"]
    command += [f"--backend-config=python,shm-region-prefix-name={_shared_memory(ports)}"]
    command += ["--metrics-interval-ms=100", "--disable-auto-complete-config"]
    command += [*(f"--load-model={name}" for name in models), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=variables,
            cwd=scratch,
            start_new_session=True,
        )
    guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(process.pid), f"/dev/shm/{_shared_memory(ports)}*"]
    ending = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
    server = Server(repository, ports, log, process.pid)
    try:
        deadline = time.monotonic() + _STARTING
        while not server.ready():
            assert process.poll() is None, f"the server ended with code {process.returncode}"
            assert time.monotonic() < deadline, f"the server did not start within {_STARTING} s"
            time.sleep(0.05)
        yield server
    except BaseException as error:
        if hasattr(error, "add_note"):
            error.add_note(f"the end of the server's log:\n{server.said()[-8000:]}")
        else:  # Python 3.10
            sys.stderr.write(server.said()[-8000:])
        raise
    finally:
        ending.communicate()  # the server is not asked to stop: then it would wait for two seconds first
        process.wait()


def _shared_memory(ports: Sequence[int]) -> str:
    return f"tcja_{os.getpid()}_{ports[0]}_"


def _free_ports(count: int) -> list[int]:
    """Ports of this machine that no program uses now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _python(scratch: Path, first: Sequence[Path]) -> Path:
    """The folder with the server's Python. The stub takes its packages from there, and reads no PYTHONPATH."""
    place = scratch / "python"
    venv.create(place, symlinks=True)
    site = place / "lib" / PYTHON / "site-packages"
    paths = [*first, RUNTIME, PACKAGES / "lib" / PYTHON / "site-packages"]
    (site / "server.pth").write_text("".join(f"{each}\n" for each in paths))
    return place / "bin"


def _backends(home: Path, scratch: Path) -> Path:
    """The folder with the Python backend, and with its stub for this Python."""
    place = scratch / "backends" / "python"
    place.mkdir(parents=True, exist_ok=True)
    stub = home / "python_backend_stubs" / PYTHON.removeprefix("python") / "triton_python_backend_stub"
    for file in [*(home / "backends" / "python").glob("*.*"), stub]:
        (place / file.name).unlink(missing_ok=True)
        (place / file.name).symlink_to(file)  # its libraries lie where it is
    return place.parent


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not true within {seconds} s"
        time.sleep(0.02)
