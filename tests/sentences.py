"""What no text for people may hold, whatever it says."""

from __future__ import annotations

import re

FAULTS = {
    "a plural after 1": r"(?<![\d.,:/])\b1 (?:[a-z]+ )?(?:windows|events|frames|files|layers|classes|steps|spikes|runs"
    r"|signals|nodes|labels|recordings|bytes|samples|neurons|parameters|values|times|cores)\b",
    "a part of nothing": r"\b0 of 0\b",
    "two spaces in a sentence": r"[a-z0-9,;:%)] {2,}[a-z(]",
    "a value that is none": r"\b(?:None|nan|NaN|inf)\b",
    "a full stop twice": r"\.\.(?!\.)|\.;|;\.",
    "an empty list": r": ?[.;]|\(\)",
}


def faults(sentences: list[str]) -> list[str]:
    """Return what is wrong with sentences, each with its sentence."""
    plain = [sentence.replace("\N{NO-BREAK SPACE}", " ") for sentence in sentences]
    return [f"{what}: {said}" for said in plain for what, pattern in FAULTS.items() if re.search(pattern, said)]


def sentences(text: str) -> list[str]:
    """Return the lines of a command's output that are no rows of tables, whose cells may have anything between them.

    The output must be so wide that no line is wrapped.
    """
    lines = [(line, line.strip()) for line in text.replace("\N{NO-BREAK SPACE}", " ").splitlines()]
    is_row = re.compile(r"^ ?\S?.*\S {3,}\S|\S {2,}\S.*\S {2,}\S|^ \S|^ {3,}|^ *[─┼ ]+$")
    return [said for line, said in lines if said and not is_row.search(line)]


_INTERVAL = r"\d+\.\d\d % to \d+\.\d\d % with 95 % confidence"


def lonely_percentages(said: list[str]) -> list[str]:
    """Return the sentences with a percentage that is neither an interval's nor that of a mean over neurons."""
    return [line for line in said if re.search(r"\d %", re.sub(_INTERVAL, "", line))]
