"""Text for people, and JSON. The name of a file is bytes on Linux, and need not be UTF-8.

Python reads a byte that is not UTF-8 as half a character (a lone surrogate), which can be neither printed nor written.
"""

from __future__ import annotations

import collections
import json
import math
import re
from typing import Any

from tcja_runtime.files.limits import DEEPEST, MOST_VALUES

_BYTE, _HALF = re.compile("[\udc80-\udcff]"), re.compile("[\ud800-\udfff]")
_SHOWN = 40  # characters of a name in a message


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


def parsed(text: bytes | str) -> Any:
    """Returns the value of a JSON text.

    Raises:
        ValueError: the bytes are not JSON in UTF-8, an object has a name twice, there are too many values, or lists and
            objects are nested too deeply.
    """
    value, end = _first(said := _decoded(text), 0)
    if end < len(said):
        raise ValueError(f"{_line(said, end)} is not JSON")
    return value


def parsed_all(text: bytes | str) -> list[Any]:
    """Returns the values of JSON texts that follow one another, as programs print them into one file.

    Raises:
        ValueError: as for `parsed`; or there is no value.
    """
    said, at = _decoded(text), 0
    found: list[Any] = []
    while at < len(said) or not found:
        value, at = _first(said, at)
        found.append(value)
    return found


def _decoded(text: bytes | str) -> str:
    """A JSON text with few enough values.

    Raises:
        ValueError: it is not UTF-8, or there are too many.
    """
    try:
        said = text.decode("utf-8") if isinstance(text, bytes) else text
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start:,} is not UTF-8") from error
    # Every value is behind one of these characters, except the first. Those within texts are counted as well.
    if sum(map(said.count, ",[{")) >= MOST_VALUES:
        raise ValueError(f"it has more than {MOST_VALUES:,} values")
    return said


def _first(said: str, at: int) -> tuple[Any, int]:
    """The value that begins at a place of a text, and where the next one can begin: after it and the spaces behind."""
    try:
        value, end = _READER.raw_decode(said, _SPACES.match(said, at).end())  # type: ignore[union-attr]  # it matches
        _check_depth(value, DEEPEST)
    except json.JSONDecodeError as error:
        raise ValueError(f"{_line(said, error.pos)} is not JSON") from error
    except RecursionError as error:
        raise ValueError(f"it has lists in more than {DEEPEST} levels") from error
    except _Refused:
        raise
    except ValueError as error:  # Python reads no number of thousands of digits
        raise ValueError("it has a number of too many digits") from error
    return value, _SPACES.match(said, end).end()  # type: ignore[union-attr]


def _line(said: str, at: int) -> str:
    return f"line {said.count(chr(10), 0, at) + 1}"


class _Refused(ValueError):
    """JSON that is not read, though it is valid."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Which of two values with one name counts is not defined (RFC 8259, section 4)."""
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), *_ = collections.Counter(name for name, _ in pairs).most_common(1)
        raise _Refused(f"it has {json.dumps(twice[:_SHOWN])} twice in an object")
    return found


def _check_depth(value: Any, levels: int) -> None:
    if levels == 0:
        raise RecursionError
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(each, (dict, list)):
            _check_depth(each, levels - 1)


_READER = json.JSONDecoder(object_pairs_hook=_unique)
_SPACES = re.compile(r"[ \t\n\r]*")
