"""Prophesee .raw: lines that begin with '%', then words of 32 bits (EVT2) or 16 bits (EVT3).

The upper four bits of a word are its type:

    EVT2   0 off, 1 on    bits 27 to 22 time (low), 21 to 11 x, 10 to 0 y
           8 time (high)  bits 27 to 0, in 64 microseconds
    EVT3   0 row          bits 10 to 0 y
           2 event        bit 11 polarity, bits 10 to 0 x
           3 base         bit 11 polarity, bits 10 to 0 x of the first column of the next vector
           4, 5 vector    12 or 8 neighbouring columns, an event for each bit that is 1; the next vector begins at the
                          column after them
           6, 8 time      bits 11 to 0: low half in microseconds, high half in 4,096 microseconds

Words of the types 10, 14 and 15, in EVT3 also 7, are triggers and vendors' extensions. They are not events and are
skipped. Other types do not exist. If the high time goes back by more than half of its range, it has overflowed. Events
before the first time (in EVT3 also those before the first row or base) are skipped, as in Prophesee's own reader,
because their time or place is not known.

Source: Prophesee's descriptions of EVT 2.0 and EVT 3.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import Events
from tcja_runtime.events.header import Header, Records, sensor_edge

_EDGE = 2**11
"""The most rows or columns of a sensor."""
_UNKNOWN = -1
_NOWHERE = -(2**40)
"""The base column until the first base word: so small that no vector reaches a column of the sensor."""

Ints = npt.NDArray[np.int64]


class Evt2:
    """A decoder of EVT2 (`tcja_runtime.events.event.Decoder`), and the base class of the decoder of EVT3.

    Attributes:
        version: the version of the format, "2" or "3".
        size: the size of a word, in bytes.
        kinds: the types of words that exist.
        sensor: the rows and columns of the camera; None if they are not in the header.
    """

    version = "2"
    size = 4
    kinds: tuple[int, ...] = (0, 1, 8, 10, 14, 15)

    def __init__(self) -> None:
        self._header = Header(b"% ", last=b"% end")
        self._words: Records | None = None
        self.sensor: tuple[int, int] | None = None
        self._high = _UNKNOWN

    def feed(self, data: bytes) -> Events:
        """Returns the events that are complete with the next bytes (`tcja_runtime.events.event.Decoder.feed`)."""
        data = self._header.feed(data)
        if not self._header.over:
            return Events.none()
        if self._words is None:
            self.sensor = header_sensor(self._header, self.version)
            self._words = Records(self.size, self._header.size, "word")
        words = np.frombuffer(self._words.feed(data), f"<u{self.size}")
        kind = (words >> (8 * self.size - 4)).astype(np.uint8)
        known = np.isin(np.arange(16), self.kinds)[kind]
        if not known.all():
            row = int(np.argmin(known))
            what = f"a word of type {kind[row]}, which does not exist in EVT{self.version}"
            raise Damaged(self._words.at + self.size * row, what)
        return self._decoded(words, kind)

    def finish(self) -> None:
        """End the recording (`tcja_runtime.events.event.Decoder.finish`)."""
        self._header.finish()
        if self._words is not None:
            self._words.finish()

    def _decoded(self, words: npt.NDArray[Any], kind: npt.NDArray[np.uint8]) -> Events:
        """Returns the events in words; `kind` is the type of each word."""
        rows, is_time = np.flatnonzero(kind <= 1), kind == 8
        high = self._high_times(words[is_time], 28)
        found = words[rows]
        t = (_value_at(high, is_time, rows) << 6) + (found >> 22 & 0x3F)
        return self._events(rows, t, found >> 11 & 0x7FF, found & 0x7FF, kind[rows] == 1)

    def _high_times(self, words: npt.NDArray[Any], bits: int) -> Ints:
        """Returns the high times, [words + 1]: the one before the first word, then the one that each word sets.

        Args:
            words: words that set the high time. It is in their lower `bits` bits.
            bits: the number of these bits. If the time has overflowed, 2^bits is added to all later high times.
        """
        given = (words & (2**bits - 1)).astype(np.int64)
        known = np.concatenate([[self._high], given])
        if self._high == _UNKNOWN:
            overflows, before = 0, known[1:2]
        else:
            overflows, before = self._high >> bits, known[:1] & (2**bits - 1)
        overflowed = np.concatenate([before, given[:-1]])[: len(given)] >= given + 2 ** (bits - 1)
        known[1:] += (overflows + np.cumsum(overflowed)) << bits
        self._high = int(known[-1])
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
            rows, t, x, y, p = rows[have], t[have], x[have], y[have], p[have]
        height, width = self.sensor or (_EDGE, _EDGE)
        if len(t) and (x.max() >= width or y.max() >= height):
            row = int(np.argmax((x >= width) | (y >= height)))
            what = f"an event at row {y[row]}, column {x[row]}, outside the sensor of {height} x {width}"
            begin = self._words.at if self._words else 0
            raise Damaged(begin + self.size * int(rows[row]), what)
        return Events(t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p)


class Evt3(Evt2):
    """A decoder of EVT3 (`tcja_runtime.events.event.Decoder`)."""

    version = "3"
    size = 2
    kinds = (0, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15)

    def __init__(self) -> None:
        super().__init__()
        self._low = 0
        self._row = _UNKNOWN
        self._base, self._on = _NOWHERE, False  # the column and polarity of the next vector

    def _decoded(self, words: npt.NDArray[Any], kind: npt.NDArray[np.uint8]) -> Events:
        rows, is_row = np.flatnonzero((kind == 2) | (kind == 4) | (kind == 5)), kind == 0
        found, kinds = words[rows], kind[rows]
        ys = np.concatenate([[self._row], (words[is_row] & 0x7FF).astype(np.int64)])
        self._row = int(ys[-1])
        y, t = _value_at(ys, is_row, rows), self._times(words, kind, rows)
        x, p = (found & 0x7FF).astype(np.int64), (found & 0x800) != 0
        bases, vectors = np.flatnonzero(kind == 3), np.flatnonzero(kinds != 2)
        if len(bases) or len(vectors):
            x[vectors], p[vectors] = self._vectors(words, bases, rows[vectors], kinds[vectors])
        if len(vectors):  # a vector is repeated as often as it has events
            masks = found[vectors] & np.where(kinds[vectors] == 4, 0xFFF, 0xFF).astype(np.uint16)
            bits = (masks[:, None] >> np.arange(12, dtype=np.uint16) & 1).astype(np.bool_)
            counts, beside = np.ones(len(rows), np.int64), np.zeros(len(rows), np.bool_)
            counts[vectors], beside[vectors] = bits.sum(1), True
            each = np.repeat(np.arange(len(rows)), counts)
            rows, t, x, y, p = rows[each], t[each], x[each], y[each], p[each]
            x[beside[each]] += np.nonzero(bits)[1]
        return self._events(rows, t, x, y, p)

    def _vectors(
        self, words: npt.NDArray[Any], bases: Ints, rows: Ints, kinds: npt.NDArray[np.uint8]
    ) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Returns the first column and the polarity of each vector.

        The first column is the column in the last base word, plus the lengths of the vectors between them. The polarity
        is that of the last base word.

        Args:
            words: all words.
            bases: the indices of the base words.
            rows: the indices of the vector words.
            kinds: the types of the vector words.
        """
        lengths = np.where(kinds == 4, 12, 8)
        before = np.concatenate([[0], np.cumsum(lengths)])  # per vector, the columns in all vectors before it
        columns = (words[bases] & 0x7FF).astype(np.int64) - before[np.searchsorted(rows, bases)]
        begins = np.concatenate([[self._base], columns])
        ons = np.concatenate([[self._on], (words[bases] & 0x800) != 0])
        self._base, self._on = max(int(begins[-1] + before[-1]), _NOWHERE), bool(ons[-1])
        base = np.searchsorted(bases, rows)
        return begins[base] + before[:-1], ons[base]

    def _times(self, words: npt.NDArray[Any], kind: npt.NDArray[np.uint8], rows: Ints) -> Ints:
        """Returns the time at each of the words with the indices `rows`, in microseconds."""
        is_time = (kind == 8) | (kind == 6)
        before = (self._high << 12) + self._low
        low = (words[is_time] & 0xFFF).astype(np.int64)
        highs = np.flatnonzero(kind[is_time] == 8)
        high = self._high_times(low[highs], 12)
        # A word that changes the high time sets the low time to 0 until the next word with a low time.
        low[highs] = 0
        again = highs[high[1:] == high[:-1]]
        if len(again):
            last = np.arange(1, len(low) + 1)
            last[again] = 0
            low = np.concatenate([[self._low], low])[np.maximum.accumulate(last)]
        times = (np.repeat(high, np.diff(highs, prepend=0, append=len(low))) << 12) + low
        if len(low):
            self._low = int(low[-1])
        return _value_at(np.concatenate([[before], times]), is_time, rows)


def _value_at(values: Ints, sets_value: npt.NDArray[np.bool_], rows: Ints) -> Ints:
    """Returns the value that holds at each of the words with the indices `rows`.

    Example: words set times; the value at an event's word is the time that was set last.

    Args:
        values: the value before the first word that sets one, then the value that each of these words sets.
        sets_value: a mask of the words that set a value, bool [words].
        rows: the indices of the words at which the value is wanted.
    """
    found: Ints = values[np.cumsum(sets_value, dtype=np.int32)[rows]]
    return found


def word_version(header: Header) -> str | None:
    """Returns the version of EVT that a header names: "2", "2.1" or "3"; None if the header names none."""
    plain = header.value(b"% evt ")
    if plain is not None:
        return plain.decode(errors="replace").removesuffix(".0")
    form = header.value(b"% format EVT")
    return None if form is None else ".".join(form.partition(b";")[0].decode(errors="replace"))


def header_sensor(header: Header, version: str) -> tuple[int, int] | None:
    """Returns the rows and columns of the camera from a header; None if the header does not have them.

    Args:
        header: the header.
        version: the version of EVT that the header must name, if it names one: "2" or "3".

    Raises:
        Damaged: the rows or columns are not numbers, or the words have another version.
    """
    found = word_version(header)
    if found not in (version, None):
        raise Damaged(0, f"the words are EVT {found}, not EVT{version}; only EVT2 and EVT3 can be read")
    size = header.value(b"% geometry ")
    if size is not None:
        width, _, height = size.partition(b"x")
        return sensor_edge(height, _EDGE), sensor_edge(width, _EDGE)
    fields = dict(field.partition(b"=")[::2] for field in (header.value(b"% format ") or b"").split(b";"))
    if b"height" in fields or b"width" in fields:
        return sensor_edge(fields.get(b"height"), _EDGE), sensor_edge(fields.get(b"width"), _EDGE)
    return None
