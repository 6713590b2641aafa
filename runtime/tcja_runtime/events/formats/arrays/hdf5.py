"""Events in HDF5, read with the package `h5py`; `hdf5_process` runs this in a process of its own.

    events/x, y, t, p      four datasets in a group, as DSEC, TUM-VIE and M3ED have them; the group may have any name
    CD/events              one dataset of compound values, as Prophesee's Metavision writes it
    events                 one dataset [E, 4], as v2e and MVSEC have it; the user says the order of its columns

The columns may have other usual names, as in .npz files. If a file has events in several places, the user chooses one.

Times are in microseconds in `CD/events`, and where an index of milliseconds, `ms_to_idx` or `ms_map_idx`, is beside the
events. This index is compared with the times. A number `t_offset` beside the group is added to all times, as DSEC asks.

Datasets may be compressed. h5py has the codecs gzip and lzf; the package `hdf5plugin` has blosc, zstd and others.
Prophesee's ECF is in neither.

Source: DSEC's description of its data format; Prophesee's description of its HDF5 files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import mmap
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tcja_runtime.errors import BadInput, Unavailable, first_line
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
from tcja_runtime.events.formats.arrays.hdf5_checks import check_attribute, check_chunks
from tcja_runtime.files import limits

PACKAGE, CODECS = "h5py", "hdf5plugin"
_METAVISION = "CD/events"
_INDEXES = ("ms_to_idx", "ms_map_idx")
_DEPTH, _MOST_NAMES = 6, 4096  # how far a file is searched
_LARGEST_CHUNK = 2**28  # bytes; a chunk is unpacked as a whole
_LARGEST_ROW = 2**8  # bytes of an event with all its fields
_CACHE = 2**24  # bytes for each dataset; a chunk that fits is unpacked once, not for every block in it
_ECF = 0x8ECF
_GET_ECF = (
    "ECF, Prophesee's codec, which h5py does not find: install hdf5_ecf (https://github.com/prophesee-ai/hdf5_ecf), "
    "and set HDF5_PLUGIN_PATH to the folder of its plugin"
)


@dataclasses.dataclass(frozen=True)
class _Place:
    """A place of events in a file.

    Attributes:
        name: the path of the group or dataset, without a slash at its ends; empty for the root group.
        columns: for each of `KEYS`, the path of its dataset, or the name of its field in the dataset `name`; None for a
            dataset of four columns.
        grouped: whether the columns are datasets of a group.
    """

    name: str
    columns: Mapping[str, str] | None
    grouped: bool

    @property
    def title(self) -> str:
        """The name of the place in messages."""
        return self.name or "/"


def open_recording(path: Path, options: ReadOptions) -> TableRecording:
    """Open an HDF5 file of events.

    Raises:
        BadInput: the file cannot be read, has no events, or has events in several places and the user chooses none.
        Unavailable: the codec of the file is missing.
    """
    with _opened(path) as file:
        place = _chosen(path, _places(file, path), options)
        sensor = _sensor(file, path)
        table = _of_group(file, place, path) if place.grouped else _of_dataset(file, place, options, path)
    return TableRecording.of(path, "hdf5", table, options, sensor)


def load() -> Any:
    """Import h5py, and the codecs if they are installed; returns h5py."""
    import h5py

    if importlib.util.find_spec(CODECS) is not None:
        import hdf5plugin  # noqa: F401 (it registers its codecs)
    return h5py


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A context with the open file. Errors of h5py in the block raise a `BadInput`."""
    try:
        with load().File(path, "r", locking=False, rdcc_nbytes=_CACHE) as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:  # raised for damage
        raise BadInput(f"{path} is damaged, or is not HDF5: {first_line(error)}") from error


def _places(file: Any, path: Path) -> list[_Place]:
    """Returns the places of events in a file, in the order of their names."""
    import h5py

    found: list[_Place] = []
    seen = 0

    def search(group: Any, name: str, depth: int) -> None:
        nonlocal seen
        datasets: dict[str, Any] = {}
        for key in sorted(group):
            seen += 1
            if seen > _MOST_NAMES:
                raise BadInput(f"{path} has more than {_MOST_NAMES:,} groups and datasets; choose a file of events")
            if isinstance(group.get(key, getlink=True), h5py.ExternalLink):
                continue
            inner = f"{name}/{key}".strip("/")
            item = group.get(key)
            if isinstance(item, h5py.Group) and depth < _DEPTH:
                search(item, inner, depth + 1)
            elif isinstance(item, h5py.Dataset):
                datasets[key] = item
                place = _in_dataset(item, inner, path)
                found.extend([place] if place else [])
        columns = columns_of([key for key, item in datasets.items() if len(item.shape or ()) == 1], path)
        if columns:
            found.append(_Place(name, {key: f"{name}/{of}".strip("/") for key, of in columns.items()}, True))

    search(file, "", 0)
    return sorted(found, key=lambda place: place.name)


def _in_dataset(dataset: Any, name: str, path: Path) -> _Place | None:
    """Returns the events in one dataset: compound values, or four columns and the name "events"."""
    if dataset.dtype.names:
        columns = columns_of(dataset.dtype.names, path)
        return _Place(name, columns, False) if columns else None
    four = len(dataset.shape or ()) == 2 and dataset.shape[1] == len(KEYS)
    return _Place(name, None, False) if four and name.rpartition("/")[2] == "events" else None


def _chosen(path: Path, places: list[_Place], options: ReadOptions) -> _Place:
    """Returns the place that the user chooses, or the only one.

    Raises:
        BadInput: there is no such place, or there are several and the user chooses none.
    """
    titles = ", ".join(place.title for place in places)
    if not places:
        raise BadInput(f"{path} has no events: no group with datasets t, x, y and p, and no table of them")
    if options.topic is None:
        if len(places) > 1:
            raise BadInput(f"{path} has events in {titles}; choose one of them with `topic`")
        return places[0]
    for place in places:
        if place.name == options.topic.strip("/"):
            return place
    raise BadInput(f"{path} has no events in `topic` {options.topic}; it has them in {titles}")


def _of_group(file: Any, place: _Place, path: Path) -> Table:
    """The table of a group whose datasets are the columns."""
    names = dict(place.columns or {})
    datasets = {key: file[name] for key, name in names.items()}
    check_types({names[key]: dataset.dtype for key, dataset in datasets.items()}, path)
    if len({dataset.shape for dataset in datasets.values()}) > 1:
        counts = ", ".join(f"{dataset.shape[0]:,} {names[key]}" for key, dataset in datasets.items())
        raise BadInput(f"{path}: its datasets must have the same length; it has {counts}")
    for dataset in datasets.values():
        _check_storage(dataset, path)
    above = file[place.name].parent if place.name else file
    groups = [file[place.name] if place.name else file, above]
    unit = "us" if any(_is_indexed(group, datasets["t"], path) for group in groups) else None
    added, offset = above.get("t_offset"), 0
    if getattr(added, "shape", None) == () and added.dtype.kind in "iuf":
        _check_storage(added, path)
        offset = int(added[()])
    return Table(datasets["t"].dtype, functools.partial(_blocks, path, names, None), unit, offset)


def _of_dataset(file: Any, place: _Place, options: ReadOptions, path: Path) -> Table:
    """The table in one dataset: of compound values, or of four columns."""
    dataset = file[place.name]
    _check_storage(dataset, path)
    if place.columns is None:
        order = ordered(dataset.shape, dataset.dtype, options, path, place.name)
        return Table(dataset.dtype, functools.partial(_blocks, path, place.name, order), named=False)
    if len(dataset.shape) != 1:
        raise BadInput(f"{path}: {place.name} has shape {list(dataset.shape)}; it must have one axis")
    fields = dataset.dtype.fields
    check_types({f"field {name} of {place.name}": fields[name][0] for name in place.columns.values()}, path)
    unit = "us" if place.name == _METAVISION else None
    return Table(fields[place.columns["t"]][0], functools.partial(_blocks, path, place.name, place.columns), unit)


def _blocks(
    path: Path, where: str | Mapping[str, str], columns: str | Mapping[str, str] | None
) -> Iterator[Mapping[str, Column]]:
    """Yields the columns of a file.

    Args:
        path: the file.
        where: the dataset that has all columns, or the dataset of each column.
        columns: for one dataset, the order of its columns, or the field of each column; else None.
    """
    with _opened(path) as file:
        datasets = {key: file[where if isinstance(where, str) else where[key]] for key in KEYS}
        count = datasets["t"].shape[0]
        for at in range(0, count, STEP):
            part = slice(at, min(at + STEP, count))
            for dataset in datasets.values() if columns is None else [datasets["t"]]:
                check_chunks(path, dataset, part.start, part.stop)
            if columns is None:
                yield {key: dataset[part] for key, dataset in datasets.items()}
                continue
            rows = datasets["t"][part]
            if isinstance(columns, str):
                yield {key: rows[:, columns.index(key)] for key in KEYS}
            else:
                yield {key: rows[name] for key, name in columns.items()}


def _check_storage(dataset: Any, path: Path) -> None:
    """Check that a dataset can be unpacked, in little memory.

    Raises:
        BadInput: its values are in another file, are of any length, or its rows or chunks are too large.
        Unavailable: its codec is not installed.
    """
    import h5py

    if dataset.external or dataset.is_virtual:
        raise BadInput(f"{path}: the values of {dataset.name} are in another file; copy them into one")
    size = dataset.dtype.itemsize
    if dataset.dtype.hasobject:  # h5py reads them with the other fields, whatever their length
        raise BadInput(f"{path}: {dataset.name} has fields that are no numbers; store the events without them")
    if size > _LARGEST_ROW:
        raise BadInput(f"{path}: the values of {dataset.name} have {size:,} bytes each; no event has more than 100")
    for edge in dataset.chunks or ():
        size *= edge
    if dataset.chunks and size > _LARGEST_CHUNK:
        raise BadInput(f"{path}: {dataset.name} has chunks of {size:,} bytes; store it with smaller chunks")
    filters = dataset.id.get_create_plist()
    for number in range(filters.get_nfilters()):
        code, _, _, name = filters.get_filter(number)
        if h5py.h5z.filter_avail(code):
            continue
        named = name.decode(errors="replace").strip("\0") or "an unknown codec"
        if code == _ECF:
            raise Unavailable(f"{path} is compressed with {_GET_ECF}")
        if importlib.util.find_spec(CODECS) is None:
            raise Unavailable(
                f"{path} is compressed with {named} (filter {code}); the package {CODECS}, which has many codecs, is "
                f"missing: pip install {CODECS}"
            )
        raise Unavailable(f"{path} is compressed with {named} (filter {code}), which h5py and {CODECS} do not have")


def _is_indexed(group: Any, times: Any, path: Path) -> bool:
    """Whether a group has an index of milliseconds, so that its times are in microseconds.

    Element k of the index is the number of the first event at k milliseconds or later.

    Raises:
        BadInput: the index does not fit times in microseconds.
    """
    for name in _INDEXES:
        index = group.get(name)
        if len(getattr(index, "shape", None) or ()) != 1 or index.dtype.kind not in "iuf" or not 0 < len(index) < 2**62:
            continue
        last = len(index) - 1
        _check_storage(index, path)
        event, begin = _number(index, last, path), 1000 * last
        near = {at: _number(times, at, path) for at in (event - 1, event) if 0 <= at < len(times)}
        # A tolerance of a millisecond: only another unit is to be found.
        if near.get(event - 1, begin) > begin + 1000 or near.get(event, begin) < begin - 1000:
            raise BadInput(f"{path}: {index.name} does not fit its times, if these are in microseconds")
        return True
    return False


def _number(dataset: Any, at: int, path: Path) -> int:
    """Returns a number of a dataset with one axis."""
    step = dataset.chunks[0] if dataset.chunks else 1
    check_chunks(path, dataset, at // step * step, at + 1)
    return int(dataset[at])


def _sensor(file: Any, path: Path) -> tuple[int, int] | None:
    """The rows and columns of the camera, from the attribute `geometry` of Metavision; None without it."""
    import h5py

    found = file.attrs.get_id("geometry") if "geometry" in file.attrs else None
    kind = h5py.check_string_dtype(found.dtype) if found is not None and found.shape == () else None
    if kind is None or (kind.length or 0) > limits.ATTRIBUTE:
        return None
    if kind.length is None:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            check_attribute(content, "geometry", path)
    text = file.attrs["geometry"]
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    sides = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text) if isinstance(text, str) else None
    return (int(sides[2]), int(sides[1])) if sides and int(sides[1]) and int(sides[2]) else None
