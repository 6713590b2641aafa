"""The rules that cut recordings into frames, by their names.

A rule says what separates frames (their events or their times), whether a frame has a share of the recording or a fixed
size, and what becomes of the rest at the end. `tcja_runtime.data.integration` has the equations.
"""

from __future__ import annotations

import dataclasses
import re
from fractions import Fraction
from typing import Literal, cast

from tcja_runtime.errors import BadInput

Split = Literal["number", "time", "duration", "duration-grid", "event-bins", "time-bins", "event-count", "time-window"]
LONGEST = 2**40
"""The longest frame or window, in microseconds: 12 days. It is also the most events of a frame."""
_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000}


@dataclasses.dataclass(frozen=True)
class SplitRule:
    """The properties of a rule.

    Attributes:
        by_events: whether frames are separated by the numbers of their events; if False, by times.
        size: the size that a frame has: None for a share of the recording, "duration" for a time, "count" for a number
            of events.
        drops_rest: whether the events after the last frame of the rule's size are left out; if False, the last frame
            has them too.
        crops_first: whether a crop of the camera's picture comes before the cut, as in tonic, where both are transforms
            of events. If False, whole frames are cropped, as in SpikingJelly.
    """

    by_events: bool
    size: Literal["duration", "count"] | None
    drops_rest: bool
    crops_first: bool


SPLITS: dict[str, SplitRule] = {
    "number": SplitRule(True, None, False, False),
    "time": SplitRule(False, None, False, False),
    "duration": SplitRule(False, "duration", False, False),
    "duration-grid": SplitRule(False, "duration", False, False),
    "event-bins": SplitRule(True, None, True, True),
    "time-bins": SplitRule(False, None, True, True),
    "event-count": SplitRule(True, "count", True, True),
    "time-window": SplitRule(False, "duration", True, True),
}
"""The rules by their names: four of SpikingJelly, then four of tonic."""

RULES = (
    "number, time, duration:TIME or duration-grid:TIME (SpikingJelly); or event-bins, time-bins, event-count:EVENTS or "
    "time-window:TIME (tonic), such as duration:50ms"
)
"""The rules for messages."""


def parsed(rule: str) -> tuple[Split, int | None]:
    """Returns the name of a rule, and the size of its frames: microseconds, events, or None for a share.

    Args:
        rule: a text such as "number", "duration:50ms" or "event-count:3000".

    Raises:
        BadInput: there is no such rule.
    """
    split, colon, text = rule.partition(":")
    kind = SPLITS[split].size if split in SPLITS else None
    size = None if kind is None else microseconds(text) if kind == "duration" else _events(text)
    if split not in SPLITS or bool(colon) != (kind is not None) or (kind is not None and size is None):
        raise BadInput(f"`split` {rule} must be {RULES}")
    return cast(Split, split), size


def microseconds(text: str) -> int | None:
    """Returns the time in a text such as "50ms", "1.5s" or "20000us", in microseconds.

    Returns None if the text is not a time, if the time is not a whole number of microseconds, or if it is not from 1 us
    to 12 days (`LONGEST`).
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)(us|ms|s)", text)
    time = Fraction(found[1]) * _UNITS[found[2]] if found else Fraction(0)
    return int(time) if time.denominator == 1 and 1 <= time <= LONGEST else None


def _events(text: str) -> int | None:
    """The number of events in a text such as "3000"; None if it is not a number from 1 to `LONGEST`."""
    number = int(text) if re.fullmatch(r"[0-9]{1,13}", text) else 0
    return number if 1 <= number <= LONGEST else None


def spoken(time: int) -> str:
    """A text for messages, such as "50 ms" or "1.5 s", from a time in microseconds."""
    unit = next(unit for unit, size in reversed(_UNITS.items()) if abs(time) >= size or size == 1)
    return f"{time / _UNITS[unit]:.6g} {unit}"
