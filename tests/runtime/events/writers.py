"""Recordings written from the descriptions of their formats, an event at a time, and nothing of what reads them.

An event is (t, x, y, p): microseconds, column, row, and 1 for on.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Event = tuple[int, int, int, int]

ROS_PACKET = """std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""
"""The message event_camera_msgs/msg/EventPacket of ROS."""


def atis(events: list[Event]) -> bytes:
    out = b""
    for t, x, y, p in events:
        out += bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255])
    return out


def atis_overflow() -> bytes:
    """What stands between events when the clock of 13 bits overflows."""
    return bytes([0, 240, 0, 0, 0])


def aedat2(events: list[Event], header: bytes = b"#!AER-DAT2.0\r\n# made by a test\r\n") -> bytes:
    """The camera's axes are swapped and mirrored against the picture's, and 1 is off."""
    out = header
    for t, x, y, p in events:
        out += struct.pack(">II", (127 - x) << 8 | (127 - y) << 1 | 1 - p, t)
    return out


def davis(events: list[Event], camera: int = 346, others: bool = True) -> bytes:
    """As a DAVIS camera: rows and columns are counted from the other corner; frames, motion and signals between."""
    rows, columns = {346: (260, 346), 240: (180, 240)}[camera]
    out = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.Davis%dblue\r\n" % camera
    out += b"#" * 70_000 + b"\r\n#End Of ASCII Header\r\n"  # jAER's preferences take as much room
    for n, (t, x, y, p) in enumerate(events):
        if others and n % 3 == 0:
            out += struct.pack(">II", 1 << 31 | 5 << 22 | 7 << 12 | n % 2 << 10 | 99, t)  # a pixel of a frame
            out += struct.pack(">II", 1 << 31 | 3 << 10 | 3, t) + struct.pack(">II", 1 << 10, t)  # motion, a signal
        out += struct.pack(">II", rows - 1 - y << 22 | columns - 1 - x << 12 | p << 11, t)
    return out


AEDAT3_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2016-09-14\r\n#!END-HEADER\r\n"


def packet(kind: int, body: bytes, size: int, number: int, overflow: int = 0, capacity: int | None = None) -> bytes:
    capacity = number if capacity is None else capacity
    return struct.pack("<HHIIIIII", kind, 1, size, 4, overflow, capacity, number, number) + body


def aedat3(events: list[Event], header: bytes = AEDAT3_HEADER) -> bytes:
    """Packets of up to 30 events whose clock has overflowed equally often, and packets of other types between."""
    out, at = header, 0
    while at < len(events):
        overflow, body, number = events[at][0] >> 31, b"", 0
        while at < len(events) and number < 30 and events[at][0] >> 31 == overflow:
            t, x, y, p = events[at]
            body += struct.pack("<II", x << 17 | y << 2 | p << 1 | at % 2, t & 0x7FFFFFFF)  # some are not valid
            at, number = at + 1, number + 1
        out += packet(1, body, 8, number, overflow)
        if at % 3 == 0:
            out += packet(3, bytes(range(36)) * 2, 36, 2)  # from the motion sensor
    return out


DAT_HEADER = b"% Data file containing CD events.\n% Version 2\n% Date 2020-01-01\n% Height 720\n% Width 1280\n"


def dat(events: list[Event], header: bytes = DAT_HEADER, kind: bytes = b"\x0c\x08") -> bytes:
    out = header + kind
    for t, x, y, p in events:
        out += struct.pack("<II", t, p << 28 | y << 14 | x)
    return out


EVT2_HEADER = b"% evt 2.0\n% geometry 1280x720\n% integrator_name made by a test\n"


def evt2(events: list[Event], header: bytes = EVT2_HEADER) -> bytes:
    out, high = header, None
    for number, (t, x, y, p) in enumerate(events):
        if t >> 6 != high:
            high = t >> 6
            out += struct.pack("<I", 8 << 28 | high & 0xFFFFFFF)
        out += struct.pack("<I", p << 28 | (t & 63) << 22 | x << 11 | y)
        if number % 5 == 0:
            out += struct.pack("<I", 10 << 28 | (t & 63) << 22 | 1)  # a trigger
            out += struct.pack("<I", 14 << 28 | 77) + struct.pack("<I", 15 << 28 | 12345)  # what makers add
    return out


EVT21_HEADER = b"% evt 2.1\n% format EVT21;height=720;width=1280\n% end\n"
EVT3_HEADER = b"% camera_integrator_name made by a test\n% format EVT3;height=720;width=1280\n% end\n"


def evt3(events: list[Event], header: bytes = EVT3_HEADER) -> bytes:
    """Three and more events that one word after the other can say together are written as vectors."""
    words: list[int] = []
    high = low = row = None
    at = 0
    while at < len(events):
        t, x, y, p = events[at]
        if t >> 12 != high:
            high, low = t >> 12, None
            words.append(0x8000 | high & 0xFFF)
        if t & 0xFFF != low:
            low = t & 0xFFF
            words.append(0x6000 | low)
        if y != row:
            row = y
            words.append(y)
        together = 1
        while at + together < len(events):
            t2, x2, y2, p2 = events[at + together]
            if (t2, y2, p2) != (t, y, p) or not 0 < x2 - events[at + together - 1][1] < 40:
                break
            together += 1
        if together < 3:
            words.append(0x2000 | p << 11 | x)
            together = 1
        else:
            columns = {event[1] for event in events[at : at + together]}
            words.append(0x3000 | p << 11 | x)
            base = x
            while base <= max(columns):
                length = 12 if max(columns) - base >= 8 else 8
                mask = sum(1 << bit for bit in range(length) if base + bit in columns)
                words.append((0x4000 if length == 12 else 0x5000) | mask)
                base += length
        at += together
        if at % 5 == 0:
            words += [0xA001, 0xE012, 0x7003, 0xF123]  # a trigger, and what makers add
    return header + b"".join(struct.pack("<H", word) for word in words)


def evt21(events: list[Event], header: bytes = EVT21_HEADER, legacy: bool = False) -> bytes:
    """Events of a row and polarity at one time, in up to 32 columns from the first on, are one word."""
    words: list[int] = []
    high, at = None, 0
    while at < len(events):
        t, x, y, p = events[at]
        if t >> 6 != high:
            high = t >> 6
            words.append(8 << 60 | (high & 0xFFFFFFF) << 32 | 0xDEAD)  # the lower half is not used
        together = 1
        while at + together < len(events):
            t2, x2, y2, p2 = events[at + together]
            if (t2, y2, p2) != (t, y, p) or not events[at + together - 1][1] < x2 < x + 32:
                break
            together += 1
        mask = sum(1 << event[1] - x for event in events[at : at + together])
        words.append(p << 60 | (t & 63) << 54 | x << 43 | y << 32 | mask)
        at += together
        if at % 5 == 0:
            words += [10 << 60 | (t & 63) << 54 | 1 << 32, 14 << 60 | 77, 15 << 60 | 12345]  # a trigger, and others
    if legacy:
        return header + b"".join(struct.pack("<II", word >> 32, word & 0xFFFFFFFF) for word in words)
    return header + b"".join(struct.pack("<Q", word) for word in words)


DTYPE = [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]
"""The type of events in tonic, `events_struct`."""


def table(events: list[Event], dtype: list[tuple[str, str]]) -> np.ndarray:
    """A structured array whose fields t, x, y and p are known by their first letters."""
    out = np.zeros(len(events), dtype)
    for name, _ in dtype:
        out[name] = [event["txyp".index(name[0])] for event in events]
    return out


def npy(events: list[Event]) -> bytes:
    out = io.BytesIO()
    np.save(out, table(events, [("x", "<u2"), ("y", "<u2"), ("t", "<i8"), ("p", "?")]))
    return out.getvalue()


def npz(events: list[Event], compressed: bool = True, dtype: str = "<i8") -> bytes:
    out = io.BytesIO()
    columns = {key: np.array([event[n] for event in events], dtype) for n, key in enumerate("txyp")}
    (np.savez_compressed if compressed else np.savez)(out, **columns)
    return out.getvalue()


def flatbuffer(name: bytes, fields: bytes, places: list[int], rest: bytes) -> bytes:
    """One table. Its fields are as many bytes, at these places behind the four that tell where the table's own is."""
    own = struct.pack("<HH", 4 + 2 * len(places), 4 + len(fields)) + b"".join(struct.pack("<H", 4 + n) for n in places)
    own += bytes(-len(own) % 4)
    table = 8 + len(own)
    return struct.pack("<I", table) + name + own + struct.pack("<i", table - 8) + fields + rest


def events_packet(events: list[Event]) -> bytes:
    vector = struct.pack("<I", len(events))
    for t, x, y, p in events:
        vector += struct.pack("<qhhB3x", t, x, y, p)
    table = flatbuffer(b"EVTS", struct.pack("<I", 4), [0], vector)
    return struct.pack("<I", len(table)) + table


def aedat4(events: list[Event], *, closed: bool = True, sensor: tuple[int, int] = (480, 640), split: int = 50) -> bytes:
    """Not compressed; packets of another stream of events between, which is not the first."""
    packets = b""
    for at in range(0, len(events), split):
        for stream, held in ((2, events[at : at + split]), (5, [(1, 2, 3, 1)])):
            content = events_packet(held)
            packets += struct.pack("<iI", stream, len(content)) + content
    rows, columns = sensor
    streams = "".join(
        f'<node name="{stream}" path="/{stream}/"><attr key="compression" type="string">NONE</attr>'
        '<attr key="typeIdentifier" type="string">EVTS</attr><node name="info" path="/info/">'
        f'<attr key="sizeX" type="int">{columns}</attr><attr key="sizeY" type="int">{rows}</attr></node></node>'
        for stream in (5, 2)
    )
    text = f'<dv version="2.0"><node name="outInfo" path="/outInfo/">{streams}</node></dv>'.encode()
    line, size = b"#!AER-DAT4.0\r\n", 0
    for _ in range(2):  # where the table begins depends on the size of the header, which does not on it
        table = len(line) + 4 + size + len(packets) if closed else -1
        fields = struct.pack("<qiI", table, 0, 4)
        header = flatbuffer(b"IOHE", fields, [8, 0, 12], struct.pack("<I", len(text)) + text + b"\0")
        size = len(header)
    return line + struct.pack("<I", size) + header + packets + (b"a table of what there is" if closed else b"")


class Made(NamedTuple):
    """A format: what writes it, the columns and rows and the last time it can say, and the file's suffix."""

    write: Callable[[list[Event]], bytes]
    columns: int
    rows: int
    last: int
    suffix: str


FORMATS = {
    "atis": Made(atis, 256, 240, 2**23 - 1, ".bin"),
    "aedat2": Made(aedat2, 128, 128, 2**32 - 1, ".aedat"),
    "aedat3": Made(aedat3, 128, 128, 2**40, ".aedat"),
    "aedat4": Made(aedat4, 640, 480, 2**62, ".aedat4"),
    "dat": Made(dat, 1280, 720, 2**32 - 1, ".dat"),
    "evt2": Made(evt2, 1280, 720, 2**34 - 1, ".raw"),
    "evt21": Made(evt21, 1280, 720, 2**34 - 1, ".raw"),
    "evt3": Made(evt3, 1280, 720, 2**24 - 1, ".raw"),
    "npy": Made(npy, 2**16, 2**16, 2**63 - 1, ".npy"),
    "npz": Made(npz, 2**16, 2**16, 2**63 - 1, ".npz"),
}


def some(made: Made, count: int, seed: int = 0) -> list[Event]:
    """Events with what is extreme among them, and runs side by side; their times rise."""
    rng = np.random.default_rng(seed)
    ends = [
        (0, 0, 0, 0),
        (0, made.columns - 1, made.rows - 1, 1),
        (0, 0, made.rows - 1, 0),
        (0, made.columns - 1, 0, 1),
    ]
    events = ends[: max(count, 0)]
    t = 0
    while len(events) < count - 1:
        t = min(t + int(rng.choice([0, 0, 1, 63, 4095, 5000])), made.last)
        x, y, p = int(rng.integers(made.columns - 60)), int(rng.integers(made.rows)), int(rng.integers(2))
        for _ in range(int(rng.choice([1, 1, 2, 30]))):
            events.append((t, x, y, p))
            x = min(x + int(rng.integers(1, 4)), made.columns - 1)
    events = [event for n, event in enumerate(events) if n == 0 or event != events[n - 1]][: max(count - 1, 0)]
    return [*events, (made.last, 1, 1, 1)] if count else []
