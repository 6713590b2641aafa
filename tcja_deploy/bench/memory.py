"""The memory that this process takes between the start of a measurement and its end."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tcja_runtime.machine.gpu import free_memory

_PROCESS = Path("/proc/self")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """The memory in bytes that running a network takes.

    Attributes:
        process: the peak memory of the process since the network was loaded; it may lack the memory of a Jetson's GPU.
            None if the system does not report it.
        loaded: the part of `process` that was not there before the network and its libraries were loaded; None if the
            system does not report it.
        gpu: the decrease of the GPU's free memory, or on a Jetson of the machine's free memory. Memory that other
            processes took is counted too. None if the system does not report it.
    """

    process: int | None
    loaded: int | None
    gpu: int | None


@dataclasses.dataclass(frozen=True)
class MemoryMeter:
    """A measurement of this process's memory, which begins with `start` and is read with `read`.

    Attributes:
        resident: the bytes of memory that the process had at the start; None if the system cannot reset the peak.
        free: the bytes of free GPU memory at the start; None if the system does not report it.
    """

    resident: int | None
    free: int | None

    @classmethod
    def start(cls) -> MemoryMeter:
        """Start a measurement: the peak memory of this process is reset, and counted from here on."""
        free, resident = free_memory(), _status("VmRSS")
        try:
            (_PROCESS / "clear_refs").write_text("5")  # resets the peak (proc(5))
        except OSError:
            resident = None
        return cls(resident, free)

    def read(self) -> Memory:
        """Return the memory that was taken since the start."""
        left, peak = free_memory(), _status("VmHWM")
        return Memory(
            process=peak,
            loaded=None if peak is None or self.resident is None else max(peak - self.resident, 0),
            gpu=None if self.free is None or left is None else max(self.free - left, 0),
        )


def _status(entry: str) -> int | None:
    """Return an entry of /proc/self/status, such as "VmRSS", in bytes; None if the system does not have it."""
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{entry}:")]
    return int(found[0]) * 2**10 if found else None
