"""Messages of ROS 2 with events, made and written by the package rosbags."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from . import writers

EVENT = "uint16 x\nuint16 y\nbuiltin_interfaces/Time ts\nbool polarity\n"
ARRAY = "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events\n"
PACKETS, ARRAYS = "event_camera_msgs/msg/EventPacket", "dvs_msgs/msg/EventArray"
HEAD = len(writers.evt3([]))


def ros() -> SimpleNamespace:
    """What rosbags makes messages with; the test is skipped without the package."""
    pytest.importorskip("rosbags")
    from rosbags import rosbag2, typesys

    types = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    types.register(typesys.get_types_from_msg(writers.ROS_PACKET, PACKETS))
    types.register({**typesys.get_types_from_msg(EVENT, "dvs_msgs/msg/Event")})
    types.register(typesys.get_types_from_msg(ARRAY, ARRAYS))
    return SimpleNamespace(bags=rosbag2, types=types, storages=rosbag2.StoragePlugin)


def header(ros: SimpleNamespace, stamp: int) -> Any:
    time = ros.types.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    return ros.types.types["std_msgs/msg/Header"](stamp=time, frame_id="camera")


def packet(ros: SimpleNamespace, words: bytes, seq: int, stamp: int = 10**9, **changed: Any) -> tuple[str, Any]:
    fields = {"height": 720, "width": 1280, "seq": seq, "time_base": 0, "encoding": "evt3", "is_bigendian": False}
    events = np.frombuffer(words, np.uint8)
    return PACKETS, ros.types.types[PACKETS](header=header(ros, stamp), **{**fields, **changed}, events=events)


def cut(events: list[writers.Event], at: list[int]) -> list[bytes]:
    """The words of events in packets, cut behind whole words."""
    words = writers.evt3(events)[HEAD:]
    edges = [0, *(2 * each for each in at), len(words)]
    return [words[begin:end] for begin, end in itertools.pairwise(edges)]
