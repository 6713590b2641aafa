"""Data sets in folders: one folder for each class, with one file for each recording.

torchvision's DatasetFolder, which SpikingJelly's data sets are, numbers the classes by the names of their folders in
alphabetical order: 0, 1, 10, 2, ... The classes of a network are in that order. The label files of a data set have the
names of the folders (counted from 1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from tcja_runtime.errors import BadInput
from tcja_runtime.events import FORMATS

SUFFIXES = frozenset((".npz", *(suffix for each in FORMATS.values() for suffix in each.suffixes)))
"""The suffixes of data files. Files with other suffixes are skipped."""


def data_files(path: Path) -> list[Path]:
    """The data files in a folder and in all folders below it, sorted by their paths.

    Links are followed; hidden files and folders are skipped. If the path is a file, the list has only this file.

    Raises:
        BadInput: the folder has no data files, a folder in it cannot be read, or a link leads back to a folder above.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in _below(path, ()) if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise BadInput(f"{path} is a folder without data files; their suffixes are {', '.join(sorted(SUFFIXES))}")
    return found


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The files in a folder and in all folders below it, without hidden ones."""
    place = folder.resolve()
    if place in above:
        raise BadInput(f"{folder} leads back to {place}; remove the link")
    try:
        within = sorted(folder.iterdir())
    except OSError as error:
        raise BadInput(f"{folder} cannot be read: {error.strerror}") from error
    for each in within:
        if each.name.startswith("."):
            continue
        if each.is_dir():
            yield from _below(each, (*above, place))
        else:
            yield each


@dataclasses.dataclass(frozen=True)
class FolderLabels:
    """The labels of files, from the names of their folders.

    Attributes:
        classes: the index of the class of each file; -1 if the name of its folder is not that of a class.
        remark: a note for the user about how the labels were found; empty if there is none.
    """

    classes: list[int]
    remark: str


def folder_labels(path: Path, files: Sequence[Path], classes: Sequence[str] | None) -> FolderLabels:
    """The class of each file, from the name of the folder in `path` that the file is below.

    A folder has the name of its class, or the number of its class in the data set. Capital letters, spaces and signs in
    the name do not matter. If the classes of the network have only numbers as names, and there are as many folders as
    classes, the folders are taken in their order.

    Args:
        path: the folder that the user gave, or a file.
        files: the data files below it.
        classes: the names of the network's classes; None if they are not known yet.

    Raises:
        BadInput: some of the folders are classes and some are not, or two of them are the same class.
    """
    names = [_folder(path, file) for file in files]
    folders = sorted(set(filter(None, names)))
    if not folders or not classes:
        return FolderLabels([-1] * len(files), "")
    numbers, remark = _numbers(folders, list(classes), path)
    return FolderLabels([numbers.get(name, -1) for name in names], remark)


def class_of_number(number: str, classes: Sequence[str]) -> int | None:
    """The index of the class whose folder has this number as its name; None if the data set has no such folder."""
    ordered = sorted(map(str, range(len(classes))))
    return ordered.index(number) if number in ordered else None


def _folder(path: Path, file: Path) -> str:
    """The name of the folder in `path` that a file is below; empty if the file is directly in `path`."""
    below = file.relative_to(path).parts if path.is_dir() else ()
    return below[0] if len(below) > 1 else ""


def _numbers(folders: list[str], classes: list[str], path: Path) -> tuple[dict[str, int], str]:
    """The index of the class of each folder, empty if no folder is a class; and the remark for the user."""
    numbered = classes == [str(i) for i in range(len(classes))]
    plain = [] if numbered else [_plain(name) for name in classes]
    found = {folder: plain.index(_plain(folder)) for folder in folders if _plain(folder) in plain}
    if not found:
        found = {folder: at for folder in folders if (at := class_of_number(folder, classes)) is not None}
    if not found and numbered and len(folders) == len(classes):
        order = {folder: at for at, folder in enumerate(folders)}
        pairs = ", ".join(f"{at} = {folder}" for folder, at in order.items())
        return order, f"{path}: its folders are taken as the network's classes, in their order: {pairs}"
    if not found:
        known = ", ".join(classes)
        return {}, f"{path}: no labels, as its folders do not have the names of the network's classes ({known})"
    unknown = [folder for folder in folders if folder not in found]
    if unknown:
        known = ", ".join(classes)
        raise BadInput(
            f"{path}: the folder '{unknown[0]}' is not a class of the network ({known}); rename or remove it"
        )
    if len(set(found.values())) < len(found):
        raise BadInput(
            f"{path}: two of its folders, {' and '.join(_twice(found))}, are the same class; keep one of them"
        )
    return found, ""


def _twice(found: dict[str, int]) -> list[str]:
    """The folders of the first class that has more than one."""
    counted = list(found.values())
    return [folder for folder, at in found.items() if at == next(each for each in counted if counted.count(each) > 1)]


def _plain(name: str) -> str:
    """A name in lower case, with letters and digits only."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())
