"""Every format: what was written is what is read, however the bytes are cut on their way."""

from __future__ import annotations

import os
import struct
import tracemalloc

import numpy as np
import pytest

from tcja_runtime.errors import BadInput
from tcja_runtime.events import CHUNK, FORMATS, Events, byte_recording, recording

from . import writers
from .reading import fed, listed

BYTES = [name for name, each in FORMATS.items() if each.decoder is not None]


def read(path) -> Events:
    return Events.joined(recording(path).chunks())


def needed(name: str) -> None:
    if FORMATS[name].package is not None:
        pytest.importorskip(FORMATS[name].package)


def test_every_format_is_tried():
    """Here, or in a file of its own, where another package writes it: test_hdf5, test_rosbag2."""
    assert {*writers.FORMATS, "hdf5", "rosbag2"} == set(FORMATS)


@pytest.mark.parametrize("name", BYTES)
def test_bytes_cut_anywhere(name):
    made = writers.FORMATS[name]
    events = writers.some(made, 400)
    assert len(events) == 400
    data = made.write(events)
    rng = np.random.default_rng(1)
    for count in (0, 1, 10, 300):
        assert listed(fed(name, data, rng.integers(0, len(data) + 1, count).tolist())) == events
    assert listed(fed(name, data, list(range(len(data))))) == events


@pytest.mark.parametrize("count", [0, 1, 2, 400])
@pytest.mark.parametrize("name", writers.FORMATS)
def test_files(tmp_path, name, count):
    needed(name)
    made = writers.FORMATS[name]
    events = writers.some(made, count)
    data = made.write(events)
    file = tmp_path / f"a{made.suffix}"
    file.write_bytes(data)
    if not data:
        with pytest.raises(BadInput, match=r"a\.bin is empty; give a recording that has events$"):
            recording(file)
        return
    found = recording(file)
    assert (found.format, found.path) == (name, file)
    for _ in range(2):  # from the start each time
        chunks = list(found.chunks())
        assert listed(Events.joined(chunks)) == events
        assert all(0 < len(chunk) <= CHUNK for chunk in chunks)
    assert [(c.t.dtype, c.x.dtype, c.y.dtype, c.p.dtype) for c in chunks[:1]] == (
        [(np.int64, np.uint16, np.uint16, np.bool_)] if events else []
    )


@pytest.mark.parametrize(
    ("name", "sensor"),
    [
        *[("atis", None), ("aedat2", (128, 128)), ("aedat3", (128, 128)), ("aedat4", (480, 640))],
        *[("dat", (720, 1280)), ("evt2", (720, 1280)), ("evt21", (720, 1280)), ("evt3", (720, 1280))],
        *[("npy", None), ("npz", None)],
    ],
)
def test_the_sensor_is_what_the_file_says(tmp_path, name, sensor):
    made = writers.FORMATS[name]
    needed(name)
    file = tmp_path / "a"
    file.write_bytes(made.write(writers.some(made, 5)))
    assert recording(file, name).sensor == sensor


def test_chunks_are_never_larger_than_they_may_be(tmp_path, monkeypatch):
    monkeypatch.setattr(byte_recording, "CHUNK", 100)
    events = writers.some(writers.FORMATS["evt3"], 1500)
    (tmp_path / "a.raw").write_bytes(writers.evt3(events))
    chunks = list(recording(tmp_path / "a.raw").chunks())
    assert max(map(len, chunks)) == 100
    assert listed(Events.joined(chunks)) == events


def test_atis_overflows_of_the_clock_are_no_events():
    mark, first, second = writers.atis_overflow(), (5, 1, 2, 1), (8191, 3, 4, 0)
    data = writers.atis([first]) + mark + writers.atis([first]) + mark * 2 + writers.atis([second, first])
    wanted = [first, (5 + 2**13, 1, 2, 1), (8191 + 3 * 2**13, 3, 4, 0), (5 + 3 * 2**13, 1, 2, 1)]
    assert listed(fed("atis", data, [])) == wanted
    assert listed(fed("atis", data, list(range(len(data))))) == wanted


def test_aedat2_times_and_bits_of_the_whole_range():
    data = writers.aedat2([(2**32 - 1, 0, 127, 0), (0, 127, 0, 1)])
    assert listed(fed("aedat2", data, [])) == [(2**32 - 1, 0, 127, 0), (0, 127, 0, 1)]
    outside = b"#!AER-DAT2.0\r\n" + bytes([0, 0, 0x80, 0, 0, 0, 0, 3])  # triggered from outside: an event all the same
    assert listed(fed("aedat2", outside, [])) == [(3, 127, 127, 1)]


def test_aedat3_events_behind_the_number_are_skipped():
    body = writers.aedat3([(9, 1, 2, 1)], header=b"")[28:36]
    data = (
        writers.AEDAT3_HEADER + writers.packet(1, body + b"\xff" * 16, 8, 1, capacity=3) + writers.packet(1, b"", 8, 0)
    )
    for cuts in ([], list(range(len(data)))):
        assert listed(fed("aedat3", data, cuts)) == [(9, 1, 2, 1)]


@pytest.mark.parametrize(
    ("camera", "sensor"),
    [
        (b"DVS128\n#Source 2: DAVIS346", None),
        (b"DVS128", (128, 128)),
        (b"DAVIS240C", (180, 240)),
        (b"DAVIS346", (260, 346)),
        (b"X", None),
    ],
)
def test_aedat3_cameras(camera, sensor):
    decoder = FORMATS["aedat3"].decoder()
    decoder.feed(writers.AEDAT3_HEADER.replace(b"DVS128", camera).replace(b"\r\n", b"\n"))
    assert decoder.sensor == sensor


def test_aedat3_of_a_camera_that_is_not_known_can_be_of_any_size():
    events = [(1, 32767, 32767, 1), (2, 32767, 0, 0), (3, 0, 32767, 1)]
    data = writers.aedat3(events, writers.AEDAT3_HEADER.replace(b"DVS128", b"X"))
    assert listed(fed("aedat3", data, [])) == events


def test_dat_of_older_cameras():
    header = b"% Data file containing Event2d events.\n% Version 2\n"
    events = [(5, 16383, 16383, 1), (4, 0, 0, 0)]  # whose sensor is not said
    decoder = FORMATS["dat"].decoder()
    assert listed(decoder.feed(writers.dat(events, header, b"\x00\x08"))) == events
    assert decoder.sensor is None


def plain_evt(name: str, data: bytes) -> list[writers.Event]:
    """The words one after the other, as Prophesee describes them."""
    events, high, low, loops, row, base, on = [], None, 0, 0, None, None, 0
    size = 4 if name == "evt2" else 2
    for at in range(0, len(data), size):
        word = int.from_bytes(data[at : at + size], "little")
        kind, value = word >> (8 * size - 4), word & (2 ** (8 * size - 4) - 1)
        if kind == 8:
            half = 2 ** (8 * size - 5)
            loops += high is not None and high - value >= half
            low = low if high == value else 0
            high = value
        elif name == "evt2":
            if kind < 2 and high is not None:
                t = ((loops << 28 | high) << 6) + (value >> 22)
                events.append((t, value >> 11 & 0x7FF, value & 0x7FF, kind))
        elif kind == 6:
            low = value
        elif kind == 0:
            row = value & 0x7FF
        elif kind in (2, 3):
            if kind == 3:
                base, on = value & 0x7FF, value >> 11
            elif high is not None and row is not None:
                events.append(((loops << 24 | high << 12) + low, value & 0x7FF, row, value >> 11))
        elif kind in (4, 5):
            length = 12 if kind == 4 else 8
            if base is None:
                continue
            if high is not None and row is not None:
                t = (loops << 24 | high << 12) + low
                events += [(t, base + bit, row, on) for bit in range(length) if value >> bit & 1]
            base += length
    return events


@pytest.mark.parametrize("name", ["evt2", "evt3"])
def test_words_in_any_order(name):
    """Recordings that begin anywhere, times that jump, vectors without a base: as one word after the other reads."""
    rng = np.random.default_rng(2)
    for _ in range(30):
        if name == "evt2":
            kinds = rng.choice([0, 1, 8, 10, 14, 15], 300)
            words = kinds.astype(np.int64) << 28 | rng.integers(0, 2**28, 300)
            data = words.astype("<u4").tobytes()
        else:
            kinds = rng.choice([0, 2, 3, 4, 5, 6, 7, 8, 10, 14, 15], 300)
            values = np.where(np.isin(kinds, (2, 3)), rng.integers(0, 1000, 300), rng.integers(0, 4096, 300))
            values = np.where(kinds == 8, rng.choice([5, 5, 6, 4000], 300), values)
            data = (kinds.astype(np.int64) << 12 | values).astype("<u2").tobytes()
        cuts = rng.integers(0, len(data), 8).tolist()
        assert listed(fed(name, data, cuts)) == plain_evt(name, data)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ([2**28 - 1, 0, 2**27 - 1, 2**28 - 1, 1], [2**28 - 1, 2**28, 2**28 + 2**27 - 1, 2**29 - 1, 2**29 + 1]),
        ([2**27, 0], [2**27, 2**28]),  # half of what it can say
        ([2**27 - 1, 0], [2**27 - 1, 0]),
    ],
)
def test_evt_clocks_begin_anew(said, meant):
    words = b"".join(struct.pack("<II", 8 << 28 | high, 5 << 11) for high in said)
    assert fed("evt2", words, list(range(len(words)))).t.tolist() == [high << 6 for high in meant]


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("dtype", ["<i8", ">u4", "<u2", "u1"])
def test_arrays_of_any_whole_numbers(tmp_path, monkeypatch, dtype, compressed):
    monkeypatch.setattr("tcja_runtime.events.formats.arrays.numpy_files.STEP", 7)
    events = [(n, 255 - n, n // 2, n % 2) for n in range(100)]
    (tmp_path / "a.npz").write_bytes(writers.npz(events, compressed, dtype))
    assert listed(read(tmp_path / "a.npz")) == events


def test_arrays_of_booleans_and_other_arrays_beside(tmp_path):
    np.savez(tmp_path / "a.npz", t=[1, 2], x=[3, 4], y=[5, 6], p=[True, False], label=np.float64(1.5))
    assert listed(read(tmp_path / "a.npz")) == [(1, 3, 5, 1), (2, 4, 6, 0)]


def test_aedat4_that_was_never_closed(tmp_path):
    pytest.importorskip("aedat")
    events = writers.some(writers.FORMATS["aedat4"], 90)
    (tmp_path / "a.aedat4").write_bytes(writers.aedat4(events, closed=False))
    assert listed(read(tmp_path / "a.aedat4")) == events


def test_a_reader_that_is_left_early_leaves_no_process(tmp_path):
    pytest.importorskip("aedat")
    (tmp_path / "a.aedat4").write_bytes(writers.aedat4(writers.some(writers.FORMATS["aedat4"], 90)))
    chunks = recording(tmp_path / "a.aedat4").chunks()
    next(chunks)
    chunks.close()
    with pytest.raises(ChildProcessError):  # there is none to wait for
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.parametrize("name", [name for name in writers.FORMATS if name != "aedat4"])
def test_memory_does_not_grow_with_the_recording(tmp_path, monkeypatch, name):
    monkeypatch.setattr("tcja_runtime.events.formats.arrays.numpy_files.STEP", 2**15)
    made = writers.FORMATS[name]
    events = writers.some(made, 3000)
    nothing = len(made.write([]))
    peaks = []
    for times in (60, 180):
        file = tmp_path / f"{times}{made.suffix}"
        if name == "npz":
            file.write_bytes(writers.npz(events * times, compressed=False))
        elif name == "npy":
            file.write_bytes(writers.npy(events * times))
        else:
            data = made.write(events)
            file.write_bytes(data + data[nothing:] * (times - 1))
        tracemalloc.start()
        count = sum(len(chunk) for chunk in recording(file).chunks())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == times * len(events)
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 2**26
