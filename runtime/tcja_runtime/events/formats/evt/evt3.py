"""EVT3, words of 16 bits.

The upper four bits of a word are its type:

    0 row          bits 10 to 0 y
    2 event        bit 11 polarity, bits 10 to 0 x
    3 base         bit 11 polarity, bits 10 to 0 x of the first column of the next vector
    4, 5 vector    12 or 8 neighbouring columns, an event for each bit that is 1; the next vector begins at the column
                   after them
    6, 8 time      bits 11 to 0: low half in microseconds, high half in 4,096 microseconds

Words of the types 7, 10, 14 and 15 are triggers and vendors' extensions. They are not events and are skipped. Other
types do not exist. Events before the first time, row or base are left out and counted, as in EVT2.

Source: Prophesee's description of EVT 3.0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tcja_runtime.events.event import Events
from tcja_runtime.events.formats.evt.evt2 import UNKNOWN, Evt2, Ints, Kinds, Words, value_at

_NOWHERE = -(2**40)
"""The base column until the first base word: so small that no vector reaches a column of the sensor."""


class Evt3(Evt2):
    """A decoder of EVT3 (`tcja_runtime.events.event.Decoder`)."""

    version = "3"
    size = 2
    kinds = (0, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15)

    def __init__(self) -> None:
        super().__init__()
        self._low = 0
        self._row = UNKNOWN
        self._base, self._on = _NOWHERE, False  # the column and polarity of the next vector

    def skip_gap(self) -> None:
        """Forget the time, row and base of the words before a gap (`Evt2.skip_gap`)."""
        super().skip_gap()
        self._low, self._row = 0, UNKNOWN
        self._base, self._on = _NOWHERE, False

    def _decoded(self, words: Words, kind: Kinds) -> Events:
        rows, is_row = np.flatnonzero((kind == 2) | (kind == 4) | (kind == 5)), kind == 0
        found, kinds = words[rows], kind[rows]
        ys = np.concatenate([[self._row], (words[is_row] & 0x7FF).astype(np.int64)])
        self._row = int(ys[-1])
        y, t = value_at(ys, is_row, rows), self._times(words, kind, rows)
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

    def _vectors(self, words: Words, bases: Ints, rows: Ints, kinds: Kinds) -> tuple[Ints, npt.NDArray[np.bool_]]:
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

    def _times(self, words: Words, kind: Kinds, rows: Ints) -> Ints:
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
        return value_at(np.concatenate([[before], times]), is_time, rows)
