"""A parser that is tested with damaged content, and the folder in which it works."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from .damage import Damage, of_bytes

CORPUS = Path(__file__).parent / "corpus"
"""A folder for each parser: what the campaigns kept, a file for each way through the parser, and what once failed."""


@dataclasses.dataclass(frozen=True)
class Room:
    """Where a parser works.

    Attributes:
        folder: an empty folder for its files.
    """

    folder: Path

    def file(self, name: str, content: bytes) -> Path:
        """Returns a file of the folder with a content."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path


@dataclasses.dataclass(frozen=True)
class Parser:
    """A parser.

    Attributes:
        name: its name, which is that of its folder in the corpus.
        seeds: returns whole contents, which are read.
        read: reads a content: it returns, or raises a `BadInput`. What else it raises is a mistake.
        damage: damages a content, so that much of it stays whole.
        packages: the packages that it needs, by the names that are imported.
        native: whether a library that is not ours may crash or hang on the content, so that a process of its own reads.
    """

    name: str
    seeds: Callable[[Room], list[bytes]]
    read: Callable[[Room, bytes], object]
    damage: Damage = of_bytes
    packages: tuple[str, ...] = ()
    native: bool = False

    def corpus(self) -> list[Path]:
        """Returns the files of the parser in the corpus."""
        return sorted((CORPUS / self.name).glob("*"))
