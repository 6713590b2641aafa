"""Labels of DVS128 Gesture: NAME_labels.csv beside NAME.aedat, which cuts a recording into gestures."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

from tcja_runtime.errors import BadInput

_LARGEST = 2**20  # bytes


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a recording that shows one thing.

    Attributes:
        begin: in microseconds of the recording's clock.
        end: likewise; the part is [begin, end).
        label: the class, from 0.
    """

    begin: int
    end: int
    label: int


def segments(path: Path) -> list[Segment] | None:
    """What the label file beside a recording says of it, at least one; None without such a file.

    Segments are in the file's order and may overlap, as some of the data set do.

    Raises:
        BadInput: the label file cannot be read, is no such file, or names no segment.
    """
    labels = path.with_name(f"{path.stem}_labels.csv")
    if not labels.is_file():
        return None
    try:
        with labels.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read(_LARGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{labels} cannot be read: {error}") from error
    if len(text) > _LARGEST:
        raise BadInput(f"{labels} has more than {_LARGEST:,} bytes, which no label file has")
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as error:
        raise BadInput(f"{labels} is no label file: {error}") from error
    if not rows:
        raise BadInput(f"{labels} is empty")
    numbered = [(at, row) for at, row in enumerate(rows, 1) if any(cell.strip() for cell in row)]
    headed = numbered and not any(cell.strip().isdecimal() for cell in numbered[0][1])
    found = [_segment(labels, at, row) for at, row in numbered[bool(headed) :]]
    if not found:
        raise BadInput(f"{labels} names no segment; mend it, or remove it")
    return found


def _segment(labels: Path, at: int, row: list[str]) -> Segment:
    try:
        kind, begin, end = (int(cell) for cell in row)
    except ValueError:
        raise BadInput(f"{labels}, line {at}: {','.join(row)[:60]!r} is not a class, a start and an end") from None
    if kind < 1 or not 0 <= begin < end < 2**63:
        raise BadInput(f"{labels}, line {at}: class {kind} from {begin} to {end}; classes count from 1 and times rise")
    return Segment(begin, end, kind - 1)
