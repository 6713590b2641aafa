"""Where events come from: recordings, growing files, FIFOs and sockets on the local host.

source               | is                                              | ends
PATH                 | a recording, played at its own speed or another | with the file
PATH, follow         | a file that grows, from its beginning           | when stopped
PATH of a FIFO, or - | what is written into it                         | when the writer closes it
tcp://127.0.0.1:PORT | what one program sends that connects to it      | when that closes the connection
udp://127.0.0.1:PORT | datagrams, each of whole events                 | when stopped
"""

from __future__ import annotations

import contextlib
import copy
import ipaddress
import math
import os
import re
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from tcja_runtime.errors import BadInput
from tcja_runtime.events import FORMATS, Damaged, Decoder, Events, Recording, recording, told
from tcja_runtime.events.clock import Steady
from tcja_runtime.events.registry import by_suffix, undecided

_BLOCK = 2**20  # bytes that are read at once, at most
_TICK = 0.1  # seconds after which whoever waits looks whether to stop
_FRAME = 0.01  # seconds of a recording that is played, at once
_GROWS = 0.05  # seconds between looks at a file that may have grown
_RECEIVED = 2**23  # bytes that the kernel is asked to keep of datagrams
_OVERFLOW = 40  # SO_RXQ_OVFL: each datagram says how many the kernel has dropped so far (socket(7))
_TOGETHER = 256  # datagrams at once, at most
_ADDRESSES = "tcp://127.0.0.1:PORT and udp://127.0.0.1:PORT"
_ADDRESS = re.compile(r"(tcp|udp)://(?:\[([^\]]*)\]|([^:\[\]]*)):(\d{1,5})")


class Source(Protocol):
    """Where events come from.

    Attributes:
        title: what it is, for people.
        address: where others send to; empty for what is no socket.
        ends: whether it ends by itself.
        waits: whether nobody minds if it is made to wait.
        recording: the file that it plays, if it plays one.
        sensor: rows and columns of the camera, where what has come so far tells.
        damaged: datagrams that were no events, and were passed over.
        lost: datagrams that the system dropped, as they came faster than they were read.
    """

    @property
    def title(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def ends(self) -> bool: ...
    @property
    def waits(self) -> bool: ...
    @property
    def recording(self) -> Recording | None: ...
    @property
    def sensor(self) -> tuple[int, int] | None: ...
    @property
    def damaged(self) -> int: ...
    @property
    def lost(self) -> int: ...

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        """The events as they come, until the source ends or is to stop, which takes a tenth of a second at most.

        Raises:
            BadInput: it cannot be read any further.
            Damaged: what comes is no events; those before were given.
        """
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def opened(
    given: str,
    *,
    form: str | None = None,
    speed: float | None = None,
    follow: bool = False,
) -> Source:
    """Open a source; sockets listen from then on.

    Args:
        given: as in the table above.
        form: name in `tcja_runtime.events.FORMATS`; None where a file tells it.
        speed: of a recording, as a multiple of its own; infinite for as fast as it can be read. None is 1.
        follow: whether a file grows.

    Raises:
        BadInput: there is no such source, it cannot be opened, or the options do not fit it.
    """
    address = "://" in given
    path = Path(given)
    flows = not address and (given == "-" or path.is_fifo())
    if not (address or flows or path.is_file()):
        missing = "is neither a file nor a FIFO" if path.exists() else "does not exist"
        raise BadInput(f"{given} {missing}; sources are files, FIFOs, - for standard input, {_ADDRESSES}")
    if not (address or flows or follow):
        return _Played(recording(path, form), 1.0 if speed is None else speed)
    if speed is not None:
        raise BadInput(f"`speed` is for recordings that are played; {given} is read as it comes, so leave it out")
    if follow and (address or flows):
        raise BadInput(f"`follow` is for files that grow; {given} is read as it comes, so leave it out")
    if form is not None:
        _decoder(form)  # or it is refused before anything is opened
    if follow:
        return _growing(path, form)
    return _listening(given, form) if address else _flowing(given, form)


class _Played:
    """A recording."""

    address, ends, damaged, lost = "", True, 0, 0

    def __init__(self, recording: Recording, speed: float) -> None:
        self.recording, self._speed = recording, speed
        self.title, self.sensor, self.waits = recording.path.name, recording.sensor, math.isinf(speed)

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        begin = latest = None
        steady = Steady()
        began = time.monotonic()
        for chunk in self.recording.chunks():
            if stop.is_set():
                return
            if self.waits or not len(chunk):
                yield chunk
                continue
            # An event whose time goes back comes right behind the one before.
            due = np.maximum.accumulate(steady(chunk).t)
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
        """Nothing is held."""


class _Flowing:
    """Bytes of one recording as they come.

    Args:
        title: what it is, for people.
        form: of the bytes; None where they tell.
        otherwise: the format where they do not.
        blocks: gives them, until there are no more or it is to stop.
        held: what is open.
        ends: whether it ends by itself.
        address: of a socket.
    """

    waits, recording, damaged, lost = False, None, 0, 0

    def __init__(
        self,
        title: str,
        form: str | None,
        otherwise: str | None,
        blocks: Callable[[threading.Event], Iterator[bytes]],
        held: contextlib.ExitStack,
        *,
        ends: bool,
        address: str = "",
    ) -> None:
        self.title, self.ends, self.address = title, ends, address
        self._decoder = None if form is None else _decoder(form)
        self._otherwise, self._blocks, self.close = otherwise, blocks, held.close

    @property
    def sensor(self) -> tuple[int, int] | None:
        return self._decoder.sensor if self._decoder else None

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        head = b""
        try:
            for block in self._blocks(stop):
                head += block
                if self._decoder is None and not undecided(head):
                    self._decoder = self._told(head)
                if self._decoder:
                    yield self._decoder.feed(head)
                    head = b""
            if not stop.is_set():
                decoder = self._decoder or self._told(head)
                yield decoder.feed(head)
                decoder.finish()
        except Damaged as error:
            raise BadInput(f"{self.title}: {error}") from error
        except OSError as error:
            raise BadInput(f"{self.title} broke off: {error.strerror or error}") from error

    def _told(self, head: bytes) -> Decoder:
        form = told(head) or self._otherwise
        if form is None:
            raise BadInput(f"{self.title}: what is sent does not tell its format; give `form`, {_formats()}")
        return _decoder(form)


class _Datagrams:
    """What is sent to a UDP socket.

    A datagram may be lost or garbled on its way without its neighbours; each is decoded as the continuation of the last
    that was whole, and one that is none is counted and passed over.
    """

    ends, waits, recording = False, False, None

    def __init__(self, address: str, title: str, form: str, receiver: socket.socket) -> None:
        self.title, self.address = title, address
        self.damaged = self.lost = 0
        self._decoder, self._receiver, self.close = _decoder(form), receiver, receiver.close

    @property
    def sensor(self) -> tuple[int, int] | None:
        return self._decoder.sensor

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        while not stop.is_set():
            if not _readable(self._receiver):
                continue
            found = []
            with contextlib.suppress(BlockingIOError):
                for _ in range(_TOGETHER):
                    datagram, about, _, _ = self._receiver.recvmsg(2**16, socket.CMSG_SPACE(4))
                    found.append(self._decoded(datagram))
                    for _, kind, value in about:
                        self.lost = struct.unpack("I", value)[0] if kind == _OVERFLOW else self.lost
            yield Events.joined(found)

    def _decoded(self, datagram: bytes) -> Events:
        decoder = copy.deepcopy(self._decoder)
        try:
            whole = decoder.feed(datagram)
            copy.deepcopy(decoder).finish()
        except Damaged:
            self.damaged += 1
            return Events.none()
        self._decoder = decoder
        return whole


def _flowing(given: str, form: str | None) -> Source:
    """A FIFO, or standard input."""
    held = contextlib.ExitStack()
    if given == "-":
        if sys.stdin is None:
            raise BadInput("standard input is closed; pipe events into it, or name another source")
        title, descriptor = "standard input", sys.stdin.fileno()
        if os.isatty(descriptor):
            raise BadInput("standard input is a terminal; pipe events into it, or name another source")
    else:
        # Opened so that it does not wait for a writer here; until there is one, there is nothing to read.
        title, descriptor = given, os.open(given, os.O_RDONLY | os.O_NONBLOCK)
        held.callback(os.close, descriptor)

    def blocks(stop: threading.Event) -> Iterator[bytes]:
        while not stop.is_set():
            if _readable(descriptor):
                block = os.read(descriptor, _BLOCK)
                if not block:
                    return
                yield block

    return _Flowing(title, form, by_suffix(Path(given)), blocks, held, ends=True)


def _growing(path: Path, form: str | None) -> Source:
    """A file that another program writes."""
    held = contextlib.ExitStack()
    file = held.enter_context(path.open("rb", buffering=0))

    def blocks(stop: threading.Event) -> Iterator[bytes]:
        while not stop.is_set():
            block = file.read(_BLOCK)
            if block:
                yield block
            elif os.fstat(file.fileno()).st_size < file.tell():
                raise BadInput(f"{path} was cut off while it was followed; what had been read of it stands")
            else:
                stop.wait(_GROWS)

    return _Flowing(f"{path} as it grows", form, by_suffix(path), blocks, held, ends=False)


def _listening(given: str, form: str | None) -> Source:
    """A socket of this machine."""
    found = _ADDRESS.fullmatch(given)
    if not found or int(found[4]) >= 2**16:
        raise BadInput(f"{given} is no address; sockets are {_ADDRESSES}")
    kind, host, port = found[1], found[2] or found[3], int(found[4])
    address = "127.0.0.1" if host == "localhost" else host
    try:
        local = ipaddress.ip_address(address)
    except ValueError:
        local = None
    if local is None or not local.is_loopback:
        raise BadInput(
            f"{given}: events are taken from this machine alone, so {kind}://127.0.0.1:{port}; what comes from another "
            "is brought here by a tunnel, such as ssh -R"
        )
    tcp = kind == "tcp"
    if form is None and not tcp:
        raise BadInput(f"{given}: datagrams do not tell their format; give `form`, {_formats()}")
    listener = socket.socket(
        socket.AF_INET6 if local.version == 6 else socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    )
    held = contextlib.ExitStack()
    held.enter_context(listener)
    listener.setblocking(False)
    try:
        if tcp:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED)
            listener.setsockopt(socket.SOL_SOCKET, _OVERFLOW, 1)
        listener.bind((address, port))
        if tcp:
            listener.listen(1)
    except OSError as error:
        held.close()
        raise BadInput(f"{given}: {error.strerror}; name another port, or 0 for any that is free") from error
    bound = f"{f'[{address}]' if local.version == 6 else address}:{listener.getsockname()[1]}"
    named, title = f"{kind}://{bound}", f"{kind.upper()} {bound}"
    if form is not None and not tcp:
        return _Datagrams(named, title, form, listener)

    def blocks(stop: threading.Event) -> Iterator[bytes]:
        while not _readable(listener):
            if stop.is_set():
                return
        connection = held.enter_context(listener.accept()[0])
        listener.close()  # so that another program is refused, not left to wait
        while not stop.is_set():
            if _readable(connection):
                block = connection.recv(_BLOCK)
                if not block:
                    return
                yield block

    return _Flowing(title, form, None, blocks, held, ends=True, address=named)


def _readable(file: int | socket.socket) -> bool:
    """Whether there is something to read, or nothing any more, within a tick."""
    return bool(select.select([file], [], [], _TICK)[0])


def _formats() -> str:
    """Formats that can be read while they come."""
    return ", ".join(name for name, each in FORMATS.items() if each.decoder)


def _decoder(form: str) -> Decoder:
    found = FORMATS.get(form)
    if found is None:
        raise BadInput(f"there is no format '{form}'; choose {', '.join(FORMATS)}")
    if found.decoder is None:
        raise BadInput(f"'{form}' can only be read from whole files; while it comes, {_formats()} can")
    return found.decoder()
