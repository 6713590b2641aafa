"""What a measurement depends on besides the network: processor, GPU, clocks, power mode, and what else is running.

Everything is read without root and without changing anything. What is not told is None.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from tcja_runtime.machine import jetpack
from tcja_runtime.machine.gpu import gpu, gpu_clocks

_CPUINFO = Path("/proc/cpuinfo")
_BOARD = Path("/proc/device-tree/model")
_CPUS = Path("/sys/devices/system/cpu")
_SECONDS = 5.0  # that a command may take to answer


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
    """A machine, at the time this is asked.

    Attributes:
        processor: its model; of a board, the board's.
        cpus: how many of its cores this process may use.
        governors: what chooses the clocks of these cores, each kind once.
        cpu_mhz: the clock of the fastest core now, and the highest that it may have.
        gpu: the first GPU.
        gpu_mhz: its clock now, and the highest that it may have.
        power_mode: of a Jetson, as nvpmodel calls it.
        jetson_clocks: what ``jetson_clocks --show`` says, a line each; most releases tell root alone.
        jetpack: of a Jetson.
        load: programs that wanted a core in the last minute, on average.
    """

    processor: str
    cpus: int
    governors: list[str]
    cpu_mhz: tuple[int, int] | None
    gpu: str | None
    gpu_mhz: tuple[int, int] | None
    power_mode: str | None
    jetson_clocks: list[str] | None
    jetpack: str | None
    load: float


def conditions() -> Conditions:
    """Those of this machine."""
    found, system = gpu(), jetpack.system()
    cores = sorted(os.sched_getaffinity(0))
    places = [_CPUS / f"cpu{core}" / "cpufreq" for core in cores]
    clocks = [(_number(place / "scaling_cur_freq"), _number(place / "scaling_max_freq")) for place in places]
    known = [(now // 1000, most // 1000) for now, most in clocks if now is not None and most is not None]
    return Conditions(
        processor=_processor(),
        cpus=len(cores),
        governors=sorted({_text(place / "scaling_governor") for place in places} - {""}),
        cpu_mhz=max(known, default=None),
        gpu=found.name if found else None,
        gpu_mhz=gpu_clocks(),
        power_mode=power_mode(),
        jetson_clocks=_asked("jetson_clocks", "--show").splitlines() or None if system else None,
        jetpack=system.title if system else None,
        load=os.getloadavg()[0],
    )


def power_mode() -> str | None:
    """A Jetson's power mode by name; None elsewhere, and if it is not told."""
    found = re.search(r"^NV Power Mode:\s*(\S+)\s*$", _asked("nvpmodel", "-q"), re.MULTILINE)
    return found[1] if found else None


def _processor() -> str:
    named = re.search(r"^model name\s*: (.+)$", _text(_CPUINFO), re.MULTILINE)
    return _text(_BOARD) or (named[1] if named else platform.machine())


def _asked(name: str, option: str) -> str:
    """What a command answers; nothing if it is not there, refuses, or does not answer in time."""
    command = shutil.which(name)
    if command is None:
        return ""
    try:
        done = subprocess.run(
            [command, option], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _number(file: Path) -> int | None:
    said = _text(file)
    return int(said) if said.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""
