"""What GPU this machine has, read without CUDA."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

TEGRA_SM = {"tegra194": "72", "tegra234": "87", "tegra264": "110"}
"""Compute capability of a Jetson's chip: Xavier, Orin, Thor."""

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


def _jetson() -> Gpu | None:
    try:
        model = _MODEL.read_text().strip("\0\n")
        compatible = _COMPATIBLE.read_text()
    except OSError:
        return None
    chips = [sm for chip, sm in TEGRA_SM.items() if chip in compatible]
    return Gpu(model, chips[0]) if chips else None


def _driver() -> Gpu | None:
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    query = [command, "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    name, found, capability = answer.partition("\n")[0].rpartition(", ")
    return Gpu(name, capability.replace(".", "")) if found else None
