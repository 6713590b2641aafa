"""EVT 2.1, words of 64 bits.

The upper four bits of a word are its type:

    0 off, 1 on    bits 59 to 54 time (low), 53 to 43 x, 42 to 32 y; bits 31 to 0 are the columns from x on, an event
                   for each bit that is 1, the lowest bit first
    8 time (high)  bits 59 to 32, in 64 microseconds

Words of the types 10, 14 and 15 are triggers and vendors' extensions, and are skipped, as in EVT2. The header names the
order of the bytes: "little" for the whole word (GenX320), or "legacy" for two halves of 32 bits, the upper half first
and each of them with its lowest byte first (IMX636). Without the name of an order, words are "little".

Source: Prophesee's description of EVT 2.1.
"""

from __future__ import annotations

import numpy as np

from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import Events
from tcja_runtime.events.formats.evt.evt2 import Evt2, Kinds, Words, value_at
from tcja_runtime.events.formats.evt.header import byte_order

_COLUMNS = 32  # of a word
_ORDERS = ("little", "legacy")


class Evt21(Evt2):
    """A decoder of EVT 2.1 (`tcja_runtime.events.event.Decoder`)."""

    version = "2.1"
    size = 8

    def __init__(self) -> None:
        super().__init__()
        self._legacy = False

    def _begin(self) -> None:
        super()._begin()
        order = byte_order(self._header)
        if order not in _ORDERS:
            raise Damaged(0, f"the bytes of its words have the order {order!r}; it must be {' or '.join(_ORDERS)}")
        self._legacy = order == "legacy"

    def _in_order(self, data: bytes) -> Words:
        if not self._legacy:
            return super()._in_order(data)
        halves = np.frombuffer(data, "<u4").reshape(-1, 2).astype(np.uint64)
        return halves[:, 0] << np.uint64(32) | halves[:, 1]

    def _decoded(self, words: Words, kind: Kinds) -> Events:
        upper = (words >> np.uint64(32)).astype(np.uint32)
        rows, is_time = np.flatnonzero(kind <= 1), kind == 8
        t = value_at(self._high_times(upper[is_time], 28), is_time, rows) << 6
        masks = (words[rows] & np.uint64(2**_COLUMNS - 1)).astype(np.uint32)
        bits = np.unpackbits(masks.astype("<u4").view(np.uint8), bitorder="little").view(np.bool_)
        # Of every event: its word, and its column after the first of the word.
        each, columns = np.divmod(np.flatnonzero(bits), _COLUMNS)
        rows, found = rows[each], upper[rows][each]
        t = t[each] + (found >> 22 & 0x3F)
        x = (found >> 11 & 0x7FF).astype(np.int64) + columns
        return self._events(rows, t, x, found & 0x7FF, kind[rows] == 1)
