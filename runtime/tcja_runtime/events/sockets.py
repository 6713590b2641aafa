"""Sockets of this machine that events are sent to: one TCP connection, or UDP datagrams."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import ipaddress
import re
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

from tcja_runtime.errors import BadInput
from tcja_runtime.events import Damaged, Decoder, Events, Source
from tcja_runtime.events.byte_source import BLOCK, ByteSource, ByteStream, decoded, readable, stream_formats

ADDRESSES = "tcp://127.0.0.1:PORT and udp://127.0.0.1:PORT"
"""The forms of the addresses, for messages."""

_ADDRESS = re.compile(r"(tcp|udp)://(?:\[([^\]]*)\]|([^:\[\]]*)):(\d{1,5})")
_RECEIVED = 2**23  # bytes; the size of the receive buffer that the kernel is asked for
_OVERFLOW = 40  # SO_RXQ_OVFL: the kernel adds to each datagram the number of datagrams dropped so far (socket(7))
_TOGETHER = 256  # the most datagrams whose events are yielded together


@dataclasses.dataclass(frozen=True)
class _LocalAddress:
    """The address of a socket on this machine.

    Attributes:
        kind: the protocol, "tcp" or "udp".
        host: the IP address, a loopback address.
        port: the number of the port; 0 lets the kernel choose a free one.
        version: the version of IP, 4 or 6.
    """

    kind: str
    host: str
    port: int
    version: int

    @classmethod
    def parse(cls, text: str) -> _LocalAddress:
        """The address in a text such as "tcp://127.0.0.1:5000".

        Raises:
            BadInput: the text is not an address, or it is an address of another machine.
        """
        found = _ADDRESS.fullmatch(text)
        if not found or int(found[4]) >= 2**16:
            raise BadInput(f"{text} is not an address of a socket; addresses are {ADDRESSES}")
        kind, host, port = found[1], found[2] or found[3], int(found[4])
        host = "127.0.0.1" if host == "localhost" else host
        try:
            local = ipaddress.ip_address(host)
        except ValueError:
            local = None
        if local is None or not local.is_loopback:
            raise BadInput(
                f"{text}: events are taken from this machine only; name {kind}://127.0.0.1:{port}, and bring events of "
                "another machine there by a tunnel, such as ssh -R"
            )
        return cls(kind, host, port, local.version)

    def bind(self) -> socket.socket:
        """Returns a new socket that is bound to this address.

        Raises:
            OSError: the port is in use, or this user may not use it.
        """
        family = socket.AF_INET6 if self.version == 6 else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM if self.kind == "tcp" else socket.SOCK_DGRAM)
        try:
            listener.setblocking(False)
            if self.kind == "tcp":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED)
                listener.setsockopt(socket.SOL_SOCKET, _OVERFLOW, 1)
            listener.bind((self.host, self.port))
            if self.kind == "tcp":
                listener.listen(1)
        except OSError:
            listener.close()
            raise
        return listener


def open_socket(source: str, decoder: Decoder | None) -> Source:
    """Listen for events at a TCP or UDP address of this machine, and return the source of these events.

    Args:
        source: the address, such as "tcp://127.0.0.1:5000" or "udp://127.0.0.1:5000"; port 0 is any free port.
        decoder: the decoder of the events. For TCP it may be None; then the format is found from the first bytes.

    Raises:
        BadInput: the address is not an address of this machine, its port is in use, or `decoder` is None for UDP.
    """
    address = _LocalAddress.parse(source)
    if address.kind == "udp" and decoder is None:
        raise BadInput(f"{source}: the format of datagrams is not known; give `form`, one of {stream_formats()}")
    try:
        listener = address.bind()
    except OSError as error:
        raise BadInput(f"{source}: {error.strerror}; name another port, or 0 for any that is free") from error
    host = f"[{address.host}]" if address.version == 6 else address.host
    bound = f"{host}:{listener.getsockname()[1]}"
    name, title = f"{address.kind}://{bound}", f"{address.kind.upper()} {bound}"
    if address.kind == "udp" and decoder is not None:
        return _Datagrams(name, title, decoder, listener)
    held = contextlib.ExitStack()
    held.enter_context(listener)

    def blocks(stop: threading.Event) -> Iterator[bytes]:
        while not readable(listener):
            if stop.is_set():
                return
        connection = held.enter_context(listener.accept()[0])
        listener.close()  # a second program that connects is refused at once
        while not stop.is_set():
            if readable(connection):
                block = connection.recv(BLOCK)
                if not block:
                    return
                yield block

    return ByteSource(ByteStream(title, blocks, held.close, ends=True, address=name), decoder, None)


class _Datagrams:
    """The events that are sent to a UDP socket.

    A datagram may be lost or damaged, and the next one may be whole. So each datagram is decoded as the continuation of
    the last valid datagram. A datagram that is not valid is counted in `damaged` and skipped. The reason of the first
    one is in `warnings` at once, because all others may be alike.
    """

    ends, pausable, recording = False, False, None

    def __init__(self, address: str, title: str, decoder: Decoder, receiver: socket.socket) -> None:
        self.title, self.address = title, address
        self.damaged = self.lost = 0
        self.warnings: list[str] = []
        self._first_reason: tuple[str, ...] = ()
        self._decoder, self._receiver, self.close = decoder, receiver, receiver.close

    @property
    def sensor(self) -> tuple[int, int] | None:
        return self._decoder.sensor

    @property
    def remarks(self) -> Sequence[str]:
        """The reason why the first datagram was left out, and the remarks of the decoder."""
        return (*self._first_reason, *self._decoder.remarks)

    def runs(self, stop: threading.Event) -> Iterator[Events]:
        """Yields the events as they arrive (`tcja_runtime.events.Source.runs`)."""
        while not stop.is_set():
            if not readable(self._receiver):
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
        """Returns the events of a datagram. If the datagram is not valid, counts it and returns no events."""
        decoder = copy.deepcopy(self._decoder)
        try:
            events = decoded(decoder, datagram, self.warnings)
            copy.deepcopy(decoder).finish()
        except Damaged as damaged:
            if not self.damaged:
                self._first_reason = (f"the first datagram that was left out: {damaged}",)
                self.warnings.append(f"a datagram was left out: {damaged}; the next ones are only counted")
            self.damaged += 1
            return Events.none()
        self._decoder = decoder
        return events
