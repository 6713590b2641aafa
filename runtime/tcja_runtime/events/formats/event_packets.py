"""Packets of ROS with events, event_camera_msgs/msg/EventPacket: words of EVT2 or EVT3; `encoding` says which.

Packets are numbered. Where numbers are missing, packets were lost on their way. They are counted, and the words after
them are read as words after a gap: the time and place that were set before it are not used.

Source: the package event_camera_msgs of ROS; Bernd Pfrommer's metavision_driver, which writes packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from tcja_runtime.counting import agree, counted
from tcja_runtime.errors import Damaged
from tcja_runtime.events.byte_recording import BLOCK
from tcja_runtime.events.event import Events
from tcja_runtime.events.formats.evt.evt2 import Evt2
from tcja_runtime.events.formats.evt.evt3 import Evt3

_WORDS: dict[str, tuple[type[Evt2], int]] = {"evt2": (Evt2, 34), "evt3": (Evt3, 24)}
"""The decoder of each encoding of packets, and the bits of the camera's clock, which counts microseconds."""


class _Bytes(Protocol):
    def tobytes(self) -> bytes: ...


class EventPacket(Protocol):
    """An `EventPacket`, as rclpy and the package rosbags make it."""

    @property
    def header(self) -> Any: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def seq(self) -> int: ...
    @property
    def encoding(self) -> str: ...
    @property
    def is_bigendian(self) -> bool: ...
    @property
    def events(self) -> _Bytes: ...


class EventPackets:
    """Reads the packets of one camera, in their order.

    Attributes:
        sensor: the rows and columns of the camera; None until a packet says them.
    """

    def __init__(self) -> None:
        self.sensor: tuple[int, int] | None = None
        self._decoder: Evt2 | None = None
        self._encoding, self._bits = "", 0
        self._next: int | None = None  # the number of the next packet
        self._stamp = 0  # of the last packet, in nanoseconds
        self._missing = self._gaps = self._back = self._long = 0

    @property
    def remarks(self) -> tuple[str, ...]:
        """Notes on the packets that are missing, and on the events that were left out."""
        found = list(self._decoder.remarks) if self._decoder else []
        if self._missing:
            found.append(
                f"{counted(self._missing, 'packet')} {agree(self._missing, 'is', 'are')} missing in "
                f"{counted(self._gaps, 'place')}; "
                f"{agree(self._missing, 'its', 'their')} events are lost"
            )
        if self._back:
            found.append(f"times that the numbers of packets go back, as after a restart of the camera: {self._back:,}")
        if self._long:
            found.append(
                f"gaps that are longer than half of the range of the camera's clock: {self._long:,}; times after them "
                "may be too early"
            )
        return tuple(found)

    def events(self, packet: EventPacket) -> Events:
        """Returns the events of the next packet.

        Raises:
            Damaged: the packet is not valid; the offset has no meaning. `restart` lets the next one be read.
        """
        return Events.joined(self.parts(packet))

    def parts(self, packet: EventPacket) -> Iterator[Events]:
        """Yields the events of the next packet, of a block of bytes at a time: a byte may be 80 bytes of events.

        Raises:
            Damaged: as for `events`. The parts before are valid then.
        """
        stamp = packet.header.stamp.sec * 10**9 + packet.header.stamp.nanosec
        if self._decoder is None:
            self._decoder = self._begun(packet)
        elif packet.encoding != self._encoding:
            raise Damaged(0, f"its encoding is {packet.encoding}, that of the packets before is {self._encoding}")
        if self._next is not None and packet.seq != self._next:
            self._decoder.skip_gap()
            self._missing += max(0, packet.seq - self._next)
            self._gaps += packet.seq > self._next
            self._back += packet.seq < self._next
            self._long += stamp - self._stamp >= 1000 << (self._bits - 1)
        self._next, self._stamp = packet.seq + 1, stamp
        content = packet.events.tobytes()
        for at in range(0, len(content), BLOCK):
            yield self._decoder.feed(content[at : at + BLOCK])
        self._decoder.finish()

    def restart(self) -> None:
        """Forget the packets before, as after one that is not valid."""
        self._decoder = self._next = None

    def _begun(self, packet: EventPacket) -> Evt2:
        """Returns the decoder of the encoding that the first packet names."""
        self._encoding = packet.encoding
        if packet.encoding not in _WORDS or packet.is_bigendian:
            order = ", with the highest byte first" if packet.is_bigendian else ""
            raise Damaged(0, f"its encoding is {packet.encoding!r}{order}; only {' and '.join(_WORDS)} can be read")
        kind, self._bits = _WORDS[packet.encoding]
        decoder = kind()
        header = f"% evt {decoder.version}\n"
        if packet.height and packet.width:
            self.sensor = packet.height, packet.width
            header += f"% geometry {packet.width}x{packet.height}\n"
        decoder.feed(f"{header}% end\n".encode())
        return decoder
