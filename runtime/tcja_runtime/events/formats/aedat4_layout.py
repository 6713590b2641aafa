"""How an AEDAT 4 file is laid out: what can be said of it without unpacking anything.

A line, the size of the header, the header (a flatbuffer: compression, where the table at the end begins, a description
in XML), then packets: number of their stream and size, 4 bytes each, and what they hold. The table is not needed.

Source: iniVation's description of AEDAT 4.0; the flatbuffers format.
"""

from __future__ import annotations

import os
import struct
import xml.etree.ElementTree as Xml
from collections.abc import Iterator
from typing import BinaryIO

from tcja_runtime.errors import Damaged
from tcja_runtime.events.header import edge

FIRST = b"#!AER-DAT4.0\r\n"
LARGEST = 2**28
"""Bytes of a packet or a header, at most. Cameras write some thousand events into one."""

_EDGE = 2**15


class Layout:
    """Where the packets of a file begin.

    Args:
        stream: the file.

    Attributes:
        stream: number of the first stream of events.
        sensor: its rows and columns.
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
        table, description = _header(stream.read(length), len(begin))
        self.stream, self.sensor = _described(description, len(begin))
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


def _header(header: bytes, begin: int) -> tuple[int, bytes]:
    """Where the table of packets begins, as a header says, -1 without one; and the description.

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
        position = struct.unpack_from("<q", header, root + table)[0] if table else -1
        return position, header[where + 4 : where + 4 + letters]
    except (struct.error, ValueError):
        raise Damaged(begin, "the header is damaged") from None


def _described(description: bytes, begin: int) -> tuple[int, tuple[int, int]]:
    """Number of the first stream of events, its rows and columns.

    Raises:
        Damaged: the description tells of none, or is none.
    """
    try:
        if b"<!" in description:  # definitions can make a small text very large
            raise ValueError
        tree = Xml.fromstring(description.decode())  # noqa: S314
        nodes = {
            int(node.get("name", "")): node
            for node in tree.findall("node[@name='outInfo']/node")
            if node.findtext("attr[@key='typeIdentifier']") == "EVTS"
        }
    except (Xml.ParseError, ValueError):
        raise Damaged(begin, "the header's description of the streams is damaged") from None
    if not nodes:
        raise Damaged(begin, "the header tells of no stream of events")
    stream = min(nodes)
    size = [nodes[stream].findtext(f"node[@name='info']/attr[@key='{key}']") for key in ("sizeY", "sizeX")]
    rows, columns = (edge(None if text is None else text.encode(), _EDGE) for text in size)
    return stream, (rows, columns)
