"""Recordings whose bytes a decoder reads, a block at a time, from a file or from memory."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tcja_runtime.errors import BadInput, Damaged
from tcja_runtime.events.event import CHUNK, Decoder, Events

BLOCK = 2**18
"""The number of bytes that are read at a time."""


@dataclasses.dataclass
class ByteRecording:
    """A `Recording` whose format is a sequence of bytes: a file, or the content of one.

    Attributes:
        path: the file; for a content that is given, its name in messages.
        format: the name of its format in `tcja_runtime.events.FORMATS`.
        sensor: the rows and columns of the camera; None if the file does not store them.
        decoder: a function without arguments that makes a new decoder of the format.
        remarks: the remarks of the decoder that read the file last.
        content: the bytes of the recording; None reads the file.
    """

    path: Path
    format: str
    sensor: tuple[int, int] | None
    decoder: Callable[[], Decoder]
    remarks: Sequence[str] = ()
    content: bytes | None = dataclasses.field(default=None, repr=False)

    def chunks(self) -> Iterator[Events]:
        """Yields the events from the start (`tcja_runtime.events.Recording.chunks`)."""
        decoder = self.decoder()
        try:
            with self.path.open("rb") if self.content is None else io.BytesIO(self.content) as stream:
                while block := stream.read(BLOCK):
                    events = decoder.feed(block)
                    yield from (events[at : at + CHUNK] for at in range(0, len(events), CHUNK))
            decoder.finish()
            self.remarks = decoder.remarks
        except Damaged as damaged:
            raise damaged.of(self.path) from None
        except OSError as error:
            raise BadInput(f"{self.path} cannot be read: {error.strerror or error}") from error


def beginning(path: Path, size: int) -> bytes:
    """Returns the first bytes of a file, at most `size` of them.

    Raises:
        BadInput: the path is not a file, the file is empty, or it cannot be read.
    """
    try:
        if not path.is_file():  # a pipe or a device might never end
            raise BadInput(f"{path} {_other_kind(path)}")
        with path.open("rb") as stream:
            head = stream.read(size)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{path} cannot be read: {reason}") from error
    if not head:
        raise BadInput(f"{path} is empty; give a recording that has events")
    return head


def _other_kind(path: Path) -> str:
    """A phrase for a message about a path that is not a file, such as "is a folder, not a recording"."""
    if not path.exists():
        return "does not exist"
    return "is a folder, not a recording" if path.is_dir() else "is not a regular file; a recording is a file"
