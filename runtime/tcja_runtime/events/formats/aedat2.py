"""AEDAT 2.0, as jAER writes it: the format of CIFAR10-DVS (a DVS128 camera) and of recordings of DAVIS cameras.

Lines that begin with '#', then 8 bytes for each event: an address and a time in microseconds, both big-endian. The line
`# AEChip: ` of the header has the name of the camera. Without this line, the camera is a DVS128.

    DVS128   bits 14 to 8 Y, 7 to 1 X, 0 P. Events get the axes that SpikingJelly gives them for its CIFAR10-DVS,
             swapped and mirrored: x = 127 - Y, y = 127 - X, p = 1 - P. Bit 15 marks an external trigger; a record with
             this bit is read as an event, as in SpikingJelly. Addresses have at most 16 bits.
    DAVIS    bits 30 to 22 Y, 21 to 12 X, 11 P. In a picture whose first row is the top one, x = columns - 1 - X,
             y = rows - 1 - Y, p = P. A record with bit 31 is a sample of the frames (APS) or of the motion sensor
             (IMU), one with bit 10 and not bit 31 is an external signal. These records are skipped and counted.

Source: `CIFAR10DVS.load_origin_data` of SpikingJelly for DVS128; the classes `DavisChip` and `DavisBaseCamera` of jAER
for DAVIS. jAER counts rows from the bottom.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcja_runtime.counting import agree, counted
from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import Events
from tcja_runtime.events.header import Header, Records

FIRST = b"#!AER-DAT2.0"
LAST = b"#End Of ASCII Header", b"# End of ASCII Header"
"""The line that ends a header, as jAER and as AedatTools write it. Older files have no such line."""
DAVIS = {"240": (180, 240), "346": (260, 346)}
"""The rows and columns of DAVIS cameras, by the number in their names."""

_DVS128 = (128, 128)
_SIZE = 8  # bytes of an event
_LONGEST = 2**20  # bytes; jAER stores its preferences in the header
_CHIP = re.compile(rb"# *AEChip: *(\S+)")
_SAMPLE, _SIGNAL = 1 << 31, 1 << 10


class Aedat2:
    """A decoder of AEDAT 2.0 (`tcja_runtime.events.event.Decoder`)."""

    def __init__(self) -> None:
        self._header = Header(b"#", first=FIRST, last=LAST, most=_LONGEST)
        self._records: Records | None = None
        self._davis: tuple[int, int] | None = None  # the rows and columns of a DAVIS camera; None for a DVS128
        self._samples = self._signals = 0  # the numbers of skipped records

    @property
    def sensor(self) -> tuple[int, int] | None:
        """The rows and columns of the camera, from the lines of the header so far."""
        return self._davis or _DVS128

    @property
    def remarks(self) -> Sequence[str]:
        """Notes on the records that were skipped (`tcja_runtime.events.event.Decoder.remarks`)."""
        skipped = (
            (self._samples, "sample", " of frames and of the motion sensor (APS, IMU)"),
            (self._signals, "external signal", ""),
        )
        return tuple(f"{counted(n, noun)}{of} {agree(n, 'was', 'were')} skipped" for n, noun, of in skipped if n)

    def feed(self, data: bytes) -> Events:
        """Returns the events that are complete with the next bytes (`tcja_runtime.events.event.Decoder.feed`)."""
        data = self._header.feed(data)
        if self._records is None:
            self._davis = _davis(self._header)
        if not self._header.over:
            return Events.none()
        if self._records is None:
            self._records = Records(_SIZE, self._header.size)
        table = np.frombuffer(self._records.feed(data), ">u4").reshape(-1, 2).astype(np.uint32)
        address, t = table[:, 0], table[:, 1].astype(np.int64)
        if self._davis is None:
            return self._of_dvs128(address, t, self._records.at)
        return self._of_davis(address, t, self._davis, self._records.at)

    def finish(self) -> None:
        """End the recording (`tcja_runtime.events.event.Decoder.finish`)."""
        self._header.finish()
        if self._records is not None:
            self._records.finish()

    def _of_dvs128(self, address: npt.NDArray[np.uint32], t: npt.NDArray[np.int64], at: int) -> Events:
        """Returns the events of a DVS128; `at` is the offset of the first record, for messages."""
        if len(address) and address.max() >> 16:
            row = int(np.argmax(address >= 2**16))
            what = f"the address {address[row]:#x} has more than 16 bits; a DVS128 camera's have 16"
            raise Damaged(at + _SIZE * row, what)
        y = (127 - (address >> 1 & 127)).astype(np.uint16)
        x = (127 - (address >> 8 & 127)).astype(np.uint16)
        return Events(t, x, y, (address & 1) == 0)

    def _of_davis(
        self, address: npt.NDArray[np.uint32], t: npt.NDArray[np.int64], sensor: tuple[int, int], at: int
    ) -> Events:
        """Returns the events of a DAVIS camera; `at` is the offset of the first record, for messages."""
        samples = address >= _SAMPLE
        signals = ~samples & ((address & _SIGNAL) != 0)
        self._samples += int(np.count_nonzero(samples))
        self._signals += int(np.count_nonzero(signals))
        rows = np.flatnonzero(~(samples | signals))
        address, t = address[rows], t[rows]
        height, width = sensor
        x = width - 1 - (address >> 12 & 0x3FF).astype(np.int32)
        y = height - 1 - (address >> 22 & 0x1FF).astype(np.int32)
        outside = (x < 0) | (y < 0)
        if outside.any():
            row = int(np.argmax(outside))
            what = (
                f"an event at X {width - 1 - x[row]}, Y {height - 1 - y[row]} of the address, outside the sensor of "
                f"{height} x {width}"
            )
            raise Damaged(at + _SIZE * int(rows[row]), what)
        return Events(t, x.astype(np.uint16), y.astype(np.uint16), (address & 1 << 11) != 0)


def _davis(header: Header) -> tuple[int, int] | None:
    """Returns the rows and columns of a DAVIS camera that a header names; None if it names a DVS128, or no camera.

    Raises:
        Damaged: the header names another camera.
    """
    found = next(filter(None, map(_CHIP.match, header.lines)), None)
    name = found[1].decode(errors="replace").rpartition(".")[2] if found else "DVS128"
    number = re.match(r"davis?(\d+)", name, re.IGNORECASE)
    if number and number[1] in DAVIS:
        return DAVIS[number[1]]
    if re.match(r"(tmpdiff|dvs)128", name, re.IGNORECASE):
        return None
    raise Damaged(0, f"the camera is {name[:40]!r}; of AEDAT 2.0, those of DVS128, DAVIS240 and DAVIS346 can be read")
