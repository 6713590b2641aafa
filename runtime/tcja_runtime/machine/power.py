"""The power that a board draws during a measurement, from the sensors of the board.

A Jetson measures its supplies, called rails, with chips of Texas Instruments. Linux shows them in /sys/class/hwmon
(https://docs.kernel.org/hwmon/ina3221.html, https://docs.kernel.org/hwmon/ina238.html), readable without root:

    INA3221    three rails N = 1, 2, 3: inN_label, inN_input (mV), currN_input (mA)
    INA238     one rail, the input of a Thor: in1_input (mV), curr1_input (mA), power1_input (uW)

If these files cannot be read, the command tegrastats is run; it reads the same chips less often.

The power of the board is the power of the rail in `WHOLE`, which supplies all other rails. On a board without such a
rail (AGX Orin), it is the sum of the rails. The power of the carrier board is not included in either case, so a meter
at the plug shows more.
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

from tcja_runtime.machine.system_readings import file_text

Rails = Mapping[str, float]
"""The power of each rail, in watts, by the name of the rail."""

WHOLE = ("VIN", "POM_5V_IN", "VDD_IN")
"""The names of the rail that supplies all other rails: on Thor, on Nano, on Orin NX and Orin Nano.

The whole name must be equal: VIN_SYS_5V0 is a different rail.
"""

FEWEST = 10
"""The smallest number of samples for which a mean power is reported."""

_HWMON = Path("/sys/class/hwmon")
_INTERVAL = 0.05  # seconds between samples; a chip with three rails has new values every few milliseconds
_TEGRASTATS_INTERVAL = 100  # milliseconds
_PATIENCE = 2.0  # seconds to wait for the end of a source that was told to stop
_UNCONNECTED = "NC"
# A rail is a name in capital letters and two or three numbers. Older releases of tegrastats leave out the unit mW.
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]*) (-?\d+)(?:mW)?/-?\d+(?:mW)?(?:/-?\d+(?:mW)?)?(?!\S)")


def whole(rails: Rails) -> str | None:
    """Returns the name of the rail that supplies all other rails; None if there is none. Then the rails are added."""
    return next((name for name in WHOLE if name in rails), None)


def total(rails: Rails) -> float:
    """Returns the power of the board from the power of its rails, in watts."""
    name = whole(rails)
    return sum(rails.values()) if name is None else rails[name]


@dataclasses.dataclass(frozen=True)
class _Sensor:
    """The sensor of one rail.

    Attributes:
        files: the files with the voltage and the current, or only the file with the power.
        unit: the factor that turns the product of the values in the files into watts.
    """

    files: tuple[Path, ...]
    unit: float

    def watts(self) -> float:
        """The present power of the rail, in watts."""
        product = self.unit
        for file in self.files:
            product *= int(file.read_text())
        return product


def sensors(root: Path) -> dict[str, _Sensor]:
    """Returns the sensors in a hwmon folder, by the name of their rail; empty on a machine without such sensors."""
    found: dict[str, _Sensor] = {}
    for chip in sorted(root.glob("hwmon*")):
        kind = file_text(chip / "name")
        # An INA3221 also has a fourth current and more voltages. They are sums and shunt voltages, not rails.
        for channel in {"ina3221": (1, 2, 3), "ina238": (1,)}.get(kind, ()):
            alone = (file_text(chip / "label") or "VIN") if kind == "ina238" else ""
            name = file_text(chip / f"in{channel}_label") or alone
            power = chip / f"power{channel}_input"
            sensor = _Sensor((chip / f"in{channel}_input", chip / f"curr{channel}_input"), 1e-6)
            if kind == "ina238" and power.exists():
                sensor = _Sensor((power,), 1e-6)
            with contextlib.suppress(OSError, ValueError):  # a channel that is switched off cannot be read
                sensor.watts()
                if name and name != _UNCONNECTED:
                    found[name] = sensor
    return found


Source = Callable[[threading.Event], Iterator[Rails]]
"""A function that yields the power of the rails again and again, until the event is set."""


def hwmon(found: Mapping[str, _Sensor]) -> Source:
    """Returns a source that reads sensors, given by the name of their rail."""

    def read(ended: threading.Event) -> Iterator[Rails]:
        while not ended.wait(_INTERVAL):
            with contextlib.suppress(OSError, ValueError):  # if the bus is busy, this sample is left out
                yield {name: sensor.watts() for name, sensor in found.items()}

    return read


def rails_of(line: str) -> dict[str, float]:
    """Returns the power of each rail from a line of tegrastats, in watts; empty if the line names no rail.

    A line has each rail as ``NAME now/average``, in milliwatts.
    """
    return {name: int(now) / 1000 for name, now in _RAIL.findall(line) if name != _UNCONNECTED}


def tegrastats(command: str) -> Source:
    """Returns a source that runs the command tegrastats and reads its lines."""

    def read(ended: threading.Event) -> Iterator[Rails]:
        arguments = [command, "--interval", str(_TEGRASTATS_INTERVAL)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
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
    """Returns this machine's source of power values, and its name; None if the machine does not measure its power.

    The name is "hwmon" or "tegrastats".
    """
    found = sensors(_HWMON)
    if found:
        return "hwmon", hwmon(found)
    command = shutil.which("tegrastats")
    return ("tegrastats", tegrastats(command)) if command else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Power:
    """The mean power of a board during a measurement.

    Attributes:
        watts: the power of the board, in watts.
        rails: the power of each rail, in watts.
        whole: the rail that `watts` is taken from; None if `watts` is the sum of the rails.
        samples: the number of samples.
    """

    watts: float
    rails: dict[str, float]
    whole: str | None
    samples: int


class Sampler:
    """A context that samples the power in its own thread while the block runs.

    Attributes:
        power: the mean power during the block. None until the block has ended, and if there were fewer than `FEWEST`
            samples.
    """

    def __init__(self, source: Source) -> None:
        self._source, self._ended = source, threading.Event()
        self._taken: list[tuple[float, Rails]] = []
        self._thread = threading.Thread(target=self._take, daemon=True)
        self.power: Power | None = None

    def _take(self) -> None:
        """Take samples until the block has ended."""
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
    """Returns the mean power over time, by the trapezoidal rule.

    Args:
        taken: the samples, each with its time in seconds and the power of the rails in watts.

    Returns:
        The mean power of the board, and of each rail that is in every sample. None if there are fewer than `FEWEST`
        samples, or if no rail is in every sample.
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
