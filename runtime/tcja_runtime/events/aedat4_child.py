"""What reads AEDAT 4 in a process of its own: `python -c "... main(path)"`, started by `aedat4`.

It writes to its output: rows and columns, then for every packet where the next one begins, how many events follow, and
those. In place of a number of events `DAMAGED` says that a text follows, `END` that this is all.

The layout of the file is looked at here, ahead of the package `aedat`, which believes what it is told: a line, the size
of a header, the header (a flatbuffer with compression, place of the table at the end, description), then packets:
number of their stream and size, 4 bytes each.

Source: iniVation's description of AEDAT 4.0; the flatbuffers format.
"""

from __future__ import annotations

import os
import resource
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tcja_runtime.events.event import Damaged

FIRST = b"#!AER-DAT4.0\r\n"
SIZES = struct.Struct("<qq")
DAMAGED, END = -1, -2
LARGEST = 2**28
"""Bytes of a packet or a header, at most. Cameras write some thousand events into one."""

_ROOM = 2**31
"""Bytes that a packet may take when it is unpacked, and all else."""
_STEP = 2**17  # events


class Layout:
    """Where the packets of a file begin.

    Args:
        stream: the file.

    Attributes:
        at: where the next packet begins.
        end: where the last ends; None if the file does not tell, for it was never closed.

    Raises:
        Damaged: the header is damaged.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        begin = stream.read(len(FIRST) + 4)
        if len(begin) < len(FIRST) + 4 or not begin.startswith(FIRST):
            raise Damaged(0, f"the file does not begin with the line {FIRST.decode().strip()} and the size of a header")
        length = int.from_bytes(begin[-4:], "little")
        self.at = len(begin) + length
        if length > LARGEST or self.at > self._size:
            raise Damaged(len(FIRST), f"a header of {length:,} bytes in a file of {self._size:,}")
        table = _table_position(stream.read(length), len(begin))
        self.end = None if table == -1 else table
        if self.end is not None and self.end > self._size:
            raise Damaged(self._size, f"the file ends here, and its packets should end at byte {self.end:,}")
        if self.end is not None and self.end < self.at:
            raise Damaged(len(begin), f"the header says that its packets end at byte {self.end:,}, ahead of the first")

    def packets(self) -> Iterator[int]:
        """Where each begins, in order.

        Raises:
            Damaged: one does not fit into the file.
        """
        end = self._size if self.end is None else self.end
        while self.at < end:
            self._stream.seek(self.at)
            head = self._stream.read(8)
            size = int.from_bytes(head[4:], "little")
            if len(head) < 8 or size > min(LARGEST, end - self.at - 8):
                what = f"a packet of {size:,} bytes, and {end - self.at - 8:,} are left"
                raise Damaged(self.at, what if len(head) == 8 else "the last packet is cut off")
            begin, self.at = self.at, self.at + 8 + size
            yield begin


def _table_position(header: bytes, begin: int) -> int:
    """Where the table of packets begins, as a header says; -1 without one.

    Raises:
        Damaged: the header is no flatbuffer that is safe to read.
    """
    try:
        (root,) = struct.unpack_from("<I", header, 0)
        (back,) = struct.unpack_from("<i", header, root)
        names = root - back
        if names < 0 or header[4:8] != b"IOHE":
            raise ValueError
        length, size = struct.unpack_from("<HH", header, names)
        if length < 10 or names + length > len(header) or root + size > len(header):
            raise ValueError
        compression, table, text = struct.unpack_from("<3H", header, names + 4)
        if max(compression + 4, table + 8, text + 4) > size or not text:
            raise ValueError
        where = root + text + int.from_bytes(header[root + text : root + text + 4], "little")
        (letters,) = struct.unpack_from("<I", header, where)
        if where + 4 + letters > len(header):
            raise ValueError
        header[where + 4 : where + 4 + letters].decode()
        return int(struct.unpack_from("<q", header, root + table)[0]) if table else -1
    except (struct.error, ValueError):
        raise Damaged(begin, "the header is damaged") from None


def main(path: str) -> None:
    """Write the events of a file to the output.

    The process ends with 0 whatever the file is like; what else happens to it, happened in the package.
    """
    out = os.fdopen(os.dup(1), "wb")
    at = 0
    try:
        with Path(path).open("rb") as stream:
            layout = Layout(stream)
            import aedat

            _limit()
            at = len(FIRST) + 4
            decoder = aedat.Decoder(path)
            streams = {n: each for n, each in decoder.id_to_stream().items() if each["type"] == "events"}
            if not streams:
                raise Damaged(at, "the header tells of no stream of events")
            wanted = min(streams)
            out.write(SIZES.pack(streams[wanted]["height"], streams[wanted]["width"]))
            packets = iter(decoder)
            for begin_of in layout.packets():
                at = begin_of
                packet = next(packets)
                events = packet.get("events") if packet["stream_id"] == wanted else None
                for begin in range(0, 1 if events is None else max(1, len(events)), _STEP):
                    part = b"" if events is None else events[begin : begin + _STEP].tobytes()
                    out.write(SIZES.pack(layout.at, len(part) // 13) + part)
                out.flush()
        out.write(SIZES.pack(layout.at, END))
    except Damaged as damaged:
        _say(out, damaged.offset, damaged.what)
    except BrokenPipeError:
        os._exit(0)
    except BaseException as error:  # what panics in there is no Exception
        _say(out, at, f"what begins here is damaged: {' '.join(str(error).split()) or type(error).__name__}")
    out.flush()
    os._exit(0)


def _say(out: BinaryIO, offset: int, what: str) -> None:
    text = what.encode()
    out.write(SIZES.pack(offset, DAMAGED) + len(text).to_bytes(4, "little") + text)


def _limit() -> None:
    """Let a packet that unpacks to more than there may be end this process, not the machine."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + _ROOM, held + _ROOM))
