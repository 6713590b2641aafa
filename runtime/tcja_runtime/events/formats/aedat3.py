"""AEDAT 3.1, the format of DVS128 Gesture: lines that begin with '#', then packets of events, all little-endian.

    header of a packet   28 bytes: type, source (u16 each), size, offset, overflow, capacity, number, valid (u32 each)
    events               `capacity` events of `size` bytes; the first `number` of them are used
    polarity event       type 1, 8 bytes: address, time (u32 each)
    address              bits 31 to 17 x, bits 16 to 2 y, bit 1 polarity, bit 0 valid
    time                 in microseconds; overflow * 2^31 is added to it

Only polarity events are read; packets of other types are skipped. As in SpikingJelly, the bit `valid` is ignored.
If `capacity` is larger than `number`, the events after the first `number` are skipped. SpikingJelly reads all
`capacity` events. No recorder writes packets in which the two numbers differ.

Source: iniVation's description of AEDAT 3.1; `load_aedat_v3` of SpikingJelly.
"""

from __future__ import annotations

import struct

import numpy as np

from tcja_runtime.counting import agree, counted
from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import Events
from tcja_runtime.events.header import Header

FIRST, LAST = b"#!AER-DAT3.1", b"#!END-HEADER"
SENSORS = {b"DVS128": (128, 128), b"DAVIS128": (128, 128), b"DAVIS240": (180, 240), b"DAVIS346": (260, 346)}
"""The rows and columns of each camera, by its name in the header."""

_HEADER = struct.Struct("<2H6I")
_POLARITY, _SIZE, _OFFSET = 1, 8, 4
_TYPES = 13  # types 0 to 12 exist
_LARGEST = 2**28
"""The largest size of a packet, in bytes. Recorders write some hundred events into a packet."""


class Aedat3:
    """A decoder of AEDAT 3.1 (`tcja_runtime.events.event.Decoder`)."""

    remarks = ()

    def __init__(self) -> None:
        self._header = Header(b"#", first=FIRST, last=(LAST,), closed=True)
        self.sensor: tuple[int, int] | None = None
        self._at = 0  # the offset of the first byte of _rest in the recording
        self._rest = b""  # the bytes of an incomplete event or packet header
        self._events = 0  # the number of events of this packet that were not read yet
        self._skipped = 0  # the number of bytes to skip before the next read
        self._behind = 0  # the number of bytes to skip after the events of this packet
        self._overflow = 0

    def feed(self, data: bytes) -> Events:
        """Returns the events that are complete with the next bytes (`tcja_runtime.events.event.Decoder.feed`)."""
        if not self._header.over:
            data = self._header.feed(data)
            if not self._header.over:
                return Events.none()
            self._at = self._header.size
            self._read_header()
        data = self._rest + data if self._rest else data
        runs: list[tuple[int, int, int]] = []  # begin, end and overflow of each run of events in data
        at = 0
        while at < len(data):
            if self._skipped:
                passed = min(self._skipped, len(data) - at)
                self._skipped -= passed
                at += passed
            elif self._events:
                count = min(self._events, (len(data) - at) // _SIZE)
                if not count:
                    break
                runs.append((at, at + _SIZE * count, self._overflow))
                self._events -= count
                at += _SIZE * count
                self._skipped = 0 if self._events else self._behind
            elif len(data) - at >= _HEADER.size:
                self._read_packet_header(data, at)
                at += _HEADER.size
            else:
                break
        events = self._decoded(data, runs)
        self._rest, self._at = data[at:], self._at + at
        return events

    def finish(self) -> None:
        """End the recording (`tcja_runtime.events.event.Decoder.finish`)."""
        self._header.finish()
        if self._events or self._skipped:
            missing = _SIZE * self._events + (self._behind if self._events else self._skipped) - len(self._rest)
            raise Damaged(
                self._at + len(self._rest), f"the last packet is cut off {counted(missing, 'byte')} before its end"
            )
        if self._rest:
            raise Damaged(self._at, f"the last packet has {len(self._rest)} of the {_HEADER.size} bytes of its header")

    def _read_header(self) -> None:
        """Check the format that the header names, and set `sensor` from the name of the camera."""
        form = self._header.value(b"#Format:")
        if form not in (b"RAW", None):
            raise Damaged(0, f"packets of format {form.decode(errors='replace')}; only RAW can be read")
        sources = [line.partition(b":")[2].strip() for line in self._header.lines if line.startswith(b"#Source")]
        if len(sources) == 1:
            self.sensor = next((size for camera, size in SENSORS.items() if sources[0].startswith(camera)), None)

    def _read_packet_header(self, data: bytes, at: int) -> None:
        """Check the header of the packet at data[at:], and set the numbers of events and bytes that follow it."""
        kind, _, size, offset, overflow, capacity, number, valid = _HEADER.unpack_from(data, at)
        wrong = None
        if kind >= _TYPES:
            wrong = f"a packet of type {kind}; types are 0 to {_TYPES - 1}"
        elif not size or capacity * size > _LARGEST:
            wrong = f"a packet of {counted(capacity, 'event')} of {counted(size, 'byte')}"
        elif not valid <= number <= capacity:
            has = f"{number:,}, of which {valid:,} {agree(valid, 'is', 'are')} valid"
            wrong = f"a packet with room for {counted(capacity, 'event')} has {has}"
        elif kind == _POLARITY and (size, offset) != (_SIZE, _OFFSET):
            wrong = f"polarity events of {size} bytes with the time at byte {offset}; it must be 8 bytes and byte 4"
        if wrong:
            raise Damaged(self._at + at, wrong)
        meant = number if kind == _POLARITY else 0
        self._events, self._overflow, self._behind = meant, overflow, size * (capacity - meant)
        self._skipped = 0 if meant else self._behind

    def _decoded(self, data: bytes, runs: list[tuple[int, int, int]]) -> Events:
        """Returns the events in `data`; each run (begin, end, overflow) is a range of bytes with the same overflow."""
        if not runs:
            return Events.none()
        held = b"".join([data[begin:end] for begin, end, _ in runs])
        table = np.frombuffer(held, "<u4").reshape(-1, 2)
        address = table[:, 0]
        x, y = (address >> 17).astype(np.uint16), (address >> 2 & 0x7FFF).astype(np.uint16)
        t = table[:, 1].astype(np.int64)
        height, width = self.sensor or (2**15, 2**15)
        if t.max() >= 2**31 or x.max() >= width or y.max() >= height:
            wrong = (t >= 2**31) | (x >= width) | (y >= height)
            row = int(np.argmax(wrong))
            ends = np.cumsum([end - begin for begin, end, _ in runs])
            run = int(np.searchsorted(ends, _SIZE * row, "right"))
            place = self._at + runs[run][1] - int(ends[run]) + _SIZE * row
            if t[row] >= 2**31:
                raise Damaged(place, f"an event has the negative time {t[row] - 2**32}")
            raise Damaged(place, f"an event at row {y[row]}, column {x[row]}, outside the sensor of {height} x {width}")
        if any(overflow for _, _, overflow in runs):
            counts = [(end - begin) // _SIZE for begin, end, _ in runs]
            t += np.repeat(np.array([overflow for _, _, overflow in runs], np.int64) << 31, counts)
        return Events(t, x, y, (address & 2) != 0)
