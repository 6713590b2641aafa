"""Events in the arrays of NumPy: columns of any order, type and usual name, and the unit of their times."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tcja_runtime.errors import BadInput, Damaged
from tcja_runtime.events import Events, ReadOptions, recording

from . import writers
from .reading import listed

EVENTS = writers.some(writers.Made(writers.npz, 346, 260, 10**6, ".npz"), 300)
REMARK = "its times are whole numbers and were taken as microseconds; `time_unit` sets another unit"


def read(path, **options) -> Events:
    return Events.joined(recording(path, options=ReadOptions(**options)).chunks())


@pytest.mark.parametrize(
    "dtype",
    [
        writers.DTYPE,  # tonic's
        [("t", "<u4"), ("x", "u2"), ("y", "u2"), ("p", "i1")],
        [("t", ">i8"), ("x", "i4"), ("y", ">u2"), ("polarity", "u1")],
        [("timestamp", "<i8"), ("x", "f4"), ("y", "f8"), ("pol", "f2")],
        [("p", "?"), ("ts", "<u8"), ("y", "u2"), ("x", "u2")],
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_structured_array(tmp_path, dtype, suffix):
    array = writers.table(EVENTS, dtype)
    file = tmp_path / f"a{suffix}"
    np.save(file, array) if suffix == ".npy" else np.savez_compressed(file, events=array)
    found = recording(file)
    assert listed(Events.joined(found.chunks())) == EVENTS
    assert (found.format, found.sensor, found.remarks) == (suffix[1:], None, (REMARK,))


@pytest.mark.parametrize("names", ["txyp", ("timestamps", "x", "y", "polarities"), ("ts", "xs", "ys", "ps")])
def test_arrays_by_their_names(tmp_path, names):
    np.savez(tmp_path / "a.npz", **{name: np.array([e[n] for e in EVENTS]) for n, name in enumerate(names)})
    assert listed(read(tmp_path / "a.npz")) == EVENTS


def test_polarities_of_minus_one(tmp_path, monkeypatch):
    monkeypatch.setattr("tcja_runtime.events.formats.arrays.numpy_files.STEP", 2)
    whole = {key: np.arange(6) for key in "txy"}
    np.savez(tmp_path / "a.npz", **whole, p=[1, 1, -1, 1, -1, -1])
    assert read(tmp_path / "a.npz").p.tolist() == [True, True, False, True, False, False]
    np.savez(tmp_path / "a.npz", **whole, p=[1, 1, -1, 1, 0, 1])  # known in the third block only
    with pytest.raises(BadInput, match=r"a\.npz: p is -1, 0 and 1; it must be 0 and 1, or -1 and 1$"):
        read(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("times", "unit", "found"),
    [
        (np.array([0.0, 1.5, 1.6e9 + 0.123456]), "s", [0, 1_500_000, 1_600_000_000_123_456]),
        (np.array([0.25, 1.0004999, 7.0]), "ms", [250, 1000, 7000]),
        (np.array([0.4, 0.6, 3.0], np.float32), "us", [0, 1, 3]),
        (np.array([0, 999, 1000]), "ns", [0, 0, 1]),
        (np.array([1, 2, 255], np.uint8), "ms", [1000, 2000, 255_000]),
        (np.array([1, 2, 2**63 // 10**6], np.uint64), "s", [10**6, 2 * 10**6, 2**63 // 10**6 * 10**6]),
        (np.array([1, 2, 2**63 - 1]), "us", [1, 2, 2**63 - 1]),
    ],
)
def test_units_of_time(tmp_path, times, unit, found):
    np.savez(tmp_path / "a.npz", t=times, x=[1, 2, 3], y=[1, 2, 3], p=[0, 1, 0])
    opened = recording(tmp_path / "a.npz", options=ReadOptions(time_unit=unit))
    assert Events.joined(opened.chunks()).t.tolist() == found
    assert opened.remarks == ()


def test_times_that_are_coarse_are_said(tmp_path):
    """A float32 tells seconds apart to 61 us at 1,000 s, and to less than 1 us at 1 s."""
    for last, remarks in (
        (1000.0, ["its times have type float32, which stores the latest of them to 61 us only"]),
        (1.0, []),
    ):
        np.savez(tmp_path / "a.npz", t=np.float32([0, 1, last]), x=[1, 2, 3], y=[1, 2, 3], p=[0, 1, 0])
        found = recording(tmp_path / "a.npz", options=ReadOptions(time_unit="s"))
        for _ in range(2):
            list(found.chunks())
            assert list(found.remarks) == remarks


@pytest.mark.parametrize(
    ("times", "unit", "said"),
    [
        ([0.5, np.nan, 1.0], "s", "t of event 1 is nan; it must be 0 to 9,223,372,036,854,775,807"),
        ([0.5, 1.0, -0.5], "s", "t of event 2 is -0.5; it must be 0 to"),
        ([0.5, 1e13, 1.0], "s", "t of event 1 is 10000000000000.0; it must be before 9,223,372,036,854,775,807 us"),
        ([1, 2, 2**63 // 10**6 + 1], "s", "t of event 2 is 9223372036855; it must be before"),
        ([1, -2, 3], "us", "t of event 1 is -2; it must be 0 to"),
    ],
)
def test_times_that_there_are_not(tmp_path, times, unit, said):
    np.savez(tmp_path / "a.npz", t=times, x=[1, 2, 3], y=[1, 2, 3], p=[0, 1, 0])
    with pytest.raises(BadInput) as caught:
        read(tmp_path / "a.npz", time_unit=unit)
    assert str(caught.value).startswith(f"{tmp_path / 'a.npz'}: {said}")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("columns", ["txyp", "xytp", "ptyx"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_four_columns(tmp_path, monkeypatch, order, columns, suffix):
    monkeypatch.setattr("tcja_runtime.events.formats.arrays.numpy_files.STEP", 70)
    array = np.asarray(np.array([[e["txyp".index(key)] for key in columns] for e in EVENTS], np.float64), order=order)
    file = tmp_path / f"a{suffix}"
    np.save(file, array) if suffix == ".npy" else np.savez(file, events=array)
    assert listed(read(file, columns=columns, time_unit="us")) == EVENTS
    with pytest.raises(BadInput, match=r"has four columns, .* which is which; give `columns`, such as txyp$"):
        read(file, time_unit="us")


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (
            np.zeros((4, 9)),
            r"its array has shape \[4, 9\]; events are a structured array with t, x, y and p, or \[E, 4\]",
        ),
        (np.zeros(9), r"its array has shape \[9\]; events are"),
        (np.zeros((9, 4), "S1"), r"its array has type \|S1; events are integers, bools or floats"),
        (np.zeros((9, 4), np.complex64), "its array has type complex64; events are"),
        (np.array([{}]), "has an array of Python objects; save an array of numbers"),
        (
            np.zeros(3, [("t", "i8"), ("x", "i8"), ("y", "i8")]),
            "must have the fields t, x, y and p .*; it has t, x, y$",
        ),
        (np.zeros(3, [("t", "i8"), ("x", "i8"), ("y", "i8"), ("p", "S1")]), r"field p has type \|S1; events are"),
        (np.zeros((2, 3), writers.DTYPE), r"its array has shape \[2, 3\]; it must have one axis"),
        (np.zeros(2, [*writers.DTYPE, ("ts", "i8")]), "t and ts could both be the t of events; keep one of them"),
    ],
)
def test_arrays_that_are_no_events(tmp_path, array, said):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(BadInput, match=rf"a\.npy:? .*{said}"):
        read(tmp_path / "a.npy", columns="txyp")


def test_a_file_that_is_cut_off_or_too_long(tmp_path):
    file = tmp_path / "a.npy"
    data = writers.npy(EVENTS)
    for cut in (len(data) - 1, len(data) // 2, 60):
        file.write_bytes(data[:cut])
        with pytest.raises(Damaged, match=r"a\.npy: byte"):
            recording(file)
    file.write_bytes(data[:-1])
    size = f"{len(data):,}"
    with pytest.raises(Damaged, match=rf"byte {len(data) - 1:,}: the file ends here, .* should end at byte {size}$"):
        recording(file)
    file.write_bytes(data + b"12345")
    with pytest.raises(Damaged, match=rf"byte {size}: the array of shape \[300\] ends here, .* has 5 bytes more$"):
        recording(file)
    file.write_bytes(data)
    opened = recording(file)
    file.write_bytes(data[:-4])
    with pytest.raises(Damaged, match=r"the file became shorter while it was read$"):
        list(opened.chunks())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"time_unit": "min"}, "`time_unit` min must be one of ns, us, ms, s"),
        ({"columns": "txy"}, "`columns` txy must have each of the letters t, x, y and p once, such as txyp"),
        ({"columns": "txypp"}, "`columns` txypp must have"),
    ],
)
def test_options_that_there_are_not(options, said):
    with pytest.raises(BadInput, match=f"^{said}"):
        ReadOptions(**options)


@pytest.mark.parametrize("options", [{"time_unit": "s"}, {"columns": "txyp"}, {"topic": "left"}])
def test_options_that_a_format_does_not_need(tmp_path, options):
    (tmp_path / "a.bin").write_bytes(writers.atis(EVENTS[:1]))
    said = f"a.bin is ATIS .bin, as N-Caltech101 and N-MNIST, which needs no `{next(iter(options))}`; leave it out"
    with pytest.raises(BadInput, match=said):
        read(tmp_path / "a.bin", **options)


def test_memory_does_not_grow_with_four_columns(tmp_path, monkeypatch):
    monkeypatch.setattr("tcja_runtime.events.formats.arrays.numpy_files.STEP", 2**12)
    peaks = []
    for count in (2**15, 2**18):
        np.save(tmp_path / "a.npy", np.asfortranarray(np.ones((count, 4), np.int32)))
        tracemalloc.start()
        assert sum(map(len, recording(tmp_path / "a.npy", options=ReadOptions(columns="txyp")).chunks())) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_an_order_of_columns_is_refused_where_the_file_names_them(tmp_path, suffix):
    table = np.zeros(3, [("t", np.int64), ("x", np.uint16), ("y", np.uint16), ("p", bool)])
    file = tmp_path / f"a.{suffix}"
    np.save(file, table) if suffix == "npy" else np.savez(file, **{name: table[name] for name in "txyp"})
    with pytest.raises(BadInput, match=r"a\.np[yz] says which column is which, so it needs no `columns`; leave it out"):
        recording(file, options=ReadOptions(columns="xytp", time_unit="us"))
