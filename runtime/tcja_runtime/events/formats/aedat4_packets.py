"""The packets of an AEDAT 4 file, found without unpacking their content.

    line       "#!AER-DAT4.0" and CR LF
    size       4 bytes: the size of the header
    header     a flatbuffer: compression, position of the table of packets, description of the streams in XML
    packets    4 bytes: number of the stream; 4 bytes: size; then the content
    table      an index of the packets, which is not read here

Source: iniVation's description of AEDAT 4.0; the flatbuffers format.
"""

from __future__ import annotations

import dataclasses
import os
import struct
import xml.etree.ElementTree as Xml
from collections.abc import Iterator
from typing import BinaryIO

from tcja_runtime.counting import agree, counted
from tcja_runtime.errors import Damaged
from tcja_runtime.events.header import sensor_edge

FIRST = b"#!AER-DAT4.0\r\n"
LARGEST = 2**28
"""The largest size of a packet or a header, in bytes. Cameras write some thousand events into a packet."""

_EDGE = 2**15
"""The most rows or columns of a sensor."""


@dataclasses.dataclass(frozen=True)
class PacketIndex:
    """The places of the packets in an AEDAT 4 file.

    Attributes:
        file: the open file.
        begin: the offset of the first packet, in bytes.
        end: the offset of the first byte after the last packet.
        stream: the number of the first stream of events.
        sensor: the rows and columns of the camera of this stream.
    """

    file: BinaryIO
    begin: int
    end: int
    stream: int
    sensor: tuple[int, int]

    @classmethod
    def read(cls, file: BinaryIO) -> PacketIndex:
        """Read the header of a file.

        Raises:
            Damaged: the header is damaged, or the file has no stream of events.
        """
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(len(FIRST) + 4)
        if len(head) < len(FIRST) + 4 or not head.startswith(FIRST):
            raise Damaged(0, f"the file does not begin with the line {FIRST.decode().strip()} and the size of a header")
        length = int.from_bytes(head[-4:], "little")
        begin = len(head) + length
        if length > LARGEST or begin > size:
            raise Damaged(len(FIRST), f"a header of {length:,} bytes in a file of {size:,}")
        table, description = _header(file.read(length), len(head))
        stream, sensor = _first_stream(description, len(head))
        end = size if table == -1 else table  # the file has no table if its recorder did not close it
        if end > size:
            raise Damaged(size, f"the file ends here, and its packets should end at byte {end:,}")
        if end < begin:
            raise Damaged(len(head), f"the header says that the packets end at byte {end:,}, before the first packet")
        return cls(file, begin, end, stream, sensor)

    def packets(self) -> Iterator[int]:
        """Yields the offset of each packet in the file, in order.

        Raises:
            Damaged: a packet does not fit into the file.
        """
        at = self.begin
        while at < self.end:
            self.file.seek(at)
            head = self.file.read(8)
            size = int.from_bytes(head[4:], "little")
            left = self.end - at - 8
            if len(head) < 8:
                raise Damaged(at, "the last packet is cut off")
            if size > min(LARGEST, left):
                raise Damaged(at, f"a packet of {counted(size, 'byte')}, and {left:,} {agree(left, 'is', 'are')} left")
            yield at
            at += 8 + size


def _header(header: bytes, begin: int) -> tuple[int, bytes]:
    """Reads two fields of a header.

    Args:
        header: the flatbuffer.
        begin: the offset of the header in the file, for messages.

    Returns:
        The offset of the table of packets, -1 if the file has none; and the description of the streams.

    Raises:
        Damaged: the header is not a flatbuffer that is safe to read.
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


def _first_stream(description: bytes, begin: int) -> tuple[int, tuple[int, int]]:
    """Finds the first stream of events in the description of the streams.

    Args:
        description: the text in XML.
        begin: the offset of the header in the file, for messages.

    Returns:
        The number of the stream, and the rows and columns of its camera.

    Raises:
        Damaged: the description is not XML, or it has no stream of events.
    """
    try:
        if b"<!" in description:  # definitions of entities can make a small text very large
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
        raise Damaged(begin, "the header has no stream of events")
    stream = min(nodes)
    size = [nodes[stream].findtext(f"node[@name='info']/attr[@key='{key}']") for key in ("sizeY", "sizeX")]
    rows, columns = (sensor_edge(None if text is None else text.encode(), _EDGE) for text in size)
    return stream, (rows, columns)
