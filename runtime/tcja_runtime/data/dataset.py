"""Data files: windows that are read as they are needed, however many there are.

Files of windows (`tcja_runtime.files.npz`) and recordings of events (`tcja_runtime.data.recordings`) may be mixed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tcja_runtime.data import class_folders, recordings
from tcja_runtime.data.contract import Floats, InputContract, Labels
from tcja_runtime.data.recordings import Span
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput
from tcja_runtime.events.formats import spikingjelly
from tcja_runtime.files import npz
from tcja_runtime.files.npz import Array

_LOOKED_AT = 16  # windows that tell whether the values are unusual
_REMARKED = 3  # files that are named with a remark
_RANKS = {"frames": (5, "N, T, P, H, W"), "images": (4, "N, C, H, W")}


class Part(Protocol):
    """Windows of one file, or of a segment of it.

    Attributes:
        file: that holds them.
        count: how many.
        labels: class indices int64 [count], where the file tells.
        checks: tell its content from others.
        remarks: what a user should know of it, once its windows were read, a line each.
        spans: what of a recording each window holds, once they were read; empty where they are of none.
    """

    @property
    def file(self) -> Path: ...
    @property
    def count(self) -> int: ...
    @property
    def labels(self) -> Labels | None: ...
    @property
    def checks(self) -> Sequence[object]: ...
    @property
    def remarks(self) -> Sequence[str]: ...
    @property
    def spans(self) -> Sequence[Span]: ...

    def windows(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Those from `start` on as the network takes them, at most `size` at a time."""
        ...


@dataclasses.dataclass(frozen=True)
class _Windows:
    """An array of windows in an .npz; `single` is one without an axis for the batch, as SpikingJelly saves frames."""

    array: Array
    contract: InputContract
    labels: Labels | None
    checks: tuple[object, ...]
    single: bool

    remarks = spans = ()

    @property
    def file(self) -> Path:
        return self.array.file

    @property
    def count(self) -> int:
        return 1 if self.single else self.array.shape[0]

    def windows(self, size: int, start: int = 0) -> Iterator[Floats]:
        rows = iter([self.array.whole()[None]]) if self.single else self.array.rows(size, start)
        for each in rows:
            yield _checked(each, self.contract, self.file)


@dataclasses.dataclass(frozen=True)
class Data:
    """Windows in files.

    Attributes:
        parts: the files, in their order.
        labels: class indices int64 [N], where known.
        source: where they come from, for reports.
        stamp: when the files were written.
        count: how many windows are taken.
        remark: what a user should know of how labels were found; empty if there is nothing.
    """

    parts: tuple[Part, ...]
    labels: Labels | None
    source: str
    stamp: str
    count: int
    remark: str = ""

    real = True

    def __len__(self) -> int:
        return self.count

    @functools.cached_property
    def digest(self) -> str:
        """Tells these data from others, by checksums of their content."""
        return hashlib.sha256(repr([check for part in self.parts for check in part.checks]).encode()).hexdigest()

    def first(self, n: int) -> Data:
        """The first n of them, or all."""
        labels = None if self.labels is None else self.labels[:n]
        return dataclasses.replace(self, labels=labels, count=min(n, self.count))

    def batches(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Those from `start` on, float32 [size, ...] at a time and fewer at the end.

        Raises:
            BadInput: a file is damaged, or holds what the network cannot take.
        """
        held: list[Floats] = []
        wanted = self.count - start
        for piece in self._pieces(size, start):
            held.append(piece[:wanted])
            wanted -= len(held[-1])
            if sum(map(len, held)) >= size:
                whole = np.concatenate(held)
                yield whole[:size]
                held = [whole[size:]]
            if not wanted:
                break
        if sum(map(len, held)):
            yield np.concatenate(held)

    def _pieces(self, size: int, start: int) -> Iterator[Floats]:
        """Those from `start` on, at most `size` at a time; none is of two files."""
        for part in self.parts:
            yield from part.windows(size, start) if start < part.count else ()
            start = max(0, start - part.count)


def load(path: Path, contract: InputContract, classes: Sequence[str] | None, window: Window | None = None) -> Data:
    """Open data.

    A file is an .npz with the array the contract names and, where known, `labels` [N]; one with `frames` [T, P, H, W]
    of one window, as SpikingJelly saves it; or a recording of events, whose labels may stand beside it
    (`tcja_runtime.data.recordings`). Of a folder all such files below it are taken in the order of their names, and the
    folders in it may say the classes of what they hold (`tcja_runtime.data.class_folders`).

    Args:
        path: the file or folder.
        contract: what the network takes in.
        classes: names of those it tells apart; None if they are not known yet.
        window: how recordings are cut into windows; None takes each as one, or as the contract has it.

    Raises:
        BadInput: a file is missing, is not such a file, or holds what the network cannot take.
    """
    files = class_folders.files(path)
    parts = [part for file in files for part in _parts(file, contract, classes, window)]
    named = class_folders.labels(path, [part.file for part in parts], classes)
    labels = np.concatenate(
        [
            np.full(part.count, label, np.int64) if part.labels is None else part.labels
            for part, label in zip(parts, named.classes, strict=True)
        ]
    )
    known = labels >= 0
    if known.any() and not known.all():
        raise BadInput(f"{path}: some of its files have labels and some have not")
    return Data(
        parts=tuple(parts),
        labels=labels if known.any() else None,
        source=_source(path, files, parts, contract),
        stamp=" ".join(f"{file.name} {file.stat().st_mtime_ns}" for file in files),
        count=len(labels),
        remark=named.remark,
    )


def remarks(data: Iterable[Data]) -> list[str]:
    """What a user should know of data whose windows were read: a line for each thing, and not for each file."""
    files: dict[str, dict[str, None]] = {}
    found = [each.remark for each in data if each.remark]
    for part in (part for each in data for part in each.parts):
        for remark in part.remarks:
            files.setdefault(remark, {})[str(part.file)] = None
    for remark, of in files.items():
        more = f" and {len(of) - _REMARKED:,} more" if len(of) > _REMARKED else ""
        found.append(f"{', '.join(list(of)[:_REMARKED])}{more}: {remark}")
    return found


def shape_of(path: Path | None) -> tuple[int, ...]:
    """Shape of the windows in a data file, or in the first of a folder.

    Raises:
        BadInput: there is no data, or none that says it.
    """
    if path is None:
        raise BadInput("the shape of the network's windows is not known; say it with `shape`, or give `data`")
    file = class_folders.files(path)[0]
    if not _archived(file):
        raise BadInput(f"{file} is a recording, which does not say the shape of windows; say it with `shape` T,P,H,W")
    found = npz.arrays(file)
    for name, (rank, axes) in _RANKS.items():
        if name in found:
            shape = found[name].shape
            if name == "frames" and len(shape) == rank - 1 and shape[1] == 2:  # one window
                return shape
            if len(shape) != rank:
                raise BadInput(f"{file}: '{name}' has shape {shape}, it should be [{axes}]")
            return shape[1:]
    raise BadInput(f"{file} has neither 'frames' nor 'images' (it has: {_names(found)})")


def _parts(file: Path, contract: InputContract, classes: Sequence[str] | None, window: Window | None) -> Sequence[Part]:
    of_events = contract.name == "frames"
    found = npz.arrays(file) if _archived(file) or not of_events else None
    if found is None or (of_events and found.keys() >= set(spikingjelly.KEYS)):
        return recordings.parts(file, contract, classes, window)
    if window is not None:
        raise BadInput(f"{file} holds windows already, which `window` cannot cut; leave it out")
    if contract.name not in found:
        raise BadInput(f"{file} has no array '{contract.name}' (it has: {_names(found)})")
    array = found[contract.name]
    single = contract.name == "frames" and array.shape == contract.shape
    _check_array(array, contract, single)
    checks, labels = [array.check], None
    if "labels" in found and not single:
        checks.append(found["labels"].check)
        labels = _checked_labels(found["labels"].whole(), array.shape[0], classes, file)
    return [_Windows(array, contract, labels, tuple(checks), single)]


def _archived(file: Path) -> bool:
    return file.suffix.lower() == ".npz"


def _source(path: Path, files: Sequence[Path], parts: Sequence[Part], contract: InputContract) -> str:
    """Where windows come from, with what a reader should know of values that are unusual."""
    said = f"{path.name}/ ({len(files)} file{'' if len(files) == 1 else 's'})" if path.is_dir() else path.name
    archived = tuple(part for part in parts if isinstance(part, _Windows))
    if not archived:
        return said
    looked_at = Data(archived, None, said, "", sum(part.count for part in archived))
    return said + _remark(next(looked_at.batches(_LOOKED_AT)), contract)


def _names(found: Mapping[str, Array]) -> str:
    return ", ".join(found) or "nothing"


def _check_array(array: Array, contract: InputContract, single: bool) -> None:
    wanted = ", ".join(map(str, contract.shape))
    if not single and (array.shape[1:] != contract.shape or not array.shape):
        raise BadInput(
            f"{array.file}: '{contract.name}' has shape {array.shape}, the network takes [N, {wanted}] "
            f"({contract.axes})"
        )
    if array.shape[0] == 0:
        raise BadInput(f"{array.file}: '{contract.name}' is empty")
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{array.file}: '{contract.name}' has type {array.dtype}, numbers are needed")


def _checked(rows: npt.NDArray[Any], contract: InputContract, file: Path) -> Floats:
    """Windows as the network takes them."""
    with np.errstate(over="ignore"):
        inputs = rows.astype(np.float32)
    if contract.scaling == "unit" and rows.dtype.kind in "iu":
        inputs /= np.float32(255)
    if not np.isfinite(inputs).all():
        raise BadInput(f"{file}: '{contract.name}' holds values that are NaN, infinite or too large for float32")
    return inputs


def _remark(inputs: Floats, contract: InputContract) -> str:
    """What a reader should know of values that are unusual for the contract; empty if they are not."""
    least, most = float(inputs.min()), float(inputs.max()) + 0.0  # never -0
    usual = {
        "counts": "counts are not negative",
        "unit": "intensities are in [0, 1]",
        "spikes": "spikes are 0 or 1",
    }[contract.scaling]
    if least >= 0 and (contract.scaling == "counts" or most <= 1):
        return ""
    return f", values from {least:g} to {most:g} although {usual}"


def _checked_labels(labels: npt.NDArray[Any], n: int, classes: Sequence[str] | None, path: Path) -> Labels:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise BadInput(f"{path}: 'labels' must be {n} integers, it is {labels.dtype} of shape {labels.shape}")
    if classes is None:
        return labels.astype(np.int64)
    if not classes:
        raise BadInput(f"{path} has 'labels', but the network does not classify")
    if labels.min() < 0 or labels.max() >= len(classes):
        outside = labels[(labels < 0) | (labels >= len(classes))][0]
        raise BadInput(
            f"{path}: label {outside} is outside the network's {len(classes)} classes (0..{len(classes) - 1})"
        )
    return labels.astype(np.int64)
