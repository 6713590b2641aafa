"""What GPU this machine has, and how much of its memory is free, read without CUDA."""

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
        return _available(_MEMORY.read_text())
    answer = _asked("memory.free", ",nounits").strip()
    return int(answer) * 2**20 if answer.isdecimal() else None


def _available(meminfo: str) -> int | None:
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 2**10 if found else None


def _jetson() -> Gpu | None:
    try:
        model = _MODEL.read_text().strip("\0\n")
        compatible = _COMPATIBLE.read_text()
    except OSError:
        return None
    chips = [sm for chip, sm in TEGRA_SM.items() if chip in compatible]
    return Gpu(model, chips[0]) if chips else None


def _driver() -> Gpu | None:
    name, found, capability = _asked("name,compute_cap").rpartition(", ")
    return Gpu(name, capability.replace(".", "")) if found else None


def _asked(query: str, form: str = "") -> str:
    """What the driver says of the first GPU; nothing where there is no driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return ""
    asked = [command, f"--query-gpu={query}", f"--format=csv,noheader{form}"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.partition("\n")[0]
