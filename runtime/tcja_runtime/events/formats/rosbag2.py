"""Bags of ROS 2 with events, read with the package `rosbags`: folders with a metadata.yaml, .mcap and .db3 files.

Two kinds of messages are read:

    event_camera_msgs/msg/EventPacket   words of EVT2 or EVT3, a packet after the other; `encoding` says which
    dvs_msgs/msg/EventArray             events one by one, with x, y, a time of ROS and a polarity

Source: the packages event_camera_msgs and dvs_msgs of ROS.
"""

from __future__ import annotations

import contextlib
import dataclasses
import struct
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tcja_runtime.counting import agree, counted
from tcja_runtime.errors import BadInput, Damaged, TcjaError, first_line
from tcja_runtime.events.byte_recording import beginning
from tcja_runtime.events.event import CHUNK, Events, ReadOptions
from tcja_runtime.events.formats.event_packets import EventPackets
from tcja_runtime.events.formats.packages import require

PACKAGE = "rosbags"
FIRST_MCAP, FIRST_DB3 = b"\x89MCAP0\r\n", b"SQLite format 3\0"
_METADATA = "metadata.yaml"
_TOGETHER = CHUNK // 4  # events; those of small messages are joined until they are as many

_PACKET = """std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""
_PACKETS = ("event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray")
_ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")


class _Messages(Protocol):
    """Reads the messages of one topic, in their order."""

    @property
    def sensor(self) -> tuple[int, int] | None: ...
    @property
    def remarks(self) -> tuple[str, ...]: ...
    def events(self, message: bytes) -> Iterator[Events]:
        """Yields the events of the next message, in one part or several.

        Raises:
            Damaged: the message is not valid; the offset has no meaning.
        """
        ...


@dataclasses.dataclass
class Bag:
    """A `Recording` in a bag of ROS 2.

    Attributes:
        path: the folder or file.
        topic: the topic of the events.
        kind: the type of its messages.
        sensor: the rows and columns of the camera, from the first message; None if it does not say them.
        format: "rosbag2".
        remarks: notes on packets and events that were left out, when the bag was read last.
    """

    path: Path
    topic: str
    kind: str
    sensor: tuple[int, int] | None = None
    format: str = "rosbag2"
    remarks: tuple[str, ...] = ()

    def chunks(self) -> Iterator[Events]:
        """Yields the events from the start (`tcja_runtime.events.Recording.chunks`)."""
        reader = _reader_of(self.kind)
        held: list[Events] = []
        for events in self.messages(reader):
            held.append(events)
            if sum(map(len, held)) >= _TOGETHER:
                yield from _cut(Events.joined(held))
                held = []
        yield from _cut(Events.joined(held))
        self.remarks = reader.remarks

    def messages(self, reader: _Messages) -> Generator[Events, None, None]:
        """Yields the events of each message, in one part or several.

        Raises:
            BadInput: the bag cannot be read, or a message is not valid.
        """
        with _opened(self.path) as bag:
            wanted = [each for each in bag.connections if each.topic == self.topic]
            for number, (_, _, content) in enumerate(bag.messages(wanted), 1):
                try:
                    yield from reader.events(content)
                except Damaged as damaged:
                    what = f"message {number:,} of topic {self.topic}: {damaged.what}"
                    raise BadInput(f"{self.path}: {what}") from None


def is_bag(path: Path) -> bool:
    """Whether a path is a folder with a bag of ROS 2."""
    try:
        return path.is_dir() and (path / _METADATA).is_file()
    except (OSError, ValueError):  # no path at all, such as one that is too long
        return False


def open_recording(path: Path, options: ReadOptions) -> Bag:
    """Open a bag, and read its first message.

    Raises:
        BadInput: the bag cannot be read, has no events, or has several topics of events and the user chooses none.
        Unavailable: the package rosbags is missing or too old.
    """
    if not is_bag(path):
        beginning(path, 1)
    require(PACKAGE, path, "a bag of ROS 2")
    with _opened(path) as bag:
        kinds = {each.topic: each.msgtype for each in bag.connections if each.msgtype in (*_PACKETS, *_ARRAYS)}
        others = ", ".join(sorted(f"{each.topic} ({each.msgtype})" for each in bag.connections)) or "none"
    if not kinds:
        raise BadInput(f"{path} has no topic of {_PACKETS[0]} or {_ARRAYS[0]}; its topics are {others}")
    topics = ", ".join(sorted(kinds))
    if options.topic is None and len(kinds) > 1:
        raise BadInput(f"{path} has events in the topics {topics}; choose one of them with `topic`")
    topic = next(iter(kinds)) if options.topic is None else options.topic
    if topic not in kinds:
        raise BadInput(f"{path} has no events in `topic` {topic}; it has them in {topics}")
    found = Bag(path, topic, kinds[topic])
    reader = _reader_of(found.kind)
    with contextlib.closing(found.messages(reader)) as messages:
        next(messages, None)
    return dataclasses.replace(found, sensor=reader.sensor)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A context with the open bag. Errors of the package in the block raise a `BadInput`."""
    from rosbags.rosbag2 import Reader

    try:
        with Reader(path) as bag:
            yield bag
    except (TcjaError, GeneratorExit):
        raise
    except Exception as error:  # the package raises errors of many types for a damaged bag
        raise BadInput(f"{path} is damaged, or is not a bag of ROS 2: {first_line(error)}") from error


def _cut(events: Events) -> Iterator[Events]:
    return (events[at : at + CHUNK] for at in range(0, len(events), CHUNK))


def _reader_of(kind: str) -> _Messages:
    return _Packets() if kind in _PACKETS else _Arrays()


class _Packets:
    """Reads `EventPacket` messages."""

    def __init__(self) -> None:
        self._packets, self._decode = EventPackets(), _packet_decoder()

    @property
    def sensor(self) -> tuple[int, int] | None:
        return self._packets.sensor

    @property
    def remarks(self) -> tuple[str, ...]:
        return self._packets.remarks

    def events(self, message: bytes) -> Iterator[Events]:
        return self._packets.parts(self._decode(message))


def _packet_decoder() -> Callable[[bytes], Any]:
    """Returns a function that decodes an `EventPacket` with the package rosbags."""
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg(_PACKET, _PACKETS[0]))

    def decode(message: bytes) -> Any:
        try:
            return types.deserialize_cdr(message, _PACKETS[0])
        except Exception as error:  # the package raises errors of many types for a damaged message
            raise Damaged(0, f"it is damaged: {error or type(error).__name__}") from None

    return decode


_EVENT = np.dtype(
    {
        "names": ["y", "y of the first", "seconds", "nanoseconds", "p", "x of the next"],
        "formats": ["<u2", "<u2", "<i4", "<u4", "u1", "<u2"],
        "offsets": [0, 2, 4, 8, 12, 14],
        "itemsize": 16,
    }
)
"""The bytes of an event in an `EventArray`, but for the first, which begins with x and y.

CDR puts each number at a multiple of its size: x and y (2 bytes each), seconds and nanoseconds (4 bytes each), and the
polarity (1 byte). So x of an event lies in the last two bytes of the event before.
"""


class _Arrays:
    """Reads `EventArray` messages."""

    remarks = ()

    def __init__(self) -> None:
        self.sensor: tuple[int, int] | None = None

    def events(self, message: bytes) -> Iterator[Events]:
        body = message[4:]
        if message[:2] != b"\0\1":
            raise Damaged(0, f"it begins with the bytes {message[:4].hex(' ')}, not with 00 01")
        try:
            at = 12 + struct.unpack_from("<I", body, 8)[0]
            at += -at % 4
            height, width, count = struct.unpack_from("<3I", body, at)
        except struct.error:
            raise Damaged(0, "it is cut off in its header") from None
        events = body[at + 12 :]
        size = max(0, _EVENT.itemsize * count - 3)  # behind the last polarity nothing follows
        if len(events) < size:
            raise Damaged(
                0,
                f"it is cut off: {counted(count, 'event')} {agree(count, 'takes', 'take')} {counted(size, 'byte')}, "
                f"and {len(events):,} {agree(len(events), 'is', 'are')} left",
            )
        self.sensor = (height, width) if height and width else None
        yield self._decoded(np.frombuffer(events[:size] + b"\0" * 3 * bool(count), _EVENT))

    def _decoded(self, table: npt.NDArray[Any]) -> Events:
        """Returns the events in the table of a message."""
        x, y = np.roll(table["x of the next"], 1), table["y"].copy()
        x[:1], y[:1] = table["y"][:1], table["y of the first"][:1]
        seconds, rest = table["seconds"].astype(np.int64), table["nanoseconds"]
        height, width = self.sensor or (2**16, 2**16)
        wrong = (x >= width) | (y >= height) | (seconds < 0) | (rest >= 10**9) | (table["p"] > 1)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise Damaged(
                0,
                f"its event {row:,} is at row {y[row]}, column {x[row]}, {seconds[row]} s and {rest[row]} ns, with "
                f"polarity {table['p'][row]}; the sensor is {height} x {width}",
            )
        return Events(10**6 * seconds + rest // 1000, x, y, table["p"] > 0)
