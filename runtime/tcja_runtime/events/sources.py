"""Sources of events: recordings, growing files, pipes, and sockets on this machine.

source               | what it is                                      | ends
PATH                 | a recording, played at its own speed or another | with the file
PATH with `follow`   | a file that grows, from its beginning           | when it is stopped
PATH of a FIFO, or - | bytes that another program writes               | when that program closes the pipe
tcp://127.0.0.1:PORT | bytes of one program that connects              | when that program closes the connection
udp://127.0.0.1:PORT | datagrams of whole events                       | when it is stopped
"""

from __future__ import annotations

import contextlib
import math
import numbers
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tcja_runtime.counting import an
from tcja_runtime.errors import BadInput
from tcja_runtime.events import Events, ReadOptions, Recording, Source, is_recording_folder, recording
from tcja_runtime.events.byte_source import BLOCK, ByteSource, ByteStream, new_decoder, readable
from tcja_runtime.events.clock import ContinuousClock
from tcja_runtime.events.formats.registry import format_by_suffix
from tcja_runtime.events.sockets import ADDRESSES, open_socket
from tcja_runtime.records import argument

_TICK = 0.1  # seconds between two checks of whether a played recording must stop
_FRAME = 0.01  # seconds of a played recording whose events are yielded together
_GROWS = 0.05  # seconds between two reads of a growing file


def open_source(
    source: str,
    *,
    form: str | None = None,
    speed: float | None = None,
    follow: bool = False,
    options: ReadOptions | None = None,
) -> Source:
    """Open a source of events. If the source is a socket, it listens when this function returns.

    Args:
        source: the source, in a form of the table at the top of this module.
        form: the name of the source's format in `tcja_runtime.events.FORMATS`; None finds the format from the content
            or the suffix.
        speed: the speed of a recording: 1 is the speed at which it was recorded, 2 is twice as fast, infinity is as
            fast as possible. None is the same as 1. For a source that is not a recording it must be None.
        follow: whether the source is a file that grows and is read from its beginning.
        options: what the user says about a recording; None for nothing.

    Raises:
        BadInput: there is no such source, it cannot be opened, or the arguments do not fit it.
    """
    argument("form", form, str | None)
    played = 1.0 if speed is None else _checked_speed(speed)
    address = "://" in source
    path = Path(source)
    pipe = not address and (source == "-" or path.is_fifo())
    if not (address or pipe or path.is_file() or is_recording_folder(path)):
        missing = "is neither a file nor a FIFO" if path.exists() else "does not exist"
        raise BadInput(f"{source} {missing}; sources are files, FIFOs, - for standard input, {ADDRESSES}")
    if not (address or pipe or follow):
        return _PlayedRecording(recording(path, form, options), played)
    for name in (options or ReadOptions()).given:
        raise BadInput(f"`{name}` is for recordings; {source} is read as it comes, so leave it out")
    if speed is not None:
        raise BadInput(f"`speed` is for recordings that are played; {source} is read as it comes, so leave it out")
    if follow and (address or pipe):
        raise BadInput(f"`follow` is for files that grow; {source} is read as it comes, so leave it out")
    decoder = None if form is None else new_decoder(form)  # an unknown format is refused before anything is opened
    if address:
        return open_socket(source, decoder)
    stream = _open_growing(path) if follow else _open_pipe(source)
    return ByteSource(stream, decoder, format_by_suffix(path))


def _checked_speed(speed: object) -> float:
    """Returns a speed if it is a number above 0. It may be infinite."""
    number = isinstance(speed, numbers.Real) and not isinstance(speed, bool)
    try:
        value = float(speed) if isinstance(speed, numbers.Real) and number else math.nan
    except OverflowError:  # an integer that no float can hold
        value = math.nan
    if value > 0:
        return value
    shown = f"{speed}" if number else f"is {an(type(speed).__name__)}, and"
    raise BadInput(f"`speed` {shown} must be a number above 0")


class _PlayedRecording:
    """A recording that is played: its events are yielded at the times when they were recorded.

    Args:
        recording: the recording.
        speed: the speed, 1 for the speed at which it was recorded; infinity for as fast as possible.
    """

    address, ends, damaged, lost = "", True, 0, 0

    def __init__(self, recording: Recording, speed: float) -> None:
        self.recording, self._speed = recording, speed
        self.title, self.sensor, self.pausable = recording.path.name, recording.sensor, math.isinf(speed)
        self.warnings = recording.remarks

    @property
    def remarks(self) -> Sequence[str]:
        return self.recording.remarks

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        """Yields the events when their times have come (`tcja_runtime.events.Source.runs`)."""
        begin = latest = None
        clock = ContinuousClock()
        began = time.monotonic()
        for chunk in self.recording.chunks():
            if stop.is_set():
                return
            if self.pausable or not len(chunk):
                yield chunk
                continue
            # An event whose time goes back is yielded immediately after the event before it.
            due = np.maximum.accumulate(clock.correct(chunk).t)
            if begin is None or latest is None:
                begin = latest = int(due[0])
            due = np.maximum(due, latest)
            latest = int(due[-1])
            due = (due - begin) / (1e6 * self._speed)
            at = 0
            while at < len(chunk):
                past = time.monotonic() - began
                upto = int(np.searchsorted(due, past, "right"))
                if upto > at:
                    yield chunk[at:upto]
                    at = upto
                elif stop.wait(min(max(float(due[at]) - past, _FRAME), _TICK)):
                    return

    def close(self) -> None:
        """Do nothing: the file of a recording is open only while it is read."""


def _open_pipe(source: str) -> ByteStream:
    """Open a FIFO, or standard input."""
    held = contextlib.ExitStack()
    if source == "-":
        if sys.stdin is None:
            raise BadInput("standard input is closed; pipe events into it, or name another source")
        title, descriptor = "standard input", sys.stdin.fileno()
        if os.isatty(descriptor):
            raise BadInput("standard input is a terminal; pipe events into it, or name another source")
    else:
        # Without O_NONBLOCK, opening a FIFO waits until another program opens it for writing.
        title, descriptor = source, os.open(source, os.O_RDONLY | os.O_NONBLOCK)
        held.callback(os.close, descriptor)

    def blocks(stop: threading.Event) -> Iterator[bytes]:
        while not stop.is_set():
            if readable(descriptor):
                block = os.read(descriptor, BLOCK)
                if not block:
                    return
                yield block

    return ByteStream(title, blocks, held.close, ends=True)


def _open_growing(path: Path) -> ByteStream:
    """Open a file that another program is writing."""
    file = path.open("rb", buffering=0)

    def blocks(stop: threading.Event) -> Iterator[bytes]:
        while not stop.is_set():
            there = _is_at(path, file.fileno())  # before the read, so that the last events are read, too
            block = file.read(BLOCK)
            if block:
                yield block
            elif os.fstat(file.fileno()).st_size < file.tell():
                raise BadInput(f"{path} became shorter while it was followed; {_VALID}")
            elif not there:
                raise BadInput(f"{path} was replaced, moved or removed while it was followed; {_VALID}")
            else:
                stop.wait(_GROWS)

    return ByteStream(f"{path} as it grows", blocks, file.close, ends=False)


_VALID = "what was read before is valid"


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether a path still is that of an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False
