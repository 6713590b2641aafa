"""Lines of text ahead of the events, as most formats have them."""

from __future__ import annotations

from tcja_runtime.events.event import Damaged

LONGEST = 2**16
"""Bytes of a header, at most. Real ones have hundreds."""


class Header:
    """Collects the lines of a header from bytes that are cut anywhere.

    Args:
        mark: what every line begins with. The header ends where another byte is at the begin of a line.
        first: the line that it must begin with, if it must.
        last: the line that ends it instead, whatever follows; the header must have it.

    Attributes:
        lines: so far, without their ends.
        size: of the header so far, in bytes.
        over: whether it is whole.
    """

    def __init__(self, mark: bytes, first: bytes | None = None, last: bytes | None = None) -> None:
        self.lines: list[bytes] = []
        self.size = 0
        self.over = False
        self._mark, self._first, self._last = mark, first, last
        self._begun = b""  # a line that is not whole

    def feed(self, data: bytes) -> bytes:
        """What of these bytes is behind the header.

        Raises:
            Damaged: it has more than `LONGEST` bytes, or not the first or the last line that it must have.
        """
        if self.over:
            return data
        data, self._begun = self._begun + data, b""
        at = 0
        while at < len(data) and not self.over:
            end = data.find(b"\n", at)
            if not data.startswith(self._mark, at):
                self._end()
            elif end < 0:
                self._begun = data[at:]
                at = len(data)
            else:
                self.lines.append(data[at:end].rstrip(b"\r"))
                self.size += end + 1 - at
                at = end + 1
                self._begin()
                self.over = self.lines[-1] == self._last
            if self.size + len(self._begun) > LONGEST:
                raise Damaged(0, f"a header of more than {LONGEST:,} bytes")
        return data[at:]

    def finish(self) -> None:
        """Say that there are no more bytes.

        Raises:
            Damaged: the last line is not whole, or not the one that must be.
        """
        if self._begun:
            raise Damaged(self.size, f"the header is cut off in its line {len(self.lines) + 1}")
        if not self.over:
            self._end()

    def value(self, key: bytes) -> bytes | None:
        """What a line says behind this beginning; None without such a line."""
        return next((line[len(key) :].strip() for line in self.lines if line.startswith(key)), None)

    def _begin(self) -> None:
        if self._first is not None and self.lines[:1] != [self._first]:
            raise Damaged(0, f"the first line is not {self._first.decode()}")

    def _end(self) -> None:
        self._begin()
        if self._last is not None:
            raise Damaged(self.size, f"the header ends without its line {self._last.decode()}")
        self.over = True


class Whole:
    """Cuts bytes into whole records.

    Args:
        size: of a record, in bytes.
        begin: of the first, in bytes from the start of the recording.

    Attributes:
        at: where the records given last begin.
    """

    def __init__(self, size: int, begin: int = 0) -> None:
        self.at = self._next = begin
        self._size, self._rest = size, b""

    def feed(self, data: bytes) -> bytes:
        """As many records as are whole."""
        data = self._rest + data if self._rest else data
        whole = len(data) - len(data) % self._size
        self._rest = data[whole:]
        self.at, self._next = self._next, self._next + whole
        return data[:whole] if self._rest else data

    def finish(self) -> None:
        """Say that there are no more bytes.

        Raises:
            Damaged: the last record is not whole.
        """
        if self._rest:
            raise Damaged(self._next, f"the last event has {len(self._rest)} of its {self._size} bytes")
