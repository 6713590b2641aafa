"""Data sets in folders: one folder for each class, with one file for each recording.

Three rules tell the classes:

    names        a folder has the name of its class; upper and lower case, spaces and punctuation do not matter
    numbers      a folder has the number of its class, as in tonic and snnTorch: "10" is class 10
    text-order   the folders in the order of their names as texts are classes 0, 1, ..., as in SpikingJelly, whose data
                 sets are subclasses of torchvision's DatasetFolder: of the folders 0 to 10, "10" is class 2

The label files of a data set (`tcja_runtime.events.labels`) have numbers that count from 1: class 3 in a label file has
the folder "2". The rules "numbers" and "text-order" are for them too.

Where no rule is given, names come first. Of the other two, "numbers" is taken for a network whose classes have no names
but 0, 1, 2, ..., and "text-order" for a network whose classes have names: those of the published networks are in that
order. If another rule would give other classes, a remark says so.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Iterator, Sequence, Set
from pathlib import Path

from tcja_runtime.choices import LABEL_RULES, LabelRule
from tcja_runtime.counting import agree, counted
from tcja_runtime.errors import BadInput
from tcja_runtime.events import is_recording_folder, suffixes
from tcja_runtime.files import kinds

_LABELS = "_labels.csv"
_NAMES: str = LabelRule.NAMES.value
_NUMBERS: str = LabelRule.NUMBERS.value
_TEXT_ORDER: str = LabelRule.TEXT_ORDER.value


@dataclasses.dataclass(frozen=True)
class DataFiles:
    """The data files of a folder.

    Attributes:
        files: the files, sorted by their paths.
        remark: a note for the user about the files that were passed over; empty if there are none.
    """

    files: list[Path]
    remark: str


def data_files(path: Path, more: Collection[str] = ()) -> DataFiles:
    """The data files in a folder and in all folders below it.

    A data file has the suffix of a format of events or windows, or another one that is given. Links are followed;
    hidden files and folders, and bundles, are skipped. If the path is not a folder, the list has only this path,
    whatever its suffix is.

    Args:
        path: the file or folder.
        more: the other suffixes of data files.

    Raises:
        BadInput: the folder has no data files, a folder in it cannot be read, or a link leads back to a folder above.
    """
    if not path.is_dir() or is_recording_folder(path):
        return DataFiles([path], "")
    kind = kinds.other_kind(path)
    if kind is not None:
        raise BadInput(f"{path} is {kind}, not a folder of data; give the files that the network was trained for")
    known = suffixes() | set(more)
    below = sorted(_below(path, ()))
    hidden = {each for each in below if each.name.startswith(".")}
    bundles = {each for each in below if each not in hidden and kinds.is_bundle(each)}
    found = [each for each in below if each not in hidden and _is_data(each, known)]
    if not found:
        has = f"; it has {', '.join(_counts(below, hidden, bundles))}" if below else ""
        raise BadInput(f"{path} is a folder without data files; their suffixes are {', '.join(sorted(known))}{has}")
    labels = {file.with_name(f"{file.stem}{_LABELS}") for file in found}
    others = {*below} - {*found} - labels
    return DataFiles(found, _not_used(path, others, hidden, bundles))


def _not_used(path: Path, others: Collection[Path], hidden: Set[Path], bundles: Set[Path]) -> str:
    """The remark on entries that are not data files: hidden ones, bundles, and others; empty if there are none."""
    if not others:
        return ""
    n = len(others)
    return (
        f"{path}: {counted(n, 'entry')} {agree(n, 'is', 'are')} not used: {', '.join(_counts(others, hidden, bundles))}"
    )


def _counts(others: Collection[Path], hidden: Set[Path], bundles: Set[Path]) -> list[str]:
    """How many files there are with each suffix, and how many bundles and hidden entries, such as "2 with .txt"."""
    counts = Counter(each.suffix.lower() or "no suffix" for each in others if each not in hidden | bundles)
    found = [f"{n:,} with {suffix}" for suffix, n in sorted(counts.items())]
    return found + [counted(len(bundles), "bundle")] * bool(bundles) + [f"{len(hidden):,} hidden"] * bool(hidden)


def _is_data(path: Path, known: Collection[str]) -> bool:
    """Whether a path is a data file, or a folder that is one recording."""
    return is_recording_folder(path) or (path.suffix.lower() in known and path.is_file())


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yields the files in a folder and in all folders below it, and the hidden folders, whose files are left out.

    A folder that is one recording, or a bundle, is yielded as a file.

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
        whole = is_recording_folder(each) or kinds.is_bundle(each)
        if each.is_dir() and not each.name.startswith(".") and not whole:
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


def folder_labels(
    path: Path, files: Sequence[Path], classes: Sequence[str] | None, rule: str | None = None
) -> FolderLabels:
    """Returns the class of each file, from the name of a folder.

    The folder is the one directly in `path` that contains the file. Example: the folder of PATH/cat/a/1.npz is "cat".

    Args:
        path: the folder that the user gave, or a file. A file has no label.
        files: the data files in that folder and in all folders below it.
        classes: the names of the network's classes; None if they are not known yet. Then no file has a label.
        rule: one of `LABEL_RULES`; None chooses as the text at the top of this module says.

    Raises:
        BadInput: some of the folders are classes and some are not, or two of them are the same class; or no folder fits
            the rule that was given.
    """
    names = [_folder(path, file) for file in files]
    folders = sorted(set(filter(None, names)))
    if not folders or not classes:
        return FolderLabels([-1] * len(files), "")
    found = {each: _fitting(folders, classes, each) for each in LABEL_RULES}
    chosen = _chosen(classes, found) if rule is None else rule
    if chosen is None:
        return FolderLabels(
            [-1] * len(files),
            f"{path}: no labels, as its folders do not have the names of the network's classes "
            f"({', '.join(classes)}); `labels` chooses another rule",
        )
    numbers = found[chosen]
    _check(path, folders, classes, numbers, chosen)
    remark = "" if rule else _remark(path, classes, found, chosen)
    return FolderLabels([numbers.get(name, -1) for name in names], remark)


def class_of_number(number: int, classes: Sequence[str], rule: str | None = None) -> int | None:
    """Returns the index of the class that has a number in the data set; None if no class has it.

    Example: the index of 2 is 3 for 11 named classes, whose folders are sorted as texts (0, 1, 10, 2, ...).

    Args:
        number: the number, counted from 0.
        classes: the names of the network's classes.
        rule: "numbers" or "text-order"; None chooses as the text at the top of this module says.

    Raises:
        BadInput: the rule is "names".
    """
    if rule == _NAMES:
        raise BadInput("`labels` names does not fit label files, which have numbers; give numbers or text-order")
    rule = rule or (_NUMBERS if _nameless(classes) else _TEXT_ORDER)
    return _fitting([str(number)], classes, rule).get(str(number))


def number_remark(path: Path, numbers: Sequence[int], classes: Sequence[str]) -> str:
    """The remark on the numbers of label files for which no rule was given; empty if both rules give the same classes.

    Args:
        path: the file or folder that the user gave.
        numbers: the numbers in its label files, counted from 0.
        classes: the names of the network's classes.
    """
    folders = sorted({str(number) for number in numbers})
    found = {each: _fitting(folders, classes, each) for each in (_NUMBERS, _TEXT_ORDER)}
    chosen = _NUMBERS if _nameless(classes) else _TEXT_ORDER
    return _remark(path, classes, {_NAMES: {}, **found}, chosen, "class number {} of its label files, counted from 0,")


def _folder(path: Path, file: Path) -> str:
    """The name of the folder directly in `path` that contains a file; empty if the file is directly in `path`."""
    below = file.relative_to(path).parts if path.is_dir() else ()
    return below[0] if len(below) > 1 else ""


def _fitting(folders: list[str], classes: Sequence[str], rule: str) -> dict[str, int]:
    """The classes of the folders that a rule fits, by the name of the folder."""
    n = len(classes)
    if rule == _NAMES:
        plain = [_plain(name) for name in classes]
        return {folder: plain.index(_plain(folder)) for folder in folders if _plain(folder) in plain}
    if rule == _NUMBERS:
        return {folder: int(folder) for folder in folders if _is_number(folder) and int(folder) < n}
    numbers = sorted(map(str, range(n)))
    if {*folders} <= {*numbers}:  # also if some of the folders are missing
        return {folder: numbers.index(folder) for folder in folders}
    return {folder: at for at, folder in enumerate(folders)} if len(folders) == n else {}


def _chosen(classes: Sequence[str], found: dict[str, dict[str, int]]) -> str | None:
    """The rule for folders for which the user gave none; None if their classes cannot be told."""
    nameless = _nameless(classes)
    if found[_NAMES] and not nameless:
        return _NAMES
    if found[_NUMBERS]:
        return _NUMBERS if nameless or not found[_TEXT_ORDER] else _TEXT_ORDER
    return _TEXT_ORDER if nameless and found[_TEXT_ORDER] else None


def _check(path: Path, folders: list[str], classes: Sequence[str], numbers: dict[str, int], rule: str) -> None:
    """Check that a rule gives each folder a class of its own.

    Args:
        path: the folder that the user gave, for messages.
        folders: the names of the folders in it.
        classes: the names of the network's classes.
        numbers: the class of each folder that the rule fits.
        rule: the rule.

    Raises:
        BadInput: it does not.
    """
    unknown = [folder for folder in folders if folder not in numbers]
    if unknown and rule == _TEXT_ORDER:
        raise BadInput(
            f"{path}: `labels` {rule} needs a folder for each of the network's {len(classes)} classes, and there are "
            f"{len(folders)}; give the whole data set, or another rule"
        )
    if unknown:
        known = f"0 to {len(classes) - 1}" if rule == _NUMBERS else ", ".join(classes)
        raise BadInput(
            f"{path}: the folder '{unknown[0]}' is not a class of the network ({known}); rename or remove it, or "
            "choose another rule with `labels`"
        )
    if len(set(numbers.values())) < len(numbers):
        raise BadInput(
            f"{path}: two of its folders, {' and '.join(_twice(numbers))}, are the same class; keep one of them"
        )


def _remark(
    path: Path,
    classes: Sequence[str],
    found: dict[str, dict[str, int]],
    chosen: str,
    named: str = "the folder {}",
) -> str:
    """The remark on a rule that was chosen, if it is a guess: where another rule gives other classes, or names differ.

    Args:
        path: the file or folder that the user gave.
        classes: the names of the network's classes.
        found: the class of each folder, by the rule.
        chosen: the rule that was chosen.
        named: how a folder is called.
    """
    numbers = found[chosen]
    if chosen == _TEXT_ORDER and not all(map(_is_number, numbers)):
        pairs = ", ".join(f"{at} = {folder}" for folder, at in numbers.items())
        return f"{path}: its folders are taken as the network's classes, in their order as texts: {pairs}"
    other = _NUMBERS if chosen == _TEXT_ORDER else _TEXT_ORDER
    others = [_NUMBERS] if chosen == _NAMES else [other]
    for rule in others:
        for folder, at in found[rule].items():
            if numbers.get(folder, at) != at:
                return (
                    f"{path}: classes are told by {chosen}, so {named.format(folder)} is class "
                    f"{_class(numbers[folder], classes)}; by `labels` {rule} it would be class {_class(at, classes)}"
                    + (". SpikingJelly's data sets have the order of texts" if _TEXT_ORDER in (rule, chosen) else "")
                )
    return ""


def _class(at: int, classes: Sequence[str]) -> str:
    """A class in a message: its index and, if it has one, its name."""
    return str(at) if classes[at] == str(at) else f"{at} ({classes[at]})"


def _nameless(classes: Sequence[str]) -> bool:
    """Whether the classes have no names but their numbers."""
    return list(classes) == [str(i) for i in range(len(classes))]


def _is_number(name: str) -> bool:
    """Whether the name of a folder is a number."""
    return name.isascii() and name.isdecimal() and len(name) < 10


def _twice(found: dict[str, int]) -> list[str]:
    """The folders of the first class that has more than one folder; `found` is the class of each folder."""
    classes = list(found.values())
    return [folder for folder, at in found.items() if at == next(each for each in classes if classes.count(each) > 1)]


def _plain(name: str) -> str:
    """A name in lower case, with letters and digits only."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())
