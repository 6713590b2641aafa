"""Sources of events whose bytes another program sends."""

from __future__ import annotations

import dataclasses
import select
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

from tcja_runtime.errors import BadInput
from tcja_runtime.events import FORMATS, Damaged, Decoder, Events, format_of
from tcja_runtime.events.formats import registry

BLOCK = 2**20
"""The most bytes in one read."""

_TICK = 0.1  # seconds between two checks of whether a waiting source must stop


@dataclasses.dataclass(frozen=True)
class ByteStream:
    """The bytes of one recording that another program sends.

    Attributes:
        title: the name of the stream in messages.
        blocks: a function that yields the bytes, until the stream ends or the event that it is called with is set.
        close: a function that closes the file or socket.
        ends: whether the stream ends by itself.
        address: the address that other programs send to; empty if the stream is not a socket.
    """

    title: str
    blocks: Callable[[threading.Event], Iterator[bytes]]
    close: Callable[[], None]
    ends: bool
    address: str = ""


class ByteSource:
    """The events in a stream of bytes.

    Args:
        stream: the stream.
        decoder: the decoder of the stream's format; None finds the format from the first bytes.
        fallback: the name of the format to take if it cannot be found from the first bytes; None raises an error then.

    Attributes:
        warnings: a note on the first events that were left out, if no other events came with them.
    """

    pausable, recording, damaged, lost = False, None, 0, 0

    def __init__(self, stream: ByteStream, decoder: Decoder | None, fallback: str | None) -> None:
        self._stream, self._decoder, self._fallback = stream, decoder, fallback
        self.title, self.ends, self.address, self.close = stream.title, stream.ends, stream.address, stream.close
        self.warnings: list[str] = []

    @property
    def sensor(self) -> tuple[int, int] | None:
        return self._decoder.sensor if self._decoder else None

    @property
    def remarks(self) -> Sequence[str]:
        return self._decoder.remarks if self._decoder else ()

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        """Yields the events as they arrive (`tcja_runtime.events.Source.runs`)."""
        head = b""
        try:
            for block in self._stream.blocks(stop):
                head += block
                if self._decoder is None and not registry.needs_more_bytes(head):
                    self._decoder = self._decoder_for(head)
                if self._decoder:
                    yield decoded(self._decoder, head, self.warnings)
                    head = b""
            if not stop.is_set():
                decoder = self._decoder or self._decoder_for(head)
                self._decoder = decoder
                yield decoded(decoder, head, self.warnings)
                decoder.finish()
        except Damaged as error:
            raise BadInput(f"{self.title}: {error}") from error
        except OSError as error:
            raise BadInput(f"{self.title} broke off: {error.strerror or error}") from error

    def _decoder_for(self, head: bytes) -> Decoder:
        """Returns a decoder of the format that is found from the first bytes, or of the fallback.

        Raises:
            BadInput: the format is not found, and there is no fallback.
        """
        form = format_of(head) or self._fallback
        if form is None:
            raise BadInput(
                f"{self.title}: the format of its bytes is not known; give `form`, one of {stream_formats()}"
            )
        return new_decoder(form)


def decoded(decoder: Decoder, data: bytes, warnings: list[str]) -> Events:
    """Returns the events that are complete with the next bytes of a stream.

    If all of them were left out, the user must see it while the stream goes on: it may go on like that. The reason is
    then added to `warnings`, if these are empty.

    Raises:
        Damaged: the bytes are not valid in the format.
    """
    events = decoder.feed(data)
    if not len(events) and not warnings:
        warnings += decoder.remarks
    return events


def readable(file: int | socket.socket) -> bool:
    """Whether a read of a file or socket returns at once, with bytes or at the end. Waits `_TICK` seconds at most."""
    return bool(select.select([file], [], [], _TICK)[0])


def stream_formats() -> str:
    """The names of the formats that can be read from a stream, for messages; of extensions, all are named."""
    return ", ".join(name for name in registry.names() if name not in FORMATS or FORMATS[name].decoder)


def new_decoder(form: str) -> Decoder:
    """A decoder of a format.

    Raises:
        BadInput: there is no such format, or it can only be read from files.
        Unavailable: the format is that of an extension that does not load.
    """
    row = registry.named(form)
    if row is None:
        raise BadInput(f"there is no format '{form}'; choose one of {', '.join(registry.names())}")
    if row.decoder is None:
        raise BadInput(f"'{form}' can only be read from whole files; a stream can be one of {stream_formats()}")
    return row.decoder()
