"""What byte formats share: lines of text ahead of the events, and events of one size behind them."""

from __future__ import annotations

from tcja_runtime.errors import Damaged

LONGEST = 2**16
"""Bytes of a header, at most. Real ones have hundreds."""


class Header:
    """Collects the lines of a header from bytes that are cut anywhere.

    Args:
        mark: what every line begins with. The header ends where something else is at the begin of a line.
        first: the line that it must begin with, if it must.
        last: a line that ends it, whatever follows.
        closed: whether it must have that last line.

    Attributes:
        lines: so far, without their ends.
        size: of the header so far, in bytes.
        over: whether it is whole.
    """

    def __init__(
        self, mark: bytes, *, first: bytes | None = None, last: bytes | None = None, closed: bool = False
    ) -> None:
        self.lines: list[bytes] = []
        self.size = 0
        self.over = False
        self._mark, self._first, self._last, self._closed = mark, first, last, closed
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
            if not self._mark.startswith(data[at : at + len(self._mark)]):
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
        if self._closed and self._last is not None:
            raise Damaged(self.size, f"the header ends without its line {self._last.decode()}")
        self.over = True


class Records:
    """Cuts bytes into whole records.

    Args:
        size: of a record, in bytes.
        begin: of the first, in bytes from the start of the recording.
        name: what a record is.

    Attributes:
        at: where the records given last begin.
    """

    def __init__(self, size: int, begin: int = 0, name: str = "event") -> None:
        self.at = self._next = begin
        self._size, self._name, self._rest = size, name, b""

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
            raise Damaged(self._next, f"the last {self._name} has {len(self._rest)} of its {self._size} bytes")


def edge(text: bytes | None, most: int) -> int:
    """Rows or columns of a sensor, as a header says them.

    Raises:
        Damaged: it says nothing, no number, or one that is not from 1 to `most`.
    """
    if text is None or not text.isdigit() or not 0 < int(text[:9]) <= most:
        said = "does not say" if text is None else f"says {text.decode(errors='replace')!r} for"
        raise Damaged(0, f"the header {said} the sensor's height or width, a number up to {most:,}")
    return int(text)
