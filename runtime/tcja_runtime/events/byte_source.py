"""Sources of events whose bytes another program sends."""

from __future__ import annotations

import contextlib
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


class ByteDecoder:
    """Decodes the bytes of one recording that come in pieces. Its format may be found from the first bytes.

    Args:
        title: the name of the stream in messages.
        decoder: the decoder of the stream's format; None finds the format from the first bytes.
        fallback: the name of the format to take if it cannot be found from the first bytes; None raises an error then.

    Attributes:
        warnings: a note on the first events that were left out, if no other events came with them.
    """

    def __init__(self, title: str, decoder: Decoder | None, fallback: str | None = None) -> None:
        self._title, self._decoder, self._fallback = title, decoder, fallback
        self._head = b""
        self.warnings: list[str] = []

    @property
    def sensor(self) -> tuple[int, int] | None:
        return self._decoder.sensor if self._decoder else None

    @property
    def remarks(self) -> Sequence[str]:
        return self._decoder.remarks if self._decoder else ()

    def feed(self, block: bytes) -> Events:
        """Returns the events that are complete with the next bytes; none while the format is not known.

        Raises:
            BadInput: the bytes are not valid in the format, or the format is not found.
        """
        self._head += block
        with self._named():
            if self._decoder is None and not registry.needs_more_bytes(self._head):
                self._decoder = self._found()
            return self._decoded(self._decoder) if self._decoder else Events.none()

    def rest(self) -> Events:
        """Returns the events of a recording that has ended before its format was known; none of any other.

        Raises:
            BadInput: the format is not found, or the bytes are not valid in it.
        """
        with self._named():
            self._decoder = self._decoder or self._found()
            return self._decoded(self._decoder)

    def finish(self) -> None:
        """End the recording, after `rest`.

        Raises:
            BadInput: the last event, packet or header is incomplete.
        """
        with self._named():
            if self._decoder:
                self._decoder.finish()

    def _decoded(self, decoder: Decoder) -> Events:
        head, self._head = self._head, b""
        return decoded(decoder, head, self.warnings)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """A context in which an error about the bytes gets the name of the stream."""
        try:
            yield
        except Damaged as error:
            raise BadInput(f"{self._title}: {error}") from error

    def _found(self) -> Decoder:
        """Returns a decoder of the format that is found from the first bytes, or of the fallback.

        Raises:
            BadInput: the format is not found, and there is no fallback.
        """
        form = format_of(self._head) or self._fallback
        if form is None:
            raise BadInput(
                f"{self._title}: the format of its bytes is not known; give `form`, one of {stream_formats()}"
            )
        return new_decoder(form)


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
        self._stream, self._decoder = stream, ByteDecoder(stream.title, decoder, fallback)
        self.title, self.ends, self.address, self.close = stream.title, stream.ends, stream.address, stream.close
        self.warnings = self._decoder.warnings

    @property
    def sensor(self) -> tuple[int, int] | None:
        return self._decoder.sensor

    @property
    def remarks(self) -> Sequence[str]:
        return self._decoder.remarks

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        """Yields the events as they arrive (`tcja_runtime.events.Source.runs`)."""
        try:
            for block in self._stream.blocks(stop):
                yield self._decoder.feed(block)
            if not stop.is_set():
                yield self._decoder.rest()
                self._decoder.finish()
        except OSError as error:
            raise BadInput(f"{self.title} broke off: {error.strerror or error}") from error


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
        raise BadInput(f"there is no format '{form}'; a stream can be one of {stream_formats()}")
    if row.decoder is None:
        raise BadInput(f"'{form}' can only be read from whole files; a stream can be one of {stream_formats()}")
    return row.decoder()
