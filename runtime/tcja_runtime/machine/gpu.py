"""The GPU of this machine, and how much memory and swap are free. Everything is read without CUDA."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from tcja_runtime.machine.system_readings import command_output, file_text

TEGRA_SM = {"tegra194": "72", "tegra234": "87", "tegra264": "110"}
"""The compute capability of each Jetson chip, without the dot: Xavier, Orin, Thor."""

_MEMORY = Path("/proc/meminfo")
_MODEL = Path("/proc/device-tree/model")
_COMPATIBLE = Path("/proc/device-tree/compatible")
_DEVFREQ = Path("/sys/class/devfreq")
_DRIVER_SECONDS = 60.0  # the time limit of nvidia-smi, which may have to load the driver first


@dataclasses.dataclass(frozen=True)
class Gpu:
    """The first GPU of this machine.

    Attributes:
        name: the name of the GPU from the driver, or the name of the board.
        sm: the compute capability without the dot, such as "87" for 8.7.
    """

    name: str
    sm: str

    @property
    def slug(self) -> str:
        """The name and the compute capability in a form for folder names, such as "nvidia-jetson-orin-nano-sm87"."""
        return f"{re.sub(r'[^a-z0-9]+', '-', self.name.lower()).strip('-')}-sm{self.sm}"


def gpu() -> Gpu | None:
    """Returns the first GPU of this machine; None if there is no GPU that TensorRT can use."""
    return _jetson() or _driver()


def free_memory() -> int | None:
    """Returns the free memory of the first GPU, in bytes; None without a GPU, or if the amount is not known.

    The GPU of a Jetson shares the memory of the processor. There, memory that Linux can free is included.
    """
    if _jetson():
        return _memory_entry(file_text(_MEMORY), "MemAvailable")
    answer = _nvidia_smi("memory.free", ",nounits").strip()
    return int(answer) * 2**20 if answer.isdecimal() else None


def _memory_entry(meminfo: str, entry: str) -> int | None:
    """The value of an entry of /proc/meminfo, in bytes."""
    found = re.search(rf"^{entry}:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) * 2**10 if found else None


def chip() -> str | None:
    """Returns the chip of a Jetson, a key of `TEGRA_SM`; None on any other machine."""
    compatible = file_text(_COMPATIBLE)
    return next((name for name in TEGRA_SM if name in compatible), None)


def board() -> str:
    """Returns the name of a Jetson's board, "NVIDIA Jetson AGX Orin Developer Kit"; empty on most other machines."""
    return file_text(_MODEL)


def gpu_clocks() -> tuple[int, int] | None:
    """Returns the present clock of the first GPU and its highest clock, in MHz; None if they are not known.

    On a Jetson they are read from devfreq, from a device with a name such as "17000000.gpu" or "17000000.ga10b".
    """
    devices = [file for name in ("*.gpu", "*.g?1*b") for file in sorted(_DEVFREQ.glob(f"{name}/cur_freq"))]
    if devices:
        texts, unit = [file_text(devices[0]), file_text(devices[0].with_name("max_freq"))], 10**6
    else:
        texts, unit = _nvidia_smi("clocks.sm,clocks.max.sm", ",nounits").split(", "), 1
    numbers = [int(text) // unit for text in texts if text.strip().isdecimal()]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None


def swap() -> tuple[int, int] | None:
    """Returns the free swap and the total swap of this machine, in bytes; None if they are not known."""
    meminfo = file_text(_MEMORY)
    free, whole = _memory_entry(meminfo, "SwapFree"), _memory_entry(meminfo, "SwapTotal")
    return None if free is None or whole is None else (free, whole)


def _jetson() -> Gpu | None:
    """The GPU of a Jetson, from the device tree of the board."""
    model, found = board(), chip()
    return Gpu(model, TEGRA_SM[found]) if model and found else None


def _driver() -> Gpu | None:
    """The first GPU that the NVIDIA driver lists."""
    name, found, capability = _nvidia_smi("name,compute_cap").rpartition(", ")
    sm = capability.strip().replace(".", "")
    return Gpu(name, sm) if found and sm.isdecimal() else None


def _nvidia_smi(query: str, form: str = "") -> str:
    """The line that nvidia-smi prints for the first GPU; empty without a driver."""
    arguments = (f"--query-gpu={query}", f"--format=csv,noheader{form}")
    # For a GPU with a damaged info ROM, nvidia-smi prints the line and exits with status 14.
    return command_output("nvidia-smi", *arguments, seconds=_DRIVER_SECONDS, any_status=True).partition("\n")[0]
