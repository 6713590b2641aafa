"""The power that a board draws while it works, and the energy that it takes, from the sensors that it has.

A Jetson measures its supplies, called rails, with chips of Texas Instruments that Linux shows in /sys/class/hwmon
(https://docs.kernel.org/hwmon/ina3221.html, https://docs.kernel.org/hwmon/ina238.html), readable without root:

    INA3221    three rails: in1_label .. in3_label, in1_input (mV) and curr1_input (mA) of each
    INA238     one rail, a Thor's input: in1_input (mV), curr1_input (mA), power1_input (uW)

Where they cannot be read, tegrastats is asked, which reads the same chips less often. What the board draws is the rail
named in `WHOLE`, of which the others are parts; a board without one (AGX Orin) is the sum of its rails. Neither counts
what the carrier board takes beside the module, so a meter at the plug shows more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Rails = Mapping[str, float]
"""Watts by rail."""

WHOLE = ("VIN", "POM_5V_IN", "VDD_IN")
"""Rails that all others are parts of: of Thor, of Nano, of Orin NX and Orin Nano. Names are compared as a whole:
VIN_SYS_5V0 is a part."""

FEWEST = 10
"""Samples, below which no power is claimed."""

_HWMON = Path("/sys/class/hwmon")
_INTERVAL = 0.05  # seconds between samples; a chip of three rails needs some milliseconds for a new value
_TEGRASTATS_INTERVAL = 100  # milliseconds
_PATIENCE = 2.0  # seconds to wait for a source that was told to stop
_UNCONNECTED = "NC"
# Older releases leave the unit out. No other field is a name in capitals, and two numbers without a unit of memory.
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (-?\d+)(?:mW)?/-?\d+(?:mW)?(?:/-?\d+(?:mW)?)?(?!\S)")


def whole(rails: Rails) -> str | None:
    """The rail that is all the power there is; None where the rails must be added."""
    return next((name for name in WHOLE if name in rails), None)


def total(rails: Rails) -> float:
    """What the board draws, in watts."""
    name = whole(rails)
    return sum(rails.values()) if name is None else rails[name]


@dataclasses.dataclass(frozen=True)
class _Sensor:
    """Files whose product is a rail's power, and what makes watts of it."""

    files: tuple[Path, ...]
    unit: float

    def watts(self) -> float:
        product = self.unit
        for file in self.files:
            product *= int(file.read_text())
        return product


def sensors(root: Path) -> dict[str, _Sensor]:
    """The rails that can be read here; none on most machines."""
    found: dict[str, _Sensor] = {}
    for chip in sorted(root.glob("hwmon*")):
        kind = _text(chip / "name")
        # An INA3221's fourth current, and what is beyond its third voltage, are of the chip and no rails.
        for channel in {"ina3221": (1, 2, 3), "ina238": (1,)}.get(kind, ()):
            alone = (_text(chip / "label") or "VIN") if kind == "ina238" else ""
            name = _text(chip / f"in{channel}_label") or alone
            power = chip / f"power{channel}_input"
            sensor = _Sensor((chip / f"in{channel}_input", chip / f"curr{channel}_input"), 1e-6)
            if kind == "ina238" and power.exists():
                sensor = _Sensor((power,), 1e-6)
            with contextlib.suppress(OSError, ValueError):  # a channel that is switched off cannot be read
                sensor.watts()
                if name and name != _UNCONNECTED:
                    found[name] = sensor
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text().strip("\0\n ")
    except OSError:
        return ""


Source = Callable[[threading.Event], Iterator[Rails]]
"""Yields what the rails draw, again and again, until the event is set."""


def hwmon(found: Mapping[str, _Sensor]) -> Source:
    """Sensors, read directly."""

    def read(ended: threading.Event) -> Iterator[Rails]:
        while not ended.wait(_INTERVAL):
            with contextlib.suppress(OSError, ValueError):  # a bus that is busy; the next sample will do
                yield {name: sensor.watts() for name, sensor in found.items()}

    return read


def rails_of(line: str) -> dict[str, float]:
    """The power of each supply in a line of tegrastats, in watts; none where it names none.

    A line gives each rail as ``NAME now/average``, in milliwatts.
    """
    return {name: int(now) / 1000 for name, now in _RAIL.findall(line) if name != _UNCONNECTED}


def tegrastats(command: str) -> Source:
    """The lines of tegrastats."""

    def read(ended: threading.Event) -> Iterator[Rails]:
        asked = [command, "--interval", str(_TEGRASTATS_INTERVAL)]
        with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                for line in process.stdout or ():
                    if ended.is_set():
                        break
                    if rails := rails_of(line):
                        yield rails
            finally:
                process.kill()

    return read


def source() -> tuple[str, Source] | None:
    """Where this machine tells its power, by name; None if it does not."""
    found = sensors(_HWMON)
    if found:
        return "hwmon", hwmon(found)
    command = shutil.which("tegrastats")
    return ("tegrastats", tegrastats(command)) if command else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Power:
    """Power while something was done.

    Attributes:
        watts: what the board drew, on average.
        rails: what each rail drew, on average, in watts.
        whole: the rail that `watts` is of; None if it is the sum of all.
        samples: how many were taken.
    """

    watts: float
    rails: dict[str, float]
    whole: str | None
    samples: int


class Sampler:
    """Takes samples in a thread of its own, from when it is entered until it is left.

    Attributes:
        power: what was drawn meanwhile; None before it is left, and if there were fewer than `FEWEST` samples.
    """

    def __init__(self, source: Source) -> None:
        self._source, self._ended = source, threading.Event()
        self._taken: list[tuple[float, Rails]] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self.power: Power | None = None

    def _take(self) -> None:
        for rails in self._source(self._ended):
            self._taken.append((time.perf_counter(), rails))

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(_PATIENCE)
        self.power = average(self._taken)


def average(taken: list[tuple[float, Rails]]) -> Power | None:
    """The mean over time of samples, each with its time in seconds (trapezoids); None for fewer than `FEWEST`.

    A rail counts if every sample has it.
    """
    if len(taken) < FEWEST:
        return None
    names = [name for name in taken[0][1] if all(name in rails for _, rails in taken)]
    seconds = taken[-1][0] - taken[0][0]
    rails = {
        name: sum((b[1][name] + a[1][name]) / 2 * (b[0] - a[0]) for a, b in itertools.pairwise(taken)) / seconds
        for name in names
    }
    return Power(watts=total(rails), rails=rails, whole=whole(rails), samples=len(taken)) if rails else None
