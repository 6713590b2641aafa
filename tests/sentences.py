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
