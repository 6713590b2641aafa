"""Data sets. Windows in files are read when they are needed, so memory does not grow with the number of windows.

Files of windows (`tcja_runtime.files.npz`), recordings of events (`tcja_runtime.data.recordings`) and pictures
(`tcja_runtime.data.images`) may be mixed, as far as the network takes them. Windows that a program gives
(`tcja_runtime.data.windows.GivenWindows`) are checked and scaled as those of files are.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tcja_runtime.counting import agree, counted, listed
from tcja_runtime.data import class_folders, recordings
from tcja_runtime.data.camera import replaced_view
from tcja_runtime.data.contract import Floats, InputContract, Labels
from tcja_runtime.data.images import decoding, picture_files
from tcja_runtime.data.recordings import DataOptions, Reading, RecordedWindows
from tcja_runtime.data.windows import GivenWindows, check_array, checked, checked_labels, unusual
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Recording, extension_of, recording, suffixes
from tcja_runtime.events.formats.arrays import numpy_files
from tcja_runtime.extensions import Extension
from tcja_runtime.files import kinds, npz
from tcja_runtime.files.npz import Array
from tcja_runtime.files.text import shown

_LOOKED_AT = 16  # windows in which unusual values are looked for
_REMARKED = 3  # the most files that a remark names


class Part(Protocol):
    """The windows of one file, or of a segment of a recording.

    Attributes:
        file: the file.
        count: the number of windows.
        labels: the class indices, int64 [count]; None if the file does not store them.
        checks: the sizes and SHA-256 of the content, and the settings that change the windows, such as the rule that
            cuts a recording into frames.
        reading: the time span of each window of a recording, and remarks on the recording. None before all windows of
            the recording were read once; always None for files of windows.
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
    def reading(self) -> Reading | None: ...

    def windows(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Yields the windows from number `start` on, float32 [n, ...] with at most `size` windows at a time."""
        ...


@dataclasses.dataclass(frozen=True)
class _ArrayWindows:
    """The windows in an array, of an .npz or given by a program.

    Attributes:
        array: the array.
        contract: the input contract of the network.
        labels: the class indices, int64 [count]; None if the file does not have them.
        content: the arrays that the windows and the labels are from, or what a program gave.
        single: whether the array is one window without a batch axis, as SpikingJelly saves frames.
    """

    array: Array | GivenWindows
    contract: InputContract
    labels: Labels | None
    content: Sequence[Array | GivenWindows]
    single: bool

    reading = None

    @property
    def file(self) -> Path:
        return self.array.file

    @property
    def checks(self) -> Sequence[object]:
        return [check for each in self.content for check in each.checks]

    @property
    def count(self) -> int:
        return 1 if self.single else self.array.shape[0]

    def windows(self, size: int, start: int = 0) -> Iterator[Floats]:
        """The windows from number `start` on (`Part.windows`)."""
        frames = self.array.shape[0]
        rows = (each[None] for each in self.array.rows(frames)) if self.single else self.array.rows(size, start)
        for each in rows:
            yield checked(each, self.contract, self.file)


@dataclasses.dataclass(frozen=True)
class Data:
    """The windows of a data set.

    Attributes:
        parts: the files and segments, in their order.
        labels: the class indices, int64 [N]; None if they are not known.
        source: the name of the data set, for reports.
        stamp: a text with the name of each file and the time when it was written.
        count: the number of windows that are used, N.
        remarks: notes for the user about the files and about how the labels were found, a line each.
    """

    parts: tuple[Part, ...]
    labels: Labels | None
    source: str
    stamp: str
    count: int
    remarks: tuple[str, ...] = ()

    real = True

    def __len__(self) -> int:
        return self.count

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of the content of all parts, the same for the same windows. It is made of those of the files.

        Raises:
            BadInput: a file is damaged.
        """
        checks = [check for part in self.parts for check in part.checks]
        return hashlib.sha256(repr(checks).encode()).hexdigest()

    @property
    def extensions(self) -> list[Extension]:
        """The extensions that read its recordings."""
        formats = dict.fromkeys(part.recording.format for part in self.parts if isinstance(part, RecordedWindows))
        return [found for name in formats if (found := extension_of(name))]

    def first(self, n: int) -> Data:
        """The first n windows; all of them if there are fewer."""
        labels = None if self.labels is None else self.labels[:n]
        return dataclasses.replace(self, labels=labels, count=min(n, self.count))

    def batches(self, size: int, start: int = 0) -> Iterator[Floats]:
        """Yields the windows from number `start` on, in batches float32 [size, ...]; the last batch may be smaller.

        Raises:
            BadInput: a file is damaged, or has windows that the network cannot take.
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

    def readings(self, parts: range) -> dict[int, Reading]:
        """Returns what is known of the recordings among these parts that were read, by the number of the part."""
        return {at: reading for at in parts if (reading := self.parts[at].reading)}

    def learn(self, readings: Mapping[int, Reading]) -> None:
        """Take over what another process knows of the recordings that it read, by the number of the part."""
        for at, reading in readings.items():
            part = self.parts[at]
            if isinstance(part, RecordedWindows):
                part.reading = reading

    def _pieces(self, size: int, start: int) -> Iterator[Floats]:
        """Yields the windows from number `start` on. Each piece has at most `size` windows, all from the same part."""
        for part in self.parts:
            yield from part.windows(size, start) if start < part.count else ()
            start = max(0, start - part.count)


def load(
    data: Path | GivenWindows,
    contract: InputContract,
    classes: Sequence[str] | None,
    options: DataOptions | None = None,
) -> Data:
    """Open a data set: a file, a folder, or windows that a program gives.

    A data file is one of these:

    * an .npz with the array that the contract names, such as `frames` [N, T, P, H, W] or `features` [N, T, F], and with
      or without `labels` [N];
    * an .npz with `frames` [T, P, H, W] of one window, as SpikingJelly saves it;
    * a recording of events, with or without a label file beside it (`tcja_runtime.data.recordings`);
    * a picture in a PNG or JPEG file, for a network that takes images (`tcja_runtime.data.images`).

    If `data` is a folder, all data files in it and in all folders below it are used, in the order of their paths. If
    the folders in it have the names or numbers of classes, their files get these classes as labels
    (`tcja_runtime.data.class_folders`).

    Args:
        data: the path of the file or folder, or the windows.
        contract: the input contract of the network.
        classes: the names of the network's classes; None if they are not known yet.
        options: how the files are read; None for the defaults.

    Raises:
        BadInput: a file is missing, is not a data file, or has windows that the network cannot take; or labels are
            outside the classes; or only some of the files have labels.
    """
    options = options or DataOptions()
    if isinstance(data, GivenWindows):
        return _given(data, contract, classes, options)
    pictures = decoding.SUFFIXES if contract.name == "images" else frozenset[str]()
    path, found = data, class_folders.data_files(data, pictures)
    files = found.files
    parts = [part for file in files for part in _open_parts(file, contract, classes, options)]
    replaced = replaced_view(contract, options.camera_view)
    named = class_folders.folder_labels(path, [part.file for part in parts], classes, options.labels)
    labels = np.concatenate(
        [
            np.full(part.count, label, np.int64) if part.labels is None else part.labels
            for part, label in zip(parts, named.classes, strict=True)
        ]
    )
    known = labels >= 0
    if known.any() and not known.all():
        raise BadInput(f"{path}: some of its files have labels and some do not; label all of them, or none")
    return Data(
        parts=tuple(parts),
        labels=labels if known.any() else None,
        source=_source(path, files, parts, contract),
        stamp=" ".join(f"{file.name} {file.stat().st_mtime_ns}" for file in files),
        count=len(labels),
        remarks=tuple(
            filter(None, (replaced, found.remark, named.remark, _number_remark(path, parts, classes, options)))
        ),
    )


def _given(given: GivenWindows, contract: InputContract, classes: Sequence[str] | None, options: DataOptions) -> Data:
    """Windows that a program gives as a data set, whose digest is that of an .npz with the same arrays."""
    _refuse_options(given.file, contract, options)
    check_array(given, contract, single=False)
    labels = None if given.labels is None else checked_labels(given.labels, given.shape[0], classes, given.file)
    part = _ArrayWindows(given, contract, labels, [given], single=False)
    source = given.source + unusual(next(part.windows(_LOOKED_AT)), contract)
    return Data(parts=(part,), labels=labels, source=source, stamp="", count=part.count)


def of_recording(
    source: Recording, contract: InputContract, classes: Sequence[str] | None, options: DataOptions | None = None
) -> Data:
    """A recording that is open, such as events in memory, as a data set. The other arguments are those of `load`.

    Raises:
        BadInput: its camera is not that of the network, or its label file names a class that the network does not have.
    """
    options = options or DataOptions()
    parts = recordings.parts_of(source, contract, classes, options)
    labels = [part.labels for part in parts if part.labels is not None]
    return Data(
        parts=tuple(parts),
        labels=np.concatenate(labels) if labels else None,
        source=shown(source.path.name),
        stamp="",
        count=sum(part.count for part in parts),
        remarks=tuple(filter(None, [replaced_view(contract, options.camera_view)])),
    )


def _number_remark(path: Path, parts: Sequence[Part], classes: Sequence[str] | None, options: DataOptions) -> str:
    """The remark on how the numbers in label files tell classes; empty if there is nothing to say."""
    segments = [part.segment for part in parts if isinstance(part, RecordedWindows) and part.segment]
    if options.labels or not classes or not segments:
        return ""
    return class_folders.number_remark(path, [segment.label for segment in segments], classes)


def remarks(data: Iterable[Data]) -> list[str]:
    """Returns the remarks on data sets, one line each, with the names of the files that the remark is about.

    Remarks on a recording are known only after all of its windows were read.
    """
    files: dict[str, dict[str, None]] = {}
    found = list(dict.fromkeys(remark for each in data for remark in each.remarks))
    for part in (part for each in data for part in each.parts):
        for remark in part.reading.remarks if part.reading else ():
            files.setdefault(remark, {})[str(part.file)] = None
    for remark, of in files.items():
        found.append(f"{listed(of, _REMARKED)}{agree(len(of), '', ', each')}: {remark}")
    return found


def _open_parts(
    file: Path, contract: InputContract, classes: Sequence[str] | None, options: DataOptions
) -> Sequence[Part]:
    """Open a data file: one part, or one for each labelled segment of a recording."""
    of_events = contract.name == "frames"
    if contract.name == "images" and decoding.is_picture(file):
        for name in options.for_events:
            raise BadInput(f"{file} is a picture; `{name}` is for recordings only, so leave it out")
        return [picture_files.open_picture(file, contract, options.camera_view)]
    kind = kinds.other_kind(file) or (None if of_events else _kind_of_recording(file))
    if kind is not None:
        raise BadInput(f"{file} is {kind}; the network takes {contract.wanted}")
    found = npz.arrays(file) if _archived(file) or not of_events else None
    if found is None or (of_events and contract.name not in found and numpy_files.holds_events(found, file)):
        return recordings.parts_of(recording(file, options=options.reading), contract, classes, options)
    _refuse_options(file, contract, options)
    if contract.name not in found:
        has = _names(found)
        raise BadInput(f"{file} has no array '{contract.name}' (it has: {has}); the network takes {contract.wanted}")
    array = found[contract.name]
    single = contract.name == "frames" and array.shape == contract.shape
    check_array(array, contract, single)
    content, labels = [array], None
    if "labels" in found and not single:
        content.append(found["labels"])
        labels = checked_labels(found["labels"].whole(), array.shape[0], classes, file)
    return [_ArrayWindows(array, contract, labels, content, single)]


def _refuse_options(file: Path, contract: InputContract, options: DataOptions) -> None:
    """Refuse options for recordings and pictures, where windows are given."""
    for name in options.given:
        others = "pictures" if contract.name == "images" and name not in options.for_events else "recordings"
        raise BadInput(f"{file} has windows already; `{name}` is for {others} only, so leave it out")


def _kind_of_recording(file: Path) -> str | None:
    """What a file is that a network cannot take because it takes no events; None if it is no such file."""
    if file.suffix.lower() == ".npy":
        return "a single array (.npy)"
    return "a recording of events" if file.suffix.lower() in suffixes() and not _archived(file) else None


def _archived(file: Path) -> bool:
    """Whether a file is an .npz, by its suffix."""
    return file.suffix.lower() == ".npz"


def _source(path: Path, files: Sequence[Path], parts: Sequence[Part], contract: InputContract) -> str:
    """The name of a data set for reports, with a remark if its values are unusual."""
    own = shown(path.name)
    name = f"{own}/ ({counted(len(files), 'file')})" if path.is_dir() else own
    archived = tuple(part for part in parts if isinstance(part, _ArrayWindows))
    if not archived:
        return name
    looked_at = Data(archived, None, name, "", sum(part.count for part in archived))
    return name + unusual(next(looked_at.batches(_LOOKED_AT)), contract)


def _names(found: Mapping[str, Array]) -> str:
    """The names of some arrays, for messages."""
    return ", ".join(found) or "nothing"
