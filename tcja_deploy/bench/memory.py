"""The memory that this process takes, from a start until it is read."""

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
        gpu: the decrease of the GPU's free memory, whichever process took it; on a Jetson, of the machine's memory.
            None if the system does not report it.
    """

    process: int | None
    loaded: int | None
    gpu: int | None


@dataclasses.dataclass(frozen=True)
class MemoryMeter:
    """A measurement of this process's memory, which begins with `start` and is read with `read`.

    Attributes:
        resident: the bytes that the process had at the start; None if the system cannot count the peak anew.
        free: the bytes of free GPU memory at the start; None if the system does not report it.
    """

    resident: int | None
    free: int | None

    @classmethod
    def start(cls) -> MemoryMeter:
        """Begin to measure: the peak memory of this process is counted anew from here."""
        free, resident = free_memory(), _status("VmRSS")
        try:
            (_PROCESS / "clear_refs").write_text("5")  # sets the peak back (proc(5))
        except OSError:
            resident = None
        return cls(resident, free)

    def read(self) -> Memory:
        """The memory since the start."""
        left, peak = free_memory(), _status("VmHWM")
        return Memory(
            process=peak,
            loaded=None if peak is None or self.resident is None else max(peak - self.resident, 0),
            gpu=None if self.free is None or left is None else max(self.free - left, 0),
        )


def _status(entry: str) -> int | None:
    """An entry of /proc/self/status, in bytes; None if it is not there."""
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{entry}:")]
    return int(found[0]) * 2**10 if found else None
