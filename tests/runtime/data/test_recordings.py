"""Recordings as windows: what tells them from others, and what is wrong with them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import zlib
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.data import dataset, recordings
from tcja_runtime.data.camera import CameraView
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.dataset import load, remarks
from tcja_runtime.data.recordings import DataOptions
from tcja_runtime.data.sliding_windows import Cutter, Window
from tcja_runtime.errors import BadInput
from tcja_runtime.events import ReadOptions
from tcja_runtime.files import npz
from tcja_runtime.files.content import Content

from ...streams import atis, drawn

CONTRACT = InputContract.frames(4, 64, 64)
CLASSES = ("a", "b")


@pytest.fixture
def file(tmp_path) -> Path:
    """A second of 400 events."""
    path = tmp_path / "a.bin"
    path.write_bytes(atis(drawn(400)))
    return path


def windows(length: str) -> DataOptions:
    return DataOptions(window=Window.parse(length))


def test_windows_of_more_events_than_can_be_kept_are_refused(file, monkeypatch):
    monkeypatch.setattr(recordings, "Cutter", functools.partial(Cutter, most=150))
    with pytest.raises(BadInput, match=r"a.bin: a window has more than 150 events; take shorter windows$"):
        load(file, CONTRACT, CLASSES, windows("500ms"))
    assert len(load(file, CONTRACT, CLASSES, windows("250ms"))) == 4


def digest(file: Path, rows: str | None = None, window: str | None = None) -> str:
    """Of a recording, cut at the times of a label file, or into windows."""
    labels = file.with_name("a_labels.csv")
    labels.unlink(missing_ok=True)
    if rows:
        labels.write_text(f"class,startTime_usec,endTime_usec\n{rows}\n")
    return load(file, CONTRACT, CLASSES, DataOptions() if window is None else windows(window)).digest


def test_what_is_cut_otherwise_is_told_apart(file):
    """The answers to data that an export saw are those to just the same windows."""
    cuts = [
        (None, None),
        (None, "500ms"),
        (None, "250ms"),
        ("1,0,500000", None),
        ("1,1000,500000", None),
        ("1,0,400000", None),
        ("1,0,500000\n2,500000,900000", None),
    ]
    found = [digest(file, *cut) for cut in cuts]
    assert len(set(found)) == len(cuts)
    assert found == [digest(file, *cut) for cut in cuts]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_in_the_unit_that_the_user_says(file, tmp_path, unit):
    """The windows are those of the same events in a file that says their unit, and another unit gives others."""
    events = drawn(400)
    times = events.t * 1000 if unit == "ns" else events.t / {"s": 1e6, "ms": 1e3, "us": 1}[unit]
    np.savez(tmp_path / "a.npz", t=times, x=events.x, y=events.y, p=events.p)
    windows = Window.parse("250ms")
    said = load(tmp_path / "a.npz", CONTRACT, CLASSES, DataOptions(window=windows, reading=ReadOptions(time_unit=unit)))
    wanted = load(file, CONTRACT, CLASSES, DataOptions(window=windows))
    np.testing.assert_array_equal(*(np.concatenate(list(data.batches(9))) for data in (said, wanted)))
    assert [each.partition(": ")[2] for each in remarks([said])] == [
        each.partition(": ")[2] for each in remarks([wanted])
    ]


def test_what_the_user_says_of_a_file_is_a_part_of_its_digest(tmp_path):
    events = drawn(400)
    np.savez(tmp_path / "a.npz", t=events.t, x=events.x, y=events.y, p=events.p)
    units = (None, "us", "ms")
    options = [DataOptions(reading=ReadOptions(time_unit=unit)) for unit in units]
    found = [load(tmp_path / "a.npz", CONTRACT, CLASSES, each).digest for each in options]
    assert len(set(found)) == 3


def test_what_was_assumed_of_a_file_is_remarked(tmp_path):
    events = drawn(400)
    np.savez(tmp_path / "a.npz", t=events.t, x=events.x, y=events.y, p=events.p)
    data = load(tmp_path / "a.npz", CONTRACT, CLASSES)
    list(data.batches(9))
    said = "its times are whole numbers and were taken as microseconds; `time_unit` sets another unit"
    assert remarks([data]) == [f"{tmp_path / 'a.npz'}: {said}"]
    np.savez(tmp_path / "b.npz", t=events.t, x=events.x, y=events.y, p=events.p)
    both = load(tmp_path, CONTRACT, CLASSES)
    list(both.batches(9))
    assert remarks([both]) == [f"{tmp_path / 'a.npz'}, {tmp_path / 'b.npz'}, each: {said}"]


def test_a_file_is_read_once_however_many_segments_it_has(file, monkeypatch):
    sha256, made = hashlib.sha256, []
    monkeypatch.setattr(
        "tcja_runtime.files.content.hashlib.sha256", lambda *given: made.append(given) or sha256(*given)
    )
    digest(file, "1,0,300000\n2,300000,600000\n1,600000,900000")
    assert len(made) == 2  # of the file, and of all that identifies the data


def test_files_with_the_same_checksum_are_told_apart(tmp_path):
    """CRC-32 is no identity: these contents have the same."""
    contents = (b"plumless", b"buckeroo")
    assert len({zlib.crc32(content) for content in contents}) == 1
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.bin").write_bytes(content)
        np.savez(tmp_path / f"{number}.npz", frames=np.frombuffer(content, np.uint8))
    files = [Content(tmp_path / f"{number}.bin") for number in (0, 1)]
    stored = [npz.arrays(tmp_path / f"{number}.npz")["frames"] for number in (0, 1)]
    for first, second in (files, stored):
        assert first.checks != second.checks


ELEVEN = [f"c{i}" for i in range(11)]


@pytest.mark.parametrize(
    ("classes", "rule", "expected", "said"),
    [
        (ELEVEN, None, [0, 2], "told by text-order, so class number 10 of its label files, counted from 0, is class 2"),
        ([str(i) for i in range(11)], None, [0, 10], "by `labels` text-order it would be class 2"),
        (ELEVEN, "numbers", [0, 10], ""),
        (ELEVEN, "text-order", [0, 2], ""),
    ],
)
def test_the_numbers_of_label_files_are_read_by_a_rule_that_is_said(file, classes, rule, expected, said):
    file.with_name("a_labels.csv").write_text("class,begin,end\n1,0,400000\n11,400000,900000\n")
    found = load(file, CONTRACT, classes, DataOptions(labels=rule))
    assert found.labels.tolist() == expected
    assert [said in remark for remark in found.remarks] == ([True] if said else [])
    with pytest.raises(BadInput, match="`labels` names does not fit label files, which have numbers; give numbers or"):
        load(file, CONTRACT, classes, DataOptions(labels="names"))


def test_rules_for_labels_that_do_not_exist_are_refused():
    with pytest.raises(BadInput, match="`labels` alphabet must be one of names, numbers, text-order"):
        DataOptions(labels="alphabet")


@pytest.mark.parametrize(
    ("rule", "window", "said"),
    [
        (
            "duration:50ms",
            "400ms",
            "each frame lasts 100 ms here and lasted 50 ms in training; `window` 200000us restores this",
        ),
        (
            "time-window:50ms",
            "100events",
            "each frame has 25 events here and lasted 50 ms in training; `window` 200000us",
        ),
        ("duration:50ms", "200ms", None),
        ("time", "400ms", None),
    ],
)
def test_windows_with_other_frames_than_in_training_are_remarked(file, rule, window, said):
    found = load(file, CONTRACT.cut_by(rule), CLASSES, windows(window))
    list(found.batches(9))
    remarks = [remark for remark in dataset.remarks([found]) if "in training" in remark]
    assert len(remarks) == (said is not None)
    assert said is None or said in remarks[0]


@pytest.mark.parametrize("rule", ["number", "time", "event-bins", "time-bins"])
def test_a_recording_of_shares_is_one_window_before_it_is_read(file, rule):
    found = load(file, CONTRACT.cut_by(rule), CLASSES)
    assert (len(found), found.parts[0].reading) == (1, None)
    assert len(next(iter(found.batches(9)))) == 1
    assert found.parts[0].reading


@pytest.mark.parametrize(("hop", "said"), [("400ms", "window"), ("100ms", "4 windows")])
def test_windows_that_the_recording_cuts_short_are_counted(file, hop, said):
    found = load(file, CONTRACT, CLASSES, DataOptions(window=Window.parse("400ms", hop)))
    list(found.batches(9))
    assert f"{file}: the recording ends within its last {said}" in dataset.remarks([found])


def test_a_remark_on_all_files_is_said_once(file):
    cropped = dataclasses.replace(CONTRACT, crop=(0, 0, 64, 64), sensor=(64, 64))
    other = DataOptions(camera_view=CameraView((1, 1, 64, 64)))
    found = [load(file, cropped, CLASSES, other) for _ in range(2)]
    assert len(found[0].remarks) == len([each for each in dataset.remarks(found) if "`crop`" in each]) == 1
