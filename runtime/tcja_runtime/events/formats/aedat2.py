"""AEDAT 2.0 of a DVS128 camera, the format of CIFAR10-DVS.

Lines that begin with '#', then 8 bytes for each event: an address and a time in microseconds, both big-endian. The
address has Y in bits 14 to 8, X in bits 7 to 1 and P in bit 0. Events get the axes that SpikingJelly gives them for its
CIFAR10-DVS, swapped and mirrored: x = 127 - Y, y = 127 - X, p = 1 - P. Bit 15 marks an external trigger; a record with
this bit is read as an event, as in SpikingJelly. Addresses of more than 16 bits are from other cameras and are refused.

Source: `CIFAR10DVS.load_origin_data` of SpikingJelly.
"""

from __future__ import annotations

import numpy as np

from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import Events
from tcja_runtime.events.header import Header, Records

FIRST = b"#!AER-DAT2.0"
SENSOR = (128, 128)


class Aedat2:
    """A decoder of AEDAT 2.0 (`tcja_runtime.events.event.Decoder`)."""

    sensor = SENSOR

    def __init__(self) -> None:
        self._header = Header(b"#", first=FIRST)
        self._records: Records | None = None

    def feed(self, data: bytes) -> Events:
        """Returns the events that are complete with the next bytes (`tcja_runtime.events.event.Decoder.feed`)."""
        data = self._header.feed(data)
        if not self._header.over:
            return Events.none()
        if self._records is None:
            self._records = Records(8, self._header.size)
        table = np.frombuffer(self._records.feed(data), ">u4").reshape(-1, 2)
        address = table[:, 0].astype(np.uint32)
        if len(address) and address.max() >> 16:
            row = int(np.argmax(address >= 2**16))
            what = f"the address {address[row]:#x} has more than 16 bits; only a DVS128 camera's can be read"
            raise Damaged(self._records.at + 8 * row, what)
        y = (127 - (address >> 1 & 127)).astype(np.uint16)
        x = (127 - (address >> 8 & 127)).astype(np.uint16)
        return Events(table[:, 1].astype(np.int64), x, y, (address & 1) == 0)

    def finish(self) -> None:
        """End the recording (`tcja_runtime.events.event.Decoder.finish`)."""
        self._header.finish()
        if self._records is not None:
            self._records.finish()
