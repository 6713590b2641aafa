"""The program that reads an AEDAT 4 file in a separate process. The module `aedat4` starts it.

For every packet of events it writes a record of `SIZES` (the offset of the packet, the number of events) to its
standard output, and then the events. In two cases the record has a special value in place of the number of events:

    DAMAGED   the packet is damaged; the size and the text of an error message follow
    END       the file has no more packets; nothing follows
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

from tcja_runtime.errors import Damaged
from tcja_runtime.events.formats.aedat4_packets import PacketIndex
from tcja_runtime.machine.children import limit_memory

SIZES = struct.Struct("<qq")
EVENT = 13  # bytes of an event in the arrays of the package `aedat`
DAMAGED, END = -1, -2

_ROOM = 2**31
"""The memory that this process may take while it unpacks packets, in bytes."""
_STEP = 2**17  # events that are written at a time


def main(path: str) -> None:
    """Write the events of a file to the standard output.

    The exit status is 0, also for a damaged file. Any other status means that the package `aedat` crashed.
    """
    with os.fdopen(os.dup(1), "wb") as out:
        try:
            _write_events(path, out)
        except Damaged as damaged:
            text = damaged.what.encode()
            out.write(SIZES.pack(damaged.offset, DAMAGED) + len(text).to_bytes(4, "little") + text)
    os._exit(0)  # without the package's own clean-up, in which it could crash


def _write_events(path: str, out: BinaryIO) -> None:
    """Write the events of a file to `out`, one packet after another."""
    import aedat

    with Path(path).open("rb") as file:
        index = PacketIndex.read(file)
        at = index.begin
        limit_memory(_ROOM)
        try:
            packets = iter(aedat.Decoder(path))
            for begin in index.packets():
                at = begin
                packet = next(packets)
                if packet["stream_id"] != index.stream:
                    continue
                events = packet["events"]
                for first in range(0, len(events), _STEP):
                    part = events[first : first + _STEP].tobytes()
                    out.write(SIZES.pack(at, len(part) // EVENT) + part)
                out.flush()
        except (BrokenPipeError, Damaged):
            raise
        except BaseException as error:  # a panic of the package is a BaseException
            reason = " ".join(str(error).split()) or type(error).__name__
            raise Damaged(at, f"the packet that begins here is damaged: {reason}") from None
        out.write(SIZES.pack(index.end, END))
