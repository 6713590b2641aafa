"""Keeps what a campaign has found to be of use in the corpus: a file for each way through the code.

    python -m tests.fuzz.corpus [NAME...]

A way is a step from one line of our code to another. Of all inputs in build/fuzz/corpus, the smallest are taken first,
and those are kept that go a way that no whole content, no older file of the corpus and no smaller input goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tempfile
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from .campaign import WORK
from .judge import Finding, judged
from .parser import CORPUS, Parser, Room
from .parsers import parsers

LARGEST = 2**11
"""The most bytes of an input that is kept."""
_OURS: dict[str, bool] = {}
Way = tuple[CodeType, int, int]


def ways(parser: Parser, room: Room, content: bytes) -> set[Way]:
    """Returns the ways of a content through our code."""
    found: set[Way] = set()

    def traced(frame: FrameType, event: str, _: object) -> Any:
        file = frame.f_code.co_filename
        if file not in _OURS:
            _OURS[file] = "/tcja_" in file
        if not _OURS[file]:
            return None
        last = 0

        def line(frame: FrameType, event: str, _: object) -> Any:
            nonlocal last
            found.add((frame.f_code, last, frame.f_lineno))
            last = frame.f_lineno
            return line

        return line

    sys.settrace(traced)
    try:
        with contextlib.suppress(Finding):
            judged(parser, room, content)
    finally:
        sys.settrace(None)
    return found


def keep(parser: Parser) -> int:
    """Copy the inputs of use into the corpus; return their number."""
    with tempfile.TemporaryDirectory() as folder:
        room = Room(Path(folder))
        known = [*parser.seeds(room), *(file.read_bytes() for file in parser.corpus())]
        gone = set().union(*(ways(parser, room, content) for content in known))
        inputs = {file.read_bytes() for file in (WORK / "corpus" / parser.name).glob("*")}
        kept = 0
        for content in sorted((each for each in inputs if len(each) <= LARGEST), key=lambda each: (len(each), each)):
            if new := ways(parser, room, content) - gone:
                gone |= new
                place = CORPUS / parser.name
                place.mkdir(parents=True, exist_ok=True)
                (place / hashlib.sha256(content).hexdigest()[:12]).write_bytes(content)
                kept += 1
    return kept


if __name__ == "__main__":
    for each in parsers():
        if not sys.argv[1:] or each.name in sys.argv[1:]:
            print(f"{each.name:14}{keep(each):4} inputs kept")
