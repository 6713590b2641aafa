"""Lines of tegrastats, what a Jetson says of itself while it works, as JetPack 5, 6 and 7 print them.

    07-09-2024 13:31:31 RAM 3168/6851MB (lfb 2x4MB) SWAP 161/3426MB (cached 0MB) CPU [23%@1397,off,...] EMC_FREQ 2%@204
    GR3D_FREQ 0%@[114] ... AO@45C CPU@46.5C ... VDD_IN 2763mW/2846mW VDD_SOC 650mW/711mW

The date is optional, and so is every field: which are there depends on the board, on JetPack, and on whether root asks.
A load in percent, and a clock behind "@" or one for each cluster in brackets, may each be missing. JetPack 7 prints a
second temperature and a third power, which seem to be the highest so far (not verified); neither is read. The fields
are explained in the Jetson Linux Developer Guide, "tegrastats Utility", of every release.
"""

from __future__ import annotations

import dataclasses
import re

_AMOUNT = r"(\d+)/(\d+)"
_RAM = re.compile(rf"\bRAM {_AMOUNT}MB")
_SWAP = re.compile(rf"\bSWAP {_AMOUNT}MB")
_IRAM = re.compile(rf"\bIRAM {_AMOUNT}kB")
_CPU = re.compile(r"\bCPU \[([^\]]*)\](?:@(\d+))?")
_CORE = re.compile(r"(\d+)%(?:@(\d+))?")
_UNIT = r"\b{} (?:(\d+)%)?(?:@(?:\[([\d,\s]+)\]|(\d+)))?"
_EMC, _GR3D = (re.compile(_UNIT.format(name)) for name in ("EMC_FREQ", "GR3D_FREQ"))
_TEMPERATURE = re.compile(r"(?<!\S)(\w+)@(-?\d+(?:\.\d+)?)C(?:/-?\d+(?:\.\d+)?C)?(?!\S)")
# Older releases leave the unit out. No other field is a name in capitals, and two numbers without a unit of memory.
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (-?\d+)(?:mW)?/(-?\d+)(?:mW)?(?:/-?\d+(?:mW)?)?(?!\S)")
_OFF = -256.0
"""Degrees that a sensor without power reports."""


@dataclasses.dataclass(frozen=True)
class Amount:
    """Memory in use, and all of it, in bytes."""

    used: int
    total: int


@dataclasses.dataclass(frozen=True)
class Load:
    """How busy a unit is.

    Attributes:
        percent: of the time, at its present clock; None where it is not told.
        mhz: its clocks, one for each cluster of it; none where they are not told.
    """

    percent: float | None
    mhz: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Rail:
    """Power of a supply, in watts: now, and the average since tegrastats began."""

    now: float
    average: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """A line of tegrastats.

    Attributes:
        ram: shared by processor and GPU.
        swap: of the system.
        iram: on the chip.
        cores: of the processor; None for one that is off.
        memory: the memory's controller.
        gpu: the GPU.
        temperatures: in degrees Celsius by sensor, without those that are off.
        rails: power by supply.
    """

    ram: Amount | None
    swap: Amount | None
    iram: Amount | None
    cores: tuple[Load | None, ...]
    memory: Load | None
    gpu: Load | None
    temperatures: dict[str, float]
    rails: dict[str, Rail]


def parse(line: str) -> Reading:
    """Read a line; what is not in it, or in a form that is not known, is left out."""
    return Reading(
        ram=_amount(_RAM, line, 2**20),
        swap=_amount(_SWAP, line, 2**20),
        iram=_amount(_IRAM, line, 2**10),
        cores=_cores(line),
        memory=_load(_EMC, line),
        gpu=_load(_GR3D, line),
        temperatures={name: float(degrees) for name, degrees in _TEMPERATURE.findall(line) if float(degrees) != _OFF},
        rails={name: Rail(int(now) / 1000, int(average) / 1000) for name, now, average in _RAIL.findall(line)},
    )


def _amount(field: re.Pattern[str], line: str, unit: int) -> Amount | None:
    found = field.search(line)
    return Amount(int(found[1]) * unit, int(found[2]) * unit) if found else None


def _cores(line: str) -> tuple[Load | None, ...]:
    """Each has its load and clock; old releases have one clock behind all loads."""
    found = _CPU.search(line)
    cores: list[Load | None] = []
    for said in found[1].split(",") if found else ():
        core = _CORE.fullmatch(said.strip())
        clock = core and (core[2] or (found and found[2]))
        cores.append(Load(float(core[1]), (int(clock),) if clock else ()) if core else None)
    return tuple(cores)


def _load(field: re.Pattern[str], line: str) -> Load | None:
    found = field.search(line)
    if found is None:
        return None
    clocks = re.findall(r"\d+", found[2] or found[3] or "")
    return Load(float(found[1]) if found[1] else None, tuple(map(int, clocks)))
