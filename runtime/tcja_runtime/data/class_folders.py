"""Data sets in folders: one folder for each class, with one file for each recording.

SpikingJelly's data sets are subclasses of torchvision's DatasetFolder. It sorts the names of the folders as texts: 0,
1, 10, 2, ... The index of a class is the place of its folder in this order, and the outputs of a network have this
order too. Example: of the folders 0 to 10, the folder "2" has the index 3.

The label files of a data set (`tcja_runtime.events.labels`) count from 1: class 3 in a label file has the folder "2".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from tcja_runtime.errors import BadInput
from tcja_runtime.events import FORMATS, is_recording_folder

SUFFIXES = frozenset((".npz", *(suffix for each in FORMATS.values() for suffix in each.suffixes)))
"""The suffixes of data files. Files with other suffixes are skipped."""


def data_files(path: Path) -> list[Path]:
    """The data files in a folder and in all folders below it, sorted by their paths.

    A data file has one of the `SUFFIXES`. Links are followed; hidden files and folders are skipped. If the path is not
    a folder, the list has only this path, whatever its suffix is.

    Raises:
        BadInput: the folder has no data files, a folder in it cannot be read, or a link leads back to a folder above.
    """
    if not path.is_dir() or is_recording_folder(path):
        return [path]
    found = sorted(filter(_is_data, _below(path, ())))
    if not found:
        raise BadInput(f"{path} is a folder without data files; their suffixes are {', '.join(sorted(SUFFIXES))}")
    return found


def _is_data(path: Path) -> bool:
    """Whether a path is a data file, or a folder that is one recording."""
    return is_recording_folder(path) or (path.suffix.lower() in SUFFIXES and path.is_file())


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yields the files in a folder and in all folders below it, without hidden files and folders.

    A folder that is one recording is yielded as a file.

    Args:
        folder: the folder.
        above: the resolved paths of the folders above it, to find links that lead back.

    Raises:
        BadInput: a folder cannot be read, or a link leads back to a folder above.
    """
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
        if each.is_dir() and not is_recording_folder(each):
            yield from _below(each, (*above, place))
        else:
            yield each


@dataclasses.dataclass(frozen=True)
class FolderLabels:
    """The labels of files, from the names of their folders.

    Attributes:
        classes: for each file, the index of its class; -1 if the name of its folder is not the name of a class.
        remark: a note for the user about how the labels were found; empty if there is none.
    """

    classes: list[int]
    remark: str


def folder_labels(path: Path, files: Sequence[Path], classes: Sequence[str] | None) -> FolderLabels:
    """Returns the class of each file, from the name of a folder.

    The folder is the one directly in `path` that contains the file. Example: the folder of PATH/cat/a/1.npz is "cat".
    The folder has the name of its class, or the number of its class in the data set. Upper and lower case, spaces and
    punctuation in the name do not matter. If the names of the network's classes are just 0, 1, 2, ..., and there are as
    many folders as classes, then the first folder in alphabetical order is class 0, and so on.

    Args:
        path: the folder that the user gave, or a file. A file has no label.
        files: the data files in that folder and in all folders below it.
        classes: the names of the network's classes; None if they are not known yet. Then no file has a label.

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
    """Returns the index of the class whose folder has this number as its name; None if no class has such a folder.

    Example: the index of "2" is 3 for 11 classes, whose folders are sorted as texts (0, 1, 10, 2, ...).
    """
    ordered = sorted(map(str, range(len(classes))))
    return ordered.index(number) if number in ordered else None


def _folder(path: Path, file: Path) -> str:
    """The name of the folder directly in `path` that contains a file; empty if the file is directly in `path`."""
    below = file.relative_to(path).parts if path.is_dir() else ()
    return below[0] if len(below) > 1 else ""


def _numbers(folders: list[str], classes: list[str], path: Path) -> tuple[dict[str, int], str]:
    """Returns the index of each folder's class, by the name of the folder, and the remark for the user.

    The dictionary is empty if no folder is a class.

    Raises:
        BadInput: some of the folders are classes and some are not, or two of them are the same class.
    """
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
    """The folders of the first class that has more than one folder; `found` is the class of each folder."""
    counted = list(found.values())
    return [folder for folder, at in found.items() if at == next(each for each in counted if counted.count(each) > 1)]


def _plain(name: str) -> str:
    """A name in lower case, with letters and digits only."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())
