"""Folders of data, as data sets of events come: one folder a class, in it a file a recording.

Frameworks number such classes by the names of their folders in the order of text (torchvision's DatasetFolder, which
SpikingJelly's data sets are): 0, 1, 10, 2, ... A network's classes are in that order, and a data set's label files
number them as its folders.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from tcja_runtime.errors import BadInput
from tcja_runtime.events import FORMATS

SUFFIXES = frozenset((".npz", *(suffix for each in FORMATS.values() for suffix in each.suffixes)))
"""Of files that are data; others that lie beside them are passed over."""


def files(path: Path) -> list[Path]:
    """A file, or the data files below a folder in the order of their names; links are followed.

    Raises:
        BadInput: the folder holds none, or one in it cannot be read or leads back to itself.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in _below(path, ()) if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise BadInput(f"{path} is a folder without data; these are: {', '.join(sorted(SUFFIXES))}")
    return found


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """The files in a folder and in those below it; what is hidden is passed over."""
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
class Labelled:
    """What folders say of files.

    Attributes:
        classes: of each file, an index; -1 where they do not tell.
        remark: what a user should know of how that was found; empty if there is nothing.
    """

    classes: list[int]
    remark: str


def labels(path: Path, files: Sequence[Path], classes: Sequence[str] | None) -> Labelled:
    """The class of each file, by the folder directly in `path` that it is below.

    A folder is called by the name of its class, whatever its case, spaces and signs; or by its number in the data set.
    Where a network's classes have no names but their numbers, as many folders as classes are taken in their order.

    Args:
        path: the folder that was given, or a file.
        files: below it.
        classes: the network's; None if they are not known yet.

    Raises:
        BadInput: some of the folders are classes and some are not, or two are the same class.
    """
    names = [_folder(path, file) for file in files]
    folders = sorted(set(filter(None, names)))
    if not folders or not classes:
        return Labelled([-1] * len(files), "")
    numbers, remark = _numbers(folders, list(classes), path)
    return Labelled([numbers.get(name, -1) for name in names], remark)


def of_number(number: str, classes: Sequence[str]) -> int | None:
    """The class of the folder that a data set calls by this number, from 0; None if it has no such folder."""
    ordered = sorted(map(str, range(len(classes))))
    return ordered.index(number) if number in ordered else None


def _folder(path: Path, file: Path) -> str:
    """The folder directly in `path` that a file is below; empty if it is in none."""
    below = file.relative_to(path).parts if path.is_dir() else ()
    return below[0] if len(below) > 1 else ""


def _numbers(folders: list[str], classes: list[str], path: Path) -> tuple[dict[str, int], str]:
    numbered = classes == [str(i) for i in range(len(classes))]
    plain = [] if numbered else [_plain(name) for name in classes]
    found = {folder: plain.index(_plain(folder)) for folder in folders if _plain(folder) in plain}
    if not found:
        found = {folder: at for folder in folders if (at := of_number(folder, classes)) is not None}
    if not found and numbered and len(folders) == len(classes):
        order = {folder: at for at, folder in enumerate(folders)}
        said = ", ".join(f"{at} = {folder}" for folder, at in order.items())
        return order, f"{path}: its folders are taken for the network's classes in their order: {said}"
    if not found:
        return {}, f"{path}: its folders are not called as the network's classes ({', '.join(classes)}): no labels"
    unknown = [folder for folder in folders if folder not in found]
    if unknown:
        raise BadInput(f"{path}: the folder '{unknown[0]}' is none of the network's classes ({', '.join(classes)})")
    if len(set(found.values())) < len(found):
        raise BadInput(f"{path}: two of its folders, {' and '.join(_twice(found))}, are called as the same class")
    return found, ""


def _twice(found: dict[str, int]) -> list[str]:
    """The folders of the first class that has two."""
    counted = list(found.values())
    return [folder for folder, at in found.items() if at == next(each for each in counted if counted.count(each) > 1)]


def _plain(name: str) -> str:
    """A name without what people write differently."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())
