"""How a result is told: briefly or with all details, and in whose words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextOptions:
    """The options of the text of a result.

    Attributes:
        details: whether the text has all details. Without them it has the verdict, what it does not prove, and what to
            do next.
        worded: the function that changes the words of a sentence. Sentences name Python arguments in backticks; the
            command line puts its flags there.
        more: a sentence that says how to see the details, at the end of a text without them; empty for none.
    """

    details: bool = False
    worded: Callable[[str], str] = str
    more: str = ""


BRIEF = TextOptions()
"""The options of `print` in Python."""
