"""ATIS .bin, the format of N-Caltech101 and N-MNIST: 5 bytes for each event, without a header.

    byte 0 x   byte 1 y   byte 2 polarity (bit 7) and time (bits 22 to 16)   bytes 3 and 4 time (bits 15 to 0)

Times are in microseconds. The sensor has 304 columns and 240 rows, 0 to 239. A record with row 240 is not an event. It
says that the clock has overflowed: 2^13 us are added to all later times.

Source: `load_ATIS_bin` of SpikingJelly for events; `read_mnist_file` of tonic for row 240, which SpikingJelly does not
treat in this way.
"""

from __future__ import annotations

import numpy as np

from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import Events
from tcja_runtime.events.header import Records

_ROWS = 240
_OVERFLOW = 2**13  # microseconds that each record with row 240 adds to all later times


class Atis:
    """A decoder of ATIS .bin (`tcja_runtime.events.event.Decoder`). `sensor` is None: files do not store it."""

    sensor, remarks = None, ()

    def __init__(self) -> None:
        self._records = Records(5)
        self._added = 0

    def feed(self, data: bytes) -> Events:
        """Returns the events that are complete with the next bytes (`tcja_runtime.events.event.Decoder.feed`)."""
        table = np.frombuffer(self._records.feed(data), np.uint8).reshape(-1, 5)
        y = table[:, 1].astype(np.uint16)
        if len(y) and y.max() > _ROWS:
            row = int(np.argmax(y > _ROWS))
            raise Damaged(self._records.at + 5 * row, f"an event at row {y[row]}, outside {_ROWS} rows")
        high, middle, low = table[:, 2].astype(np.int32), table[:, 3].astype(np.int32), table[:, 4]
        t = ((high & 127) << 16 | middle << 8 | low).astype(np.int64)
        mark = y == _ROWS
        t += self._added
        x, p = table[:, 0].astype(np.uint16), high >= 128
        if not mark.any():
            return Events(t, x, y, p)
        marks = np.cumsum(mark)
        t += _OVERFLOW * marks
        self._added += _OVERFLOW * int(marks[-1])
        real = ~mark
        return Events(t[real], x[real], y[real], p[real])

    def finish(self) -> None:
        """End the recording (`tcja_runtime.events.event.Decoder.finish`)."""
        self._records.finish()
