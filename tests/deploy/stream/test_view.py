"""The view of a stream on a terminal: it fits, says what there is, and gives the terminal back."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tcja_deploy.stream import view as live_view
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.events import Events
from tcja_runtime.streaming import stream as live

from ... import networks
from ...streams import Fed, atis, drawn


@pytest.fixture(scope="module")
def events() -> Events:
    return drawn(6000, seconds=0.6)


@pytest.fixture(scope="module")
def bundle(streamed) -> Path:
    return streamed(networks.SMALL["dvs128"])


@pytest.fixture
def seen(bundle, events) -> live.Stream:
    """A stream that has ended."""
    stream = live.Stream.open(Bundle.open(bundle), Fed(events), live.StreamOptions(window=Window(200_000)))
    stream.run(lambda _: None)
    return stream


def drawing(stream: live.Stream, width: int, height: int, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, **options)
    view = live_view.View(console, stream)
    lines = console.render_lines(view.drawn(), pad=False)
    return ["".join(segment.text for segment in line).rstrip() for line in lines]


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (48, 14), (47, 40), (80, 13), (20, 5), (10, 2), (1, 1)])
@pytest.mark.parametrize("classes", [3, 300])
def test_the_view_fits(seen, size, classes):
    seen.classes = [f"a class with quite a long name, {index}" for index in range(classes)]
    scores = np.linspace(-1, 3, classes)
    for answer in (None, dataclasses.replace(seen.prediction, scores=scores, class_names=seen.classes)):
        seen.prediction = answer
        lines = drawing(seen, *size)
        assert len(lines) <= size[1]
        assert max(map(len, lines)) <= size[0]


@pytest.mark.parametrize("size", [(120, 40), (80, 24), (60, 24), (48, 30), (40, 20)])
def test_every_label_is_whole(seen, size, monkeypatch):
    """In order, in the column of the classes and in the lines below it; broken at words, if at all."""
    seen.classes = ["a class whose name is longer than half a terminal", "short", "hand_clapping"]
    seen.prediction = dataclasses.replace(seen.prediction, class_names=seen.classes)
    warning = "a datagram was left out: byte 0: the first line is not that of a recording, and it is long"
    monkeypatch.setattr(Fed, "warnings", (warning,))
    seen.buffer.dropped = 1234
    lines = drawing(seen, *size)
    words = " ".join(" ".join(lines).split())
    shown = iter(words.split())
    assert all(word in shown for word in seen.classes[0].split())
    for label in (*seen.classes[1:], warning, "1,234 dropped", "0.400 to 0.600 s", "cut short by the source's end"):
        assert label in words
    for score in seen.prediction.scores:
        assert f" {score:.3g}" in words
    assert "Ctrl-C ends the stream" in lines[-1]
    assert "…" not in words


def test_classes_that_do_not_fit_are_said(seen):
    seen.classes = [f"class {index}" for index in range(300)]
    scores = np.linspace(-1, 3, 300)
    seen.prediction = dataclasses.replace(seen.prediction, scores=scores, class_names=seen.classes)
    lines = drawing(seen, 100, 30)
    assert any(line.endswith("and less likely classes") for line in lines)
    assert sum("class 2" in line for line in lines) > 20


def test_the_view_says_why_nothing_comes(seen, monkeypatch):
    """A terminal that the view fills shows no notes."""
    assert drawing(seen, 120, 30)[-4] == ""
    monkeypatch.setattr(Fed, "warnings", ("an old one", "a datagram was left out: byte 0: the first line is not ..."))
    assert drawing(seen, 120, 30)[-4] == "a datagram was left out: byte 0: the first line is not ..."


def test_the_view_says_what_there_is(seen, events):
    seen.buffer.dropped = 1234
    seen.recent.append((time.monotonic(), events))
    lines = drawing(seen, 120, 30)
    assert lines[0].startswith("a test → dvs128, ONNX Runtime ")
    assert sum("▀" in line or "▄" in line for line in lines) > 10
    best, *others = (
        next(line for line in lines if f" {score:.3g} " in line) for score in sorted(seen.prediction.scores)[::-1]
    )
    assert best.count("█") > max((line.count("█") for line in others), default=0)
    state = lines[-3]
    assert "events a second" in state
    assert "queue 0 %" in state
    assert "1,234 dropped" in state
    assert lines[-2].startswith("window 2   0.400 to 0.600 s   ")
    assert lines[-2].endswith("cut short by the source's end")
    assert lines[-1] == "Ctrl-C ends the stream"


@pytest.mark.parametrize("without", [{"color_system": None}, {"color_system": "256", "no_color": True}])
def test_without_colour_signs_tell_polarities(seen, without):
    one = Events(*(np.array(a) for a in ([1, 2, 3], [0, 63, 63])), np.array([0, 0, 63]), np.array([True, False, True]))
    seen.recent.clear()
    seen.recent.append((time.monotonic(), one))
    lines = drawing(seen, 120, 36, **without)
    picture = "\n".join(lines[1:-4])
    assert (picture.count("+"), picture.count("-")) == (2, 1)
    assert lines[1].startswith("+")


@pytest.mark.parametrize(
    ("most", "size"), [((24, 16), (24, 16)), ((25, 100), (24, 16)), ((150, 100), (150, 100)), ((1, 1), (2, 1))]
)
def test_pictures_tell_what_most_events_of_a_pixel_are(most, size):
    """A sensor of 60 x 40 at 0.4, and at 2.5 times its size."""
    events = drawn(3000, sensor=(60, 40))
    found = live_view.polarities(events, (60, 40), most)
    assert found.shape == size
    rows, columns = (np.arange(n) * side // n for n, side in zip(size, (60, 40), strict=True))
    more = np.zeros((60, 40))
    np.add.at(more, (events.y, events.x), np.where(events.p, 1, -1))
    some = np.zeros((60, 40), bool)
    some[events.y, events.x] = True
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            part = slice(row, max(row + 1, [*rows, 60][y + 1])), slice(column, max(column + 1, [*columns, 40][x + 1]))
            assert found[y, x] == (0 if not some[part].any() else 1 if more[part].sum() < 0 else 2)
    beside = dataclasses.replace(events, x=events.x + np.uint16(40))
    assert not live_view.polarities(beside, (60, 40), most).any()


@pytest.mark.parametrize("terminal", ["xterm-256color", "dumb"])
def test_a_terminal_is_given_back_as_it_was(bundle, events, tmp_path, terminal):
    recording = tmp_path / "a.bin"
    recording.write_bytes(atis(events))
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": terminal, "COLUMNS": "100", "LINES": "30"}
    arguments = (bundle, recording, "--window", "200ms", "--speed", "2")
    command = [sys.executable, "-m", "tcja_deploy", "stream", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # what reading a terminal ends with
        while piece := os.read(ours, 2**16):
            text += piece
    os.close(ours)
    assert process.wait(20) == 0
    shown = text.decode()
    assert shown.rstrip().endswith("Windows cut short by the source's end: 1.")
    if terminal == "dumb":
        assert shown.count(" events  ") == 3
        return
    before, _, rest = shown.partition("\x1b[?1049h")
    within_, _, after = rest.partition("\x1b[?1049l")
    assert "check the hashes" in before
    assert "events a second" in within_
    assert "▀" in within_
    assert within_.count("\x1b[?25l") <= (within_ + after).count("\x1b[?25h")
    assert after.count(" events  ") == 3  # the answers, which the view has shown, are there to be read
    assert "3 windows of 6,000 events" in after
