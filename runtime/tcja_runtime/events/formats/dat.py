"""Prophesee .dat, the format of N-Cars and Gen1: lines that begin with '%', two bytes, then 8 bytes for each event.

    two bytes   type of the events (0 or 12), size of an event (8)
    event       time in microseconds, word (u32 each, little-endian)
    word        bits 13 to 0 x, bits 27 to 14 y, bit 28 polarity

The lines `% Width` and `% Height` hold the size of the sensor; older files do not have them.

Source: Prophesee's description of the DAT format, version 2.
"""

from __future__ import annotations

import numpy as np

from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import Events
from tcja_runtime.events.header import Header, Records, sensor_edge

KINDS = (b"\x00\x08", b"\x0c\x08")
"""The two bytes before the events: the type 0 (older files) or 12 (newer files), and the size of an event, 8."""

_EDGE = 2**14
"""The most rows or columns of a sensor."""


class Dat:
    """A decoder of Prophesee .dat (`tcja_runtime.events.event.Decoder`)."""

    remarks = ()

    def __init__(self) -> None:
        self._header = Header(b"% ", last=(b"% end",))
        self._kind = b""
        self._records: Records | None = None
        self.sensor: tuple[int, int] | None = None

    def feed(self, data: bytes) -> Events:
        """Returns the events that are complete with the next bytes (`tcja_runtime.events.event.Decoder.feed`)."""
        data = self._header.feed(data)
        if not self._header.over:
            return Events.none()
        if self._records is None:
            data = self._kind + data
            self._kind, data = data[:2], data[2:]
            if len(self._kind) < 2:
                return Events.none()
            self._read_header()
            self._records = Records(8, self._header.size + 2)
        table = np.frombuffer(self._records.feed(data), "<u4").reshape(-1, 2)
        word = table[:, 1]
        x, y = (word & 0x3FFF).astype(np.uint16), (word >> 14 & 0x3FFF).astype(np.uint16)
        height, width = self.sensor or (_EDGE, _EDGE)
        wrong = (x >= width) | (y >= height) | (word >= 2**29)
        if wrong.any():
            row = int(np.argmax(wrong))
            what = f"an event at row {y[row]}, column {x[row]}, outside the sensor of {height} x {width}"
            if word[row] >= 2**29:
                what = f"an event has polarity {word[row] >> 28}; it must be 0 or 1"
            raise Damaged(self._records.at + 8 * row, what)
        return Events(table[:, 0].astype(np.int64), x, y, word >= 2**28)

    def finish(self) -> None:
        """End the recording (`tcja_runtime.events.event.Decoder.finish`)."""
        self._header.finish()
        if self._records is None:
            raise Damaged(self._header.size, "the file ends before the type of its events")
        self._records.finish()

    def _read_header(self) -> None:
        """Check the type of the events and the version of the format, and set `sensor` from the header."""
        if self._kind not in KINDS:
            kind, size = self._kind
            what = f"events of type {kind} with {size} bytes; only type 0 or 12 with 8 bytes can be read"
            raise Damaged(self._header.size, what)
        version = self._header.value(b"% Version")
        if version not in (b"2", None):
            raise Damaged(0, f"version {version.decode(errors='replace')} of the format; only version 2 can be read")
        height, width = self._header.value(b"% Height"), self._header.value(b"% Width")
        if height is not None or width is not None:
            self.sensor = sensor_edge(height, _EDGE), sensor_edge(width, _EDGE)
