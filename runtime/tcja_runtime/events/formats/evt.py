"""Prophesee .raw: EVT2 and EVT3, words of 32 or 16 bits behind lines that begin with '%'.

The type of a word is its upper four bits:

    EVT2   0 off, 1 on    bits 27 to 22 time (low), 21 to 11 x, 10 to 0 y
           8 time (high)  bits 27 to 0, in 64 microseconds
    EVT3   0 row          bits 10 to 0 y
           2 event        bit 11 polarity, bits 10 to 0 x
           3 base         bit 11 polarity, bits 10 to 0 x of the first event of what follows
           4, 5 vector    12 or 8 events side by side, those whose bit is set; the next vector goes on behind it
           6, 8 time      bits 11 to 0: low and high half, in microseconds and in 4,096 of them

Triggers and what makers add (10, 14, 15, in EVT3 also 7) are no events and passed over; other types there are not. When
the high time jumps back by more than half of what it can say, it has begun anew. Like the maker's own reader, this
passes over what comes ahead of the first time (and in EVT3 ahead of the first row and base): nobody knows when it was.

Source: Prophesee's descriptions of EVT 2.0 and EVT 3.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import Events
from tcja_runtime.events.header import Header, Records, edge

_EDGE = 2**11
"""Rows and columns that words can name."""
_UNKNOWN = -1
_NOWHERE = -(2**40)
"""So far off the sensor that no vectors lead to it."""

Ints = npt.NDArray[np.int64]


class Evt2:
    """A `Decoder`."""

    version = "2"
    size = 4
    kinds: tuple[int, ...] = (0, 1, 8, 10, 14, 15)

    def __init__(self) -> None:
        self._header = Header(b"% ", last=b"% end")
        self._words: Records | None = None
        self.sensor: tuple[int, int] | None = None
        self._high = _UNKNOWN

    def feed(self, data: bytes) -> Events:
        data = self._header.feed(data)
        if not self._header.over:
            return Events.none()
        if self._words is None:
            self.sensor = sensor(self._header, self.version)
            self._words = Records(self.size, self._header.size, "word")
        words = np.frombuffer(self._words.feed(data), f"<u{self.size}")
        kind = (words >> (8 * self.size - 4)).astype(np.uint8)
        known = np.isin(np.arange(16), self.kinds)[kind]
        if not known.all():
            row = int(np.argmin(known))
            raise Damaged(
                self._words.at + self.size * row, f"a word of type {kind[row]}, which EVT{self.version} has not"
            )
        return self._decoded(words, kind)

    def finish(self) -> None:
        self._header.finish()
        if self._words is not None:
            self._words.finish()

    def _decoded(self, words: npt.NDArray[Any], kind: npt.NDArray[np.uint8]) -> Events:
        rows, said = np.flatnonzero(kind <= 1), kind == 8
        high = self._highs(words[said], 28)
        found = words[rows]
        t = (_held(high, said, rows) << 6) + (found >> 22 & 0x3F)
        return self._events(rows, t, found >> 11 & 0x7FF, found & 0x7FF, kind[rows] == 1)

    def _highs(self, words: npt.NDArray[Any], bits: int) -> Ints:
        """The high time ahead of these words, then from each of them on, which say it."""
        said = (words & (2**bits - 1)).astype(np.int64)
        known = np.concatenate([[self._high], said])
        if self._high == _UNKNOWN:
            begun, before = 0, known[1:2]
        else:
            begun, before = self._high >> bits, known[:1] & (2**bits - 1)
        anew = np.concatenate([before, said[:-1]])[: len(said)] >= said + 2 ** (bits - 1)
        known[1:] += (begun + np.cumsum(anew)) << bits
        self._high = int(known[-1])
        return known

    def _events(self, rows: Ints, t: Ints, x: Any, y: Any, p: npt.NDArray[np.bool_]) -> Events:
        """Those that have a time and a place, which must be on the sensor."""
        if len(t) and min(t.min(), x.min(), y.min()) < 0:
            have = (t >= 0) & (x >= 0) & (y >= 0)
            rows, t, x, y, p = rows[have], t[have], x[have], y[have], p[have]
        height, width = self.sensor or (_EDGE, _EDGE)
        if len(t) and (x.max() >= width or y.max() >= height):
            row = int(np.argmax((x >= width) | (y >= height)))
            what = f"an event at row {y[row]}, column {x[row]} of a sensor of {height} x {width}"
            begin = self._words.at if self._words else 0
            raise Damaged(begin + self.size * int(rows[row]), what)
        return Events(t.astype(np.int64), x.astype(np.uint16), y.astype(np.uint16), p)


class Evt3(Evt2):
    """A `Decoder`."""

    version = "3"
    size = 2
    kinds = (0, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15)

    def __init__(self) -> None:
        super().__init__()
        self._low = 0
        self._row = _UNKNOWN
        self._base, self._on = _NOWHERE, False  # of the next vector

    def _decoded(self, words: npt.NDArray[Any], kind: npt.NDArray[np.uint8]) -> Events:
        rows, said = np.flatnonzero((kind == 2) | (kind == 4) | (kind == 5)), kind == 0
        found, kinds = words[rows], kind[rows]
        ys = np.concatenate([[self._row], (words[said] & 0x7FF).astype(np.int64)])
        self._row = int(ys[-1])
        y, t = _held(ys, said, rows), self._times(words, kind, rows)
        x, p = (found & 0x7FF).astype(np.int64), (found & 0x800) != 0
        bases, vectors = np.flatnonzero(kind == 3), np.flatnonzero(kinds != 2)
        if len(bases) or len(vectors):
            x[vectors], p[vectors] = self._vectors(words, bases, rows[vectors], kinds[vectors])
        if len(vectors):  # each as often as it has events
            masks = found[vectors] & np.where(kinds[vectors] == 4, 0xFFF, 0xFF).astype(np.uint16)
            bits = (masks[:, None] >> np.arange(12, dtype=np.uint16) & 1).astype(np.bool_)
            counts, beside = np.ones(len(rows), np.int64), np.zeros(len(rows), np.bool_)
            counts[vectors], beside[vectors] = bits.sum(1), True
            each = np.repeat(np.arange(len(rows)), counts)
            rows, t, x, y, p = rows[each], t[each], x[each], y[each], p[each]
            x[beside[each]] += np.nonzero(bits)[1]
        return self._events(rows, t, x, y, p)

    def _vectors(
        self, words: npt.NDArray[Any], said: Ints, rows: Ints, kinds: npt.NDArray[np.uint8]
    ) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """Column of the first event of each vector, which is as far behind its base as those between are long."""
        lengths = np.where(kinds == 4, 12, 8)
        behind = np.concatenate([[0], np.cumsum(lengths)])  # ahead of each vector, and of what comes next
        bases = (words[said] & 0x7FF).astype(np.int64) - behind[np.searchsorted(rows, said)]
        begins = np.concatenate([[self._base], bases])
        ons = np.concatenate([[self._on], (words[said] & 0x800) != 0])
        self._base, self._on = max(int(begins[-1] + behind[-1]), _NOWHERE), bool(ons[-1])
        base = np.searchsorted(said, rows)
        return begins[base] + behind[:-1], ons[base]

    def _times(self, words: npt.NDArray[Any], kind: npt.NDArray[np.uint8], rows: Ints) -> Ints:
        """When the words of these rows were."""
        said = (kind == 8) | (kind == 6)
        before = (self._high << 12) + self._low
        low = (words[said] & 0xFFF).astype(np.int64)
        highs = np.flatnonzero(kind[said] == 8)
        high = self._highs(low[highs], 12)
        # A new high half makes the low one zero, until that is said; the same again leaves it.
        low[highs] = 0
        again = highs[high[1:] == high[:-1]]
        if len(again):
            last = np.arange(1, len(low) + 1)
            last[again] = 0
            low = np.concatenate([[self._low], low])[np.maximum.accumulate(last)]
        times = (np.repeat(high, np.diff(highs, prepend=0, append=len(low))) << 12) + low
        if len(low):
            self._low = int(low[-1])
        return _held(np.concatenate([[before], times]), said, rows)


def _held(values: Ints, said: npt.NDArray[np.bool_], rows: Ints) -> Ints:
    """The value that holds in each row: the first until one is said, and the next from each on."""
    held: Ints = values[np.cumsum(said, dtype=np.int32)[rows]]
    return held


def version(header: Header) -> str | None:
    """Of the words, as the header says: 2, 2.1 or 3; None if it does not."""
    plain = header.value(b"% evt ")
    if plain is not None:
        return plain.decode(errors="replace").removesuffix(".0")
    form = header.value(b"% format EVT")
    return None if form is None else ".".join(form.partition(b";")[0].decode(errors="replace"))


def sensor(header: Header, wanted: str) -> tuple[int, int] | None:
    """Rows and columns, where the header says them.

    Raises:
        Damaged: they are no sizes, or the words are of another version than is wanted.
    """
    said = version(header)
    if said not in (wanted, None):
        raise Damaged(0, f"words of EVT {said}; EVT2 and EVT3 are read, and this was to be EVT{wanted}")
    size = header.value(b"% geometry ")
    if size is not None:
        width, _, height = size.partition(b"x")
        return edge(height, _EDGE), edge(width, _EDGE)
    fields = dict(field.partition(b"=")[::2] for field in (header.value(b"% format ") or b"").split(b";"))
    if b"height" in fields or b"width" in fields:
        return edge(fields.get(b"height"), _EDGE), edge(fields.get(b"width"), _EDGE)
    return None
