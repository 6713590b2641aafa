"""The parsers of recordings, packets of a camera, label files and pictures."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import itertools
import random
import re
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.images.decoding import decode, read_header
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput, Damaged
from tcja_runtime.events import FORMATS, Events, ReadOptions, recording
from tcja_runtime.events.byte_source import ByteSource, ByteStream
from tcja_runtime.events.formats.aedat4_packets import PacketIndex
from tcja_runtime.events.formats.arrays import hdf5
from tcja_runtime.events.labels import segments
from tcja_runtime.events.sources import open_source
from tcja_runtime.streaming.packets import PacketFrames, PacketRule
from tcja_runtime.triton.recordings import window

from ..runtime.events import writers
from ..runtime.events.reading import fed
from . import damage
from .parser import Parser, Room

BYTES = [name for name, row in FORMATS.items() if row.decoder is not None]
"""The formats that are a sequence of bytes."""
_COUNT = 30  # events in a seed


def _seeds(name: str) -> Callable[[Room], list[bytes]]:
    made = writers.FORMATS[name]
    return lambda _: [made.write(writers.some(made, count)) for count in (1, _COUNT)]


def _read(name: str, room: Room, content: bytes) -> None:
    """Read a recording: its events are those of its bytes in pieces; damage is in the file, and the line names it."""
    file = room.file(f"a{writers.FORMATS[name].suffix}", content)
    try:
        found = recording(file, name)
        events = Events.joined(found.chunks())
    except Damaged as error:
        assert 0 <= error.offset <= len(content), error
        assert re.fullmatch(rf"{re.escape(str(file))}: byte {error.offset:,}: \S.*", str(error)), error
        raise
    except BadInput as error:
        assert str(file) in str(error), error
        raise
    _check(events, found.sensor)
    if name in BYTES:
        cuts = sorted(random.Random(zlib.crc32(content)).choices(range(len(content) + 1), k=4))
        pieces = fed(name, content, cuts)
        same = [np.array_equal(a, b) for a, b in zip(vars(pieces).values(), vars(events).values(), strict=True)]
        assert all(same), "pieces of it have other events"


def _check(events: Events, sensor: tuple[int, int] | None) -> None:
    """Check the types of events, and that they are on the sensor."""
    types = [events.t.dtype, events.x.dtype, events.y.dtype, events.p.dtype]
    assert types == [np.int64, np.uint16, np.uint16, np.bool_], types
    assert len({len(events.t), len(events.x), len(events.y), len(events.p)}) == 1
    if len(events):
        assert events.t.min() >= 0, "an event has a negative time"
    if len(events) and sensor is not None:
        assert int(events.y.max()) < sensor[0], "an event is outside the sensor"
        assert int(events.x.max()) < sensor[1], "an event is outside the sensor"


def _read_packets(room: Room, content: bytes) -> None:
    """Find the packets of AEDAT 4, which is done in Python, without the process that reads them."""
    file = room.file("a.aedat4", content)
    with file.open("rb") as stream:
        index = PacketIndex.read(stream)
        last = index.begin - 1
        for at in index.packets():
            assert last < at < len(content), "packets are not in order"
            last = at


def _stream_seeds(_: Room) -> list[bytes]:
    return [writers.FORMATS[name].write(writers.some(writers.FORMATS[name], 9)) for name in BYTES if name != "atis"]


def _read_stream(_: Room, content: bytes) -> None:
    """Read bytes that come from another program in pieces, whose format is found from the first of them."""
    at = random.Random(zlib.crc32(content)).randrange(len(content) + 1)

    def blocks(stop: threading.Event) -> Iterator[bytes]:
        yield content[:at]
        yield content[at:]

    source = ByteSource(ByteStream("a stream", blocks, lambda: None, ends=True), None, None)
    _check(Events.joined(source.runs(threading.Event())), source.sensor)


_FORMS = ("evt2", "evt3", "evt21", "dat", "atis", "aedat2", "aedat3")


def datagrams(*packets: bytes, form: str = "evt3") -> bytes:
    """Returns a format and datagrams as one content: the number of the format, and the size before each datagram."""
    sized = (struct.pack("<H", len(packet)) + packet for packet in packets)
    return bytes([_FORMS.index(form)]) + b"".join(sized)


def _datagram_seeds(_: Room) -> list[bytes]:
    seeds = []
    for form in _FORMS:
        made = writers.FORMATS[form]
        events = made.write(writers.some(made, 9))
        begin = len(made.write([]))
        seeds.append(datagrams(events[:begin], events[begin : begin + 8], events[begin + 8 :], form=form))
    return seeds


def _read_datagrams(_: Room, content: bytes) -> None:
    """Send datagrams to a socket; none of them may end the source."""
    form, at = _FORMS[content[0] % len(_FORMS)] if content else "evt3", 1
    packets = []
    while at < len(content) and len(packets) < 20:
        size = int.from_bytes(content[at : at + 2], "little")
        packets.append(content[at + 2 : at + 2 + size])
        at += 2 + size
    source = open_source("udp://127.0.0.1:0", form=form)
    with contextlib.closing(source), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("127.0.0.1", int(source.address.rpartition(":")[2])))
        for packet in packets:
            sender.send(packet)
        if packets:
            stop = threading.Event()
            for events in source.runs(stop):
                _check(events, source.sensor)
                stop.set()
    assert 0 <= source.damaged <= len(packets)
    assert all("\n" not in text for text in (*source.warnings, *source.remarks))


_CAMERA = dataclasses.replace(InputContract.frames(2, 4, 4), split="time", polarity=("off", "on"), crop=(0, 0, 4, 4))
_MOST_FRAMES = 3000


def _camera_seeds(_: Room) -> list[bytes]:
    seeds = []
    for number, form in enumerate(_FORMS):
        made = writers.FORMATS[form]
        seeds.append(bytes([number]) + made.write(writers.some(made, _COUNT)))
    return seeds


def _read_camera(_: Room, content: bytes) -> None:
    """Push packets of a camera, as a server does. Its frames are in order, and no event is in a frame twice."""
    form, sent = _FORMS[content[0] % len(_FORMS)] if content else "evt3", content[1:]
    at = random.Random(zlib.crc32(content)).randrange(len(sent) + 1)
    frames = PacketFrames(_CAMERA, PacketRule(window=Window(1000), form=form), "a camera")
    last, inside = (-1, 1), 0
    for cut in (frames.push(sent[:at]), frames.push(sent[at:]), frames.finish()):
        for frame in itertools.islice(cut, _MOST_FRAMES):
            assert (frame.window, frame.step) in ((last[0], last[1] + 1), (max(frame.window, last[0] + 1), 0))
            assert frame.counts.shape == (2, 4, 4)
            last, inside = (frame.window, frame.step), inside + frame.events
    assert inside + frames.dropped <= frames.events


_REQUEST_RULES = (
    InputContract.frames(2, 4, 4),
    dataclasses.replace(InputContract.frames(2, 4, 4), split="duration-grid", duration=1000),
    dataclasses.replace(InputContract.frames(2, 4, 4), split="event-count", count=3),
)


def _read_request(_: Room, content: bytes) -> None:
    """Make a window of the raw events in a request to a server."""
    number, sent = content[0] if content else 0, content[1:]
    contract = dataclasses.replace(_REQUEST_RULES[number // len(_FORMS) % len(_REQUEST_RULES)], crop=(0, 0, 4, 4))
    found = window(sent, _FORMS[number % len(_FORMS)], contract)
    assert found.shape == (1, *contract.shape)
    assert found.min() >= 0


def _read_labels(room: Room, content: bytes) -> None:
    room.file("a_labels.csv", content)
    for segment in segments(room.folder / "a.aedat") or ():
        assert 0 <= segment.begin < segment.end < 2**63
        assert segment.label >= 0


_LABELS = b"class,startTime_usec,endTime_usec\r\n1,80048239,85092709\r\n2,89431170,95231007\r\n"


def _pictures(_: Room) -> list[bytes]:
    import PIL.Image

    seeds = []
    for mode, form, options in (
        ("L", "PNG", {}),
        ("RGB", "PNG", {}),
        ("P", "PNG", {"transparency": 3}),
        ("I;16", "PNG", {}),
        ("RGBA", "PNG", {}),
        ("L", "JPEG", {}),
        ("RGB", "JPEG", {"progressive": True}),
        ("RGB", "JPEG", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}),
    ):
        file = io.BytesIO()
        image = PIL.Image.linear_gradient("L").resize((9, 7))
        image.convert(mode).save(file, form, **options)
        seeds.append(file.getvalue())
    return seeds


def _read_picture(room: Room, content: bytes) -> None:
    file = room.file("a.png", content)
    header = read_header(file)
    values = decode(file, header.channels)
    assert values.dtype == np.float32
    assert values.shape[0] == header.channels
    assert values.min() >= 0
    assert values.max() <= 1


def _hdf5(_: Room) -> list[bytes]:
    import h5py

    events = writers.some(writers.Made(writers.npz, 640, 480, 10**6, ".h5"), _COUNT)
    columns = {key: np.array([event[n] for event in events]) for n, key in enumerate("txyp")}
    table = writers.table(events, [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
    seeds = []
    for layout in ("dsec", "metavision"):
        file = io.BytesIO()
        with h5py.File(file, "w", libver="latest") as made:
            if layout == "dsec":
                for key, values in columns.items():
                    made.create_dataset(f"events/{key}", data=values, chunks=(8,), compression="gzip", fletcher32=True)
                made["t_offset"] = np.int64(5)
            else:
                made["CD/events"] = table
                made.attrs["geometry"] = "640x480"
        seeds.append(file.getvalue())
    return seeds


def _read_hdf5(room: Room, content: bytes) -> None:
    found = hdf5.open_recording(room.file("a.h5", content), ReadOptions())  # in this process, whose coverage is known
    _check(Events.joined(found.chunks()), found.sensor)


def _bags(room: Room) -> list[bytes]:
    from rosbags import rosbag2, typesys

    kind, types = "event_camera_msgs/msg/EventPacket", typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    types.register(typesys.get_types_from_msg(writers.ROS_PACKET, kind))
    of = types.types
    header = of["std_msgs/msg/Header"](stamp=of["builtin_interfaces/msg/Time"](sec=1, nanosec=0), frame_id="camera")
    made = writers.FORMATS["evt3"]
    words = np.frombuffer(made.write(writers.some(made, 9))[len(made.write([])) :], np.uint8)
    fields = {"height": 720, "width": 1280, "time_base": 0, "encoding": "evt3", "is_bigendian": False}
    seeds = []
    for storage, suffix in (("MCAP", "mcap"), ("SQLITE3", "db3")):
        folder = room.folder / suffix
        with rosbag2.Writer(folder, version=9, storage_plugin=rosbag2.StoragePlugin[storage]) as bag:
            connection = bag.add_connection("/events", kind, typestore=types)
            for seq in range(2):
                message = of[kind](header=header, seq=seq, events=words, **fields)
                bag.write(connection, 10**9 + seq, types.serialize_cdr(message, kind))
        seeds.append(next(folder.glob(f"*.{suffix}")).read_bytes())
    return seeds


def _read_bag(room: Room, content: bytes) -> None:
    found = recording(room.file("a.mcap" if content.startswith(b"\x89MCAP") else "a.db3", content), "rosbag2")
    _check(Events.joined(found.chunks()), found.sensor)


_DAMAGE = {"npy": damage.of_npy, "npz": damage.of_zip(damage.of_npy)}
PARSERS = (
    *(
        Parser(name, _seeds(name), functools.partial(_read, name), _DAMAGE.get(name, damage.of_bytes))
        for name in writers.FORMATS
        if name != "aedat4"
    ),
    Parser("aedat4", _seeds("aedat4"), functools.partial(_read, "aedat4"), packages=("aedat",)),
    Parser("packets", _seeds("aedat4"), _read_packets),
    Parser("hdf5", _hdf5, _read_hdf5, packages=("h5py",), native=True),
    Parser("rosbag2", _bags, _read_bag, packages=("rosbags",), native=True),
    Parser("stream", _stream_seeds, _read_stream),
    Parser("datagrams", _datagram_seeds, _read_datagrams),
    Parser("camera", _camera_seeds, _read_camera),
    Parser("request", _camera_seeds, _read_request),
    Parser("labels", lambda _: [_LABELS], _read_labels),
    Parser("picture", _pictures, _read_picture, damage.of_png, packages=("PIL",)),
)
