"""What GPU this machine has, and how much of its memory and swap is free, read without CUDA."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

TEGRA_SM = {"tegra194": "72", "tegra234": "87", "tegra264": "110"}
"""Compute capability of a Jetson's chip: Xavier, Orin, Thor."""

_MEMORY = Path("/proc/meminfo")
_MODEL = Path("/proc/device-tree/model")
_COMPATIBLE = Path("/proc/device-tree/compatible")
_DEVFREQ = Path("/sys/class/devfreq")


@dataclasses.dataclass(frozen=True)
class Gpu:
    """The first GPU of this machine.

    Attributes:
        name: as its driver or board says it.
        sm: compute capability without the dot, "87" for 8.7.
    """

    name: str
    sm: str

    @property
    def slug(self) -> str:
        """Fit for a folder's name: "nvidia-jetson-orin-nano-sm87"."""
        return f"{re.sub(r'[^a-z0-9]+', '-', self.name.lower()).strip('-')}-sm{self.sm}"


def gpu() -> Gpu | None:
    """The first GPU of this machine, None if there is none that TensorRT could use."""
    return _jetson() or _driver()


def free_memory() -> int | None:
    """Bytes of memory that the first GPU could use now; None if there is none, or it cannot be told.

    A Jetson's GPU shares the memory of its processor, so what Linux could free counts too.
    """
    if _jetson():
        return _kept(_read(_MEMORY), "MemAvailable")
    answer = _asked("memory.free", ",nounits").strip()
    return int(answer) * 2**20 if answer.isdecimal() else None


def _kept(meminfo: str, entry: str) -> int | None:
    found = re.search(rf"^{entry}:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 2**10 if found else None


def chip() -> str | None:
    """A Jetson's chip, one of `TEGRA_SM`; None on another machine."""
    compatible = _read(_COMPATIBLE)
    return next((name for name in TEGRA_SM if name in compatible), None)


def gpu_clocks() -> tuple[int, int] | None:
    """The first GPU's clock now, and the highest that it may have, in MHz; None if there is none, or it is not told.

    A Jetson's kernel tells it in devfreq, where the GPU's device is named after its address or its generation.
    """
    found = [file for name in ("*.gpu", "*.g?1*b") for file in sorted(_DEVFREQ.glob(f"{name}/cur_freq"))]
    if found:
        said, unit = [_read(found[0]), _read(found[0].with_name("max_freq"))], 10**6
    else:
        said, unit = _asked("clocks.sm,clocks.max.sm", ",nounits").split(", "), 1
    numbers = [int(each) // unit for each in said if each.strip().isdecimal()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None


def swap() -> tuple[int, int] | None:
    """Bytes of swap that are free, and of all swap; None if it cannot be told."""
    meminfo = _read(_MEMORY)
    free, whole = _kept(meminfo, "SwapFree"), _kept(meminfo, "SwapTotal")
    return None if free is None or whole is None else (free, whole)


def _jetson() -> Gpu | None:
    model, found = _read(_MODEL).strip("\0\n"), chip()
    return Gpu(model, TEGRA_SM[found]) if model and found else None


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _driver() -> Gpu | None:
    name, found, capability = _asked("name,compute_cap").rpartition(", ")
    sm = capability.strip().replace(".", "")
    return Gpu(name, sm) if found and sm.isdecimal() else None


def _asked(query: str, form: str = "") -> str:
    """What the driver says of the first GPU; nothing where there is no driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    asked = [command, f"--query-gpu={query}", f"--format=csv,noheader{form}"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.partition("\n")[0]
