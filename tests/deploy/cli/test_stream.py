"""`stream`: what the network says of windows of events, against ONNX Runtime on frames that are counted here."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tcja_deploy.console import Progress
from tcja_runtime.backends import select
from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle
from tcja_runtime.bundle.stepwise import HEAD, TAIL, Streaming
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.sliding_windows import Window
from tcja_runtime.events import Events
from tcja_runtime.streaming import runner, single_window
from tcja_runtime.streaming import stream as live
from tcja_runtime.streaming.options import StreamOptions

from ... import networks
from ...described import described
from ...streams import atis, cut_by_time, drawn, within

T, SIZE, N = 5, 64, 6000
CONTRACT = InputContract.frames(T, SIZE, SIZE)
SECONDS = 0.6


@pytest.fixture(scope="module")
def events() -> Events:
    return drawn(N, seconds=SECONDS)


@pytest.fixture(scope="module")
def recording(events, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recording") / "a.bin"
    file.write_bytes(atis(events))
    return file


@pytest.fixture(scope="module")
def bundle(streamed) -> Path:
    """A network of 5 steps, whose training cut recordings by number."""
    return streamed(networks.SMALL["dvs128"])


@pytest.fixture
def timed(bundle, tmp_path) -> Path:
    """The same, cut by time."""
    return cut_by_time(bundle, tmp_path / "timed.bundle")


def counted(events: Events) -> np.ndarray:
    frame = np.zeros((2, SIZE, SIZE), np.float32)
    np.add.at(frame, (events.p.astype(int), events.y, events.x), 1)
    return frame


def by_number(events: Events) -> np.ndarray:
    """[T, P, H, W]: as many events each, the rest in the last."""
    n = len(events) // T
    edges = [*(i * n for i in range(T)), len(events)]
    return np.stack([counted(events[a:b]) for a, b in itertools.pairwise(edges)])


def by_time(events: Events, begin: int, length: int) -> np.ndarray:
    """[T, P, H, W]: as long each, the rest in the last."""
    edges = [*(begin + i * (length // T) for i in range(T)), begin + length]
    cuts = np.searchsorted(events.t, edges)
    return np.stack([counted(events[a:b]) for a, b in itertools.pairwise(cuts.tolist())])


def said(bundle: Path, windows: list[np.ndarray]) -> list[dict[str, float]]:
    """Score by class of each window, of all classes."""
    manifest = Bundle.open(bundle).manifest
    session = onnxruntime.InferenceSession(str(bundle / PLAIN_MODEL))
    scores = session.run([manifest.output], {manifest.input.name: np.stack(windows)})[0]
    return [dict(zip(manifest.classes, row.tolist(), strict=True)) for row in scores]


def told(out: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows and the summary of --json."""
    *rows, last = map(json.loads, out.splitlines())
    return rows, last["summary"]


def check(rows: list[dict[str, Any]], expected: list[dict[str, float]]) -> None:
    assert len(rows) == len(expected)
    for row, scores in zip(rows, expected, strict=True):
        assert {each["class"]: each["score"] for each in row["top"]} == pytest.approx(scores, abs=1e-5)
        assert [each["score"] for each in row["top"]] == sorted((each["score"] for each in row["top"]), reverse=True)


ALL = ("--json", "--top", "9")
MAX = ("--speed", "max")


def unmeasured(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "latency": None} for row in rows]


@contextlib.contextmanager
def sent(kind: str, recording: Path, tmp_path: Path, monkeypatch) -> Iterator[list[str]]:
    """Within, the bytes of the recording are sent in another thread to the source that these arguments name."""
    data = recording.read_bytes()
    address: list[int] = []
    if kind in ("tcp", "udp"):
        opened = live.Stream.__init__

        def noted(self, path, source, *rest) -> None:
            address.append(int(source.address.rpartition(":")[2]))
            opened(self, path, source, *rest)
            ready.set()

        monkeypatch.setattr(live.Stream, "__init__", noted)
    ready = threading.Event()
    file = tmp_path / "source.bin"
    arguments = {
        "tcp": ["tcp://127.0.0.1:0"],
        "udp": ["udp://127.0.0.1:0"],
        "stdin": ["-"],
        "follow": [str(file), "--follow"],
    }
    out, into = os.pipe() if kind == "stdin" else (-1, -1)

    def send() -> None:
        if kind == "tcp":
            assert ready.wait(10)
            with socket.create_connection(("127.0.0.1", address[0])) as sender:
                sender.sendall(data)
        elif kind == "udp":
            assert ready.wait(10)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for at in range(0, len(data), 1400):
                    sender.sendto(data[at : at + 1400], ("127.0.0.1", address[0]))
        elif kind == "stdin":
            os.write(into, data)
            os.close(into)
        else:
            with file.open("ab", buffering=0) as writer:
                for at in range(0, len(data), 999):
                    writer.write(data[at : at + 999])

    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "follow":
        file.touch()
    thread = threading.Thread(target=send)
    thread.start()
    with contextlib.ExitStack() as stack:
        if kind == "stdin":
            monkeypatch.setattr("sys.stdin", stack.enter_context(os.fdopen(out)))
        yield [*arguments.get(kind, [str(file)]), "--format", "atis"]
    thread.join()


@pytest.mark.parametrize("kind", ["fifo", "stdin", "tcp", "udp", "follow"])
def test_every_source_answers_as_the_file(run, bundle, recording, events, tmp_path, monkeypatch, kind):
    windows = ("--window", "200ms")
    code, out, err = run("stream", bundle, recording, *MAX, *ALL, *windows)
    assert code == 0, err
    expected, _ = told(out)
    begin = int(events.t[0])
    check(expected, said(bundle, [by_number(within(events, begin + k * 200_000, 200_000)) for k in range(3)]))
    assert [row["whole"] for row in expected] == [True, True, False]
    endless = kind in ("udp", "follow")
    with sent(kind, recording, tmp_path, monkeypatch) as source:
        code, out, err = run("stream", bundle, *source, *ALL, *windows, *(["--windows", "2"] if endless else []))
    assert code == 0, err
    rows, summary = told(out)
    assert unmeasured(rows) == unmeasured(expected[: 2 if endless else 3])
    assert (summary["windows"], summary["dropped"], summary["damaged"]) == (len(rows), 0, 0)
    assert summary["ended"] == ("windows" if endless else "end")
    if not endless:
        assert (summary["events"], summary["left"], summary["cut_short"]) == (N, 0, 1)


@pytest.mark.parametrize("kind", ["max", "20", "fifo", "stdin", "tcp"])
def test_a_whole_source_is_one_window(run, bundle, recording, events, tmp_path, monkeypatch, kind):
    if kind in ("max", "20"):
        code, out, err = run("stream", bundle, recording, *ALL, "--speed", kind)
    else:
        with sent(kind, recording, tmp_path, monkeypatch) as source:
            code, out, err = run("stream", bundle, *source, *ALL)
    assert code == 0, err
    rows, summary = told(out)
    check(rows, said(bundle, [by_number(events)]))
    (row,) = rows
    begin, end = int(events.t[0]), int(events.t[-1]) + 1
    assert [row[name] for name in ("begin", "end", "events", "whole")] == [begin, end, N, True]
    assert (summary["stepwise"], summary["events"], summary["latency_median"]) == (False, N, None)


@pytest.mark.parametrize("windows", [(), ("--window", "200ms", "--hop", "100ms"), ("--window", "1000events")])
def test_the_classes_are_those_of_run(run, bundle, recording, windows):
    rows, _ = told(run("stream", bundle, recording, *MAX, *ALL, *windows)[1])
    expected = json.loads(run("run", bundle, recording, *ALL, *windows)[1])["windows"]
    check(rows, [{each["class"]: each["score"] for each in row["top"]} for row in expected])


def test_a_clock_that_begins_anew_is_no_other_stream(run, bundle, tmp_path):
    """ATIS times have 23 bits: after 8.4 s they are 0 again, which loses no window of a recording."""
    whole = drawn(N, seconds=4.0)
    wrapped = dataclasses.replace(whole, t=(whole.t + 2**23 - 1_700_000) % 2**23)
    file, windows = tmp_path / "wrapped.bin", (*ALL, "--window", "500ms")
    file.write_bytes(atis(wrapped))
    rows, summary = told(run("stream", bundle, file, *MAX, *windows)[1])
    _, out, err = run("run", bundle, file, *windows)
    expected = json.loads(out)["windows"]
    check(rows, [{each["class"]: each["score"] for each in row["top"]} for row in expected])
    assert (len(rows), summary["resets"], summary["late"]) == (8, 1, 0)
    assert f"{file}: its clock was reset once; the times after a reset go on from the time before it" in err


def test_labelled_segments_are_a_window_each(run, bundle, recording, events, tmp_path):
    shutil.copy(recording, tmp_path)
    spans = [(100_000, 250_000), (200_000, 600_000)]
    rows = "".join(f"{k + 1},{begin},{end}\n" for k, (begin, end) in enumerate(spans))
    (tmp_path / "a_labels.csv").write_text(f"class,startTime_usec,endTime_usec\n{rows}")
    _, out, _ = run("stream", bundle, tmp_path / recording.name, *MAX, *ALL)
    rows, _ = told(out)
    check(rows, said(bundle, [by_number(within(events, begin, end - begin)) for begin, end in spans]))
    assert [(row["window"], row["begin"], row["end"]) for row in rows] == [(k, *span) for k, span in enumerate(spans)]


def test_a_label_file_without_a_segment_is_refused(run, bundle, recording, tmp_path):
    shutil.copy(recording, tmp_path)
    (tmp_path / "a_labels.csv").write_text("class,startTime_usec,endTime_usec\n")
    code, out, err = run("stream", bundle, tmp_path / recording.name, *MAX, *ALL)
    assert (code, told(out)[0]) == (2, [])
    assert err.splitlines()[-1] == f"error: {tmp_path / 'a_labels.csv'} names no segment; correct it, or remove it"


def test_frames_of_a_duration_make_windows_of_a_recording(run, bundle, recording, events, tmp_path):
    copy = Path(shutil.copytree(bundle, tmp_path / "a.bundle"))
    manifest = Bundle.open(copy).manifest
    grid = dataclasses.replace(manifest.input, split="duration-grid", duration=40_000)
    described(copy, input=grid)
    _, out, _ = run("stream", copy, recording, *MAX, *ALL)
    rows, summary = told(out)
    begin = int(events.t[0])
    # Three windows of 200 ms, of which the last 40 ms of the last end with the recording.
    check(rows, said(copy, [by_time(events, begin + k * 200_000, 200_000) for k in range(3)]))
    assert [row["events"] for row in rows] == [len(within(events, row["begin"], 200_000)) for row in rows]
    assert len(rows) == 3
    assert summary["remarks"] == []


@pytest.mark.parametrize("duration", [40_000, 70_000])
def test_windows_of_frames_that_begin_with_an_event(run, bundle, recording, events, tmp_path, duration):
    """Three of five frames, or one, behind which four are left over."""
    copy = Path(shutil.copytree(bundle, tmp_path / "a.bundle"))
    manifest = Bundle.open(copy).manifest
    described(copy, input=dataclasses.replace(manifest.input, split="duration", duration=duration))
    rows, _ = told(run("stream", copy, recording, *MAX, *ALL)[1])
    begins = [int(events.t[0])]
    while (later := events.t[events.t > begins[-1] + duration]).size:
        begins.append(int(later[0]))
    spans = [(begins[k], begins[k + T - 1] + duration + 1) for k in range(0, len(begins) - T + 1, T)]
    assert len(spans) == (3 if duration == 40_000 else 1)
    assert [(row["begin"], row["end"]) for row in rows] == spans
    assert [row["events"] for row in rows] == [len(within(events, begin, end - begin)) for begin, end in spans]


def test_windows_that_overlap_are_each_as_if_alone(run, bundle, recording, events):
    _, out, _ = run("stream", bundle, recording, *MAX, *ALL, "--window", "200ms", "--hop", "50ms")
    rows, summary = told(out)
    begin = int(events.t[0])
    spans = [within(events, begin + k * 50_000, 200_000) for k in range(12)]
    check(rows, said(bundle, [by_number(span) for span in spans]))
    assert [row["window"] for row in rows] == list(range(12))
    assert [row["begin"] for row in rows] == [begin + k * 50_000 for k in range(12)]
    assert [row["end"] - row["begin"] for row in rows] == [200_000] * 12
    assert [row["events"] for row in rows] == [len(span) for span in spans]
    assert [row["whole"] for row in rows] == [True] * 8 + [False] * 4
    assert (summary["cut_short"], summary["stepwise"]) == (4, False)


@pytest.mark.parametrize("hop", [1000, 300])
def test_windows_of_events_frame_by_frame(run, bundle, recording, events, hop):
    _, out, _ = run("stream", bundle, recording, *MAX, *ALL, "--window", "1000events", "--hop", f"{hop}events")
    rows, summary = told(out)
    spans = [events[at : at + 1000] for at in range(0, N - 999, hop)]
    check([row for row in rows if row["whole"]], said(bundle, [by_number(span) for span in spans]))
    assert (summary["stepwise"], summary["backend"].endswith(", frame by frame")) == (True, True)
    assert [row["begin"] for row in rows if row["whole"]] == [span.t[0] for span in spans]


@pytest.mark.parametrize(("hop", "backend"), [(200, "auto"), (50, "onnxruntime")])
def test_windows_of_time_frame_by_frame(run, timed, recording, events, hop, backend):
    windows = ("--window", "200ms", "--hop", f"{hop}ms", "--backend", backend)
    _, out, _ = run("stream", timed, recording, *MAX, *ALL, *windows)
    rows, summary = told(out)
    begin, last = int(events.t[0]), int(events.t[-1])
    begins = range(begin, last + 1, hop * 1000)
    check(rows, said(timed, [by_time(events, at, 200_000) for at in begins]))
    assert summary["stepwise"]


@pytest.mark.parametrize(
    ("rule", "stepwise"),
    [("number", False), ("event-bins", False), ("time", True), ("time-bins", True), ("duration:40ms", True)],
)
def test_windows_of_time_are_run_whole_if_events_separate_their_frames(timed, rule, stepwise):
    opened = Bundle.open(timed)
    cut = dataclasses.replace(opened, manifest=dataclasses.replace(opened.manifest, input=CONTRACT.cut_by(rule)))
    for window, expected in ((Window(200_000), stepwise), (Window(2000, "events"), True)):
        found = runner.open_runner(cut, StreamOptions(window=window, backend="onnxruntime"))
        assert found.stepwise == expected


def test_without_a_split_network_windows_are_run_whole(run, timed, recording, events):
    manifest = Bundle.open(timed).manifest
    for part in (HEAD, TAIL):
        (timed / part).unlink()
    write_manifest(timed, dataclasses.replace(manifest, streaming=Streaming()))
    _, out, _ = run("stream", timed, recording, *MAX, *ALL, "--window", "200ms", "--hop", "100ms")
    rows, summary = told(out)
    begin = int(events.t[0])
    check(rows, said(timed, [by_time(events, begin + k * 100_000, 200_000) for k in range(6)]))
    assert not summary["stepwise"]


def test_an_engine_that_cannot_be_loaded_is_named_and_frames_are_still_taken(run, bundle, recording, monkeypatch):
    opened, closed = select.opened, []

    def passing_over(*arguments, **options):
        found = opened(*arguments, **options)
        monkeypatch.setattr(found.session, "close", lambda: closed.append(True))
        return dataclasses.replace(found, not_run=["engine old was built with another"])

    monkeypatch.setattr(runner, "engines", lambda *_, **__: ["an engine"])
    monkeypatch.setattr(select, "opened", passing_over)
    code, out, err = run("stream", bundle, recording, *MAX, *ALL, "--window", "3000events")
    rows, summary = told(out)
    assert (code, len(rows), summary["stepwise"], closed) == (0, 2, True, [True])
    assert "engine old was built with another" in err.splitlines()


def test_an_engine_runs_whole_windows(run, bundle, recording, monkeypatch):
    """Where frames could be taken one by one, too: what is in the engine stands for all that was built for speed."""
    opened = select.opened
    monkeypatch.setattr(runner, "engines", lambda *_, **__: ["an engine"])
    monkeypatch.setattr(select, "opened", lambda *a, **o: dataclasses.replace(opened(*a, **o), engine=object()))
    windows = (*MAX, *ALL, "--window", "3000events")
    rows, summary = told(run("stream", bundle, recording, *windows)[1])
    streamed, _ = told(run("stream", bundle, recording, *windows, "--backend", "onnxruntime")[1])
    assert not summary["stepwise"]
    check(rows, [{each["class"]: each["score"] for each in row["top"]} for row in streamed])


def test_limits(run, bundle, recording):
    def summary(*arguments: object) -> dict[str, Any]:
        code, out, _ = run("stream", bundle, recording, *ALL, "--window", "500events", *arguments)
        assert code == 0
        return told(out)[1]

    found = summary(*MAX, "--windows", "3")
    assert (found["ended"], found["windows"]) == ("windows", 3)
    found = summary("--speed", "0.001", "--seconds", "0.2")
    assert (found["ended"], found["windows"], found["cut_short"]) == ("seconds", 0, 0)


def test_a_line_a_window(run, bundle, recording):
    code, out, _ = run("stream", bundle, recording, *MAX, "--window", "200ms")
    assert code == 0
    first, _, third, whole, where, latency, cut = out.replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert first.startswith("     0  0.000 to 0.200 s  1,9")
    assert first.endswith(" ms")
    assert third.endswith("  cut short by the source's end")
    assert whole.startswith(f"a.bin: 3 windows of {N:,} events in ")
    assert whole.endswith(" events a second; the source ended.")
    assert where.startswith("dvs128 in ONNX Runtime ")
    assert latency.startswith("Latency: ")
    assert cut == "Windows cut short by the source's end: 1."


def test_events_beyond_a_rate_are_dropped_and_told(run, bundle, recording):
    options = ("--window", "100ms", "--max-rate", "5000", *MAX)
    rows, summary = told(run("stream", bundle, recording, *options, *ALL)[1])
    assert summary["thinned"] == sum(row["thinned"] for row in rows) == N - sum(row["events"] for row in rows) > N // 3
    assert all(row["events"] <= 500 for row in rows)
    assert unmeasured(told(run("stream", bundle, recording, *options, *ALL)[1])[0]) == unmeasured(rows)
    lines = run("stream", bundle, recording, *options, "--no-view")[1].splitlines()
    assert f"  {rows[0]['thinned']} events beyond --max-rate were dropped" in lines[0]
    assert f"Events dropped, because they are beyond --max-rate: {summary['thinned']:,}." in lines
    code, out, err = run("stream", bundle, recording, "--max-rate", "5000")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("error: --max-rate needs --window: a source that is one window is always")


def test_windows_of_which_a_rate_left_no_event_are_told(run, bundle, recording):
    options = ("--window", "100ms", "--max-rate", "1", *MAX)
    (row,), summary = told(run("stream", bundle, recording, *options, *ALL)[1])
    assert (row["whole"], row["events"], summary["thinned"]) == (True, 1, N - 1)
    assert 0 < row["thinned"] < N // 3
    assert (summary["windows"], summary["emptied"], summary["silent"], summary["cut_short"]) == (1, 5, 0, 0)
    lines = run("stream", bundle, recording, *options, "--no-view")[1].splitlines()
    assert lines[-1] == "Windows of which --max-rate dropped all events, not classified: 5."
    assert not any("cut short" in line or "without an event" in line for line in lines)


def test_csv(run, bundle, recording):
    windows = (*MAX, "--window", "200ms", "--top", "2")
    code, out, err = run("stream", bundle, recording, *windows, "--csv")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    expected, _ = told(run("stream", bundle, recording, *windows, "--json")[1])
    assert [row["class_2"] for row in rows] == [row["top"][1]["class"] for row in expected]
    assert [float(row["score_1"]) for row in rows] == pytest.approx([row["top"][0]["score"] for row in expected])
    assert [int(row["events"]) for row in rows] == [row["events"] for row in expected]
    assert [row["whole"] for row in rows] == ["yes", "yes", "no"]
    assert [row["latency"] == "" for row in rows] == [False, False, True]
    assert "a.bin: 3 windows" in err


@pytest.mark.parametrize(("window", "kept"), [("500events", 7), (None, 0)])
def test_what_is_damaged_midway_is_not_passed_off_as_whole(run, bundle, recording, tmp_path, window, kept):
    cut = tmp_path / "cut.bin"
    cut.write_bytes(recording.read_bytes()[: 5 * 3600 + 2])
    windows = () if window is None else ("--window", window)
    expected = told(run("stream", bundle, recording, *MAX, *ALL, *windows)[1])[0] if window else []
    code, out, err = run("stream", bundle, cut, *MAX, *ALL, *windows)
    rows, summary = told(out)
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {cut}: byte 18,000: ")
    assert "Traceback" not in err
    assert unmeasured(rows) == unmeasured(expected[:kept])
    assert (summary["ended"], summary["windows"]) == ("error", kept)


def test_a_source_that_cannot_be_kept(run, bundle, recording, events, tmp_path, monkeypatch):
    monkeypatch.setattr(single_window, "KEPT", N - 1)
    assert told(run("stream", bundle, recording, *MAX, *ALL)[1])[1]["windows"] == 1
    with sent("stdin", recording, tmp_path, monkeypatch) as source:
        code, _, err = run("stream", bundle, *source, *ALL)
    assert code == 2
    assert err.splitlines()[-1] == (
        f"error: standard input has more than {N - 1:,} events, too many to be kept until its end: give --window, or "
        "save the events as a file"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.bin", "--csv", "--json"], "--csv and --json both ask for stdout; give one of them"),
        (["a.bin", "--hop", "5ms"], "--hop 5ms needs --window, which says how long"),
        (["a.bin", "--lossy"], "--lossy needs --window: a source that is one window is always read whole"),
        (["a.bin", "--speed", "fast"], "--speed fast is neither a number nor max"),
        (["a.bin", "--speed", "0"], "--speed 0.0 must be a number above 0"),
        (["a.bin", "--speed", "nan"], "--speed nan must be a number above 0"),
        (["a.bin", "--window", "5"], "--window '5' must be a time or a number of events, such as 500ms or"),
        (["a.bin", "--follow"], "a.bin as it grows has no end, so give the length of windows: --window 500ms or 5"),
        (["udp://127.0.0.1:0", "--format", "atis"], "UDP 127.0.0.1:"),
        (["a.bin", "--window", "3events"], "--window 3 events cannot be cut into 5 frames"),
        (["nowhere"], "nowhere does not exist; sources are files, FIFOs"),
        (["a.bin", "--time-unit", "s"], "a.bin is ATIS .bin, as N-Caltech101 and N-MNIST, which needs no --time-unit"),
        (["a.bin", "--columns", "xyt"], "--columns xyt must have each of the letters t, x, y and p once, such as txyp"),
        (["tcp://10.1.1.1:80"], "tcp://10.1.1.1:80: events are taken from this machine only"),
        (["a.bin", "--buffer", "0"], "Invalid value for '--buffer'"),
        ([], "Missing argument 'SOURCE'"),
    ],
)
def test_what_cannot_be_streamed_is_said(run, bundle, recording, monkeypatch, arguments, message):
    monkeypatch.chdir(recording.parent)
    code, out, err = run("stream", bundle, *arguments)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"input": InputContract.images(2, SIZE, SIZE)},
            "a stream is for networks of events, and this network takes images; classify files",
        ),
        ({"classes": []}, "the network has no classes, so it cannot classify"),
    ],
)
def test_networks_that_cannot_say_what_is_seen(run, bundle, recording, tmp_path, changed, message):
    copy = Path(shutil.copytree(bundle, tmp_path / "a.bundle"))
    described(copy, **changed)
    code, out, err = run("stream", copy, recording)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("form", "body", "said", "counted"),
    [
        (
            "aedat2",  # as jAER sends it: a number, then events without the header of a file
            struct.pack(">III", 1, 1 << 1, 5),
            "a datagram was left out: byte 0: the first line is not #!AER-DAT2.0; the next ones are only counted",
            "Datagrams left out, because they are not events: 3.",
        ),
        (
            "evt2",
            struct.pack("<I", 1 << 28),
            "1 event was left out, because no word before them sets their time or place",
            "3 events were left out, because no word before them sets their time or place",
        ),
    ],
)
def test_why_nothing_is_predicted_is_said_while_it_is_waited_for(
    run, bundle, recording, monkeypatch, tmp_path, form, body, said, counted
):
    noted, note = [], Progress.note
    monkeypatch.setattr(Progress, "note", lambda self, text: (noted.append(text), note(self, text)))
    opened = live.Stream.run

    def feeds(self, *arguments, **options):
        address = ("127.0.0.1", int(self.source.address.rpartition(":")[2]))

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(body, address)
                for _ in range(500):
                    if len(noted) > before:
                        break
                    time.sleep(0.01)
                heard.append(noted[before:])  # and the stream still runs
                sender.sendto(body, address)
                sender.sendto(body, address)
                while self.source.damaged < 3 and not (self.source.remarks and "3 events" in self.source.remarks[0]):
                    time.sleep(0.01)
            self.stop()

        before = len(noted)
        threading.Thread(target=send, daemon=True).start()
        return opened(self, *arguments, **options)

    heard: list[list[str]] = []
    monkeypatch.setattr(live.Stream, "run", feeds)
    crop = ["--crop", "0,0,64,64"]  # the picture of AEDAT 2.0 is larger than that of the network
    code, out, err = run(
        "stream", bundle, "udp://127.0.0.1:0", "--format", form, "--window", "50ms", "--no-view", *crop
    )
    (notes,) = heard
    (title,) = (line.partition("listening at udp://")[2] for line in err.splitlines() if "listening" in line)
    assert (code, notes) == (0, [f"UDP {title}: {said}"])
    assert notes[0] in err
    assert counted in out.splitlines()


def test_a_table_of_events_answers_as_the_file(run, bundle, recording, events, tmp_path):
    table = np.zeros(N, [("x", "<i2"), ("y", "<i2"), ("t", "<f8"), ("p", "?")])
    for key, values in (("x", events.x), ("y", events.y), ("t", events.t / 1e6), ("p", events.p)):
        table[key] = values
    file, windows = tmp_path / "a.npy", ("--window", "200ms")
    np.save(file, table)
    code, out, err = run("stream", bundle, file, *MAX, *ALL, *windows, "--time-unit", "s")
    assert code == 0, err
    expected, _ = told(run("stream", bundle, recording, *MAX, *ALL, *windows)[1])
    assert unmeasured(told(out)[0]) == unmeasured(expected)
    code, _, err = run("stream", bundle, file, *MAX, *ALL, *windows)
    said = "its times have type float64, and the file does not say their unit; give --time-unit, one of ns, us, ms, s"
    assert (code, err.splitlines()[-1]) == (2, f"error: {file}: {said}")
    np.save(file, table.astype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]))
    code, out, err = run("stream", bundle, file, *MAX, *ALL, "--window", "100events")
    remark = "its times are whole numbers and were taken as microseconds; --time-unit sets another unit"
    assert told(out)[1]["remarks"] == [remark]
    assert f"a.npy: {remark}" in err.splitlines()
    _, out, err = run("stream", bundle, file, *MAX, "--window", "100events", "--no-view")
    assert (out + err).count(remark) == 1


def test_a_topic_of_a_file_with_two_cameras(run, bundle, recording, events, tmp_path):
    h5py = pytest.importorskip("h5py")
    file, windows = tmp_path / "a.h5", ("--window", "200ms", "--time-unit", "us")
    with h5py.File(file, "w") as made:
        for camera, part in (("left", events[:100]), ("right", events)):
            for name in "txyp":
                made[f"{camera}/{name}"] = getattr(part, name)
    code, _, err = run("stream", bundle, file, *MAX, *ALL, *windows)
    said = f"error: {file} has events in left, right; choose one of them with --topic"
    assert (code, err.splitlines()[-1]) == (2, said)
    code, out, err = run("stream", bundle, file, *MAX, *ALL, *windows, "--topic", "right")
    assert code == 0, err
    expected, _ = told(run("stream", bundle, recording, *MAX, *ALL, "--window", "200ms")[1])
    assert unmeasured(told(out)[0]) == unmeasured(expected)


@pytest.mark.parametrize(("windows", "code"), [((), 2), (("--window", "5ms"), 0)])
def test_a_source_without_an_event(run, bundle, tmp_path, monkeypatch, windows, code):
    (tmp_path / "none.bin").touch()
    with sent("fifo", tmp_path / "none.bin", tmp_path, monkeypatch) as source:
        found, out, err = run("stream", bundle, *source, "--json", *windows)
    rows, summary = told(out)
    assert (found, rows, summary["ended"], summary["events"]) == (code, [], "error" if code else "end", 0)
    assert err.splitlines()[-1].endswith("source.bin has no events; give another") or not code


def test_a_socket_is_said_to_listen_once_there_is_a_network(run, bundle, recording, tmp_path, monkeypatch):
    said = "listening at tcp://127.0.0.1:"
    with sent("tcp", recording, tmp_path, monkeypatch) as source:
        assert said in run("stream", bundle, *source)[2]
    code, _, err = run("stream", tmp_path, "tcp://127.0.0.1:0")
    assert code == 2
    assert said not in err


def started(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", "-m", "tcja_deploy", "stream", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def test_names_do_not_reach_the_terminal_as_they_are(run, bundle, recording, tmp_path):
    odd = shutil.copy(recording, tmp_path / "a\x1b[31m\n.bin")
    out = run("stream", bundle, odd, "--speed", "max", "--window", "500events")[1]
    assert "a [31m .bin: " in out
    assert "\x1b" not in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_stopped_cleanly(bundle, recording, tmp_path, number):
    os.mkfifo(tmp_path / "events")
    process = started(bundle, tmp_path / "events", "--format", "atis", "--window", "500events", "--json")
    with (tmp_path / "events").open("wb", buffering=0) as writer:
        writer.write(recording.read_bytes()[: 5 * 700])
        first = process.stdout.readline()  # and there will be no second
        process.send_signal(number)
        process.send_signal(number)  # as one who stops a group and its leader does
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    rows, summary = told(first + out)
    assert (len(rows), rows[0]["events"]) == (1, 500)
    assert (summary["ended"], summary["windows"], summary["events"], summary["cut_short"]) == ("stopped", 1, 700, 0)
    assert "Traceback" not in err


def test_it_ends_when_nobody_reads(bundle, recording, tmp_path):
    os.mkfifo(tmp_path / "events")
    process = started(bundle, tmp_path / "events", "--format", "atis", "--window", "50events", "--json")
    with (tmp_path / "events").open("wb", buffering=0) as writer:
        writer.write(recording.read_bytes()[: 5 * 70])
        assert '"window": 0' in process.stdout.readline()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            for _ in range(500):  # and then it has ended, or never will
                writer.write(recording.read_bytes()[: 5 * 700])
                time.sleep(0.01)
    try:
        assert process.wait(20) == 0
    finally:
        process.kill()
    assert "error" not in process.stderr.read()
    process.stderr.close()
