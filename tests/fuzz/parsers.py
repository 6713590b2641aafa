"""All parsers. A module is imported when it is needed, as some need torch."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from .parser import Parser

_MODULES = ("of_recordings", "of_graphs", "of_origins", "of_bundles", "of_checkpoints")


def parsers() -> Iterator[Parser]:
    """Yields all parsers."""
    for module in _MODULES:
        yield from importlib.import_module(f".{module}", __package__).PARSERS


def named(name: str) -> Parser:
    """Returns a parser."""
    return next(parser for parser in parsers() if parser.name == name)
