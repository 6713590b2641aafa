"""Kills commands at random moments, and counts what they leave.

    python -m benchmarks.robustness.kill [--kills 100] [--seed 0] [--json FILE]

Each command is run to its end once, and then killed at moments that are drawn from the time that this took. It is
killed in three ways: its process alone, its process group, or all of its processes in one moment, as the end of a
container does. After each kill, the bundles must be whole. After the last ones, each command is run to its end again,
in the same folder: then nothing that was not finished may be left, in this folder, in the folder for temporary files,
or in the cache.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.errors import TcjaError
from tcja_runtime.tensorrt.build import installed

WAYS = ("process", "group", "all")
"""What is killed: the process of the command, its process group, or all of its processes in one moment."""

_MARK = "TCJA_DEPLOY_KILL_DESK"
_PATIENCE = 20.0  # seconds for other processes to clear up and to end
_FOLDERS = (".", "tmp", "cache/tcja-deploy", "state/tcja-deploy")
_FINISHED = re.compile(
    r"a\.npz|a\.pth|[bo]\.bundle|key|key\.pub|tmp|cache|state|timing|engines|torchinductor_.*"  # the last is PyTorch's
)
_KEPT = re.compile(r"[0-9a-f]{64}\.\d+|.*-build-\d+\.log")
"""What is kept for the next run: a journal of `verify`, and the log of a builder that was killed."""


@dataclasses.dataclass
class Counts:
    """What was counted of a command that was killed in one way.

    Attributes:
        kills: the kills, of which `late` came after its end.
        late: see above.
        wrong: what was wrong with a bundle after a kill, a text each.
        left: after how many kills something unfinished was there when all processes had ended.
        running: after how many kills a process ran on.
        remained: what was left after the next run to the end.
    """

    kills: int = 0
    late: int = 0
    wrong: list[str] = dataclasses.field(default_factory=list)
    left: int = 0
    running: int = 0
    remained: list[str] = dataclasses.field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.wrong or self.running or self.remained)


@dataclasses.dataclass(frozen=True)
class Desk:
    """A folder with a checkpoint, windows and a bundle, in which commands are killed.

    Attributes:
        folder: the folder.
    """

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the commands. All that they write is in the folder."""
        folders = {"TMPDIR": "tmp", "XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state"}
        return {**os.environ, _MARK: str(self.folder), **{name: str(self.folder / it) for name, it in folders.items()}}

    def start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own."""
        command = [sys.executable, "-m", "tcja_deploy", *arguments]
        to = subprocess.DEVNULL
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=to, stderr=to, start_new_session=True
        )

    def processes(self) -> list[int]:
        """The processes that were started here and have not ended."""
        mark, found = f"{_MARK}={self.folder}".encode(), []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return found

    def unfinished(self) -> list[str]:
        """What is in the folders and is neither given nor finished, nor kept for the next run on purpose."""
        return [name for name in self.kept() if not _KEPT.fullmatch(Path(name).name)]

    def kept(self) -> list[str]:
        """The same, with what is kept for the next run."""
        places = [place for each in _FOLDERS for place in (self.folder / each).glob("*")]
        return sorted(str(place.relative_to(self.folder)) for place in places if not _FINISHED.fullmatch(place.name))


@dataclasses.dataclass(frozen=True)
class Task:
    """A command that is killed.

    Attributes:
        name: its name.
        arguments: the arguments of the command line.
        engines: the numbers of engines that a whole bundle may have after a kill.
        bundle: the name of the bundle.
    """

    name: str
    arguments: Sequence[str]
    engines: Sequence[int]
    bundle: str

    def restore(self, desk: Desk) -> None:
        """Make the folder as it is before the command."""
        place = desk.folder / self.bundle
        if place.exists():
            shutil.rmtree(place)
        if self.bundle == "b.bundle":
            shutil.copytree(desk.folder.with_name("first.bundle"), place)

    def wrong(self, desk: Desk) -> str:
        """What is wrong with the bundle after a kill; empty if it is whole, or was not made yet."""
        place = desk.folder / self.bundle
        if self.bundle == "o.bundle" and not place.exists():
            return ""
        try:
            found = len(Bundle.open(place).manifest.engines)
        except TcjaError as error:
            return str(error)
        return "" if found in self.engines else f"{place} has {found} engines"


def tasks() -> list[Task]:
    """The commands that write something, or keep something for the next run, as far as this machine can run them."""
    found = [
        Task("export", ["export", "a.pth", "--target", "onnx", "--samples", "2", "--out", "o.bundle"], [0], "o.bundle"),
        Task("verify --data", ["verify", "b.bundle", "--data", "a.npz"], [0], "b.bundle"),
    ]
    if shutil.which("ssh-keygen"):
        found += [Task("sign", ["sign", "b.bundle", "--key", "key"], [0], "b.bundle")]
    if "tensorrt-rtx" in installed():
        found += [Task("build", ["build", "b.bundle", "--target", "tensorrt-rtx"], [0, 1], "b.bundle")]
    return found


def kill(desk: Desk, process: subprocess.Popen[bytes], way: str) -> None:
    """Kill a command in one of `WAYS`."""
    with contextlib.suppress(ProcessLookupError):
        if way == "process":
            process.kill()
        elif way == "group":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            stopped: set[int] = set()  # they can do nothing while the others are killed
            while new := {*desk.processes()} - stopped:
                send(new, signal.SIGSTOP)
                stopped |= new
            send(stopped, signal.SIGKILL)
    process.wait()


def send(processes: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to processes, some of which may have ended."""
    for each in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, number)


def killed(desk: Desk, task: Task, way: str, seconds: float, counts: Counts) -> None:
    """Start a command, kill it after some seconds, and count what is left."""
    task.restore(desk)
    before, process = {*desk.unfinished()}, desk.start(task.arguments)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    counts.kills += 1
    counts.late += process.poll() is not None
    kill(desk, process, way)
    waited_for(lambda: not desk.processes())
    counts.running += bool(desk.processes())
    counts.left += bool({*desk.unfinished()} - before)
    if text := task.wrong(desk):
        counts.wrong.append(text)


def waited_for(done: Callable[[], bool]) -> None:
    """Wait until something is so, `_PATIENCE` seconds at most."""
    until = time.monotonic() + _PATIENCE
    while not done() and time.monotonic() < until:
        time.sleep(0.02)


def campaign(desk: Desk, task: Task, plan: Sequence[tuple[str, float]], seconds: float) -> dict[str, Counts]:
    """Kill a command again and again, and run it to its end last. Returns the counts by way.

    Args:
        desk: the folder.
        task: the command.
        plan: the way and the moment of each kill, as a part of `seconds`.
        seconds: the time that the whole command takes.
    """
    counts = {way: Counts() for way, _ in plan}
    for way, part in plan:
        killed(desk, task, way, part * seconds, counts[way])
        print(f"{task.name}: {way} killed after {part * seconds:.2f} of {seconds:.2f} s; left: {desk.kept()}")
    whole(desk, task)
    for each in counts.values():
        each.remained = desk.kept()
    return counts


def whole(desk: Desk, task: Task) -> float:
    """Run a command to its end, and return the seconds that it took.

    Raises:
        RuntimeError: it fails.
    """
    task.restore(desk)
    began = time.perf_counter()
    process = desk.start(task.arguments)
    if code := process.wait():
        raise RuntimeError(f"{task.name} ends with {code}")
    return time.perf_counter() - began


def set_up(folder: Path, pth: Path, npz: Path) -> tuple[Desk, float]:
    """Make the folder of a campaign. Returns it, and the seconds of an export.

    Args:
        folder: an empty folder.
        pth: a checkpoint.
        npz: windows for its network.
    """
    desk = Desk(folder / "desk")
    for name in ("tmp", "cache", "state"):
        (desk.folder / name).mkdir(parents=True)
    shutil.copy(pth, desk.folder / "a.pth")
    shutil.copy(npz, desk.folder / "a.npz")
    if keygen := shutil.which("ssh-keygen"):
        command = [keygen, "-q", "-t", "ed25519", "-N", "", "-f", desk.folder / "key"]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    seconds = whole(desk, tasks()[0])
    (desk.folder / "o.bundle").rename(folder / "first.bundle")
    return desk, seconds


def table(results: dict[str, dict[str, Counts]]) -> Table:
    """The counts for a terminal."""
    heads = ("command", "killed", "kills", "after its end", "not whole", "runs on", "left at first", "left at last")
    shown = Table(*heads, box=None)
    for name, ways in results.items():
        for way, each in ways.items():
            numbers = each.kills, each.late, len(each.wrong), each.running, each.left, len(each.remained)
            shown.add_row(name, way, *map(str, numbers))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    examples, found = Path(__file__).parents[2] / "examples/fashion_mnist", tasks()
    drawn, console = random.Random(args.seed), Console()  # noqa: S311  # no secret
    with tempfile.TemporaryDirectory() as folder:
        desk, _ = set_up(Path(folder), examples / "checkpoint.pth", examples / "test_1000.npz")
        results = {}
        for at, task in enumerate(found):
            kills = len(range(at, args.kills, len(found)))
            plan = [(WAYS[number % len(WAYS)], drawn.random()) for number in range(kills)]
            results[task.name] = campaign(desk, task, plan, whole(desk, task))
    console.print(table(results))
    for text in [line for ways in results.values() for each in ways.values() for line in each.wrong + each.remained]:
        console.print(text)
    if args.json:
        content = {name: {way: dataclasses.asdict(n) for way, n in ways.items()} for name, ways in results.items()}
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    sys.exit(not all(each.met for ways in results.values() for each in ways.values()))


if __name__ == "__main__":
    main()
