"""The data that a program gives, read into memory as windows.

Each of these is taken:

* a path: an .npz, a recording of events, a picture (PNG, JPEG), or a folder of these. It stays a path, and is read as
  it is needed;
* `(frames, labels)`, or frames alone: arrays or tensors [N, T, P, H, W], images [N, C, H, W], features [N, T, F] or
  [N, T, C, L], and labels [N];
* an iterable of batches, such as a torch `DataLoader`. A batch is frames, or `(frames, labels)`;
* a data set with `__getitem__`, such as a torch `Dataset`. An item is one window, or `(window, label)`.

Values keep their type, so that images of integers are scaled as those of an .npz are (`tcja_runtime.data.windows`).
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_deploy.console import Progress
from tcja_runtime.counting import counted
from tcja_runtime.data.windows import GivenWindows
from tcja_runtime.errors import BadInput, first_line
from tcja_runtime.records import argument

MOST_BYTES = 4 * 2**30
"""The most bytes of windows that are read from an iterable into memory."""

_TAKEN = "a path, frames, (frames, labels), an iterable of batches, or a data set of windows"
_STACKED = 64
"""The number of windows of a data set that become one array."""
_DEEPEST = 8
"""The most loaders and parts that a data set is in."""


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Windows with their labels.

    Attributes:
        place: the name of the batch, for messages.
        frames: the windows, [N, ...]; or [T, N, ...], as some loaders give them.
        labels: the labels, [N]; None if they are not given.
    """

    place: str
    frames: npt.NDArray[Any]
    labels: npt.NDArray[Any] | None

    def copied(self) -> _Batch:
        """The batch in memory of its own: a loader or a data set may use the memory of an item again."""
        labels = None if self.labels is None else np.array(self.labels)
        return dataclasses.replace(self, frames=np.array(self.frames, order="C"), labels=labels)


def windows_of(
    data: Any, progress: Progress, *, samples: int | None = None, layout: str = "NT", time_steps: int | None = None
) -> Path | GivenWindows | None:
    """Return data as the work functions take it: a path, or windows in memory.

    Args:
        data: the data, of a kind that this module names; None for no data.
        progress: where progress is shown.
        samples: the number of windows to read from an iterable. It is read to the end of the batch that has the last
            of them. None reads all.
        layout: the axes of the frames that the network takes, one of `tcja_runtime.choices.LAYOUTS`. If it is not
            "NT", batches may be [T, N, ...], too.
        time_steps: the number of frames in a window, T; None if it is not known.

    Raises:
        BadInput: the data is of another kind, is empty, or is too large for memory; or its labels do not fit.
    """
    if data is None:
        return None
    if isinstance(data, (str, os.PathLike)):
        path: Path = argument("data", data, Path)
        return path
    with progress.step("read the data"):
        batches = list(_batches(data, samples, layout))
    if not batches:
        raise BadInput("`data` has no windows")
    time_first, batch_first = _orders(batches, layout, time_steps)
    if time_first and batch_first:
        progress.note(
            f"{batches[0].place} has as many windows as time steps, {len(batches[0].frames)}, and is taken as "
            "[N, T, ...]; if time is its first axis, give it with the axes swapped"
        )
    elif time_first:
        batches = [dataclasses.replace(batch, frames=batch.frames.swapaxes(0, 1)) for batch in batches]
    for batch in batches:
        _check(batch, batches[0])
    return GivenWindows(batches=tuple(batch.frames for batch in batches), labels=_joined(batches), source=_source(data))


def _source(data: Any) -> str:
    """The origin of the windows for reports, with the name of the class if somebody wrote one for a data set."""
    for _ in range(_DEEPEST):  # a loader, or a part of a data set, has it as an attribute
        data = getattr(data, "dataset", data)
    kind = type(data)
    written = kind.__module__.partition(".")[0] not in ("builtins", "numpy", "torch")
    own = written and hasattr(kind, "__getitem__") and not _is_array(data)
    return f"{kind.__name__}, given from Python" if own else "given from Python"


def _batches(data: Any, samples: int | None, layout: str) -> Iterator[_Batch]:
    """Yields the batches of data that is no path."""
    if _is_array(data) or isinstance(data, tuple):
        yield _batch(data, "`data`")
    elif isinstance(data, (Mapping, bytes, bytearray)) or not _can_be_read(data):
        if isinstance(data, Mapping):
            raise BadInput("`data` is a dictionary; give its arrays, (frames, labels), or the path of the file")
        raise BadInput(f"`data` is a value of type {type(data).__name__}, and must be {_TAKEN}")
    elif hasattr(data, "__getitem__") and not isinstance(data, list):
        yield from _limited(_stacked(itertools.islice(_items(data), samples)), samples)
    else:
        read = (_batch(each, f"batch {i} of `data`").copied() for i, each in enumerate(data, 1))
        yield from _limited(read, samples, time_first=layout != "NT")


def _can_be_read(data: Any) -> bool:
    """Whether data can be iterated over, or has items and a length."""
    return hasattr(data, "__iter__") or (hasattr(data, "__getitem__") and hasattr(data, "__len__"))


def _items(data: Any) -> Iterator[Any]:
    """Yields the items of a data set. torch's `Dataset` has no iterator, and need not raise an error at its end."""
    return iter(data) if hasattr(data, "__iter__") else (data[i] for i in range(len(data)))


def _stacked(items: Iterable[Any]) -> Iterator[_Batch]:
    """Yields the windows of a data set in batches."""
    read = (_batch(item, f"window {i} of `data`", single=True).copied() for i, item in enumerate(items, 1))
    while windows := list(itertools.islice(read, _STACKED)):
        for window in windows:
            _check(window, windows[0])
        frames = np.concatenate([window.frames for window in windows])
        yield dataclasses.replace(windows[0], frames=frames, labels=_joined(windows))


def _joined(batches: Iterable[_Batch]) -> npt.NDArray[Any] | None:
    """The labels of some batches; None if they have none."""
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return np.concatenate(labels) if labels else None


def _limited(batches: Iterable[_Batch], samples: int | None, *, time_first: bool = False) -> Iterator[_Batch]:
    """Yields batches until they have a number of windows.

    Args:
        batches: the batches.
        samples: the number of windows; None for all.
        time_first: whether the batches may be [T, N, ...], so that their numbers of windows are not known yet.

    Raises:
        BadInput: they are too large for memory.
    """
    taken = size = 0
    for batch in batches:
        size += batch.frames.nbytes
        least = min(batch.frames.shape[:2]) if time_first else len(batch.frames)
        taken += least if batch.labels is None else len(batch.labels)
        if size > MOST_BYTES:
            raise BadInput(
                f"`data` has more than {MOST_BYTES / 2**30:g} GiB in its first {counted(taken, 'window')}, and no more "
                "is read into memory; give a smaller number of `samples`, or save it as an .npz and give its path"
            )
        yield batch
        if samples is not None and taken >= samples:
            return


def _batch(item: Any, place: str, *, single: bool = False) -> _Batch:
    """Return frames, or a pair of frames and labels, as a batch.

    Args:
        item: the frames, or the pair.
        place: the name of the item, for messages.
        single: whether it is one window with one label, without the axis of the batch.

    Raises:
        BadInput: it is something else, or it is empty.
    """
    given = item if isinstance(item, (tuple, list)) else (item,)
    if not 1 <= len(given) <= 2 or not _is_array(given[0]):
        kinds = [type(each).__name__ for each in given]
        found = f"({', '.join(kinds)})" if isinstance(item, (tuple, list)) else kinds[0]
        raise BadInput(f"{place} is {found}, and must be an array or a tensor of frames, or (frames, labels)")
    frames, axes = _array(given[0], place), 1 - single
    if frames.ndim < 2:
        raise BadInput(
            f"{place} has shape {frames.shape}, which is not that of frames; labels stand in (frames, labels)"
        )
    if not frames.size:
        raise BadInput(f"{place} is empty: its frames have shape {frames.shape}")
    labels = None if len(given) == 1 or given[1] is None else _labels(given[1], place)
    if labels is not None and (labels.ndim != axes or labels.dtype.kind not in "iu"):
        wanted = "one integer" if single else "integers [N]"
        hint = "; windows one by one are a data set with `__getitem__`, or are stacked" * (not labels.ndim)
        raise BadInput(f"the labels of {place} must be {wanted}, not {labels.dtype} of shape {labels.shape}{hint}")
    if single:
        return _Batch(place, frames[None], None if labels is None else labels[None])
    return _Batch(place, frames, labels)


def _labels(given: Any, place: str) -> npt.NDArray[Any]:
    if _is_array(given):
        return _array(given, f"the labels of {place}")
    try:
        return np.asarray(given)
    except ValueError as error:
        raise BadInput(f"the labels of {place} are no array: {first_line(error)}") from error


def _is_array(value: Any) -> bool:
    """Whether a value is an array or a tensor."""
    return isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__dlpack__")


def _array(value: Any, place: str) -> npt.NDArray[Any]:
    """Return an array or a tensor of any library as an array of numpy.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        if isinstance(value, (np.ndarray, np.generic)):
            return np.asarray(value)
        if not hasattr(value, "detach"):
            return np.from_dlpack(value)
        tensor = value.detach().cpu()
        if str(tensor.dtype) == "torch.bfloat16":  # numpy has no such type
            tensor = tensor.float()
        return np.asarray(tensor.numpy())
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise BadInput(f"{place} cannot be read as an array: {first_line(error)}") from error


def _orders(batches: list[_Batch], layout: str, time_steps: int | None) -> tuple[bool, bool]:
    """Whether the batches fit the order [T, N, ...], and whether they fit [N, T, ...].

    The axis N is as long as the labels, and the axis T is as long in all batches.
    """
    if layout == "NT" or any(batch.frames.ndim < 3 for batch in batches):
        return False, True
    return _fits(batches, 1, time_steps), _fits(batches, 0, time_steps)


def _fits(batches: list[_Batch], axis: int, time_steps: int | None) -> bool:
    """Whether `axis` of all batches, 0 or 1, can be N, and the other one T."""
    times = {batch.frames.shape[1 - axis] for batch in batches} | ({time_steps} if time_steps else set())
    return len(times) == 1 and all(
        batch.labels is None or len(batch.labels) == batch.frames.shape[axis] for batch in batches
    )


def _check(batch: _Batch, first: _Batch) -> None:
    """Check that a batch has a label for each window, and is like the first batch.

    Raises:
        BadInput: it is not.
    """
    n, own, frames = len(batch.frames), batch.labels, batch.frames
    if own is not None and len(own) != n:
        raise BadInput(f"{batch.place} has {counted(n, 'window')} and {counted(len(own), 'label')}; give one for each")
    if (own is None) != (first.labels is None):
        has, none = (batch, first) if first.labels is None else (first, batch)
        raise BadInput(f"{has.place} has labels, and {none.place} has none; label all windows, or none")
    if frames.shape[1:] != first.frames.shape[1:]:
        raise BadInput(
            f"{batch.place} has windows of shape {frames.shape[1:]}, and {first.place} of {first.frames.shape[1:]}; "
            "give windows of one shape"
        )
    if frames.dtype != first.frames.dtype:
        raise BadInput(
            f"{batch.place} has values of type {frames.dtype}, and {first.place} of {first.frames.dtype}; give one type"
        )
