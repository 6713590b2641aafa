"""Values that come from outside, JSON and arguments of Python, are checked against the types of a record's fields.

A record is a dataclass or a `TypedDict`. The types of its fields may be str, int, float, bool, Path, Any, a Literal, a
record, a list, a tuple, a dict with text as keys, any other class, or one of these or None. A check that a type cannot
express belongs into the `__post_init__` of the dataclass, which raises a ValueError.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import json
import math
import numbers
import os
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from tcja_runtime.counting import an, counted
from tcja_runtime.errors import BadInput

Made = TypeVar("Made")

_LISTS = (list, collections.abc.Sequence)
_DICTS = (dict, collections.abc.Mapping)
_LIST = "a list", "a list or a tuple"
_OBJECT = "an object", "a dictionary"
"""The words for types in JSON, and in Python."""

_PYTHON = {None: "None", True: "True", False: "False"}
"""The words for values that JSON writes in another way than Python."""

_NAMES = {str: "text", int: "a whole number", float: "a finite number", bool: "true or false", type(None): "null"}


_LONGEST = 120
"""The most characters of a place in a message. A name in JSON can have any length."""


class WrongField(ValueError):
    """A value in JSON that its field cannot have.

    Args:
        place: the field, such as "layers[0].name"; empty for the whole text.
        problem: what is wrong, with the value.

    Attributes:
        place: as given.
        problem: as given.
    """

    def __init__(self, place: str, problem: str) -> None:
        named = place if len(place) <= _LONGEST else f"{place[:_LONGEST]}..."
        super().__init__(
            f"{named}{' ' if problem.startswith(('is ', 'has ')) else ': '}{problem}" if place else problem
        )
        self.place, self.problem = place, problem


def read(kind: type[Made], value: Any, place: str = "") -> Made:
    """Returns a value of JSON as a value of a type: a record from an object, a tuple from a list.

    Args:
        kind: the type.
        value: the value as `json` returns it. Tuples in it are taken as lists, as in what `dataclasses.asdict` returns.
        place: the field that has the value, for messages.

    Raises:
        WrongField: the value, or a value in it, has another type. The text names its field and says what it must be.
    """
    made: Made = _read(kind, value, place)
    return made


def check_arguments(record: Any) -> None:
    """Check the fields of a record of arguments, such as the options of a build, and convert them to their types.

    A text becomes a path, and a list becomes a tuple, if the field has this type. It is called in `__post_init__`.

    Args:
        record: the record, a frozen dataclass whose fields have been set.

    Raises:
        BadInput: a field has another type; the text names the argument.
    """
    of: Any = type(record)
    for name, kind in _fields(of)[0].items():
        object.__setattr__(record, name, argument(name, getattr(record, name), kind))


@typing.overload
def argument(name: str, value: Any, kind: type[Made]) -> Made: ...
@typing.overload
def argument(name: str, value: Any, kind: types.UnionType) -> Any: ...
def argument(name: str, value: Any, kind: Any) -> Any:
    """Returns the value of an argument, converted to a type as by `check_arguments`.

    Raises:
        BadInput: the value has another type; the text names the argument.
    """
    try:
        return _read(kind, value, f"`{name}`")
    except WrongField as error:
        raise BadInput(str(error)) from error


def check_size(name: str, value: float | None, least: float, most: float = math.inf) -> None:
    """Check that the number of an argument is neither too small nor too large. None, which chooses no number, passes.

    Raises:
        BadInput: it is, for example "`top` 0 must be at least 1".
    """
    if value is not None and not least <= value <= most:
        wanted = f"at least {least:,}" if most == math.inf else f"{least:,} to {most:,}"
        raise BadInput(f"`{name}` {value} must be {wanted}")


def _read(kind: Any, value: Any, place: str) -> Any:
    if kind is Any:
        return value
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        kinds = [each for each in inner if each is not type(None)]
        classes = [each for each in kinds if typing.get_origin(each) is None]  # list[str] is a type in 3.10
        fits = [each for each in classes if isinstance(each, type) and isinstance(value, each)]
        fits = fits or [each for each in classes if _is_dataclass(each) and isinstance(value, dict)]
        return _read((fits or kinds)[0], value, place)
    if origin is typing.Literal:
        _check(value in inner and type(value) in map(type, inner), place, value, " or ".join(map(_shown, inner)))
        return value
    if origin in _LISTS:
        _check(isinstance(value, list | tuple), place, value, _LIST)
        return [_read(inner[0], each, f"{place}[{i}]") for i, each in enumerate(value)]
    if origin is tuple:
        return _tuple(inner, value, place)
    if origin in _DICTS:
        _check(isinstance(value, dict) and all(type(name) is str for name in value), place, value, _OBJECT)
        return {name: _read(inner[1], each, f"{place}.{name}".lstrip(".")) for name, each in value.items()}
    if hasattr(kind, "__required_keys__") or (
        _is_dataclass(kind) and isinstance(value, dict) and not _names_argument(place)
    ):
        return _record(kind, value, place)
    if kind is Path:
        _check(isinstance(value, str | os.PathLike) and "\0" not in os.fspath(value), place, value, "a path")
        _check(os.fspath(value) != "", place, value, "a path")
        return Path(value)
    if kind not in _NAMES:
        _check(
            isinstance(value, kind),
            place,
            value,
            (_OBJECT[0], an(kind.__name__)),
        )
        return value
    _check(_is(kind, value), place, value, _NAMES[kind])
    if type(value) in _NAMES:
        return value
    return str.__str__(value) if kind is str else kind(value)  # a member of an enum; a number of numpy


def _is(kind: type, value: Any) -> bool:
    """Whether a value has one of the plain types."""
    if kind is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and _is_finite(value)
    if kind is str:
        # JSON can have half a character, which can be neither written nor hashed.
        return isinstance(value, str) and (value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value))
    return type(value) is kind


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float can hold
        return False


def _is_dataclass(kind: Any) -> bool:
    return hasattr(kind, "__dataclass_fields__")


def _tuple(inner: tuple[Any, ...], value: Any, place: str) -> tuple[Any, ...]:
    _check(isinstance(value, list | tuple), place, value, _LIST)
    if inner[-1] is Ellipsis:
        inner = (inner[0],) * len(value)
    if len(value) != len(inner):
        word = _word(_LIST, place)
        raise WrongField(place, f"has {counted(len(value), 'value')}, and must be {word} of {len(inner)}")
    return tuple(_read(kind, each, f"{place}[{i}]") for i, (kind, each) in enumerate(zip(inner, value, strict=True)))


def _record(kind: Any, value: Any, place: str) -> Any:
    _check(isinstance(value, dict), place, value, _OBJECT)
    prefix = f"{place}." if place else ""
    hints, needed = _fields(kind)
    for name in needed:
        if name not in value:
            raise WrongField(prefix + name, "is missing")
    if not getattr(kind, "TAKES_MORE", not _is_dataclass(kind)):
        for name in value.keys() - hints.keys():
            raise WrongField(prefix + name, "is not known to this version")
    fields = {name: _read(hints[name], each, prefix + name) for name, each in value.items() if name in hints}
    if not _is_dataclass(kind):
        return fields
    try:
        return kind(**fields)
    except WrongField as error:
        raise WrongField(prefix + error.place, error.problem) from error
    except ValueError as error:
        raise WrongField(place, str(error)) from error


@functools.cache
def _fields(kind: Any) -> tuple[dict[str, Any], list[str]]:
    """The type of each field of a record, and the names of the fields that have no default."""
    hints = typing.get_type_hints(kind)
    if not _is_dataclass(kind):  # a TypedDict
        return hints, list(kind.__required_keys__)
    none, fields = dataclasses.MISSING, [field for field in dataclasses.fields(kind) if field.init]
    needed = [field.name for field in fields if field.default is none and field.default_factory is none]
    return {field.name: hints[field.name] for field in fields}, needed


def _check(right: bool, place: str, value: Any, wanted: str | tuple[str, str]) -> None:
    if not right:
        raise WrongField(place, f"is {_said(value, place)}, and must be {_word(wanted, place)}{_call(value, wanted)}")


def _call(value: Any, wanted: str | tuple[str, str]) -> str:
    """What to do if a class was given in place of an object of it: "; call it: Net()"; else nothing."""
    is_class = isinstance(value, type) and not isinstance(wanted, str) and wanted[0] == _OBJECT[0]
    return f"; call it: {value.__name__}()" if is_class else ""


def _said(value: Any, place: str) -> str:
    """A value for messages: of an argument in the words of Python, of a field in those of JSON."""
    if not _names_argument(place):
        return _shown(value)
    if value is None or isinstance(value, bool):
        return _PYTHON[value]
    return _OBJECT[1] if type(value) is dict else _shown(value)


def _word(wanted: str | tuple[str, str], place: str) -> str:
    """The word for a type: the second of two for an argument, whose place is in backticks, else the first."""
    return wanted if isinstance(wanted, str) else wanted[_names_argument(place)]


def _names_argument(place: str) -> bool:
    return place.startswith("`")


def _shown(value: Any) -> str:
    """A value for messages, in one short line: plain values as in JSON, for all others what they are."""
    if isinstance(value, dict | list | tuple):
        return {dict: "an object", list: "a list", tuple: "a tuple"}.get(type(value), type(value).__name__)
    if type(value) in (str, int, float, bool, type(None)):
        text = json.dumps(value)
        return text if len(text) <= 40 else f"{text[:40]}..."
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"a value of type {type(value).__name__}"
