"""The program that reads HDF5 files in a process of its own. The module `hdf5_process` starts it.

It answers one request after another: each is a line of JSON on its standard input, with the keys

    path, options   the file, and the fields of `ReadOptions`
    folder          the current folder, which a relative path begins at
    events          whether the events are wanted, or what is known before they are read

The answer is a message, or several: its length as `SIZE`, then JSON with one of the keys

    opened     the sensor and the remarks: the file can be read
    events     the number of events that follow as bytes: all t, all x, all y, all p, in the types of `Events`
    end        the remarks: these were all events
    refused    the class of an error for the user, and its `text`
    failed     the traceback of a mistake of this program
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import traceback
from pathlib import Path
from typing import Any, BinaryIO

from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.events.event import ReadOptions
from tcja_runtime.events.formats.arrays import hdf5
from tcja_runtime.machine.children import limit_memory

SIZE = struct.Struct("<q")


def main(room: str, patience: str) -> None:
    """Answer requests until the standard input ends.

    Args:
        room: the memory that this process may take for reading, in bytes.
        patience: the seconds after which it is ended if it has neither a block of events nor an answer. The HDF5
            library cannot be interrupted, so the system's alarm ends the process.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a process inherits what its parent ignores
    hdf5.load()
    limit_memory(int(room))
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        try:
            for line in sys.stdin.buffer:
                _answer(json.loads(line), out, float(patience))
                out.flush()
        except BrokenPipeError:
            pass
    os._exit(0)  # without the libraries' own clean-up, in which they could crash


def _answer(request: dict[str, Any], out: BinaryIO, patience: float) -> None:
    """Answer a request."""
    path = Path(request["path"])
    signal.setitimer(signal.ITIMER_REAL, patience)
    try:
        if not path.is_absolute():
            os.chdir(request["folder"])
        found = hdf5.open_recording(path, ReadOptions(**request["options"]))
        if not request["events"]:
            _tell(out, {"opened": True, "sensor": found.sensor, "remarks": found.remarks})
            return
        for events in found.chunks():
            signal.setitimer(signal.ITIMER_REAL, 0)  # the reader may take its time
            _tell(out, {"events": len(events)})
            for column in (events.t, events.x, events.y, events.p):
                out.write(column.tobytes())
            signal.setitimer(signal.ITIMER_REAL, patience)
        _tell(out, {"end": True, "remarks": found.remarks})
    except (BadInput, Unavailable) as refusal:
        kind = Unavailable if isinstance(refusal, Unavailable) else BadInput
        _tell(out, {"refused": kind.__name__, "text": str(refusal)})
    except MemoryError:
        _tell(out, {"refused": BadInput.__name__, "text": f"{path} needs more memory than a file of events may take"})
    except BrokenPipeError:
        raise
    except Exception:
        _tell(out, {"failed": traceback.format_exc()})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _tell(out: BinaryIO, message: dict[str, Any]) -> None:
    """Write a message."""
    text = json.dumps(message).encode()
    out.write(SIZE.pack(len(text)) + text)
