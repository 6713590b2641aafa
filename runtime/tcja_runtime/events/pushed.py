"""A source of events whose packets another part of the same program pushes, such as the callback of a ROS node."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

from tcja_runtime.errors import Damaged
from tcja_runtime.events.event import Events
from tcja_runtime.events.formats.event_packets import EventPacket, EventPackets

MOST = 1000
"""The most packets that wait to be read."""
_TICK = 0.1  # seconds between two checks of whether the source must stop


class PacketSource:
    """A source of the packets of one camera (`tcja_runtime.events.Source`), for `Network.stream`.

    `push` never waits, so a callback can call it. If packets wait to be read, and one more has no room, it is dropped
    and counted (`lost`); the events after it are read as after a gap. A packet that is not valid is counted, too
    (`damaged`), and the reason for the first one is said at once.

    Args:
        title: the name of the source in messages, such as the topic.
        most: the most packets that wait to be read.

    Attributes:
        newest: the packet that was read last; None before the first.
    """

    address, ends, pausable, recording = "", False, False, None

    def __init__(self, title: str, most: int = MOST) -> None:
        self.title = title
        self.newest: EventPacket | None = None
        self.damaged = self.lost = 0
        self.warnings: list[str] = []
        self._packets = EventPackets()
        self._waiting: queue.Queue[EventPacket] = queue.Queue(most)
        self._closed = threading.Event()

    @property
    def sensor(self) -> tuple[int, int] | None:
        return self._packets.sensor

    @property
    def remarks(self) -> Sequence[str]:
        return self._packets.remarks

    def push(self, packet: EventPacket) -> None:
        """Take the next packet. Any thread may call it; after `close`, the packet is left out."""
        if self._closed.is_set():
            return
        try:
            self._waiting.put_nowait(packet)
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """End the source. The packets that wait are still read; then the stream ends as at the end of a recording."""
        self._closed.set()

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        """Yields the events as they arrive (`tcja_runtime.events.Source.runs`)."""
        while not stop.is_set():
            last = self._closed.is_set()
            try:
                packet = self._waiting.get(timeout=0 if last else _TICK)
            except queue.Empty:
                if last:
                    return
                continue
            yield self._events(packet)

    def _events(self, packet: EventPacket) -> Events:
        try:
            found = self._packets.events(packet)
        except Damaged as damaged:
            self.damaged += 1
            if not self.warnings:
                self.warnings.append(f"a packet is left out: {damaged.what}")
            self._packets.restart()
            return Events.none()
        self.newest = packet
        return found
