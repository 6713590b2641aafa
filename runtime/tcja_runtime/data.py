"""Data files: windows that are read as they are needed, however many there are.

An .npz is a zip archive of .npy files (numpy.lib.format): a header that says type, shape and order, then the values. A
header is read without the values, and windows one batch at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import BadInput
from tcja_runtime.frames import Floats, InputContract, Labels

_BLOCK = 2**20  # bytes
_DAMAGED = (
    *(OSError, ValueError, EOFError, TypeError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),  # a header is read as Python's text
)
_LOOKED_AT = 16  # windows that tell whether the values are unusual
_RANKS = {"frames": (5, "N, T, P, H, W"), "images": (4, "N, C, H, W")}


@dataclasses.dataclass(frozen=True)
class _Array:
    """An array in an .npz, as its header says.

    Attributes:
        file: the .npz.
        name: of the array.
        shape: all of it.
        dtype: of its values.
        straight: whether the values are in the order of the axes.
        begin: where the values begin, in bytes.
        check: size and CRC-32 of its .npy.
    """

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    straight: bool
    begin: int
    check: tuple[int, int]

    def rows(self, size: int, start: int = 0) -> Iterator[npt.NDArray[Any]]:
        """Those from `start` on, at most `size` at a time."""
        if not self.straight:  # its rows lie scattered
            whole = self.whole()
            yield from (whole[at : at + size] for at in range(start, len(whole), size))
            return
        shape = self.shape[1:]
        stride = math.prod(shape) * self.dtype.itemsize
        with _opened(self.file) as archive, archive.open(f"{self.name}.npy") as stream:
            # Read, for whoever skips bytes is not told that they are damaged.
            for at in range(0, self.begin + start * stride, _BLOCK):
                stream.read(min(_BLOCK, self.begin + start * stride - at))
            for at in range(start, self.shape[0], size):
                n = min(size, self.shape[0] - at)
                yield np.frombuffer(_exactly(stream, n * stride), self.dtype).reshape(n, *shape)

    def whole(self) -> npt.NDArray[Any]:
        """All of it."""
        with _opened(self.file) as archive, archive.open(f"{self.name}.npy") as stream:
            array: npt.NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
            return array


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    """An archive; what is wrong with it, found while it is read, is said in a line."""
    try:
        if not file.is_file():  # a pipe or a device might never end
            missing = "is not a file" if file.exists() else "does not exist"
            raise BadInput(f"--data {file} {missing}")
        with zipfile.ZipFile(file) as archive:
            yield archive
    except PermissionError as error:
        raise BadInput(f"--data {file} cannot be read: {error.strerror}") from error
    except _DAMAGED as error:
        if "Object arrays" in str(error):
            raise BadInput(f"--data {file} holds an array of Python objects; save arrays of numbers") from error
        raise BadInput(f"--data {file} is not an .npz file, or a damaged one") from error


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError
    return content


def _arrays(file: Path) -> dict[str, _Array]:
    """The arrays of an .npz by name; members that are no arrays are passed over."""
    found = {}
    with _opened(file) as archive:
        for info in archive.infolist():
            name, dot, kind = info.filename.rpartition(".")
            if (dot, kind) != (".", "npy"):
                continue
            with archive.open(info) as stream:
                version = np.lib.format.read_magic(stream)
                if version > (2, 0):  # for names of fields, which no numbers have
                    raise ValueError(version)
                read = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
                shape, fortran, dtype = read(stream)
                if dtype.hasobject:
                    raise ValueError("Object arrays")
                if min(shape, default=0) < 0 or stream.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
                    raise ValueError(shape)  # more than there is, for which memory would be asked
                straight = not fortran or len(shape) < 2
                check = info.file_size, info.CRC
                found[name] = _Array(file, name, shape, dtype, straight, stream.tell(), check)
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.npz"))
    if not files:
        raise BadInput(f"--data {path} is a folder without .npz files")
    return files


def shape_of(path: Path | None) -> tuple[int, ...]:
    """Shape of the windows in a data file, or in the first of a folder.

    Raises:
        BadInput: there is no data, or none that says it.
    """
    if path is None:
        raise BadInput("the shape of the network's windows is not known; say it with --shape, or give --data")
    file = _files(path)[0]
    arrays = _arrays(file)
    for name, (rank, axes) in _RANKS.items():
        if name in arrays:
            shape = arrays[name].shape
            if len(shape) != rank:
                raise BadInput(f"--data {file}: '{name}' has shape {shape}, it should be [{axes}]")
            return shape[1:]
    raise BadInput(f"--data {file} has neither 'frames' nor 'images' (it has: {_names(arrays)})")


def _names(arrays: dict[str, _Array]) -> str:
    return ", ".join(arrays) or "nothing"


@dataclasses.dataclass(frozen=True)
class Data:
    """Windows in files.

    Attributes:
        arrays: of windows, one a file, in their order.
        contract: that they meet.
        labels: class indices int64 [N], where known.
        source: where they come from, for reports.
        digest: tells these data from others, by their checksums.
        stamp: when their files were written.
        count: how many windows are taken.
    """

    arrays: tuple[_Array, ...]
    contract: InputContract
    labels: Labels | None
    source: str
    digest: str
    stamp: str
    count: int

    real = True

    def __len__(self) -> int:
        return self.count

    def first(self, n: int) -> Data:
        """The first n of them, or all."""
        labels = None if self.labels is None else self.labels[:n]
        return dataclasses.replace(self, labels=labels, count=min(n, self.count))

    def batches(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Those from `start` on, float32 [size, ...] at a time and fewer at the end.

        Raises:
            BadInput: a file is damaged, or holds values that are not finite.
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
        for array in self.arrays:
            n = array.shape[0]
            for rows in array.rows(size, start) if start < n else ():
                yield _checked(rows, self.contract, array.file)
            start = max(0, start - n)


def load(path: Path, contract: InputContract, classes: int | None) -> Data:
    """Open data: an .npz with the array the contract names and, where known, `labels` [N]; or a folder of such files.

    Args:
        path: the file, or the folder, whose files are taken in the order of their names.
        contract: what the network takes in.
        classes: how many classes it tells apart; None if that is not known yet.

    Raises:
        BadInput: a file is missing, is not such a file, or holds what the network cannot take.
    """
    windows: list[_Array] = []
    labels: list[Labels] = []
    checks: list[tuple[int, int]] = []
    files = _files(path)
    for file in files:
        arrays = _arrays(file)
        if contract.name not in arrays:
            raise BadInput(f"--data {file} has no array '{contract.name}' (it has: {_names(arrays)})")
        windows.append(arrays[contract.name])
        checks.append(windows[-1].check)
        _check_array(windows[-1], contract)
        if "labels" in arrays:
            checks.append(arrays["labels"].check)
            labels.append(_checked_labels(arrays["labels"].whole(), windows[-1].shape[0], classes, file))
    if labels and len(labels) != len(files):
        raise BadInput(f"--data {path}: some of its files have 'labels' and some have not")
    data = Data(
        arrays=tuple(windows),
        contract=contract,
        labels=np.concatenate(labels) if labels else None,
        source=f"{path.name}/ ({len(files)} file{'' if len(files) == 1 else 's'})" if path.is_dir() else path.name,
        digest=hashlib.sha256(repr(checks).encode()).hexdigest(),
        stamp=" ".join(f"{file.name} {file.stat().st_mtime_ns}" for file in files),
        count=sum(array.shape[0] for array in windows),
    )
    remark = _remark(next(data.batches(_LOOKED_AT)), contract)
    return dataclasses.replace(data, source=data.source + remark)


def _check_array(array: _Array, contract: InputContract) -> None:
    wanted = ", ".join(map(str, contract.shape))
    if array.shape[1:] != contract.shape or not array.shape:
        raise BadInput(
            f"--data {array.file}: '{contract.name}' has shape {array.shape}, the network takes [N, {wanted}] "
            f"({contract.axes})"
        )
    if array.shape[0] == 0:
        raise BadInput(f"--data {array.file}: '{contract.name}' is empty")
    if array.dtype.kind not in "biuf":
        raise BadInput(f"--data {array.file}: '{contract.name}' has type {array.dtype}, numbers are needed")


def _checked(rows: npt.NDArray[Any], contract: InputContract, file: Path) -> Floats:
    """Windows as the network takes them."""
    with np.errstate(over="ignore"):
        inputs = rows.astype(np.float32)
    if contract.scaling == "unit" and rows.dtype.kind in "iu":
        inputs /= np.float32(255)
    if not np.isfinite(inputs).all():
        raise BadInput(f"--data {file}: '{contract.name}' holds values that are NaN, infinite or too large for float32")
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


def _checked_labels(labels: npt.NDArray[Any], n: int, classes: int | None, path: Path) -> Labels:
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise BadInput(f"--data {path}: 'labels' must be {n} integers, it is {labels.dtype} of shape {labels.shape}")
    if classes is None:
        return labels.astype(np.int64)
    if classes == 0:
        raise BadInput(f"--data {path} has 'labels', but the network does not classify")
    if labels.min() < 0 or labels.max() >= classes:
        outside = labels[(labels < 0) | (labels >= classes)][0]
        raise BadInput(f"--data {path}: label {outside} is outside the network's {classes} classes (0..{classes - 1})")
    return labels.astype(np.int64)
