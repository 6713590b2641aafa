"""What reads AEDAT 4 in a process of its own, started by `aedat4`.

It writes to its output, for every packet of events: where it begins, how many events follow, and those. In place of a
number of events `DAMAGED` says that a text follows, `END` that this is all.
"""

from __future__ import annotations

import os
import resource
import struct
from pathlib import Path
from typing import BinaryIO

from tcja_runtime.errors import Damaged
from tcja_runtime.events.formats.aedat4_layout import Layout

SIZES = struct.Struct("<qq")
EVENT = 13  # bytes, of `aedat`'s arrays
DAMAGED, END = -1, -2

_ROOM = 2**31
"""Bytes that a packet may take when it is unpacked, and all else."""
_STEP = 2**17  # events


def main(path: str) -> None:
    """Write the events of a file to the output.

    The process ends with 0 whatever the file is like; what else happens to it, happened in the package.
    """
    with os.fdopen(os.dup(1), "wb") as out:
        try:
            _give(path, out)
        except Damaged as damaged:
            text = damaged.what.encode()
            out.write(SIZES.pack(damaged.offset, DAMAGED) + len(text).to_bytes(4, "little") + text)
    os._exit(0)  # without what the package would still do


def _give(path: str, out: BinaryIO) -> None:
    import aedat

    with Path(path).open("rb") as stream:
        layout = Layout(stream)
        at = layout.at
        _limit()
        try:
            packets = iter(aedat.Decoder(path))
            for begin in layout.packets():
                at = begin
                packet = next(packets)
                if packet["stream_id"] != layout.stream:
                    continue
                events = packet["events"]
                for first in range(0, len(events), _STEP):
                    part = events[first : first + _STEP].tobytes()
                    out.write(SIZES.pack(at, len(part) // EVENT) + part)
                out.flush()
        except (BrokenPipeError, Damaged):
            raise
        except BaseException as error:  # what panics in there is no Exception
            said = " ".join(str(error).split()) or type(error).__name__
            raise Damaged(at, f"the packet that begins here is damaged: {said}") from None
        out.write(SIZES.pack(layout.at, END))


def _limit() -> None:
    """Let a packet that unpacks to more than there may be end this process, not the machine."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + _ROOM, held + _ROOM))
