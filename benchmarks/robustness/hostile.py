"""What the commands do with files of an attacker: exit code, seconds, peak memory, and what they say.

The network is that of examples/fashion_mnist. Seconds are those of the processor beyond the same command on a file that
does no harm, so without the imports. The peak memory is that of the whole process; the lines "(no harm)" say how much
of it is there in any case.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.robustness import hostile_bundles as bundles
from benchmarks.robustness import hostile_files as checkpoints

EXAMPLE = Path("examples/fashion_mnist")
_ADDRESSES = 24 * 2**30  # of a process: what asks for more would end this machine
_SECONDS, _MEMORY = 2.0, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only cases whose name has this text")
    parser.add_argument("--part", choices=["bundles", "files", "terminal"])
    parser.add_argument("--timeout", type=float, default=120, help="seconds after which a command is ended")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        good = place / "good.bundle"
        _measure([*["export", "--target", "onnx", "--samples", "4", "--out"], good, EXAMPLE / "checkpoint.pth"], 300)
        parts = {"bundles": _bundles, "files": _files, "terminal": _terminal}
        failed = sum(part(place, good, options) for name, part in parts.items() if options.part in (None, name))
    print(f"{failed} cases were not refused with exit code 2 in a line, in {_SECONDS:g} s and {_MEMORY} MB")
    sys.exit(failed > 0)


def _bundles(place: Path, good: Path, options: argparse.Namespace) -> int:
    failed, base = 0, {}
    for number, (name, (command, change)) in enumerate(bundles.CHANGES.items()):
        if options.only not in name:
            continue
        folder = bundles.copied(good, place / f"{number}.bundle")
        change(folder)
        if command not in base:
            base[command] = _measure(_command(command, good), options.timeout)
            _show("(no harm)", command, base[command], 0, "")
        failed += _judge(name, command, _command(command, folder), base[command], options.timeout)
        shutil.rmtree(folder)
    return failed


def _command(command: str, folder: Path) -> list[object]:
    verb, *flags = command.split()
    data = [EXAMPLE / "test_1000.npz"] if verb == "run" else []
    return [verb, folder, *data, *flags]


def _files(place: Path, good: Path, options: argparse.Namespace) -> int:
    failed, plain = 0, place / "plain.pth"
    checkpoints.plain(plain)
    kinds = (
        ("check", checkpoints.CHECKPOINTS, lambda path: ["check", path], plain),
        (
            "run",
            checkpoints.DATA,
            lambda path: ["run", good, path, *["--resize", "bilinear"] * (path.suffix == ".png")],
            EXAMPLE / "test_1000.npz",
        ),
    )
    for command, cases, arguments, ordinary in kinds:
        base = _measure(arguments(ordinary), options.timeout)
        _show("(no harm)", command, base, 0, "")
        for name, (suffix, make) in cases.items():
            if options.only not in name:
                continue
            path = place / f"file{suffix}"
            make(path)
            failed += _judge(name, command, arguments(path), base, options.timeout)
            path.unlink()
    return failed


def _terminal(place: Path, good: Path, options: argparse.Namespace) -> int:
    """Commands that show a bundle whose texts have what a terminal obeys."""
    folder = bundles.copied(good, place / "escapes.bundle")
    bundles.without_metadata(folder)
    bundles.reseal(folder, bundles.escapes)
    failed = 0
    for command, arguments in bundles.SHOWN.items():
        verb, *rest = arguments.split()
        words = [EXAMPLE / "test_1000.npz" if word == "DATA" else word for word in rest]
        run = _measure([verb, folder, *words], options.timeout)
        found = sum(not (each.isprintable() or each in "\n\xa0") for each in run.out + run.said)
        print(f"{'what a terminal obeys, in texts of a bundle':58} {command:22} {found} characters reach it")
        failed += found > 0
    return failed


@dataclasses.dataclass(frozen=True)
class Run:
    """What a command did: its exit code, seconds of the processor, peak memory in MB, and what it wrote."""

    code: int
    seconds: float
    memory: int
    out: str
    said: str


_LAUNCH = f"""
import json, os, resource, subprocess, sys, time
folder, timeout, *command = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_AS, ({_ADDRESSES}, {_ADDRESSES}))
with open(folder + "/out", "wb") as out, open(folder + "/err", "wb") as err:
    process = subprocess.Popen(command, stdout=out, stderr=err)
    try:
        code = process.wait(float(timeout))
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(folder + "/used", "w") as file:
    json.dump([code, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024], file)
"""
"""A small process that starts a command: the peak memory of a process is at least that of the one that started it."""


def _judge(name: str, command: str, arguments: list[object], base: Run, timeout: float) -> int:
    run = _measure(arguments, timeout)
    lines = [line for line in run.said.splitlines() if line.startswith("error: ")]
    right = run.code == 2 and run.seconds - base.seconds < _SECONDS and run.memory < _MEMORY and len(lines) == 1
    _show(name, command, run, base.seconds, "" if right else "  <--")
    return 0 if right else 1


def _show(name: str, command: str, run: Run, before: float, mark: str) -> None:
    said = run.said.partition("error: ")[2] or run.said
    line = " ".join(said.split())[:150]
    print(
        f"{name:58} {command:22} {run.code:4} {run.seconds - before:6.2f} s {run.memory:6} MB  {line}{mark}", flush=True
    )


def _measure(arguments: list[object], timeout: float) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        launch = [sys.executable, "-ISc", _LAUNCH, folder, str(timeout), sys.executable, "-m", "tcja_deploy"]
        subprocess.run([*launch, *map(str, arguments)], stdin=subprocess.DEVNULL, check=True)
        code, seconds, memory = json.loads(Path(folder, "used").read_text())
        out, said = (Path(folder, name).read_text(errors="replace") for name in ("out", "err"))
    return Run(code, seconds, memory, out, said)


if __name__ == "__main__":
    main()
