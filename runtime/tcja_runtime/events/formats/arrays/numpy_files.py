"""Events in files of NumPy.

    .npy   one structured array [E] with the fields t, x, y and p, as tonic makes it, or one array [E, 4]
    .npz   the arrays t, x, y and p, each [E], as SpikingJelly stores them; or one array `events` as in an .npy

The fields and arrays may have any order and other usual names, such as ts, timestamp, pol and polarity. The files are
read a block at a time, so memory does not grow with their size. Only an .npz has checksums; they are compared while it
is read, and damage to an array is found at the end of this array at the latest.

Source: `np_savez` in `spikingjelly.datasets`; `events_struct` in `tonic.io`; numpy.lib.format.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tcja_runtime.errors import BadInput
from tcja_runtime.events.byte_recording import beginning
from tcja_runtime.events.event import ReadOptions
from tcja_runtime.events.formats.arrays.columns import (
    KEYS,
    STEP,
    Column,
    Table,
    TableRecording,
    check_types,
    columns_of,
    ordered,
)
from tcja_runtime.files import npy, npz
from tcja_runtime.files.npz import Array

TABLE = "events"
"""The name of the array of an .npz that has all columns."""

Blocks = Iterator[Mapping[str, Column]]


def open_npy(path: Path, options: ReadOptions) -> TableRecording:
    """Open an .npy of events.

    Raises:
        BadInput: the file cannot be read, or its array is not events.
        Damaged: the header of the array is damaged, or the file is cut off.
    """
    beginning(path, 1)
    array = npy.header(path)
    return TableRecording.of(path, "npy", _table(array, array.name, options), options)


def open_npz(path: Path, options: ReadOptions) -> TableRecording:
    """Open an .npz of events.

    Raises:
        BadInput: the file cannot be read, or its arrays are not events.
        Damaged: one of its arrays is damaged.
    """
    beginning(path, 1)
    found = npz.arrays(path)
    names = columns_of(found, path)
    if names is not None:
        table = _separate({key: found[name] for key, name in names.items()}, path)
    elif TABLE in found:
        table = _table(found[TABLE], f"array {TABLE}", options)
    elif held := [name for name in ("frames", "images", "features") if name in found]:
        raise BadInput(
            f"{path} holds {held[0]}, not events; give a recording of events, or classify it with tcja-deploy run"
        )
    else:
        has = ", ".join(sorted(found)) or "none"
        raise BadInput(f"{path} must have the arrays t, x, y and p of events, or one array {TABLE}; it has {has}")
    return TableRecording.of(path, "npz", table, options)


def holds_events(found: Iterable[str], path: Path) -> bool:
    """Whether an .npz with arrays of these names holds events."""
    names = list(found)
    return TABLE in names or columns_of(names, path) is not None


def _separate(arrays: dict[str, Array], path: Path) -> Table:
    """A table whose columns are arrays of their own."""
    check_types({f"array {array.name}": array.dtype for array in arrays.values()}, path)
    for array in arrays.values():
        if len(array.shape) != 1:
            raise BadInput(f"{path}: array {array.name} has shape {list(array.shape)}; it must have one axis")
    if len({array.shape for array in arrays.values()}) > 1:
        counts = ", ".join(f"{array.shape[0]:,} {array.name}" for array in arrays.values())
        raise BadInput(f"{path}: its arrays must have the same length; it has {counts}")

    def blocks() -> Blocks:
        for runs in zip(*(arrays[key].rows(STEP) for key in KEYS), strict=True):
            yield dict(zip(KEYS, runs, strict=True))

    return Table(arrays["t"].dtype, blocks)


def _table(array: npy.Array | Array, name: str, options: ReadOptions) -> Table:
    """A table in one array: structured, or with four columns in an order that the user says."""
    path = array.file
    fields = array.dtype.fields
    if fields is None:
        order = ordered(array.shape, array.dtype, options, path, name)
        return Table(array.dtype, functools.partial(_by_column, array, order), named=False)
    names = columns_of(fields, path)
    if names is None:
        raise BadInput(f"{path}: {name} must have the fields t, x, y and p of events; it has {', '.join(fields)}")
    if len(array.shape) != 1:
        raise BadInput(f"{path}: {name} has shape {list(array.shape)}; it must have one axis")
    types: dict[str, np.dtype[Any]] = {f"field {field}": fields[field][0] for field in names.values()}
    check_types(types, path)
    return Table(fields[names["t"]][0], functools.partial(_by_field, array, names))


def _by_field(array: npy.Array | Array, names: Mapping[str, str]) -> Blocks:
    for rows in array.rows(STEP):
        yield {key: rows[name] for key, name in names.items()}


def _by_column(array: npy.Array | Array, order: str) -> Blocks:
    for rows in array.rows(STEP):
        yield {key: rows[:, order.index(key)] for key in KEYS}
