"""Packets of ROS that a callback pushes; rosbags makes the messages, and reads them from their bytes again."""

from __future__ import annotations

import itertools
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tcja_runtime.events import Events
from tcja_runtime.events.pushed import PacketSource

from . import ros_messages, writers
from .reading import listed
from .ros_messages import PACKETS, cut, packet

pytestmark = pytest.mark.releases

EVENTS = writers.some(writers.FORMATS["evt3"], 400)


@pytest.fixture(scope="module")
def ros() -> SimpleNamespace:
    return ros_messages.ros()


def sent(ros: SimpleNamespace, words: bytes, seq: int, **changed: Any) -> Any:
    """A packet as a node gets it: from the bytes that ROS sends."""
    kind, message = packet(ros, words, seq, **changed)
    return ros.types.deserialize_cdr(ros.types.serialize_cdr(message, kind), PACKETS)


def read(source: PacketSource) -> list[writers.Event]:
    source.close()
    return listed(Events.joined(source.runs(threading.Event())))


def test_packets_are_one_stream_of_events(ros):
    source = PacketSource("/camera/events")
    assert source.sensor is source.newest is None
    messages = [sent(ros, part, n) for n, part in enumerate(cut(EVENTS, [1, 5, 100, 333]))]
    for message in messages:
        source.push(message)
    assert read(source) == EVENTS
    assert source.newest is messages[-1]
    assert (source.sensor, source.remarks, source.warnings) == ((720, 1280), (), [])
    assert (source.damaged, source.lost) == (0, 0)
    source.push(messages[0])
    assert read(source) == []


def test_they_are_read_while_they_come(ros):
    """Also when no packet waits, and until the reader is asked to stop."""
    source, stop, found = PacketSource("/camera/events"), threading.Event(), []
    reader = threading.Thread(target=lambda: found.extend(source.runs(stop)))
    reader.start()
    for n, part in enumerate(cut(EVENTS, [100, 200])):
        source.push(sent(ros, part, n))
        end = time.monotonic() + 30
        while len(found) <= n and time.monotonic() < end:
            time.sleep(0.001)
    assert reader.is_alive()
    stop.set()
    reader.join(30)
    assert not reader.is_alive()
    assert listed(Events.joined(found)) == EVENTS


def test_a_full_queue_drops_packets_and_counts_them(ros):
    """What is read after them is read as after a gap: the time of the words that were dropped is not used."""
    source = PacketSource("/camera/events", most=2)
    parts = cut(EVENTS, [100, 200, 300])
    for n, part in enumerate(parts[:3]):
        source.push(sent(ros, part, n))
    assert source.lost == 1
    first = Events.joined(itertools.islice(source.runs(threading.Event()), 2))
    source.push(sent(ros, parts[3], 3))
    found = [*listed(first), *read(source)]
    assert 0 < len(found) < len(EVENTS)
    assert set(found) <= set(EVENTS)
    assert "1 packet is missing in 1 place; its events are lost" in source.remarks


DAMAGED = {
    "another encoding": ({"encoding": "mono"}, "its encoding is 'mono'; only evt2 and evt3 can be read"),
    "half a word": ({"events": np.zeros(3, np.uint8)}, "the last word has 1 of its 2 bytes"),
    "a word that does not exist": ({"events": np.array([0, 0x10], np.uint8)}, "a word of type 1, which does not exist"),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_packet_that_is_not_valid_is_skipped_and_said_once(ros, how):
    changed, words = DAMAGED[how]
    source = PacketSource("/camera/events")
    parts = cut(EVENTS, [])
    for number in range(2):
        kind, message = packet(ros, parts[0], number)
        for name, value in changed.items():
            object.__setattr__(message, name, value)
        source.push(ros.types.deserialize_cdr(ros.types.serialize_cdr(message, kind), PACKETS))
    source.push(sent(ros, parts[0], 2))
    assert read(source) == EVENTS
    assert source.damaged == 2
    (said,) = source.warnings
    assert said.startswith(f"a packet is left out: {words}")
