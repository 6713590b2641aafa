"""The conditions of a measurement besides the network: processor, GPU, clocks, power mode, and other load.

All of them are read without root rights, and nothing is changed. A condition that cannot be read is None.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
from pathlib import Path

from tcja_runtime.machine import jetpack
from tcja_runtime.machine.gpu import gpu, gpu_clocks
from tcja_runtime.machine.system_readings import command_output, file_text

_CPUINFO = Path("/proc/cpuinfo")
_BOARD = Path("/proc/device-tree/model")
_CPUS = Path("/sys/devices/system/cpu")
_SECONDS = 5.0  # the time limit of each command


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions of a measurement on this machine.

    Attributes:
        processor: the model of the processor; on a board, the name of the board.
        cpus: the number of cores that this process may use.
        governors: the names of the clock governors of these cores, without repetition ("schedutil", "performance").
        cpu_mhz: the present clock of the fastest core and its highest clock, in MHz.
        gpu: the name of the first GPU.
        gpu_mhz: the present clock of that GPU and its highest clock, in MHz.
        power_mode: the name of a Jetson's power mode from nvpmodel ("15W").
        jetson_clocks: the lines that ``jetson_clocks --show`` prints; most releases print them only for root.
        jetpack: the JetPack release of a Jetson.
        load: the load average of the last minute: the mean number of programs that wanted a core.
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
    """The present conditions of this machine."""
    found, system = gpu(), jetpack.system()
    cores = sorted(os.sched_getaffinity(0))
    places = [_CPUS / f"cpu{core}" / "cpufreq" for core in cores]
    clocks = [(_number(place / "scaling_cur_freq"), _number(place / "scaling_max_freq")) for place in places]
    known = [(now // 1000, most // 1000) for now, most in clocks if now is not None and most is not None]
    return Conditions(
        processor=processor(),
        cpus=len(cores),
        governors=sorted({file_text(place / "scaling_governor") for place in places} - {""}),
        cpu_mhz=max(known, default=None),
        gpu=found.name if found else None,
        gpu_mhz=gpu_clocks(),
        power_mode=power_mode(),
        jetson_clocks=_jetson_clocks() or None if system else None,
        jetpack=system.title if system else None,
        load=os.getloadavg()[0],
    )


def power_mode() -> str | None:
    """Returns the name of a Jetson's power mode; None on any other machine, or if nvpmodel does not print it."""
    printed = command_output("nvpmodel", "-q", seconds=_SECONDS)
    found = re.search(r"^NV Power Mode:\s*(\S+)\s*$", printed, re.MULTILINE)
    return found[1] if found else None


def _jetson_clocks() -> list[str]:
    """The lines that ``jetson_clocks --show`` prints; empty if it prints none for this user."""
    return command_output("jetson_clocks", "--show", seconds=_SECONDS).splitlines()


def processor() -> str:
    """Returns the name of the board; on a machine without a board's name, the name of the processor."""
    named = re.search(r"^model name\s*: (.+)$", file_text(_CPUINFO), re.MULTILINE)
    return file_text(_BOARD) or (named[1] if named else platform.machine())


def _number(file: Path) -> int | None:
    """Returns the integer in a small system file; None if the file cannot be read or does not contain an integer."""
    text = file_text(file)
    return int(text) if text.isdecimal() else None
