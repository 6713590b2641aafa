"""Events in HDF5, written by h5py in the layouts of DSEC, Metavision, M3ED, MVSEC and v2e."""

from __future__ import annotations

import importlib.util
import os
import signal
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.events import Events, ReadOptions, recording
from tcja_runtime.events.formats.arrays import hdf5, hdf5_process
from tcja_runtime.events.formats.arrays.hdf5_checks import check_attribute

from . import writers
from .reading import listed

h5py = pytest.importorskip("h5py")

EVENTS = writers.some(writers.Made(writers.npz, 640, 480, 10**6, ".h5"), 300)
T, X, Y, P = (np.array(column) for column in zip(*EVENTS, strict=True))
REMARK = "its times are whole numbers and were taken as microseconds; `time_unit` sets another unit"


def read(path: Path, **options: Any) -> Events:
    return Events.joined(recording(path, options=ReadOptions(**options)).chunks())


def index(times: np.ndarray) -> np.ndarray:
    """DSEC's: element k is the number of the first event at k milliseconds or later."""
    return np.searchsorted(times, np.arange(times[-1] // 1000 + 1) * 1000)


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "a.h5"


@pytest.mark.parametrize("offset", [None, 0, 57_000_000_000])
def test_dsec(file, offset):
    with h5py.File(file, "w") as made:
        columns = {"t": T.astype("u4"), "x": X.astype("u2"), "y": Y.astype("u2"), "p": P.astype("u1")}
        for name, values in columns.items():
            made.create_dataset(f"events/{name}", data=values, compression="gzip", chunks=(70,))
        made["ms_to_idx"] = index(T)
        if offset is not None:
            made["t_offset"] = np.int64(offset)
    found = recording(file)
    assert (found.format, found.sensor, found.remarks) == ("hdf5", None, ())
    assert listed(Events.joined(found.chunks())) == [(t + (offset or 0), x, y, p) for t, x, y, p in EVENTS]
    assert len(read(file, time_unit="us")) == 300
    with pytest.raises(BadInput, match=r"its times are in us by its layout; leave `time_unit` ns out$"):
        recording(file, options=ReadOptions(time_unit="ns"))


def test_an_index_that_does_not_fit_microseconds(file):
    with h5py.File(file, "w") as made:
        for name, values in {"t": T * 1000, "x": X, "y": Y, "p": P}.items():
            made[f"events/{name}"] = values
        made["ms_to_idx"] = index(T)
    with pytest.raises(BadInput, match=r"a\.h5: /ms_to_idx does not fit its times, if these are in microseconds$"):
        recording(file)


@pytest.mark.parametrize("geometry", [None, "640x480", b"640x480"])
def test_metavision(file, geometry):
    dtype = [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")]
    with h5py.File(file, "w") as made:
        made["CD/events"] = writers.table(EVENTS, dtype)
        made["CD/indexes"] = np.zeros(3, [("id", "<i8"), ("ts", "<i8")])
        made["EXT_TRIGGER/events"] = np.zeros(3, [("p", "<i2"), ("t", "<i8"), ("id", "<i2")])
        if geometry is not None:
            made.attrs["geometry"] = geometry
    found = recording(file)
    assert (found.sensor, found.remarks) == ((480, 640) if geometry else None, ())
    assert listed(Events.joined(found.chunks())) == EVENTS


def test_an_event_outside_the_sensor_that_the_file_names(file):
    with h5py.File(file, "w") as made:
        made["CD/events"] = writers.table(EVENTS, [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
        made.attrs["geometry"] = "600x480"
    at = next(n for n, event in enumerate(EVENTS) if event[1] >= 600)
    with pytest.raises(BadInput, match=rf"a\.h5: x of event {at} is {EVENTS[at][1]}; it must be 0 to 599$"):
        read(file)


def test_two_cameras_in_one_file(file):
    """As in M3ED: the user chooses."""
    with h5py.File(file, "w") as made:
        for camera, count in (("left", 100), ("right", 200)):
            for name, values in {"t": T, "x": X, "y": Y, "p": P}.items():
                made[f"prophesee/{camera}/{name}"] = values[:count]
            made[f"prophesee/{camera}/ms_map_idx"] = index(T[:count])
            made[f"prophesee/{camera}/calib/resolution"] = [640, 480]
        made["ovc/imu/ts"] = np.zeros(9)
    said = r"a\.h5 has events in prophesee/left, prophesee/right; choose one of them with `topic`$"
    with pytest.raises(BadInput, match=said):
        recording(file)
    for topic in ("prophesee/right", "/prophesee/right/"):
        assert listed(read(file, topic=topic)) == EVENTS[:200]
    assert recording(file, options=ReadOptions(topic="prophesee/left")).remarks == ()
    said = r"a\.h5 has no events in `topic` right; it has them in prophesee/left, prophesee/right$"
    with pytest.raises(BadInput, match=said):
        recording(file, options=ReadOptions(topic="right"))


@pytest.mark.parametrize(
    ("name", "columns", "unit"),
    [("davis/left/events", "xytp", "s"), ("events", "txyp", "us"), ("a/events", "ptyx", "ms")],
)
def test_four_columns(file, name, columns, unit):
    """As in MVSEC, and as v2e writes them."""
    factor = {"s": 1e6, "ms": 1e3, "us": 1}[unit]
    values = {"t": T / factor, "x": X, "y": Y, "p": 2 * P - 1 if unit == "s" else P}
    with h5py.File(file, "w") as made:
        made[name] = np.stack([values[key] for key in columns], 1)
        made["other"] = np.zeros((9, 4))
    assert listed(read(file, columns=columns, time_unit=unit)) == EVENTS
    said = rf"a\.h5: {name} has four columns, and the file does not say which is which; give `columns`, such as txyp$"
    with pytest.raises(BadInput, match=said):
        recording(file)
    with pytest.raises(BadInput, match=r"its times have type float64, and the file does not say their unit; give"):
        recording(file, options=ReadOptions(columns=columns))


def test_columns_at_the_root_with_other_names(file):
    with h5py.File(file, "w") as made:
        made["xs"], made["ys"], made["ts"], made["ps"] = X, Y, T / 1e6, P.astype(bool)
    assert listed(read(file, time_unit="s")) == EVENTS
    with h5py.File(file, "r+") as made:
        del made["ts"]
        made["timestamps"] = T
    found = recording(file)
    assert found.remarks == (REMARK,)
    assert listed(Events.joined(found.chunks())) == EVENTS


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"x": X.astype("S3")}, r"events/x has type \|S3; events are integers, bools or floats"),
        (
            {"x": X[:-1]},
            "its datasets must have the same length; it has 300 events/t, 299 events/x, 300 events/y",
        ),
        ({"t": T - 1}, "t of event 0 is -1; it must be 0 to 9,223,372,036,854,775,807"),
        ({"y": Y + 65_400}, r"y of event \d+ is 6\d+; it must be 0 to 65,535"),
        ({"p": P + 1}, "p of event 1 is 2; it must be 0 or 1, or -1 or 1"),
        ({"x": np.stack([X, X], 1)}, "a.h5 has no events: no group with datasets t, x, y and p, and no table of them"),
        ({"ts": T}, "t and ts could both be the t of events; keep one of them"),
    ],
)
def test_datasets_that_are_no_events(file, values, said):
    with h5py.File(file, "w") as made:
        for name, column in ({"t": T, "x": X, "y": Y, "p": P} | values).items():
            made[f"events/{name}"] = column
    with pytest.raises(BadInput, match=said):
        read(file)


def test_values_in_another_file(file, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as made:
        for name, column in {"t": T, "x": X, "y": Y, "p": P}.items():
            made[name] = column
    with h5py.File(file, "w") as made:
        made["events"] = h5py.ExternalLink("other.h5", "/")
    with pytest.raises(BadInput, match=r"a\.h5 has no events"):
        recording(file)
    (tmp_path / "raw").write_bytes(T.tobytes())
    with h5py.File(file, "w") as made:
        made.create_dataset("t", (300,), "i8", external=[(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)])
        made["x"], made["y"], made["p"] = X, Y, P
    with pytest.raises(BadInput, match=r"a\.h5: the values of /t are in another file; copy them into one$"):
        recording(file)


def test_chunks_that_take_much_memory(file):
    with h5py.File(file, "w") as made:
        made.create_dataset("t", (2**29,), "i8", chunks=(2**28,))
        for name in "xyp":
            made.create_dataset(name, (2**29,), "u1", chunks=(2**20,))
    said = r"a\.h5: /t has chunks of 2,147,483,648 bytes; store it with smaller chunks$"
    with pytest.raises(BadInput, match=said):
        recording(file)


def compressed_with(file: Path, code: int) -> None:
    """A file that names a codec. The codec is optional, so that h5py writes the file without it."""
    with h5py.File(file, "w") as made:
        for name, column in {"t": T, "x": X, "y": Y, "p": P}.items():
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_chunk((100,))
            plan.set_filter(code, h5py.h5z.FLAG_OPTIONAL)
            space = h5py.h5s.create_simple(column.shape)
            dataset = h5py.h5d.create(made.id, name.encode(), h5py.h5t.NATIVE_INT64, space, plan)
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, column)


@pytest.mark.parametrize(
    ("code", "with_codecs", "said"),
    [
        (
            0x8ECF,
            True,
            "is compressed with ECF, Prophesee's codec, which h5py does not find: install hdf5_ecf",
        ),
        (
            0x8ECF,
            False,
            "is compressed with ECF, Prophesee's codec, which h5py does not find: install hdf5_ecf",
        ),
        (
            32001,
            False,
            r"\(filter 32001\); the package hdf5plugin, which has many codecs, is missing: pip",
        ),
        (65000, True, r"is compressed with an unknown codec \(filter 65000\), which h5py and hdf5plugin do not have"),
    ],
)
def test_a_codec_that_is_missing_is_named(file, monkeypatch, code, with_codecs, said):
    compressed_with(file, code)
    find = importlib.util.find_spec
    found = {"hdf5plugin": find("json") if with_codecs else None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: found.get(name) if name in found else find(name))
    monkeypatch.setitem(sys.modules, "hdf5plugin", sys)
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda number: number < 300)
    with pytest.raises(Unavailable, match=f"a.h5 .*{said}"):
        hdf5.open_recording(file, ReadOptions())


@pytest.mark.releases
@pytest.mark.parametrize("codec", ["Blosc", "Zstd", "LZ4", "Bitshuffle", "Blosc2"])
def test_codecs_of_hdf5plugin(file, codec):
    hdf5plugin = pytest.importorskip("hdf5plugin")
    with h5py.File(file, "w") as made:
        for name, column in {"t": T, "x": X, "y": Y, "p": P}.items():
            made.create_dataset(f"events/{name}", data=column, chunks=(70,), **getattr(hdf5plugin, codec)())
    assert listed(read(file)) == EVENTS


def test_without_the_package(file, monkeypatch):
    file.write_bytes(b"\x89HDF\r\n\x1a\n")
    monkeypatch.setattr("tcja_runtime.events.formats.packages.importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        Unavailable, match=r"a\.h5 is HDF5; the package h5py, which reads it, is missing: pip install h5py$"
    ):
        recording(file)


def test_damage_is_refused_in_a_line(file):
    with h5py.File(file, "w") as made:
        for name, column in {"t": T, "x": X, "y": Y, "p": P}.items():
            made.create_dataset(f"events/{name}", data=column, compression="gzip", chunks=(70,), fletcher32=True)
    data = file.read_bytes()
    file.write_bytes(data[:-100])
    with pytest.raises(BadInput, match=r"a\.h5 is damaged, or is not HDF5: .*truncated"):
        recording(file)


@pytest.mark.parametrize("size", [0, 16, 3544])
def test_a_damaged_heap_is_refused_before_the_text_in_it_is_read(file, size):
    """The free space behind the text ends before the heap, on which the HDF5 library never ends."""
    with h5py.File(file, "w") as made:
        made["CD/events"] = writers.table(EVENTS, [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")])
        made.attrs["geometry"] = "640x480"
    content = bytearray(file.read_bytes())
    at = content.index(b"GCOL") + 16
    while content[at : at + 2] != b"\0\0":
        at += 16 + -(-content[at + 8] // 8) * 8
    content[at + 8 : at + 16] = size.to_bytes(8, "little")
    file.write_bytes(content)
    with pytest.raises(
        BadInput, match=r"a\.h5 is damaged: the heap of texts at byte [\d,]+ does not fit; copy it again"
    ):
        recording(file)


def test_heaps_in_heaps_are_refused():
    """Each has all those behind it in its objects, so that all of them are read as often as there are heaps."""
    count = 100
    attributes = [
        b"\1\0" + struct.pack("<3H", 9, 8, 8) + b"geometry".ljust(32, b"\0") + struct.pack("<IQI", 7, at, 1)
        for at in range(0, 32 * count, 32)
    ]
    heaps = [b"GCOL\1\0\0\0" + struct.pack("<Q", 16 + 32 * number) for number in range(count, -1, -1)]
    objects = [struct.pack("<QQ", number, 16) for number in range(1, count + 1)]
    content = b"".join(a + b for a, b in zip(heaps, [*objects, b""], strict=True)) + b"".join(attributes)
    with pytest.raises(BadInput, match=r"a\.h5 is damaged: the heap of texts at byte [\d,]+ lies in others; copy it"):
        check_attribute(content, "geometry", Path("a.h5"))


TABLE = [("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")]


@pytest.mark.parametrize("length", [5000, 2**32 - 1])
@pytest.mark.parametrize("version", ["earliest", "v108", "latest"])
def test_the_length_of_a_text_is_checked_before_the_library_takes_the_memory(file, version, length):
    with h5py.File(file, "w", libver=(version, "latest")) as made:
        made["CD/events"] = writers.table(EVENTS, TABLE)
        made.attrs["geometry"] = "640x480"
    assert recording(file).sensor == (480, 640)
    content = bytearray(file.read_bytes())
    at = content.index(struct.pack("<I", 7), content.index(b"geometry\0"))
    content[at : at + 4] = struct.pack("<I", length)
    file.write_bytes(content)
    with pytest.raises(BadInput, match=rf"a\.h5 is damaged: its attribute geometry has a text of {length:,} bytes$"):
        # Later versions have a checksum, which the library would find first.
        recording(file) if version == "earliest" else check_attribute(bytes(content), "geometry", file)


@pytest.mark.parametrize("geometry", ["4" * 5000, np.array(b"640x480", "S5000"), ["640x480"] * 2])
def test_a_text_that_is_no_geometry(file, geometry):
    with h5py.File(file, "w", libver="latest") as made:
        made["CD/events"] = writers.table(EVENTS, TABLE)
        made.attrs["geometry"] = geometry
    if isinstance(geometry, str):
        with pytest.raises(BadInput, match="geometry has a text of 5,000 bytes"):
            recording(file)
    else:
        assert recording(file).sensor is None


@pytest.mark.parametrize("codecs", [{}, {"shuffle": True, "fletcher32": True}])
@pytest.mark.parametrize("name", ["t", "p", "ms_to_idx"])
def test_a_chunk_that_unpacks_to_more_than_its_size(file, name, codecs):
    with h5py.File(file, "w") as made:
        for key, values in {"t": T, "x": X, "y": Y, "p": P, "ms_to_idx": index(T)}.items():
            made.create_dataset(
                f"events/{key}", data=values, chunks=(2**15,), maxshape=(None,), compression=9, **codecs
            )
        made[f"events/{name}"].id.write_direct_chunk((0,), zlib.compress(bytes(2**26 + 2**20), 9))
    with pytest.raises(BadInput, match=rf"a chunk of /events/{name} unpacks to more than its size; copy it again$"):
        read(file)


def test_a_chunk_that_is_packed_again(file):
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((300,))
    plan.set_deflate(9)
    plan.set_deflate(9)
    with h5py.File(file, "w") as made:
        for key, values in {"t": T, "x": X, "y": Y, "p": P}.items():
            made.create_dataset(f"events/{key}", data=values, chunks=(300,), dcpl=plan if key == "x" else None)
    with pytest.raises(BadInput, match="/events/x is packed with gzip and with another codec; store it with one of th"):
        read(file)


def test_fields_of_any_length_are_not_read(file):
    rows = np.zeros(300, [*TABLE, ("note", h5py.string_dtype())])
    rows["note"] = "a"
    with h5py.File(file, "w") as made:
        made["CD/events"] = rows
    with pytest.raises(BadInput, match=r"a\.h5: /CD/events has fields that are no numbers; store the events without"):
        recording(file)


def test_large_rows_are_not_read(file):
    with h5py.File(file, "w") as made:
        made.create_dataset("CD/events", (300,), [*TABLE, ("more", "u1", 300)])
    said = r"a\.h5: the values of /CD/events have 314 bytes each; no event has more than 100$"
    with pytest.raises(BadInput, match=said):
        recording(file)


def test_an_index_in_another_file_is_not_read(file, tmp_path):
    (tmp_path / "raw").write_bytes(bytes(8))
    with h5py.File(file, "w") as made:
        for key, values in {"t": T, "x": X, "y": Y, "p": P}.items():
            made[f"events/{key}"] = values
        made.create_dataset("ms_to_idx", (1,), "i8", external=[(str(tmp_path / "raw"), 0, 8)])
    with pytest.raises(BadInput, match=r"a\.h5: the values of /ms_to_idx are in another file; copy them into one$"):
        recording(file)


@pytest.mark.parametrize("kind", ["S", "vlen", "group"])
def test_what_is_no_number_is_no_offset_and_no_index(file, kind):
    with h5py.File(file, "w") as made:
        for name, values in {"t": T, "x": X, "y": Y, "p": P}.items():
            made[f"events/{name}"] = values
        for name, text in (("t_offset", "5"), ("ms_to_idx", ["5"])):
            if kind == "group":
                made.create_group(name)
            else:
                made.create_dataset(name, data=text, dtype=h5py.string_dtype(length=None if kind == "vlen" else 1))
    assert listed(read(file)) == EVENTS


def test_memory_does_not_grow_with_the_file(file, monkeypatch):
    monkeypatch.setattr("tcja_runtime.events.formats.arrays.hdf5.STEP", 2**12)
    peaks = []
    for count in (2**15, 2**18):
        with h5py.File(file, "w") as made:
            for name in "txyp":
                made.create_dataset(f"events/{name}", data=np.ones(count, "u4"), chunks=(2**12,))
        tracemalloc.start()
        assert sum(map(len, hdf5.open_recording(file, ReadOptions()).chunks())) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def large(file: Path, count: int = 2**20, **stored: Any) -> Path:
    """A file of several blocks, more than the pipe from the process that reads it holds."""
    with h5py.File(file, "w") as made:
        for name in "txyp":
            made.create_dataset(f"events/{name}", data=np.arange(count, dtype="u4") % 2, **stored)
    return file


def readers() -> list[int]:
    """The processes that this one has started to read HDF5."""
    children = [
        child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [int(child) for child in children if b"hdf5_child" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_the_native_code_runs_in_a_process_that_is_kept_for_the_next_file(file):
    large(file, 300)
    assert len(read(file)) == 300
    kept = readers()
    assert len(kept) == 1
    assert len(read(file)) == 300
    with pytest.raises(BadInput, match="has no events in `topic` right"):
        recording(file, options=ReadOptions(topic="right"))
    assert readers() == kept
    first, second = recording(file).chunks(), recording(file).chunks()  # at the same time
    assert [len(next(first)), len(next(second))] == [300, 300]
    assert len(readers()) == 2


def test_a_process_that_crashes_is_damage_and_the_next_file_is_read(file):
    large(file)
    chunks = recording(file).chunks()
    next(chunks)
    for reader in readers():
        os.kill(reader, signal.SIGKILL)
    with pytest.raises(BadInput, match=r"a\.h5 is damaged, or is not HDF5: the HDF5 library crashed \(status -9\)$"):
        list(chunks)
    assert len(read(file)) == 2**20


def test_who_stops_reading_leaves_no_process_that_still_reads(file):
    large(file)
    chunks = recording(file).chunks()
    next(chunks)
    before = readers()
    chunks.close()
    assert set(before) - set(readers())
    assert len(read(file)) == 2**20


@pytest.fixture
def limited(monkeypatch) -> Iterator[Callable[[str, float], None]]:
    """Sets a limit of the processes that are started in a test."""

    def limit(name: str, value: float) -> None:
        hdf5_process.end()
        monkeypatch.setattr(hdf5_process, name, value)

    yield limit
    hdf5_process.end()


def test_a_library_that_does_not_end_is_ended(file, limited):
    """A chunk of 64 MB takes longer than a millisecond, and a program may ignore the alarm of the system."""
    large(file, 2**24, chunks=(2**24,), compression="gzip", compression_opts=1)
    limited("_PATIENCE", 1e-3)
    said = r"a\.h5 is damaged, or is not HDF5: the HDF5 library did not read the next events in 0\.001 s$"
    before = signal.signal(signal.SIGALRM, signal.SIG_IGN)  # processes that are started ignore it, too
    try:
        with pytest.raises(BadInput, match=said):
            read(file)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_memory_is_limited(file, limited):
    large(file, 2**24, chunks=(2**24,), compression="gzip", compression_opts=1)
    limited("_ROOM", 2**25)
    with pytest.raises(BadInput, match=r"a\.h5 needs more memory than a file of events may take$"):
        read(file)


def test_a_relative_path_is_that_of_this_process(tmp_path, monkeypatch):
    for count in (100, 200):
        folder = tmp_path / str(count)
        folder.mkdir()
        large(folder / "a.h5", count)
        monkeypatch.chdir(folder)
        assert len(read(Path("a.h5"))) == count
