"""Label files in the form of DVS128 Gesture: NAME_labels.csv beside NAME.aedat names the gestures in the recording.

Each line has a class, the time where the gesture begins, and the time where it ends. Classes are counted from 1, and
times are in microseconds.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from tcja_runtime.errors import BadInput
from tcja_runtime.files import limits
from tcja_runtime.files.reading import read_file


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a recording that has one label: the events at times [begin, end).

    Attributes:
        begin: the time where the part begins, in microseconds of the recording's clock.
        end: the first time after the part, in microseconds of the recording's clock.
        label: the class, counted from 0.
    """

    begin: int
    end: int
    label: int


def segments(path: Path) -> list[Segment] | None:
    """Returns the segments in the label file of a recording, at least one; None if there is no label file.

    The segments are in the order of the label file. They may overlap, as some segments of DVS128 Gesture do.

    Args:
        path: the recording.

    Raises:
        BadInput: the label file cannot be read, is not a label file, or names no segment.
    """
    labels = path.with_name(f"{path.stem}_labels.csv")
    if not labels.is_file():
        return None
    try:
        text = read_file(labels, limits.TABLE).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{labels} cannot be read: {error}") from error
    except BadInput as error:
        raise BadInput(f"{error}; replace or remove it") from error
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise BadInput(f"{labels} is not a label file: {error}; correct it, or remove it") from error
    if not rows:
        raise BadInput(f"{labels} is empty; correct it, or remove it")
    numbered = [(at, row) for at, row in enumerate(rows, 1) if any(cell.strip() for cell in row)]
    headed = numbered and not any(cell.strip().isdecimal() for cell in numbered[0][1])
    found = [_segment(labels, at, row) for at, row in numbered[bool(headed) :]]
    if not found:
        raise BadInput(f"{labels} names no segment; correct it, or remove it")
    return found


def _segment(labels: Path, at: int, row: list[str]) -> Segment:
    """Returns the segment in a line of a label file.

    Args:
        labels: the label file, for messages.
        at: the number of the line, for messages.
        row: the fields of the line.

    Raises:
        BadInput: the line is not a class, a begin and an end.
    """
    try:
        kind, begin, end = (int(cell) for cell in row)
    except ValueError:
        raise BadInput(f"{labels}, line {at}: {','.join(row)[:60]!r} must be class, start and end") from None
    if kind < 1 or not 0 <= begin < end < 2**63:
        raise BadInput(
            f"{labels}, line {at}: class {kind} from {begin} to {end} us; classes count from 1, and a segment must end "
            "after its begin"
        )
    return Segment(begin, end, kind - 1)
