"""Packets of a camera become frames (`tests/runtime/network/test_cameras.py`, too); a long one takes little memory."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np

from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.streaming.packets import PacketFrames, PacketRule


def test_a_long_packet_of_vectors_is_decoded_in_blocks():
    """Four bytes of EVT 3 make 12 events, so 1 MiB makes 41 MB of events, and several times as much meanwhile."""
    contract = dataclasses.replace(InputContract.frames(5, 64, 64), split="time")
    cut = PacketFrames(contract, PacketRule(window=Window(1000), form="evt3"), "a camera")
    vectors = np.tile(np.array([0x3000, 0x4FFF], "<u2"), 2**18)  # from column 0 on, 12 events
    packet = b"% evt 3.0\n% end\n" + np.array([0x8000, 0x6000, 0x0000], "<u2").tobytes() + vectors.tobytes()
    tracemalloc.start()
    frames = [*cut.push(packet), *cut.finish()]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(frame.events for frame in frames) == cut.events == 12 * 2**18
    assert peak < 80e6
