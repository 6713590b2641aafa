"""Parts that several event formats share: a header of text lines, and records of one size."""

from __future__ import annotations

from tcja_runtime.errors import Damaged

LONGEST = 2**16
"""The largest size of a header, in bytes. Real headers have some hundred bytes."""


class Header:
    """Collects the text lines of a header from bytes that come in pieces of any size.

    Args:
        mark: the bytes that every line of the header begins with. A line that does not begin with them ends the header.
        first: the first line that the header must have; None accepts any first line.
        last: the lines that end the header; empty if the format has no such line.
        closed: whether a header without one of the lines `last` is damaged.
        most: the largest size of the header, in bytes.

    Attributes:
        lines: the lines so far, without the characters that end them.
        size: the size of the header so far, in bytes.
        over: whether the header has ended.
    """

    def __init__(
        self,
        mark: bytes,
        *,
        first: bytes | None = None,
        last: tuple[bytes, ...] = (),
        closed: bool = False,
        most: int = LONGEST,
    ) -> None:
        self.lines: list[bytes] = []
        self.size = 0
        self.over = False
        self._mark, self._first, self._last, self._closed, self._most = mark, first, last, closed, most
        self._begun = b""  # the beginning of a line whose end has not come yet

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the recording.

        Returns:
            The bytes of `data` that come after the header.

        Raises:
            Damaged: the header has more than `most` bytes, or its first or last line is missing.
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
                self.over = self.lines[-1] in self._last
            if self.size + len(self._begun) > self._most:
                raise Damaged(0, f"a header of more than {self._most:,} bytes")
        return data[at:]

    def finish(self) -> None:
        """End the recording.

        Raises:
            Damaged: the last line is incomplete, or it is not the line that must end the header.
        """
        if self._begun:
            raise Damaged(self.size, f"the header is cut off in its line {len(self.lines) + 1}")
        if not self.over:
            self._end()

    def value(self, key: bytes) -> bytes | None:
        """Returns the text after `key` in the first line that begins with `key`; None if no line begins with it."""
        return next((line[len(key) :].strip() for line in self.lines if line.startswith(key)), None)

    def _begin(self) -> None:
        """Check the first line.

        Raises:
            Damaged: it is not the line that the header must begin with.
        """
        if self._first is not None and self.lines[:1] != [self._first]:
            raise Damaged(0, f"the first line is not {self._first.decode()}")

    def _end(self) -> None:
        """End the header.

        Raises:
            Damaged: the last line is missing.
        """
        self._begin()
        if self._closed:
            raise Damaged(self.size, f"the header ends without its line {self._last[0].decode()}")
        self.over = True


class Records:
    """Cuts bytes into records of one size.

    Args:
        size: the size of a record, in bytes.
        begin: the offset of the first record in the recording, in bytes.
        name: the name of a record in messages.

    Attributes:
        at: the offset in the recording of the first record that the latest call of `feed` returned, in bytes.
    """

    def __init__(self, size: int, begin: int = 0, name: str = "event") -> None:
        self.at = self._next = begin
        self._size, self._name, self._rest = size, name, b""

    def feed(self, data: bytes) -> bytes:
        """Returns the bytes of all records that are complete with the next bytes."""
        data = self._rest + data if self._rest else data
        whole = len(data) - len(data) % self._size
        self._rest = data[whole:]
        self.at, self._next = self._next, self._next + whole
        return data[:whole] if self._rest else data

    def finish(self) -> None:
        """End the recording.

        Raises:
            Damaged: the last record is incomplete.
        """
        if self._rest:
            raise Damaged(self._next, f"the last {self._name} has {len(self._rest)} of its {self._size} bytes")


def sensor_edge(text: bytes | None, most: int) -> int:
    """Returns the number of rows or columns of a sensor, from its text in a header.

    Args:
        text: the text of the number; None if the header does not have it.
        most: the largest number that the format allows.

    Raises:
        Damaged: the text is None, or not a number from 1 to `most`.
    """
    if text is None or not text.isdigit() or not 0 < int(text[:9]) <= most:
        found = "nothing" if text is None else repr(text.decode(errors="replace"))
        raise Damaged(0, f"the header has {found} as the sensor's height or width; it must be 1 to {most:,}")
    return int(text)
