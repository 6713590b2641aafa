"""Columns of numbers as events: which column is which, the unit of the times, and values that no event can have.

A table of events has a column for each of t, x, y and p. They may have any type of integer, bool or float. The
polarities are 0 and 1, or -1 and 1. Times are converted to whole microseconds: those in nanoseconds are rounded down,
those that are floats to the nearest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput
from tcja_runtime.events.event import CHUNK, TIME_UNITS, Events, ReadOptions

KEYS = ("t", "x", "y", "p")
STEP = CHUNK // 4
"""The number of events that are read at a time."""

_NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs"),
    "y": ("y", "ys"),
    "p": ("p", "ps", "pol", "polarity", "polarities"),
}
"""The names of columns, in lower case."""
_MOST = 2**16 - 1  # the largest row or column
_LATEST = 2**63 - 1  # microseconds

Column = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of events in a file.

    Attributes:
        time: the type of the times.
        blocks: a function that yields the columns from the start, at most `STEP` rows at a time, by the keys `KEYS`.
        unit: the unit of the times, if the layout of the file fixes it; None if the layout does not.
        offset: the time that is added to all times, in microseconds.
        named: whether the file says which column is which; if not, the user said it.
    """

    time: np.dtype[Any]
    blocks: Callable[[], Iterator[Mapping[str, Column]]]
    unit: str | None = None
    offset: int = 0
    named: bool = True


@dataclasses.dataclass
class TableRecording:
    """A `Recording` of a table of events.

    Attributes:
        path: the file.
        format: the name of its format in `tcja_runtime.events.FORMATS`.
        table: the columns.
        unit: the unit of the times.
        sensor: the rows and columns of the camera; None if the file does not store them.
        remarks: notes on the unit of the times, if neither the file nor the user says it, and on times that are too
            coarse for microseconds. The latter are known after all chunks were read once.
    """

    path: Path
    format: str
    table: Table
    unit: str
    sensor: tuple[int, int] | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, path: Path, form: str, table: Table, options: ReadOptions, sensor: tuple[int, int] | None = None
    ) -> TableRecording:
        """A recording whose unit of time the file or the user says.

        Whole numbers of an unknown unit are taken as microseconds, with a remark.

        Raises:
            BadInput: the times are floats of an unknown unit, or the user says another unit than the file, or says an
                order of columns to a file that names them.
        """
        if table.named and options.columns is not None:
            raise BadInput(f"{path} says which column is which, so it needs no `columns`; leave it out")
        unit = options.time_unit
        if table.unit is not None:
            if unit not in (None, table.unit):
                raise BadInput(f"{path}: its times are in {table.unit} by its layout; leave `time_unit` {unit} out")
            return cls(path, form, table, table.unit, sensor)
        if unit is not None:
            return cls(path, form, table, unit, sensor)
        if table.time.kind == "f":
            units = ", ".join(TIME_UNITS)
            raise BadInput(
                f"{path}: its times have type {table.time}, and the file does not say their unit; give `time_unit`, "
                f"one of {units}"
            )
        remark = "its times are whole numbers and were taken as microseconds; `time_unit` sets another unit"
        return cls(path, form, table, "us", sensor, (remark,))

    def chunks(self) -> Iterator[Events]:
        """Yields the events from the start (`tcja_runtime.events.Recording.chunks`)."""
        at, signed, unsigned, coarsest = 0, False, False, 0.0
        for block in self.table.blocks():
            found = {key: self._checked(key, block[key], at) for key in KEYS}
            signed |= bool((found["p"] < 0).any())
            unsigned |= bool((found["p"] == 0).any())
            if signed and unsigned:
                raise BadInput(f"{self.path}: p is -1, 0 and 1; it must be 0 and 1, or -1 and 1")
            coarsest = max(coarsest, self._spacing(found["t"]))
            yield Events(
                self._microseconds(found["t"], at),
                found["x"].astype(np.uint16),
                found["y"].astype(np.uint16),
                found["p"] > 0,
            )
            at += len(block["t"])
        self._note_coarse(coarsest)

    def _spacing(self, times: Column) -> float:
        """Returns the distance from the latest time to the next that its type can store, in microseconds."""
        if times.dtype.kind != "f" or not len(times):
            return 0.0
        return float(np.spacing(times.max())) * TIME_UNITS[self.unit]

    def _note_coarse(self, spacing: float) -> None:
        """Add a remark if times that can be told apart are more than a microsecond apart."""
        remark = f"its times have type {self.table.time}, which stores the latest of them to {spacing:,.0f} us only"
        if spacing >= 2 and remark not in self.remarks:
            self.remarks = (*self.remarks, remark)

    def _checked(self, key: str, values: Column, at: int) -> Column:
        """Returns the values of a column if events can have them; `at` is the number of the first event.

        Raises:
            BadInput: a value is not whole, or outside the range of the column.
        """
        if values.dtype.kind == "b":
            values = values.view(np.uint8)
        least, most = {"t": (0, _LATEST), "p": (-1, 1)}.get(key, (0, _MOST))
        if self.sensor and key in "xy":
            most = self.sensor[1 if key == "x" else 0] - 1
        right = (values >= least) & (values <= most)  # False for NaN
        if not right.all():
            wanted = "0 or 1, or -1 or 1" if key == "p" else f"{least:,} to {most:,}"
            self._refuse(key, values, int(np.argmin(right)), at, wanted)
        if values.dtype.kind == "f" and key != "t":
            whole = np.rint(values) == values
            if not whole.all():
                self._refuse(key, values, int(np.argmin(whole)), at, "a whole number")
        return values

    def _microseconds(self, times: Column, at: int) -> npt.NDArray[np.int64]:
        """Returns times as whole microseconds, with the offset of the table; `at` is the number of the first event.

        Raises:
            BadInput: a time is too late for a number of 64 bits, or negative with the offset.
        """
        offset, factor = self.table.offset, TIME_UNITS[self.unit]
        if times.dtype.kind == "f":
            scaled = np.rint(times.astype(np.float64) * factor)
            late = scaled >= float(2**63) - max(offset, 0)
        elif self.unit == "ns":
            scaled = times.astype(np.int64) // 1000
            late = scaled > _LATEST - max(offset, 0)
        else:
            scaled = times.astype(np.int64)
            late = scaled > (_LATEST - max(offset, 0)) // int(factor)
            scaled = np.where(late, 0, scaled) * int(factor)
        if late.any():
            self._refuse("t", times, int(np.argmax(late)), at, f"before {_LATEST:,} us")
        found: npt.NDArray[np.int64] = scaled.astype(np.int64) + offset
        if offset < 0 and (found < 0).any():
            self._refuse("t", times, int(np.argmax(found < 0)), at, f"at least {-offset:,} us, which are subtracted")
        return found

    def _refuse(self, key: str, values: Column, row: int, at: int, wanted: str) -> None:
        """Raise the error for the value in a row of a block that begins with event number `at`."""
        raise BadInput(f"{self.path}: {key} of event {at + row:,} is {values[row]}; it must be {wanted}")


def columns_of(names: Iterable[str], path: Path) -> dict[str, str] | None:
    """Returns the name of each of the columns `KEYS` among names in a file; None if one of them is missing.

    Raises:
        BadInput: two of the names stand for the same column.
    """
    found: dict[str, list[str]] = {key: [] for key in KEYS}
    for name in names:
        for key, known in _NAMES.items():
            if name.lower() in known:
                found[key].append(name)
    if not all(found.values()):
        return None
    for key, given in found.items():
        if len(given) > 1:
            raise BadInput(f"{path}: {' and '.join(sorted(given))} could both be the {key} of events; keep one of them")
    return {key: name for key, (name,) in found.items()}


def check_types(types: Mapping[str, np.dtype[Any]], path: Path) -> None:
    """Check the types of the columns, by their names in the file.

    Raises:
        BadInput: a column has neither integers nor bools nor floats.
    """
    for name, dtype in types.items():
        if dtype.kind not in "iubf" or dtype.itemsize > 8:
            raise BadInput(f"{path}: {name} has type {dtype}; events are integers, bools or floats")


def ordered(shape: tuple[int, ...], dtype: np.dtype[Any], options: ReadOptions, path: Path, name: str) -> str:
    """Returns the order of the columns in an array [E, 4], such as "txyp".

    Raises:
        BadInput: the array has another shape or type, or the user does not say the order.
    """
    if len(shape) != 2 or shape[1] != len(KEYS):
        raise BadInput(
            f"{path}: {name} has shape {list(shape)}; events are a structured array with t, x, y and p, or [E, 4]"
        )
    check_types({name: dtype}, path)
    if options.columns is None:
        raise BadInput(
            f"{path}: {name} has four columns, and the file does not say which is which; give `columns`, such as txyp"
        )
    return options.columns
