"""Text for people, and for JSON, from paths. The name of a file is bytes on Linux, and need not be UTF-8.

Python reads a byte that is not UTF-8 as half a character (a lone surrogate), which can be neither printed nor written.
"""

from __future__ import annotations

import math
import re
from typing import Any

_BYTE, _HALF = re.compile("[\udc80-\udcff]"), re.compile("[\ud800-\udfff]")


def shown(text: str) -> str:
    r"""Returns a text that can be printed: ``b\xfcndel`` for a name with the byte fc, which is not UTF-8."""
    if text.isascii():
        return text
    return _HALF.sub("\N{REPLACEMENT CHARACTER}", _BYTE.sub(lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", text))


def one_line(text: str) -> str:
    """Returns a text that a terminal prints in one line (`shown`): a space for each control character or line end."""
    return "".join(character if character.isprintable() else " " for character in shown(text))


def storable(value: Any) -> Any:
    """Returns a value as JSON holds it: texts that can be printed (`shown`), and None for infinity and NaN."""
    if isinstance(value, dict):
        return {storable(name): storable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return shown(value) if isinstance(value, str) else value
