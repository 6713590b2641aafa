import numpy as np

from tcja_runtime.events import Damaged, Events, Format

RECORD = np.dtype([("t", "<u4"), ("x", "u1"), ("y", "u1"), ("p", "u1"), ("unused", "u1")])


class Blk:
    """A decoder of .blk: 8 bytes for each event."""

    sensor, remarks = (4, 4), ()

    def __init__(self):
        self._rest, self._read = b"", 0

    def feed(self, data):
        data = self._rest + data
        whole = len(data) - len(data) % RECORD.itemsize
        self._rest, self._read = data[whole:], self._read + whole
        found = np.frombuffer(data[:whole], RECORD)
        return Events(
            found["t"].astype(np.int64), found["x"].astype(np.uint16), found["y"].astype(np.uint16), found["p"] > 0
        )

    def finish(self):
        if self._rest:
            raise Damaged(self._read, "the last event is incomplete")


BLK = Format.of_bytes("blk", "the recordings of Blink", (".blk",), Blk)
