"""Many cameras on one network, against sessions of one camera: each answer is the same to the bit."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import tcja_runtime as tcja
from tcja_runtime.backends.stepwise import Streams
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.errors import BadInput, TcjaError, Unavailable
from tcja_runtime.network import cameras as module
from tcja_runtime.network.camera_messages import Answer, Message
from tcja_runtime.network.cameras import Cameras
from tcja_runtime.streaming.packets import PacketRule

from ...described import described
from ...fuzz import small_bundle
from ...streams import atis, drawn

STEPS, SIZE = 2, 4


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    """A network of frames [2, 4, 4], two of a window, whose recordings are cut into equal times."""
    path = small_bundle.unpacked(tmp_path_factory.mktemp("small"))
    contract = Bundle.open(path).manifest.input
    described(path, input=dataclasses.replace(contract, split="time", polarity=("off", "on")))
    return path


@functools.cache
def read(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


def opened(bundle: Path, count: int, window: str | None = None, hop: str | None = None) -> Cameras:
    rule = PacketRule(window=Window.parse(window, hop), form="atis") if window else None
    return Cameras.open(read(bundle), count, rule=rule)


def frames(camera: int, count: int = 5) -> np.ndarray:
    """The frames that a camera sends."""
    return np.random.default_rng(camera).integers(-9, 3, (count, 2, SIZE, SIZE)).clip(0).astype(np.float32)


def packets(camera: int, seconds: float = 1.0) -> bytes:
    """The events that a camera sends: not all cameras the same number of them."""
    return atis(drawn(300 + 70 * camera, camera, sensor=(SIZE, SIZE), seconds=seconds))


def answer(found: Answer | TcjaError) -> Answer:
    assert isinstance(found, Answer), found
    return found


def one(cameras: Cameras, **message: object) -> Answer:
    """The answer to one message."""
    return answer(cameras.take([Message(**{"camera": 1, **message})])[0])


def error(cameras: Cameras, **message: object) -> str:
    """The text of the error that a message gets."""
    (found,) = cameras.take([Message(**{"camera": 1, **message})])
    assert isinstance(found, BadInput)
    return str(found)


def test_frames_of_many_cameras_are_answered_as_those_of_one(bundle):
    """Cameras at different steps of their windows, in batches of those that happen to be there."""
    rng, count, cameras = np.random.default_rng(0), 5, opened(bundle, 5)
    sent, found = [0] * count, [[] for _ in range(count)]
    while min(sent) < 5:
        there = rng.permutation([i for i in range(count) if sent[i] < 5])[: rng.integers(1, count + 1)]
        messages = [Message(camera=int(i), start=not sent[i], frame=frames(int(i))[sent[i]]) for i in there]
        for i, got in zip(there, map(answer, cameras.take(messages)), strict=True):
            sent[i] += 1
            assert (got.step, got.dropped) == (sent[i] % STEPS, 0)
            found[i] += [(each.window, each.begin, each.end, each.events, each.scores) for each in got.windows]
    with tcja.load(bundle) as net:
        for i in range(count):
            stepwise = net.stepwise()
            expected = [each for frame in frames(i) if (each := stepwise.push(frame)) is not None]
            assert [row[:4] for row in found[i]] == [(k, STEPS * k, STEPS * k + STEPS, None) for k in range(2)]
            for row, each in zip(found[i], expected, strict=True):
                np.testing.assert_array_equal(row[4], each.scores)
    assert (len(cameras), cameras.windows) == (count, 2 * count)


@pytest.mark.parametrize(
    ("window", "hop"),
    [
        ("30ms", "10ms"),
        ("5events", None),
        pytest.param("20ms", None, marks=pytest.mark.slow),
        pytest.param("4events", "3events", marks=pytest.mark.slow),
    ],
)
def test_packets_of_many_cameras_are_answered_as_a_stream_of_one(bundle, tmp_path, window, hop):
    """Packets of any size, whose bounds lie within events; the last windows are cut short, as at the end of a file."""
    count, cameras, rng = 3, opened(bundle, 3, window, hop), np.random.default_rng(0)
    cuts = [np.sort(rng.integers(0, len(packets(i)), 11 + i)).tolist() for i in range(count)]
    pieces = [[packets(i)[a:b] for a, b in itertools.pairwise([0, *cuts[i], None])] for i in range(count)]
    found = [[] for _ in range(count)]
    for k in range(max(map(len, pieces))):
        there = [i for i in range(count) if k < len(pieces[i])]
        messages = [Message(camera=i, start=not k, end=k + 1 == len(pieces[i]), packet=pieces[i][k]) for i in there]
        for i, got in zip(there, map(answer, cameras.take(messages)), strict=True):
            found[i] += got.windows
    assert (len(cameras), cameras.dropped) == (0, 0)
    with tcja.load(bundle) as net:
        for i in range(count):
            file = tmp_path / f"{i}.bin"
            file.write_bytes(packets(i))
            with net.stream(file, window=window, hop=hop, speed=math.inf) as stream:
                expected = list(stream)
            assert stream.summary.stepwise
            assert len(expected) > 3
            assert len({tuple(each.scores) for each in expected}) > 3, "the windows have the same answers"
            for got, each in zip(found[i], expected, strict=True):
                np.testing.assert_array_equal(got.scores, each.scores)
                names = ("window", "begin", "end", "events", "whole", "name")
                assert [getattr(got, name) for name in names] == [getattr(each, name) for name in names]


def test_one_packet_may_complete_many_windows(bundle):
    got = one(opened(bundle, 1, "50ms"), start=True, packet=packets(1))
    assert [each.window for each in got.windows] == list(range(19))
    assert got.step == 1


def test_a_start_forgets_what_was_sent_before(bundle):
    cameras, sent = opened(bundle, 2), frames(1)
    one(cameras, start=True, frame=sent[0])
    with tcja.load(bundle) as net:
        stepwise = net.stepwise()
        expected = [stepwise.push(frame) for frame in sent[1:3]][-1]
    one(cameras, start=True, frame=sent[1])
    (window,) = one(cameras, frame=sent[2], end=True).windows
    np.testing.assert_array_equal(window.scores, expected.scores)
    assert "no stream of camera 1 is open" in error(cameras, frame=sent[3])


def test_a_camera_may_end_and_start_in_one_batch(bundle):
    cameras, sent = opened(bundle, 2), frames(1)
    found = cameras.take(
        [
            Message(camera=1, start=True, frame=sent[0]),
            Message(camera=2, start=True, frame=sent[0]),
            Message(camera=1, frame=sent[1], end=True),
            Message(camera=1, start=True, frame=sent[1]),
        ]
    )
    assert [len(answer(each).windows) for each in found] == [0, 0, 1, 0]
    assert len(cameras) == 2


def test_the_camera_that_was_silent_the_longest_makes_room(bundle):
    """But none that sends in the same batch."""
    cameras, sent = opened(bundle, 2), frames(0)
    for key in ("a", "b"):
        one(cameras, camera=key, start=True, frame=sent[0])
    one(cameras, camera="a", frame=sent[1])
    found = cameras.take([Message(camera="c", start=True, frame=sent[0]), Message(camera="a", frame=sent[2])])
    assert [answer(each).step for each in found] == [1, 1]
    assert "no stream of camera 'b' is open: it has ended, was silent" in error(cameras, camera="b", frame=sent[1])
    found = cameras.take([Message(camera="d", start=True, frame=sent[0]), Message(camera="c", frame=sent[1])])
    assert [answer(each).step for each in found] == [1, 0]
    assert len(cameras) == 2


def test_an_error_is_of_its_message_alone_and_a_frame_can_be_sent_again(bundle):
    cameras, sent = opened(bundle, 3), frames(0)
    for key in range(3):
        one(cameras, camera=key, start=True, frame=sent[0])
    wrong = [sent[1][:, :3], -sent[1] - 1, sent[1]]
    shape, negative, good = cameras.take([Message(camera=key, frame=frame) for key, frame in enumerate(wrong)])
    assert str(shape) == "'frame' is float32 [2, 3, 4]; the network takes [2, 4, 4], one frame"
    assert str(negative).startswith("'frame' has values from -3 to -1; the network takes counts of events")
    (window,) = answer(good).windows
    for key in range(2):
        (again,) = one(cameras, camera=key, frame=sent[1]).windows
        np.testing.assert_array_equal(again.scores, window.scores)


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({"frame": frames(1)[0]}, {"packet": packets(1)}, "this stream began with frames; go on with them"),
        ({"packet": packets(1)}, {"frame": frames(1)[0]}, "this stream began with packets of events; go on"),
        ({}, {"packet": b"", "frame": frames(1)[0]}, "a message has a frame and a packet of events; send one"),
        ({}, {}, "a message has neither a frame nor a packet of events; send one of them"),
        ({}, {"packet": b"1", "rule": PacketRule(window=Window())}, "`window` and `form` are given at the start"),
    ],
)
def test_what_a_stream_cannot_go_on_with(bundle, first, second, text):
    cameras = opened(bundle, 1, "100ms")
    one(cameras, start=True, **first)
    assert error(cameras, **second).startswith(text)
    one(cameras, **(first or {"frame": frames(1)[0]}))  # it goes on


@pytest.mark.parametrize(
    ("rule", "packet", "text"),
    [
        (PacketRule(window=Window(1)), b"", "`window` 1 us cannot be cut into 2 frames; take a longer one"),
        (PacketRule(window=Window(400, "us", 100)), b"", "`hop` puts an event into 4 windows, and there is room for 2"),
        (
            PacketRule(window=Window(), form="evt9"),
            b"",
            "there is no format 'evt9'; a stream can be one of aedat2, aedat3, atis, dat, evt2, evt21, evt3",
        ),
        (
            PacketRule(window=Window(), form="evt3"),
            b"% evt 2.0\n% end\n",
            "camera 1: byte 0: the words are EVT 2, not EVT 3",
        ),
        (
            PacketRule(window=Window(), form="atis"),
            bytes([4, 0, 0, 0, 0]),
            "camera 1: event 0 is at column 4, row 0; the network takes 4x4",
        ),
        (PacketRule(window=Window()), b"\1\2\3" * 5, "camera 1: the format of its bytes is not known; give `form`"),
        (
            PacketRule(window=Window(2), form="atis"),
            packets(9),
            "the packet completes more than 64 frames; send shorter",
        ),
    ],
)
def test_a_stream_that_ends_with_an_error(bundle, rule, packet, text, monkeypatch):
    monkeypatch.setattr(module, "MOST_FRAMES", 64)
    cameras = opened(bundle, 2, "200ms", "100ms")
    one(cameras, camera=2, start=True, packet=packets(2))
    assert error(cameras, start=True, packet=packet, rule=rule).startswith(text)
    assert error(cameras, packet=packet).startswith("no stream of camera 1 is open")
    assert len(cameras) == 1


def test_a_packet_that_is_too_long_is_refused_and_its_stream_goes_on(bundle):
    cameras = opened(bundle, 1, "100ms")
    one(cameras, start=True, packet=packets(1))
    text = error(cameras, packet=bytes(2**24 + 1))
    assert text == "the packet has 16,777,217 bytes, and may have 16,777,216; send shorter packets"
    one(cameras, packet=packets(1))


def test_a_camera_that_gives_no_window(bundle):
    text = error(opened(bundle, 1), start=True, packet=packets(1))
    assert text == "`window` is not known: give it at the start of the stream, such as 500ms or 50000events"


def test_an_end_in_the_midst_of_an_event_is_an_error(bundle):
    cameras = opened(bundle, 1, "100ms")
    one(cameras, start=True, packet=packets(1)[:-1])
    assert "the last event has 4 of its 5 bytes" in error(cameras, end=True)
    assert len(cameras) == 0


def test_too_little_memory_ends_the_streams_of_the_batch(bundle, monkeypatch):
    """A part of a packet has run then, so none can go on."""
    cameras, failing = opened(bundle, 2), Unavailable("no memory")
    for key in range(2):
        one(cameras, camera=key, start=True)

    def fails(*_: object) -> None:
        raise failing

    monkeypatch.setattr(Streams, "push", fails)
    sent = [Message(camera=key, frame=frames(1)[0]) for key in range(2)]
    assert cameras.take(sent) == [failing, failing]
    assert len(cameras) == 0


def test_late_events_are_counted(bundle):
    """An event that is older than every open window is in none."""
    cameras, events = opened(bundle, 1, "10ms"), drawn(3000, sensor=(SIZE, SIZE))
    old = events[:100]
    got = one(cameras, start=True, packet=atis(events) + atis(old))
    assert got.dropped == cameras.dropped == len(old)
    one(cameras, end=True)
    assert cameras.dropped == len(old)


def test_the_first_windows_are_compared_with_those_of_the_proof(bundle):
    notes: list[str] = []
    cameras = Cameras.open(Bundle.open(bundle), 2, note=notes.append)
    for step in range(2 * module.WATCHED):
        cameras.take([Message(camera=k, start=not step, frame=np.full((2, SIZE, SIZE), 0.25)) for k in range(2)])
    (note,) = notes
    assert "the inputs hold fractions, and the network was proven on whole numbers of events" in note
    assert cameras.unlike == note
