"""Commands with Ray: the real one, started once, against the same commands in one process."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import json
import math
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from tcja_deploy.cluster.cluster import _LONGEST_ROOT, Cluster, joined
from tcja_deploy.cluster.job import FileFact, Job
from tcja_deploy.cluster.options import ClusterOptions
from tcja_deploy.cluster.shared import SharedBundle
from tcja_deploy.console import silent
from tcja_deploy.run import classify
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.dataset import Data, load
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.network import classified
from tcja_runtime.network.classified import ClassifiedBatch, gathered
from tcja_runtime.signing.trust import Trust

from .works import Troubled

pytestmark = [pytest.mark.slow, pytest.mark.releases]

LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


@pytest.fixture
def name() -> str:
    return "dvs128"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Ray with two workers, which ends without leaving anything behind. Its folder has the longest name that fits."""
    before = processes()
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory(prefix="seven--", dir="/tmp"))
        assert len(root) == _LONGEST_ROOT
        changed = stack.enter_context(pytest.MonkeyPatch.context())
        changed.setattr(tempfile, "tempdir", root)
        changed.setattr("tcja_deploy.cluster.cluster.shutil", mock.Mock())  # as if the command was killed
        found = stack.enter_context(joined(ClusterOptions(ray="local", workers=2), silent()))
        started = processes() - before
        (folder,) = {Path(each) for pid in started for each in re.findall(r"/[^\s=:]*/tcja-ray-[^/\s]+", command(pid))}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700  # Ray lets all users write into what is in it
        assert folder.parent == Path(root)
        yield found
    assert started
    assert not folder.exists()
    assert not {pid for pid in started if command(pid)}


@pytest.fixture
def same_ray(cluster, monkeypatch) -> Cluster:
    """The same Ray for commands with --ray."""

    @contextlib.contextmanager
    def same(*_: object) -> Iterator[Cluster]:
        yield cluster

    for module in ("run.classify", "verify.verifier"):
        monkeypatch.setattr(importlib.import_module(f"tcja_deploy.{module}"), "joined", same)
    return cluster


def processes() -> set[int]:
    """The processes that this one started, and those that they started."""
    parents = {}
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parents[int(each.name)] = int((each / "stat").read_text().rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def listening() -> dict[str, list[tuple[str, int]]]:
    """The addresses and ports at which processes of this one listen, by the command of the process."""
    sockets = {}
    for file, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{file}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                number, _, port = words[1].partition(":")
                packed = b"".join(struct.pack("<I", int(number[at : at + 8], 16)) for at in range(0, len(number), 8))
                sockets[f"socket:[{words[9]}]"] = (socket.inet_ntop(family, packed), int(port, 16))
    found: dict[str, list[tuple[str, int]]] = {}
    for pid in processes():
        with contextlib.suppress(OSError):
            for each in Path(f"/proc/{pid}/fd").iterdir():
                address = sockets.get(str(each.readlink()))
                if address:
                    found.setdefault(command(pid), []).append(address)
    return found


def of_workers() -> list[int]:
    """The processes that have a session of the network."""
    return [pid for pid in processes() if "MapWorker" in command(pid)]


@pytest.fixture
def files(tmp_path, data, name) -> list[Path]:
    """Windows of an .npz, and recordings in a folder, in one of which times go back."""
    rng = np.random.default_rng(1)
    for at in range(5):
        t = np.sort(rng.integers(0, 300_000, 900))
        t[:2] = t[1::-1] if at == 3 else t[:2]
        x, y, p = rng.integers(0, 64, 900), rng.integers(0, 64, 900), rng.integers(0, 2, 900)
        content = np.column_stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]).astype(np.uint8)
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / f"{at}.bin").write_bytes(content.tobytes())
    return [data[name], tmp_path / "set"]


def said(err: str) -> list[str]:
    """What a command says, but for times and for what only one of both says."""
    lines = [re.sub(r" \d+\.\d s$", "", line) for line in err.splitlines()]
    return [line for line in lines if not re.search("Ray|load the network|classify", line)]


def test_run_says_what_one_process_says(run, same_ray, bundle, files, monkeypatch):
    monkeypatch.setattr(classify, "batch_size", lambda *_: 2)
    monkeypatch.setattr(classified, "batch_size", lambda *_: 2)
    code, out, err = run("run", bundle, *files, "--json")
    assert code == 0
    assert len(json.loads(out)["windows"]) == 17
    assert "time goes back" in err
    found = run("run", bundle, *files, "--json", "--ray")
    assert found[:2] == (0, out)
    assert said(found[2]) == said(err)
    assert same_ray.progress.notes == ["2 workers of Ray share the windows"]


def test_verify_says_what_one_process_says(run, same_ray, bundle, data, name, tmp_path):
    with np.load(data[name]) as archive:
        np.savez(tmp_path / "own.npz", frames=archive["frames"][::-1] * 3, labels=archive["labels"][::-1])
    options = [bundle, "--data", tmp_path / "own.npz", "--anytime", "0", "--json"]
    code, out, err = run("verify", *options)
    assert code == 0
    found = run("verify", *options, "--ray")
    assert found[:2] == (0, out)
    assert said(found[2]) == said(err)


def test_a_cluster_is_joined(cluster, bundle, files, run, monkeypatch):
    """The address and the token are those of the Ray that runs. The tests before it leave its workers free."""
    (raylet,) = (pid for pid in processes() if "raylet/raylet" in command(pid).partition(" ")[0])
    for variable in Path(f"/proc/{raylet}/environ").read_text().split("\0"):
        if variable.startswith(("RAY_AUTH", "RAY_ENABLE")):
            monkeypatch.setenv(*variable.split("=", 1))
    port = re.search(r"--gcs-address=127.0.0.1:(\d+)", command(raylet))
    assert port
    alone = run("run", bundle, files[0], "--csv")
    found = run("run", bundle, files[0], "--csv", "--ray", f"127.0.0.1:{port[1]}")
    assert found[:2] == alone[:2]
    assert f"join the cluster of Ray at 127.0.0.1:{port[1]}" in found[2]
    code, out, err = run("run", bundle, files[0], "--csv", "--ray", f"127.0.0.1:{port[1]}", "--workers", "3")
    assert (code, out) == (2, "")
    assert err.endswith("error: --workers 3 is more than the cluster of Ray has CPUs, which is 2\n")


@pytest.fixture
def windows(bundle, files) -> tuple[Bundle, Data]:
    """A bundle and 12 windows for it."""
    opened = Bundle.open(bundle, to_run=True)
    return opened, load(files[0], opened.manifest.input, opened.manifest.classes)


def job(bundle: Bundle, data: Data, **trouble: object) -> Job:
    """The classification of each window by itself, with trouble."""
    work = classify.ClassifyWork(bundle=SharedBundle.of(bundle, Trust(), "auto"), pictured=3)
    window_bytes = 4 * math.prod(bundle.manifest.input.shape)
    return Job(work=Troubled(work=work, **trouble), data=[data], size=1, window_bytes=window_bytes)


def test_a_killed_worker_loses_nothing(cluster, windows, monkeypatch):
    bundle, data = windows
    found: list[ClassifiedBatch] = []
    for outcome in cluster.outcomes(job(bundle, data, seconds=0.2, trouble="processors")):
        if not found:
            os.kill(min(of_workers()), signal.SIGKILL)
        found.append(outcome)
    monkeypatch.setattr(classified, "batch_size", lambda *_: 1)
    alone = classified.classified(bundle, classify.opened(bundle), [data], pictured=3)
    shared = gathered(bundle, [data], found)
    assert shared.to_dict() == alone.to_dict()
    np.testing.assert_array_equal(shared.scores, alone.scores)
    np.testing.assert_array_equal(shared.pictured, alone.pictured)
    *_, several, ended = cluster.progress.notes
    assert re.match(r"the machines of the cluster have several processors \(CPU \d+, CPU \d+", several)
    assert ended == "1 worker of Ray ended while it worked; others did the work again"


def test_a_bug_in_a_worker_is_a_bug_here(cluster, windows):
    found = []
    with pytest.raises(KeyError, match="a bug") as caught:
        found.extend(cluster.outcomes(job(*windows, at=4, trouble="bug")))
    if sys.version_info >= (3, 11):
        assert "works.py" in "".join(caught.value.__notes__)
    assert len(found) <= 4


@pytest.mark.parametrize("broken", ["damaged", "negative"])
def test_an_error_is_that_of_one_process(run, same_ray, bundle, files, tmp_path, broken):
    with np.load(files[0]) as archive:
        frames = np.concatenate([archive["frames"]] * 3)  # more than are looked at when a file is opened
    if broken == "negative":
        frames[-1] = -1
    np.savez(files[1] / "x.npz", frames=frames)
    if broken == "damaged":
        content = bytearray((files[1] / "x.npz").read_bytes())
        content[len(content) // 2] ^= 1
        (files[1] / "x.npz").write_bytes(content)
    code, out, err = run("run", bundle, files[1], "--json")
    assert (code, out) == (2, "")
    found = run("run", bundle, files[1], "--json", "--ray")
    assert found[:2] == (2, "")
    assert found[2].splitlines()[-1] == err.splitlines()[-1]


def test_ray_listens_on_this_machine_alone_and_reports_nothing(cluster):
    found = listening()
    assert any("gcs_server" in each for each in found)
    assert {address for listened in found.values() for address, _ in listened} <= set(LOOPBACK)
    (raylet,) = (pid for pid in processes() if "raylet/raylet" in command(pid).partition(" ")[0])
    variables = Path(f"/proc/{raylet}/environ").read_bytes().split(b"\0")
    assert b"RAY_USAGE_STATS_ENABLED=0" in variables
    assert b"RAY_AUTH_MODE=token" in variables


SERVICES = {
    "gcs_server": ["NodeInfoGcsService/GetClusterId"],
    "raylet/raylet": ["NodeManagerService/GetNodeStats", "ObjectManagerService/Push"],
    "ray::": ["CoreWorkerService/PushTask"],  # a function to run
}


def test_ray_answers_nobody_without_the_token(cluster):
    grpc = importlib.import_module("grpc")
    refused = 0
    for command, listened in listening().items():
        names = next((names for part, names in SERVICES.items() if part in command.partition(" ")[0]), [])
        codes = set()
        for (_, port), name in itertools.product(listened, names):
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(f"/ray.rpc.{name}")(b"", timeout=10)
            codes.add(caught.value.code().name)
        assert codes <= {"UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE"}, command  # each port has other services
        refused += "UNAUTHENTICATED" in codes
    assert refused >= 3


def test_another_bundle_at_the_path_is_refused(cluster, windows):
    bundle, data = windows
    asked = job(bundle, data)
    work = dataclasses.replace(asked.work.work, bundle=dataclasses.replace(asked.work.work.bundle, sha256="0" * 64))
    with pytest.raises(Unavailable, match="is not the bundle that this command opened"):
        list(cluster.outcomes(dataclasses.replace(asked, work=work)))


def test_a_worker_of_another_version_is_refused(cluster, windows):
    said = rf"{socket.gethostname()} has tcja-deploy .*, and this command is of tcja-deploy 0\.0\.9: install the same"
    with pytest.raises(Unavailable, match=said):
        list(cluster.outcomes(dataclasses.replace(job(*windows), producer="tcja-deploy 0.0.9")))


def test_another_file_at_the_path_is_refused(cluster, windows, monkeypatch):
    fact = FileFact(size=1, written=1)
    monkeypatch.setattr(FileFact, "of", lambda _: fact)
    with pytest.raises(Unavailable, match=rf"dvs128.npz on the machine {socket.gethostname()} is not the file that"):
        list(cluster.outcomes(job(*windows)))


def test_a_window_that_ends_each_process_ends_the_command(cluster, windows):
    with pytest.raises(Unavailable, match="ended again and again at the same windows, so Ray gave up: is there"):
        list(cluster.outcomes(job(*windows, at=4, trouble="death")))


def test_a_process_that_ended_is_said(windows, tmp_path):
    log = (tmp_path / "log").open("w+b")
    log.write(b"Aborted: no memory\n")
    process = subprocess.Popen(["true"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.wait()
    with log, pytest.raises(Unavailable, match=r"the process that uses Ray ended \(status 0\): Aborted: no memory"):
        list(Cluster(process, log, silent()).outcomes(job(*windows)))
    with contextlib.suppress(BrokenPipeError):
        process.communicate()


def test_ray_that_does_not_start_in_time(monkeypatch):
    monkeypatch.setattr("tcja_deploy.cluster.cluster._JOINING_SECONDS", 0.0)
    said = "Ray does not start on this machine within 0 s: close other programs, or leave `ray` out"
    with pytest.raises(Unavailable, match=said), joined(ClusterOptions(ray="local"), silent()):
        pass


def test_no_cluster_at_the_address(monkeypatch):
    monkeypatch.setattr("tcja_deploy.cluster.cluster._JOINING_SECONDS", 2.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for given, words in (
            (address, f"nothing answers at `ray` {address}: Connection refused; 'ray status'"),
            ("..:1", r"nothing answers at `ray` \.\.:1: .*label empty"),
            (address, f"Ray does not answer within 2 s: `ray` {address};"),
        ):
            with pytest.raises(Unavailable, match=words), joined(ClusterOptions(ray=given), silent()):
                pass
            taken.listen()


def test_what_ray_is_used_for(run, bundle):
    code, out, err = run("verify", bundle, "--ray")
    assert (code, out) == (2, "")
    assert err.endswith("error: --ray shares the windows of --data among processes; give --data too, or leave it out\n")
    with pytest.raises(BadInput, match="`workers` is the number of workers of Ray"):
        ClusterOptions(workers=2)
    cpus = len(os.sched_getaffinity(0))
    more = ClusterOptions(ray="local", workers=4 * cpus + 1)
    with pytest.raises(BadInput, match=rf"more than this machine starts, {4 * cpus}: 4 for"), joined(more, silent()):
        pass
