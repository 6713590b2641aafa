"""Formats that cameras write in several ways: AEDAT 2.0 of a DVS128 and of DAVIS cameras, EVT 2.1 of two sensors."""

from __future__ import annotations

import importlib.util
import struct
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.events import FORMATS, Events, recording

from . import writers
from .reading import fed, listed

CAMERAS = {240: (180, 240), 346: (260, 346)}


def events_of(camera: int) -> list[writers.Event]:
    rows, columns = CAMERAS[camera]
    return writers.some(writers.Made(writers.davis, columns, rows, 2**32 - 1, ".aedat"), 200)


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_davis_camera(tmp_path, camera):
    events = events_of(camera)
    data = writers.davis(events, camera)
    (tmp_path / "a.aedat").write_bytes(data)
    found = recording(tmp_path / "a.aedat")
    assert (found.format, found.sensor) == ("aedat2", CAMERAS[camera])
    assert listed(Events.joined(found.chunks())) == events
    assert list(found.remarks) == [
        "134 samples of frames and of the motion sensor (APS, IMU) were skipped",
        "67 external signals were skipped",
    ]
    cuts = np.random.default_rng(0).integers(0, len(data), 50).tolist()
    assert listed(fed("aedat2", data, cuts)) == events


@pytest.fixture(scope="module")
def tonic() -> types.ModuleType:
    """tonic's readers of files, which need numpy alone."""
    file = Path(sys.prefix) / "tonic" / "tonic" / "io.py"
    if not file.is_file():
        pytest.skip("tonic is not installed")
    found = importlib.util.spec_from_file_location("tonic_io", file)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.releases
def test_a_davis_camera_as_tonic_reads_it(tonic, tmp_path):
    """tonic knows no frames and signals, so there are none."""
    events = events_of(346)
    (tmp_path / "a.aedat").write_bytes(writers.davis(events, others=False))
    _, _, theirs = tonic.read_davis_346(str(tmp_path / "a.aedat"))
    ours = Events.joined(recording(tmp_path / "a.aedat").chunks())
    assert len(ours) == 200
    assert all(np.array_equal(getattr(ours, key), theirs[key]) for key in "xytp")


@pytest.mark.releases
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_events_in_tonic_s_own_type(tonic, tmp_path, suffix):
    t, x, y, p = (np.array(column) for column in zip(*events_of(346), strict=True))
    array = tonic.make_structured_array(x, y, t, p)
    file = tmp_path / f"a{suffix}"
    np.save(file, array) if suffix == ".npy" else np.savez(file, events=array)
    ours = Events.joined(recording(file).chunks())
    assert all(np.array_equal(getattr(ours, key), array[key]) for key in "xytp")
    assert array.dtype == np.dtype(writers.DTYPE)


def test_a_single_skipped_record_is_named_in_the_singular():
    found = FORMATS["aedat2"].decoder()
    found.feed(writers.davis(events_of(346)[:1]))
    assert found.remarks == (
        "2 samples of frames and of the motion sensor (APS, IMU) were skipped",
        "1 external signal was skipped",
    )


@pytest.mark.parametrize("name", [b"DVS128", b"ch.unizh.ini.jaer.chip.retina.DVS128", b"x.Tmpdiff128"])
def test_a_dvs128_that_the_header_names(name):
    header = b"#!AER-DAT2.0\r\n# AEChip: " + name + b"\r\n"
    events = writers.some(writers.FORMATS["aedat2"], 50)
    assert listed(fed("aedat2", writers.aedat2(events, header), [len(header) - 3])) == events


@pytest.mark.parametrize("last", [b"#End Of ASCII Header", b"# End of ASCII Header"])
def test_the_end_of_a_header_is_said_where_an_address_begins_like_a_line(last):
    """The row 118 of a DAVIS346 gives an address whose first byte is '#'."""
    address = 0x23 << 24 | 5 << 12
    data = b"#!AER-DAT2.0\r\n# AEChip: Davis346blue\r\n" + last + b"\r\n" + struct.pack(">II", address, 7)
    assert listed(fed("aedat2", data, [])) == [(7, 340, 259 - (address >> 22), 0)]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("header", "sensor"),
    [
        (b"% evt 2.1\n% geometry 1280x720\n% endianness ORDER\n% end\n", (720, 1280)),
        (b"% format EVT21;height=720;width=1280;endianness=ORDER\n% end\n", (720, 1280)),
    ],
)
def test_evt21_of_two_sensors(header, sensor, legacy):
    events = writers.some(writers.FORMATS["evt21"], 300)
    data = writers.evt21(events, header.replace(b"ORDER", b"legacy" if legacy else b"little"), legacy)
    decoder = FORMATS["evt21"].decoder()
    assert listed(decoder.feed(data)) == events
    assert decoder.sensor == sensor


def test_evt21_in_the_bytes_of_its_description():
    """0x0102030405060708 is 08 07 06 05 04 03 02 01 in a GenX320's file, and 04 03 02 01 08 07 06 05 in an IMX636's."""
    time, word = 8 << 60 | 3 << 32, 1 << 60 | 5 << 54 | 64 << 43 | 7 << 32 | 0b1000_0001
    wanted = [(3 * 64 + 5, 64, 7, 1), (3 * 64 + 5, 71, 7, 1)]
    little = b"".join(value.to_bytes(8, "little") for value in (time, word))
    assert listed(fed("evt21", b"% evt 2.1\n% end\n" + little, [])) == wanted
    legacy = b"".join(half for at in range(0, 16, 8) for half in (little[at + 4 : at + 8], little[at : at + 4]))
    assert listed(fed("evt21", b"% evt 2.1\n% endianness legacy\n% end\n" + legacy, [])) == wanted


@pytest.mark.parametrize("name", ["evt2", "evt21", "evt3"])
def test_words_without_a_time_are_counted(name):
    made = writers.FORMATS[name]
    whole = made.write([(70, 5, 6, 1), (70, 9, 6, 1)])
    size = {"evt2": 4, "evt21": 8, "evt3": 2}[name]
    head = len(made.write([]))
    decoder = FORMATS[name].decoder()
    assert len(decoder.feed(whole[:head] + whole[head + size :])) == 0  # without its first word
    said = "2 events were left out, because no word before them sets their time or place"
    assert list(decoder.remarks) == [said]
    assert len(decoder.feed(whole[head:])) == 2
    assert list(decoder.remarks) == [said]


@pytest.mark.parametrize("name", ["evt2", "evt21", "evt3"])
def test_a_gap_forgets_the_time_and_keeps_the_overflows(name):
    made = writers.FORMATS[name]
    late = 2**24 if name == "evt3" else 2**34  # the clock has overflowed once
    first, last = writers.some(made, 20)[:-1], (made.last, 1, 1, 1)
    after = [(late + 5, 3, 4, 1), (late + 5, 3, 9, 0)]
    head, size = len(made.write([])), {"evt2": 4, "evt21": 8, "evt3": 2}[name]
    decoder = FORMATS[name].decoder()
    assert listed(decoder.feed(made.write([*first, last]))) == [*first, last]
    decoder.skip_gap()
    words = made.write(after)[head:]
    assert len(decoder.feed(words[size:])) == 0
    assert listed(decoder.feed(words)) == after
    assert list(decoder.remarks) == ["2 events were left out, because no word before them sets their time or place"]
