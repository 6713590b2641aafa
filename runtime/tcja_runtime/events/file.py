"""Files of events, read a block at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from tcja_runtime.errors import BadInput, Damaged
from tcja_runtime.events.event import CHUNK, Decoder, Events

BLOCK = 2**18
"""Bytes that are read at a time."""


@dataclasses.dataclass(frozen=True)
class File:
    """A `Recording` whose bytes a decoder reads."""

    path: Path
    format: str
    sensor: tuple[int, int] | None
    decoder: Callable[[], Decoder]

    def chunks(self) -> Iterator[Events]:
        decoder = self.decoder()
        try:
            with self.path.open("rb") as stream:
                while block := stream.read(BLOCK):
                    events = decoder.feed(block)
                    yield from (events[at : at + CHUNK] for at in range(0, len(events), CHUNK))
            decoder.finish()
        except Damaged as damaged:
            raise damaged.of(self.path) from None
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read: {error.strerror or error}") from error


def beginning(path: Path, size: int) -> bytes:
    """The first bytes of a file.

    Raises:
        BadInput: there are none, or it cannot be read.
    """
    try:
        if not path.is_file():  # a pipe or a device might never end
            raise BadInput(f"{path} {_instead(path)}")
        with path.open("rb") as stream:
            held = stream.read(size)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{path} cannot be read: {said}") from error
    if not held:
        raise BadInput(f"{path} is empty")
    return held


def _instead(path: Path) -> str:
    if not path.exists():
        return "does not exist"
    return "is a folder, not a recording" if path.is_dir() else "is no file, and a recording has an end"
