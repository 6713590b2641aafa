"""Bags of ROS 2, written by the package rosbags."""

from __future__ import annotations

import functools
import shutil
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tcja_runtime.data import class_folders
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.dataset import load
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events, ReadOptions, recording
from tcja_runtime.events.sources import open_source

from . import ros_messages, writers
from .reading import listed
from .ros_messages import ARRAYS, PACKETS, cut, header, packet

pytestmark = pytest.mark.releases

EVENTS = writers.some(writers.FORMATS["evt3"], 400)


@pytest.fixture(scope="module")
def ros() -> SimpleNamespace:
    return ros_messages.ros()


def array(ros: SimpleNamespace, events: list[writers.Event]) -> tuple[str, Any]:
    time, event = ros.types.types["builtin_interfaces/msg/Time"], ros.types.types["dvs_msgs/msg/Event"]
    held = [
        event(x=x, y=y, ts=time(sec=t // 10**6, nanosec=t % 10**6 * 1000 + 999), polarity=bool(p))
        for t, x, y, p in events
    ]
    return ARRAYS, ros.types.types[ARRAYS](header=header(ros, 10**9), height=720, width=1280, events=held)


def written(ros: SimpleNamespace, path: Path, topics: dict[str, list[tuple[str, Any]]], storage: str = "MCAP") -> Path:
    """A bag of messages, whose topics alternate."""
    with ros.bags.Writer(path, version=9, storage_plugin=ros.storages[storage]) as bag:
        for topic, messages in topics.items():
            connection = bag.add_connection(topic, messages[0][0], typestore=ros.types)
            for n, (kind, message) in enumerate(messages):
                bag.write(connection, 10**9 + n, ros.types.serialize_cdr(message, kind))
    return path


def read(path: Path, **options: Any) -> Events:
    return Events.joined(recording(path, options=ReadOptions(**options)).chunks())


@pytest.fixture
def bag(ros, tmp_path) -> Any:
    return functools.partial(written, ros, tmp_path / "bag")


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_packets_are_one_stream(ros, bag, storage):
    parts = cut(EVENTS, [1, 5, 100, 333])
    other = ros.types.types["std_msgs/msg/String"](data="no events")
    topics = {"/camera/events": [packet(ros, part, n) for n, part in enumerate(parts)]}
    path = bag({"/chatter": [("std_msgs/msg/String", other)] * 3, **topics}, storage)
    (file,) = (each for each in path.iterdir() if each.suffix in (".mcap", ".db3"))
    for each in (path, file):
        found = recording(each)
        assert (found.format, found.sensor) == ("rosbag2", (720, 1280))
        for _ in range(2):
            assert listed(Events.joined(found.chunks())) == EVENTS
        assert found.remarks == ()
    # As the decoder reads the same bytes in a .raw file.
    path.with_suffix(".raw").write_bytes(writers.EVT3_HEADER + b"".join(parts))
    assert listed(read(path.with_suffix(".raw"))) == EVENTS


def test_a_long_packet_is_read_in_parts(ros, bag):
    """Four bytes of EVT 3 make 12 events, so 1 MiB makes 41 MB of events, and several times as much meanwhile."""
    vectors = np.tile(np.array([0x3000, 0x4FFF], "<u2"), 2**18)
    words = np.array([0x8000, 0x6000, 0x0000], "<u2").tobytes() + vectors.tobytes()
    found = recording(bag({"/camera/events": [packet(ros, words, 0)]}))
    tracemalloc.start()
    count = sum(map(len, found.chunks()))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 12 * 2**18
    assert peak < 100e6


@pytest.mark.parametrize("encoding", ["evt2", "evt3"])
def test_a_packet_that_begins_like_a_line_of_a_header(ros, bag, encoding):
    """The words 0x2025 and 0x20250000 are '% ' in bytes; they are before the first time here, so they are left out."""
    words = b"% " if encoding == "evt3" else b"% \0\0"
    time = getattr(writers, encoding)(EVENTS[:9])[len(getattr(writers, encoding)([])) :]
    path = bag({"/events": [packet(ros, words + time, 0, encoding=encoding)]})
    found = recording(path)
    assert listed(Events.joined(found.chunks())) == EVENTS[:9]
    assert found.remarks == ("1 event was left out, because no word before them sets their time or place",)


def test_events_one_by_one(ros, bag):
    path = bag({"/dvs/events": [array(ros, part) for part in (EVENTS[:1], EVENTS[1:3], [], EVENTS[3:])]})
    found = recording(path)
    assert found.sensor == (720, 1280)
    assert listed(Events.joined(found.chunks())) == EVENTS


def test_missing_packets_are_counted_and_their_time_is_not_used(ros, bag):
    """Two packets are lost, then three."""

    def at(high: int, low: int, row: int) -> list[int]:
        return [0x8000 | high, 0x6000 | low, row]

    def event(x: int) -> int:
        return 0x2800 | x

    packets = {
        1: [*at(1, 7, 5), event(10)],
        4: [event(11), 0x8002, 0x6007, event(16), 6, event(12)],  # the time and row of the first two were lost
        5: [event(13)],  # nothing is missing before this one
        9: [3, event(14), *at(3, 1, 3), event(15)],
    }
    messages = [packet(ros, np.array(words, "<u2").tobytes(), seq) for seq, words in packets.items()]
    found = recording(bag({"/events": messages}))
    assert listed(Events.joined(found.chunks())) == [
        (4096 + 7, 10, 5, 1),
        (2 * 4096 + 7, 12, 6, 1),
        (2 * 4096 + 7, 13, 6, 1),
        (3 * 4096 + 1, 15, 3, 1),
    ]
    assert found.remarks == (
        "3 events were left out, because no word before them sets their time or place",
        "5 packets are missing in 2 places; their events are lost",
    )


def test_a_restart_and_a_long_gap(ros, bag):
    parts = cut(EVENTS[:50], [60])
    messages = [packet(ros, parts[0], 5), packet(ros, parts[1], 6, 3 * 10**9), packet(ros, parts[0], 0, 20 * 10**9)]
    found = recording(bag({"/events": messages}))
    list(found.chunks())
    assert found.remarks[-2:] == (
        "times that the numbers of packets go back, as after a restart of the camera: 1",
        "gaps that are longer than half of the range of the camera's clock: 1; times after them may be too early",
    )


def test_a_topic_is_chosen(ros, bag, tmp_path):
    left, right = (cut(EVENTS[:n], []) for n in (50, 90))
    path = bag({"/left/events": [packet(ros, left[0], 0)], "/right/events": [packet(ros, right[0], 0)]})
    said = "bag has events in the topics /left/events, /right/events; choose one of them with `topic`"
    with pytest.raises(BadInput, match=said):
        recording(path)
    assert len(read(path, topic="/right/events")) == 90
    assert len(read(path, topic="/left/events")) == 50
    with pytest.raises(BadInput, match="bag has no events in `topic` /up; it has them in /left/events, /right/events"):
        recording(path, options=ReadOptions(topic="/up"))


def test_a_bag_without_events(ros, bag):
    text = ros.types.types["std_msgs/msg/String"](data="no events")
    path = bag({"/chatter": [("std_msgs/msg/String", text)]})
    said = rf"bag has no topic of {PACKETS} or {ARRAYS}; its topics are /chatter \(std_msgs/msg/String\)$"
    with pytest.raises(BadInput, match=said):
        recording(path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"encoding": "libcaer_cmp"},
            "message 1 of topic /events: its encoding is 'libcaer_cmp'; only evt2 and evt3 can",
        ),
        (
            {"is_bigendian": True},
            "message 1 of topic /events: its encoding is 'evt3', with the highest byte first; only",
        ),
        ({"width": 50}, r"message 1 of topic /events: an event at row \d+, column \d+, outside the sensor of 720 x 50"),
        ({"events": np.zeros(3, np.uint8)}, "message 1 of topic /events: the last word has 1 of its 2 bytes"),
    ],
)
def test_packets_that_cannot_be_read(ros, bag, changed, said):
    kind, message = packet(ros, cut(EVENTS, [])[0], 0)
    for name, value in changed.items():
        object.__setattr__(message, name, value)
    path = bag({"/events": [(kind, message)]})
    with pytest.raises(BadInput, match=f"bag: {said}"):
        list(recording(path).chunks())


def test_an_encoding_that_changes(ros, bag):
    words = cut(EVENTS[:9], [])[0]
    path = bag({"/events": [packet(ros, words, 0), packet(ros, words, 1, encoding="evt2")]})
    with pytest.raises(
        BadInput, match="message 2 of topic /events: its encoding is evt2, that of the packets before is"
    ):
        read(path)


def test_arrays_that_cannot_be_read(ros, bag):
    path = bag({"/events": [array(ros, [*EVENTS[:7], (5, 1280, 3, 1)])]})
    said = (
        "message 1 of topic /events: its event 7 is at row 3, column 1280, 0 s and 5999 ns, with polarity 1; the sensor"
    )
    with pytest.raises(BadInput, match=said):
        read(path)


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_a_bag_that_is_cut_off(ros, bag, storage):
    path = bag(
        {"/events": [packet(ros, part, n) for n, part in enumerate(cut(EVENTS, list(range(9, 200, 9))))]}, storage
    )
    (file,) = (each for each in path.iterdir() if each.suffix in (".mcap", ".db3"))
    whole = file.read_bytes()
    for share in (0.3, 0.6, 0.95):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(BadInput, match="is damaged, or is not a bag of ROS 2: |is cut off|is damaged"):
            read(path)
    file.unlink()
    with pytest.raises(BadInput, match="bag is damaged, or is not a bag of ROS 2: Some database files are missing"):
        recording(path)


def test_a_bag_is_a_data_file_and_a_source(ros, bag, tmp_path):
    path = bag({"/events": [packet(ros, cut(EVENTS, [])[0], 0)]})
    (tmp_path / "set" / "3").mkdir(parents=True)
    inside = Path(shutil.move(path, tmp_path / "set" / "3" / "bag"))
    assert class_folders.data_files(tmp_path / "set").files == [inside]
    assert class_folders.data_files(inside).files == [inside]
    contract = InputContract.frames(4, 720, 1280)
    labelled, alone = (load(each, contract, [str(n) for n in range(5)]) for each in (tmp_path / "set", inside))
    assert (labelled.labels.tolist(), alone.labels) == ([3], None)
    for data in (labelled, alone):
        assert next(data.batches(1)).sum() == len(EVENTS)
        assert data.digest == labelled.digest
    source = open_source(str(inside), speed=float("inf"))
    assert listed(Events.joined(source.runs(threading.Event()))) == EVENTS
