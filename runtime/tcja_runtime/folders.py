"""Folders of data, as data sets of events come: one folder a class, in it a file a recording.

Frameworks number such classes by the names of their folders in the order of text (torchvision's DatasetFolder, which
SpikingJelly's data sets are): 0, 1, 10, 2, ... A network's classes are in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tcja_runtime.errors import BadInput
from tcja_runtime.events import FORMATS

SUFFIXES = frozenset((".npz", *(suffix for each in FORMATS.values() for suffix in each.suffixes)))
"""Of files that are data; others that lie beside them are passed over."""


def files(path: Path) -> list[Path]:
    """A file, or the data files below a folder in the order of their names.

    Raises:
        BadInput: the folder holds none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not found:
        raise BadInput(f"{path} is a folder without data; these are: {', '.join(sorted(SUFFIXES))}")
    return found


def labels(path: Path, files: Sequence[Path], classes: Sequence[str] | None) -> list[int]:
    """The class of each file, -1 where the folders do not tell.

    Args:
        path: the folder that was given, or a file.
        files: below it.
        classes: the network's; None if they are not known yet.

    Raises:
        BadInput: some of the folders are classes and some are not.
    """
    names = [_folder(path, file) for file in files]
    numbers = _numbers(sorted(set(filter(None, names))), list(classes or ()), path)
    return [numbers.get(name, -1) for name in names]


def of_folder(name: str, classes: Sequence[str]) -> int | None:
    """The class that a data set whose folders are numbered from 0 keeps in this one; None if it has no such folder."""
    ordered = sorted(map(str, range(len(classes))))
    return ordered.index(name) if name in ordered else None


def _folder(path: Path, file: Path) -> str:
    """The folder directly in `path` that a file is below; empty if it is in none."""
    below = file.relative_to(path).parts if path.is_dir() else ()
    return below[0] if len(below) > 1 else ""


def _numbers(folders: list[str], classes: list[str], path: Path) -> dict[str, int]:
    named = {folder: classes.index(folder) for folder in folders if folder in classes}
    if not named:
        counted = {folder: at for folder in folders if (at := of_folder(folder, classes)) is not None}
        if counted:
            named = counted
        elif len(folders) == len(classes):
            named = {folder: at for at, folder in enumerate(folders)}
    unknown = [folder for folder in folders if folder not in named]
    if named and unknown:
        raise BadInput(f"{path}: the folder '{unknown[0]}' is none of the network's classes ({', '.join(classes)})")
    return named
