"""The options that the functions for Python take by name, as the records that the work functions take."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from tcja_deploy.cluster.options import ClusterOptions
from tcja_deploy.console import Progress, err, silent
from tcja_runtime.data.camera import CameraView
from tcja_runtime.errors import BadInput
from tcja_runtime.events import ReadOptions
from tcja_runtime.records import argument
from tcja_runtime.signing.trust import Trust
from tcja_runtime.tensorrt.build import Batch

Record = TypeVar("Record")
Function = TypeVar("Function", bound=Callable[..., Any])

_PARTS: dict[str, type[CameraView] | type[ClusterOptions] | type[ReadOptions] | type[Trust]] = {
    "camera_view": CameraView,
    "cluster": ClusterOptions,
    "reading": ReadOptions,
    "trust": Trust,
}
"""The fields of a record that are records themselves, whose fields are options."""


def made(kind: type[Record], function: str, given: Mapping[str, Any], **own: Any) -> Record:
    """Return the record of a function's options.

    Args:
        kind: the type of the record.
        function: the name of the function, for messages.
        given: the options that the user gave, by name.
        own: fields that are no options, with their values.

    Raises:
        BadInput: there is no such option, or the value of an option cannot be used.
    """
    known = names(kind, own)
    for name in given:
        if name not in known:
            (nearest,) = difflib.get_close_matches(name, known, 1, 0.0)
            raise BadInput(f"`{name}` is no option of {function}; the nearest is `{nearest}`")
    fields = {**given, **own}
    parts = {each.name for each in dataclasses.fields(kind)} & _PARTS.keys()  # type: ignore[arg-type]  # a record
    for field, part in ((name, _PARTS[name]) for name in parts):
        inside = {name: fields.pop(name) for name in names(part) if name in given}
        if inside:
            fields[field] = part(**{name: _READERS.get(name, _same)(value) for name, value in inside.items()})
    for name, read in _READERS.items():
        if name in fields:
            fields[name] = read(fields[name])
    return kind(**fields)


def names(kind: type, without: Iterable[str] = ()) -> list[str]:
    """Return the names of the options that a record has, with those of the records in it.

    Args:
        kind: the type of the record.
        without: the fields that are no options.
    """
    return [parameter.name for parameter in _parameters(kind, without)]


def takes(kind: type, *without: str) -> Callable[[Function], Function]:
    """Return a decorator that shows the fields of a record as options of a function, in `help` and in editors.

    Args:
        kind: the type of the record.
        without: the fields that are no options.
    """

    def shown(function: Function) -> Function:
        own = inspect.signature(function)
        arguments = [each for each in own.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        known = {each.name for each in arguments if each.kind is inspect.Parameter.KEYWORD_ONLY}
        options = [each for each in _parameters(kind, without) if each.name not in known]
        function.__signature__ = own.replace(parameters=[*arguments, *options])  # type: ignore[attr-defined]
        return function

    return shown


def _parameters(kind: Any, without: Iterable[str] = ()) -> list[inspect.Parameter]:
    """Return the options that a record has."""
    found: list[inspect.Parameter] = []
    for field in dataclasses.fields(kind):
        if field.name in _PARTS:
            found += _parameters(_PARTS[field.name])
        elif field.name not in without:
            default = field.default_factory() if callable(field.default_factory) else field.default
            found.append(
                inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)
            )
    return found


def shown_progress(progress: Any) -> Progress:
    """Return what shows progress: bars on stderr, as the commands show them, or nothing.

    Raises:
        BadInput: `progress` is neither True nor False.
    """
    return Progress(err) if argument("progress", progress, bool) else silent()


def _batch(given: Any) -> Any:
    """Return batch sizes from one number, three numbers, or a text such as "1:1:8"."""
    if isinstance(given, str):
        return Batch.parse(given)
    if isinstance(given, int) and not isinstance(given, bool):
        return Batch(given, given, given)
    if isinstance(given, (list, tuple)) and len(given) == 3:
        return Batch(*given)
    if isinstance(given, Batch):
        return given
    raise BadInput(
        "`batch` must be one number of windows, three (the smallest, the tuned, the largest), or MIN:OPT:MAX"
    )


def _settings(given: Any) -> Any:
    """Return settings, whose numbers become texts."""
    if not isinstance(given, Mapping):
        return given
    numbers = (int, float)
    return {
        name: str(value) if isinstance(value, numbers) and not isinstance(value, bool) else value
        for name, value in given.items()
    }


def _several(given: Any) -> Any:
    """Return several values from one or several."""
    return (given,) if isinstance(given, (str, int, os.PathLike)) else given


def _same(given: Any) -> Any:
    return given


_READERS: dict[str, Callable[[Any], Any]] = {
    "backends": _several,
    "batch": _batch,
    "batches": _several,
    "keep": _several,
    "output": lambda given: str(given) if isinstance(given, int) and not isinstance(given, bool) else given,
    "public_keys": _several,
    "settings": _settings,
}
"""For options that Python has in several forms, the function that returns the value of the record's field."""
