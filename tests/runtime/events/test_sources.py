"""Where events come from: each kind gives the events of the file, ends as it should, and refuses what it must."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.events import FORMATS, Events, ReadOptions, Source
from tcja_runtime.events.sources import open_source

from ...streams import aedat2, atis, drawn, same
from . import writers
from .reading import listed

SENSOR = (128, 128)


class Reading:
    """A source that is read in another thread."""

    def __init__(self, source: Source) -> None:
        self.source, self.stop = source, threading.Event()
        self.runs: list[Events] = []
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for run in self.source.runs(self.stop):
                self.runs.append(run)  # seen while it goes on
        except BaseException as error:
            self.failed = error

    def ended(self) -> Events:
        """All of them, once it has ended by itself."""
        self._thread.join(10)
        assert not self._thread.is_alive()
        if self.failed:
            raise self.failed
        return Events.joined(self.runs)

    def comes(self, n: int) -> None:
        """Wait until there are n, ten seconds at most."""
        for _ in range(1000):
            if sum(map(len, self.runs)) >= n or self.failed:
                break
            time.sleep(0.01)

    def until(self, n: int) -> Events:
        """All of them, stopped when there are n."""
        self.comes(n)
        self.stop.set()
        return self.ended()


@pytest.fixture
def read() -> Iterator[Callable[..., Reading]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments, **options) -> Reading:
            source = stack.enter_context(contextlib.closing(open_source(*arguments, **options)))
            reading = Reading(source)
            stack.callback(reading.stop.set)
            return reading

        yield start


@pytest.fixture
def fifo(tmp_path) -> Path:
    os.mkfifo(tmp_path / "events")
    return tmp_path / "events"


def port(reading: Reading) -> tuple[str, int]:
    return "127.0.0.1", int(reading.source.address.rpartition(":")[2])


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_a_recording_at_any_speed(read, tmp_path):
    events = drawn(5000, sensor=SENSOR, seconds=0.2)
    (tmp_path / "a.bin").write_bytes(atis(events))
    for speed in (float("inf"), 2.0, None):
        reading = read(str(tmp_path / "a.bin"), speed=speed)
        assert same(reading.ended(), events)
        assert (reading.source.ends, reading.source.pausable) == (True, speed == float("inf"))
        assert reading.source.recording.path == tmp_path / "a.bin"


@pytest.mark.parametrize(("jitter", "reset"), [(0, 0), (1_000_000, 0), (0, 7_000_000)])
def test_a_recording_is_played_at_its_own_speed(tmp_path, monkeypatch, jitter, reset):
    """With a clock of the test's own: no event before its time, and none long behind it."""
    now = 100.0

    class Clock(threading.Event):
        def wait(self, seconds=None):
            nonlocal now
            now += seconds
            return False

    monkeypatch.setattr("tcja_runtime.events.sources.time.monotonic", lambda: now)
    events = drawn(2000, sensor=SENSOR, seconds=8.0)
    if jitter:  # some times go back, whose events come right behind those before them
        events.t[1:] -= np.minimum(np.random.default_rng(0).integers(0, jitter, 1999), events.t[1:])
    due = 100.0 + (np.maximum.accumulate(events.t) - events.t[0]) / 4e6
    if reset:  # the camera's clock begins anew, and the events go on from there
        at = int(np.searchsorted(events.t, reset))
        due[at:] -= (events.t[at] - events.t[at - 1]) / 4e6
        events.t[at:] -= events.t[at]
    (tmp_path / "a.bin").write_bytes(atis(events))
    at = 0
    for run in open_source(str(tmp_path / "a.bin"), speed=4.0).runs(Clock()):
        assert (due[at : at + len(run)] <= now + 1e-9).all()
        assert due[at] > now - 0.2
        assert same(run, events[at : at + len(run)])
        at += len(run)
    assert at == 2000
    assert now == pytest.approx(due[-1], abs=0.11)


def test_times_that_go_back_are_not_waited_for(read, tmp_path):
    events = drawn(100, sensor=SENSOR, seconds=0.01)
    jumble = Events(events.t[::-1].copy(), events.x, events.y, events.p)
    (tmp_path / "a.bin").write_bytes(atis(jumble))
    assert same(read(str(tmp_path / "a.bin")).ended(), jumble)


def test_a_recording_stops(read, tmp_path):
    events = drawn(100, sensor=SENSOR, seconds=8.0)
    (tmp_path / "a.bin").write_bytes(atis(events))
    assert len(read(str(tmp_path / "a.bin")).until(1)) < 100


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_fifo_until_its_writer_closes_it(read, fifo, size):
    events = drawn(1500, sensor=SENSOR)
    reading = read(str(fifo), form="atis")
    with fifo.open("wb", buffering=0) as writer:
        for piece in pieces(atis(events), size):
            writer.write(piece)
    assert same(reading.ended(), events)
    assert reading.source.ends


def test_a_fifo_without_a_writer_can_be_stopped(read, fifo):
    assert len(read(str(fifo), form="atis").until(0)) == 0


@pytest.mark.parametrize("size", [1, 7, 40, 4096])
@pytest.mark.parametrize("form", ["aedat2", "aedat3", "dat", "evt2", "evt3"])
def test_formats_are_told_by_the_bytes(monkeypatch, fifo, form, size):
    """However they are cut."""
    made = writers.FORMATS[form]
    data = made.write(writers.some(made, 40))
    decoder = FORMATS[form].decoder()
    given = iter([*pieces(data, size), b""])
    monkeypatch.setattr("tcja_runtime.events.sources.readable", lambda _: True)
    monkeypatch.setattr("tcja_runtime.events.sources.os.read", lambda *_: next(given))
    with contextlib.closing(open_source(str(fifo))) as source:
        assert same(Events.joined(source.runs(threading.Event())), decoder.feed(data))
        assert source.sensor == decoder.sensor


def test_standard_input(read, monkeypatch):
    events = drawn(300, sensor=SENSOR)
    out, into = os.pipe()
    with os.fdopen(out) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        reading = read("-", form="atis")
        os.write(into, atis(events))
        os.close(into)
        assert same(reading.ended(), events)


def test_a_terminal_is_not_waited_for(read, monkeypatch):
    ours, theirs = os.openpty()
    with os.fdopen(theirs) as stdin, os.fdopen(ours):
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(BadInput, match="^standard input is a terminal; pipe events into it, or name another"):
            read("-", form="atis")


def test_standard_input_that_is_closed(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(BadInput, match="^standard input is closed; pipe events into it, or name another source"):
        open_source("-", form="atis")


@pytest.mark.parametrize(("suffix", "encoded"), [(".bin", atis), (".aedat", aedat2)])
def test_a_growing_file(read, tmp_path, suffix, encoded):
    events = drawn(900, sensor=SENSOR)
    data, file = encoded(events), tmp_path / f"a{suffix}"
    file.write_bytes(b"")
    reading = read(str(file), follow=True)
    assert (reading.source.ends, reading.source.pausable) == (False, False)
    with file.open("ab", buffering=0) as writer:
        for piece in pieces(data[:-2], 1001):
            writer.write(piece)
        reading.comes(899)
        writer.write(data[-2:])
    assert same(reading.until(900), events)


def test_a_file_that_is_cut_off_while_it_is_followed(read, tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(atis(drawn(10)))
    reading = read(str(file), follow=True)
    reading.comes(10)
    file.write_bytes(b"")
    with pytest.raises(BadInput, match="a.bin became shorter while it was followed; what was read before is valid"):
        reading.ended()


@pytest.mark.parametrize("how", ["replaced", "moved", "removed"])
def test_a_file_whose_name_is_not_its_own_any_more_is_not_followed_in_silence(read, tmp_path, how):
    content, size = atis(drawn(20)), 50  # bytes, 5 an event
    file, other = tmp_path / "a.bin", tmp_path / "b.bin"
    file.write_bytes(content[:size])
    reading = read(str(file), follow=True)
    reading.comes(10)
    with file.open("ab") as stream:
        stream.write(content[size:])  # its last events
    if how == "replaced":
        other.write_bytes(content)
        other.replace(file)
    elif how == "moved":
        file.rename(other)
    else:
        file.unlink()
    said = "a.bin was replaced, moved or removed while it was followed; what was read before is valid"
    with pytest.raises(BadInput, match=said):
        reading.ended()
    assert sum(map(len, reading.runs)) == 20


@pytest.mark.parametrize("given", ["tcp://127.0.0.1:0", "tcp://localhost:0", "tcp://127.1.2.3:0"])
def test_one_connection(read, given):
    events = drawn(2000, sensor=SENSOR)
    reading = read(given, form="atis")
    host, number = reading.source.address.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(number))) as sender:
        for piece in pieces(atis(events), 999):
            sender.sendall(piece)
        reading.comes(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(number)))
    assert same(reading.ended(), events)
    assert reading.source.ends


def test_a_connection_that_is_waited_for_can_be_stopped(read):
    assert len(read("tcp://127.0.0.1:0", form="atis").until(0)) == 0


def test_a_connection_that_breaks_off(read):
    reading = read("tcp://127.0.0.1:0", form="atis")
    with socket.create_connection(port(reading)) as sender:
        sender.sendall(atis(drawn(5)))
        reading.comes(1)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
    with pytest.raises(BadInput, match=r"^TCP 127.0.0.1:\d+ broke off: Connection reset by peer"):
        reading.ended()


@pytest.mark.parametrize(("form", "encoded"), [("atis", atis), ("aedat2", aedat2)])
def test_datagrams(read, form, encoded):
    events = drawn(1000, sensor=SENSOR)
    reading = read("udp://127.0.0.1:0", form=form)
    data = encoded(events)
    size = {"atis": 5, "aedat2": 8}[form]
    head = len(data) - size * len(events)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for piece in [data[:head], *pieces(data[head:], 50 * size)]:
            sender.sendto(piece, port(reading))
    assert same(reading.until(1000), events)
    assert (reading.source.ends, reading.source.damaged, reading.source.lost) == (False, 0, 0)


def test_a_damaged_datagram_is_passed_over(read):
    events = drawn(100, sensor=SENSOR)
    whole = atis(events)
    beside = atis(events[:1])
    garbled = whole[:251] + b"\xff" + whole[252:300]  # a row that no sensor has
    reading = read("udp://127.0.0.1:0", form="atis")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for datagram in (whole[:250], whole[:252], garbled, beside + b"x", whole[250:]):
            sender.sendto(datagram, port(reading))
    assert same(reading.until(100), events)
    assert reading.source.damaged == 3
    why = "byte 500: the last event has 2 of its 5 bytes"
    assert list(reading.source.warnings) == [f"a datagram was left out: {why}; the next ones are only counted"]
    assert list(reading.source.remarks) == [f"the first datagram that was left out: {why}"]


def jaer(number: int) -> bytes:
    """A datagram of jAER's: a number, then events, without the header of a file."""
    return struct.pack(">I", number) + b"".join(struct.pack(">II", n << 1, n) for n in range(9))


def timeless(number: int) -> bytes:
    """A datagram of EVT2 in which no word sets the time."""
    return struct.pack("<I", 1 << 28 | 5 << 11 | number) * 9


@pytest.mark.parametrize(
    ("form", "body", "damaged", "said"),
    [
        (
            "aedat2",
            jaer,
            3,
            "a datagram was left out: byte 0: the first line is not #!AER-DAT2.0; the next ones are only counted",
        ),
        ("evt2", timeless, 0, "9 events were left out, because no word before them sets their time or place"),
    ],
)
def test_why_nothing_comes_is_known_while_it_is_waited_for(read, form, body, damaged, said):
    reading = read("udp://127.0.0.1:0", form=form)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(body(1), port(reading))
        for _ in range(1000):
            if reading.source.warnings:
                break
            time.sleep(0.01)
        assert list(reading.source.warnings) == [said]
        for number in (2, 3):
            sender.sendto(body(number), port(reading))
        for _ in range(1000):
            if reading.source.damaged == damaged and (damaged or "27 events" in reading.source.remarks[0]):
                break
            time.sleep(0.01)
    assert len(reading.until(0)) == 0
    assert list(reading.source.warnings) == [said]  # of the first one only
    assert reading.source.damaged == damaged
    counted = "the first datagram that was left out: byte 0: the first line is not #!AER-DAT2.0"
    assert list(reading.source.remarks) == [counted if damaged else said.replace("9", "27", 1)]


def test_jaer_s_datagrams_after_a_header_that_was_sent_once(read):
    """As docs/how-to/live.md says it: without sequence numbers, the header from another program."""
    events = [(1000 * n, 345 - n, 259 - n, n % 2) for n in range(200)]
    reading = read("udp://127.0.0.1:0", form="aedat2")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as header,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as jaer,
    ):
        header.sendto(b"#!AER-DAT2.0\r\n# AEChip: Davis346red\r\n#End Of ASCII Header\r\n", port(reading))
        for at in range(0, 200, 50):
            body = b"".join(struct.pack(">II", n << 22 | n << 12 | p << 11, t) for n, (t, _, _, p) in enumerate(events))
            jaer.sendto(body[8 * at : 8 * at + 400], port(reading))
    assert listed(reading.until(200)) == events
    assert (reading.source.damaged, reading.source.sensor) == (0, (260, 346))


def test_a_pipe_of_words_without_a_time(read, fifo):
    reading = read(str(fifo), form="evt2")
    with fifo.open("wb", buffering=0) as writer:
        writer.write(timeless(1))
        for _ in range(1000):
            if reading.source.warnings:
                break
            time.sleep(0.01)
        assert list(reading.source.warnings) == [
            "9 events were left out, because no word before them sets their time or place"
        ]
    assert len(reading.ended()) == 0


def test_datagrams_that_the_system_drops_are_counted(monkeypatch):
    monkeypatch.setattr("tcja_runtime.events.sockets._RECEIVED", 4096)
    events, stop = drawn(1000, sensor=SENSOR), threading.Event()
    with contextlib.closing(open_source("udp://127.0.0.1:0", form="atis")) as source:
        address = ("127.0.0.1", int(source.address.rpartition(":")[2]))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for piece in pieces(atis(events), 50):  # nobody reads
                sender.sendto(piece, address)
            runs = source.runs(stop)
            found = len(next(runs))
            sender.sendto(atis(events[:10]), address)  # tells of those before it
            found += len(next(runs))
        assert 0 < source.lost < 100
        assert found == 1000 - 10 * source.lost + 10
        runs.close()


@pytest.mark.parametrize(("kept", "message"), [(52, "byte 50: "), (0, "byte 0: ")])
def test_a_source_that_is_cut_off(read, fifo, kept, message):
    events = drawn(20, sensor=SENSOR)
    reading = read(str(fifo), form="atis" if kept else "aedat2")
    with fifo.open("wb", buffering=0) as writer:
        writer.write(atis(events)[:kept])
    with pytest.raises(BadInput, match=f"events: {message}"):
        reading.ended()
    assert same(Events.joined(reading.runs), events[: kept // 5])


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("nowhere.bin", {}, "nowhere.bin does not exist; sources are files, FIFOs, - for standard input, tcp://"),
        (".", {}, ". is neither a file nor a FIFO; sources are"),
        ("fifo", {"speed": 2.0}, "`speed` is for recordings that are played; fifo is read as it comes"),
        ("a.bin", {"speed": 2.0, "follow": True}, "`speed` is for recordings that are played; a.bin is read as it"),
        ("fifo", {"follow": True}, "`follow` is for files that grow; fifo is read as it comes"),
        ("fifo", {"options": ReadOptions(time_unit="s")}, "`time_unit` is for recordings; fifo is read as it comes"),
        ("tcp://127.0.0.1:0", {"follow": True}, "`follow` is for files that grow; tcp://127.0.0.1:0 is read"),
        ("fifo", {"form": "xyz"}, "there is no format 'xyz'; a stream can be one of aedat2, aedat3, atis, "),
        ("a.bin", {"form": "xyz"}, "there is no format 'xyz'; "),
        ("fifo", {"form": "npz"}, "'npz' can only be read from whole files; a stream can be"),
        ("udp://127.0.0.1:0", {}, "udp://127.0.0.1:0: the format of datagrams is not known; give `form`, one of "),
        ("tcp://0.0.0.0:9", {}, "tcp://0.0.0.0:9: events are taken from this machine only; name tcp://"),
        ("udp://10.0.0.1:9", {"form": "atis"}, "udp://10.0.0.1:9: events are taken from this machine only"),
        ("tcp://[::]:9", {}, "tcp://[::]:9: events are taken from this machine only"),
        ("tcp://board.example:9", {}, "tcp://board.example:9: events are taken from this machine only"),
        ("tcp://127.0.0.1:65536", {}, "tcp://127.0.0.1:65536 is not an address of a socket; addresses are tcp://"),
        ("tcp://127.0.0.1", {}, "tcp://127.0.0.1 is not an address"),
        ("http://127.0.0.1:9", {}, "http://127.0.0.1:9 is not an address"),
    ],
)
def test_what_is_no_source_is_said(tmp_path, monkeypatch, given, options, message):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("a.bin").write_bytes(atis(drawn(3)))
    with pytest.raises(BadInput) as refused:
        open_source(given, **options)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_that_is_taken(kind):
    message = "Address already in use; name another port, or 0 for any that is free"
    with (
        contextlib.closing(open_source(f"{kind}://127.0.0.1:0", form="atis")) as first,
        pytest.raises(BadInput, match=message),
    ):
        open_source(first.address, form="atis")


def test_what_does_not_tell_its_format(read, fifo):
    reading = read(str(fifo))
    with fifo.open("wb", buffering=0) as writer:
        writer.write(atis(drawn(100)))
    with pytest.raises(BadInput, match="events: the format of its bytes is not known; give `form`, "):
        reading.ended()
