"""EVT2, words of 32 bits, and what all versions of EVT share.

The upper four bits of a word are its type:

    0 off, 1 on    bits 27 to 22 time (low), 21 to 11 x, 10 to 0 y
    8 time (high)  bits 27 to 0, in 64 microseconds

Words of the types 10, 14 and 15 are triggers and vendors' extensions. They are not events and are skipped. Other types
do not exist. If the high time goes back by more than half of its range, it has overflowed. Events before the first time
are left out and counted, because their time is not known; Prophesee's own reader leaves them out, too.

Source: Prophesee's description of EVT 2.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.counting import agree, counted
from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import Events
from tcja_runtime.events.formats.evt.header import LARGEST_EDGE, check_version, header_sensor
from tcja_runtime.events.header import Header, Records

UNKNOWN = -1
"""A time or place that no word has set."""

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[Any]
Kinds = npt.NDArray[np.uint8]


class Evt2:
    """A decoder of EVT2 (`tcja_runtime.events.event.Decoder`), and the base class of the decoders of other versions.

    Attributes:
        version: the version of the format: "2", "2.1" or "3".
        size: the size of a word, in bytes.
        kinds: the types of words that exist.
        sensor: the rows and columns of the camera; None if they are not in the header.
    """

    version = "2"
    size = 4
    kinds: tuple[int, ...] = (0, 1, 8, 10, 14, 15)

    def __init__(self) -> None:
        self._header = Header(b"% ", last=(b"% end",))
        self._words: Records | None = None
        self.sensor: tuple[int, int] | None = None
        self._high = UNKNOWN  # the high time, with overflows
        self._latest = UNKNOWN  # the last high time that was known, with overflows; it outlasts a gap
        self._unknown = 0  # the number of events that were left out

    @property
    def remarks(self) -> Sequence[str]:
        """A note on the events that were left out (`tcja_runtime.events.event.Decoder.remarks`)."""
        if not self._unknown:
            return ()
        return (
            f"{counted(self._unknown, 'event')} {agree(self._unknown, 'was', 'were')} left out, because no word "
            f"before them sets their time or place",
        )

    def skip_gap(self) -> None:
        """Take what `feed` gets next as bytes after a gap: bytes that came between were lost.

        The time and place that words set before the gap are forgotten. The overflows of the clock are kept.
        """
        self._high = UNKNOWN

    def feed(self, data: bytes) -> Events:
        """Returns the events that are complete with the next bytes (`tcja_runtime.events.event.Decoder.feed`)."""
        data = self._header.feed(data)
        if not self._header.over:
            return Events.none()
        if self._words is None:
            self._begin()
            self._words = Records(self.size, self._header.size, "word")
        words = self._in_order(self._words.feed(data))
        kind = (words >> (8 * self.size - 4)).astype(np.uint8)
        known = np.isin(np.arange(16), self.kinds)[kind]
        if not known.all():
            row = int(np.argmin(known))
            what = f"a word of type {kind[row]}, which does not exist in EVT {self.version}"
            raise Damaged(self._words.at + self.size * row, what)
        return self._decoded(words, kind)

    def finish(self) -> None:
        """End the recording (`tcja_runtime.events.event.Decoder.finish`)."""
        self._header.finish()
        if self._words is not None:
            self._words.finish()

    def _begin(self) -> None:
        """Check the version that the header names, and set `sensor` from the header."""
        check_version(self._header, self.version)
        self.sensor = header_sensor(self._header)

    def _in_order(self, data: bytes) -> Words:
        """Returns whole words of a file as numbers."""
        return np.frombuffer(data, f"<u{self.size}")

    def _decoded(self, words: Words, kind: Kinds) -> Events:
        """Returns the events in words; `kind` is the type of each word."""
        rows, is_time = np.flatnonzero(kind <= 1), kind == 8
        high = self._high_times(words[is_time], 28)
        found = words[rows]
        t = (value_at(high, is_time, rows) << 6) + (found >> 22 & 0x3F)
        return self._events(rows, t, found >> 11 & 0x7FF, found & 0x7FF, kind[rows] == 1)

    def _high_times(self, words: Words, bits: int) -> Ints:
        """Returns the high times, [words + 1]: the one before the first word, then the one that each word sets.

        Args:
            words: words that set the high time. It is in their lower `bits` bits.
            bits: the number of these bits. If the time has overflowed, 2^bits is added to all later high times.
        """
        given = (words & (2**bits - 1)).astype(np.int64)
        known = np.concatenate([[self._high], given])
        if not len(given):
            return known
        latest = int(given[0]) if self._latest == UNKNOWN else self._latest
        before = np.concatenate([[latest & (2**bits - 1)], given[:-1]])
        overflowed = before >= given + 2 ** (bits - 1)
        known[1:] += ((latest >> bits) + np.cumsum(overflowed)) << bits
        self._high = self._latest = int(known[-1])
        return known

    def _events(self, rows: Ints, t: Ints, x: Any, y: Any, p: npt.NDArray[np.bool_]) -> Events:
        """Returns the events whose time and place are known. The other events are left out.

        Args:
            rows: for each event, the index of its word in the data, [E]; an error message gives the place of the word.
            t: the time of each event, [E]; negative if it is not known.
            x: the column of each event on the sensor, [E]; negative if it is not known.
            y: the row of each event on the sensor, [E]; negative if it is not known.
            p: the polarity of each event, [E].

        Raises:
            Damaged: an event is outside the sensor.
        """
        if len(t) and min(t.min(), x.min(), y.min()) < 0:
            have = (t >= 0) & (x >= 0) & (y >= 0)
            self._unknown += int(np.count_nonzero(~have))
            rows, t, x, y, p = rows[have], t[have], x[have], y[have], p[have]
        height, width = self.sensor or (LARGEST_EDGE, LARGEST_EDGE)
        if len(t) and (x.max() >= width or y.max() >= height):
            row = int(np.argmax((x >= width) | (y >= height)))
            what = f"an event at row {y[row]}, column {x[row]}, outside the sensor of {height} x {width}"
            begin = self._words.at if self._words else 0
            raise Damaged(begin + self.size * int(rows[row]), what)
        return Events(t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p)


def value_at(values: Ints, sets_value: npt.NDArray[np.bool_], rows: Ints) -> Ints:
    """Returns the value that holds at each of the words with the indices `rows`.

    Example: words set times; the value at an event's word is the time that was set last.

    Args:
        values: the value before the first word that sets one, then the value that each of these words sets.
        sets_value: a mask of the words that set a value, bool [words].
        rows: the indices of the words at which the value is wanted.
    """
    found: Ints = values[np.cumsum(sets_value, dtype=np.int32)[rows]]
    return found
