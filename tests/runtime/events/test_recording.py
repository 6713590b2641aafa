"""Which file is of which format, and what is said of files that are of none."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tcja_deploy import doctor
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.events import FORMATS, Segment, format_of, recording, segments
from tcja_runtime.machine.versions import OLDEST

from . import writers


@pytest.mark.parametrize("name", writers.FORMATS)
def test_content_tells_the_format_whatever_the_file_is_called(tmp_path, name):
    made = writers.FORMATS[name]
    data = made.write(writers.some(made, 5))
    assert format_of(data) == (None if name == "atis" else name)
    if name == "atis":
        return
    if FORMATS[name].package is not None:
        pytest.importorskip(FORMATS[name].package)
    for file in (tmp_path / "a", tmp_path / "a.bin"):
        file.write_bytes(data)
        assert recording(file).format == name
        assert recording(str(file), name).format == name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (b"% Date 2020\n% evt 2.0\n", "evt2"),
        (b"% Date 2020\n% evt 3.0\n", "evt3"),
        (b"% format EVT2;height=480;width=640\n% end\n", "evt2"),
        (b"% format EVT3;height=480;width=640\n% end\n", "evt3"),
        (b"% evt 2.1\n", "evt21"),
        (b"% format EVT21;endianness=legacy;height=480;width=640\n% end\n", "evt21"),
        (b"% Data file containing CD events.\n% Version 2\n\x0c\x08", "dat"),
    ],
)
def test_headers_of_prophesee(header, name):
    assert format_of(header) == name
    FORMATS[name].decoder().feed(header)


@pytest.mark.parametrize("name", ["evt2", "evt21", "evt3", "dat"])
def test_half_a_header_tells_nothing_wrong(name):
    made = writers.FORMATS[name]
    data = made.write(writers.some(made, 3))
    assert {format_of(data[:size]) for size in range(len(data) + 1)} == {None, name}


def test_a_header_without_an_end(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"% " * 2**16)
    with pytest.raises(BadInput, match=r"a\.dat: byte 0: a header of more than 65,536 bytes$"):
        recording(tmp_path / "a.dat")


def test_the_suffix_tells_what_the_content_does_not(tmp_path):
    (tmp_path / "a.BIN").write_bytes(writers.atis([(1, 2, 3, 1)]))
    assert recording(tmp_path / "a.BIN").format == "atis"
    (tmp_path / "a.txt").write_bytes(writers.atis([(1, 2, 3, 1)]))
    assert recording(tmp_path / "a.txt", "atis").format == "atis"
    (tmp_path / "a.xyz").write_bytes(writers.atis([(1, 2, 3, 1)]))
    with pytest.raises(
        BadInput, match=r"a\.xyz: its format is not known from its content or its suffix '\.xyz'"
    ) as caught:
        recording(tmp_path / "a.xyz")
    assert all(f"({name})" in str(caught.value) for name in FORMATS)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "a.txt",
            "is text, which cannot be read; load it with numpy.loadtxt, and save its columns with numpy.savez as",
        ),
        (
            "a.CSV",
            "is text, which cannot be read; load it with numpy.loadtxt, and save its columns with numpy.savez as",
        ),
        (
            "a.bag",
            "is a bag of ROS 1, which cannot be read; convert it to a bag of ROS 2: rosbags-convert --src FILE.bag",
        ),
        ("a.mp4", "is a video, which cannot be read; it has no events; v2e makes events from videos, as HDF5"),
        ("a.zip", "is a packed file, which cannot be read; unpack it, and give the files in it"),
        ("a.mat", "is a file of MATLAB, which cannot be read; load it with scipy.io.loadmat, and save its columns"),
        ("a.pt", "is a file of Python objects, which cannot be read; load it in Python, and save its columns"),
    ],
)
def test_the_way_to_convert_what_cannot_be_read(tmp_path, file, said):
    content = {".bag": b"#ROSBAG V2.0\n", ".zip": b"PK\x03\x04", ".pt": b"PK\x03\x04"}
    (tmp_path / file).write_bytes(content.get(file[1:], b"0.000001 1 2 1\n"))
    with pytest.raises(BadInput) as caught:
        recording(tmp_path / file)
    assert str(caught.value).startswith(f"{tmp_path / file} {said}")


def test_a_bag_of_ros_1_by_its_content(tmp_path):
    (tmp_path / "a").write_bytes(b"#ROSBAG V2.0\n")
    with pytest.raises(BadInput, match="a is a bag of ROS 1, which cannot be read"):
        recording(tmp_path / "a")


def test_content_counts_more_than_the_suffix(tmp_path):
    for file, name in (("a.txt", "evt3"), ("a.pt", "dat"), ("a.zip", "npy")):
        (tmp_path / file).write_bytes(writers.FORMATS[name].write([(1, 2, 3, 1)]))
        assert recording(tmp_path / file).format == name


@pytest.mark.parametrize("name", [None, *writers.FORMATS])
def test_what_is_no_file(tmp_path, name):
    if name == "aedat4":
        pytest.importorskip("aedat")
    for path, said in (
        (tmp_path / "none.bin", "does not exist"),
        (tmp_path, "is a folder, not a recording"),
        (tmp_path / "fifo.bin", "is not a regular file; a recording is a file"),
        (tmp_path / "empty.bin", "is empty; give a recording that has events"),
        (tmp_path / ("n" * 300), "cannot be read: File name too long"),
    ):
        if getattr(path, "name", "") == "fifo.bin" and not path.exists():
            os.mkfifo(path)
        (tmp_path / "empty.bin").touch()
        with pytest.raises(BadInput) as caught:
            recording(path, name)
        assert str(caught.value) in (f"{path} {said}", f"{path} does not exist")
    with pytest.raises(BadInput, match=r'`path` is "null\\u0000byte", and must be a path'):
        recording("null\0byte", name)


def test_a_format_that_there_is_not(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(BadInput, match=r"^there is no format 'h6'; choose one of aedat2, aedat3, aedat4, atis, "):
        recording(tmp_path / "a", "h6")


def test_a_file_that_is_gone_when_it_is_read(tmp_path):
    (tmp_path / "a.bin").write_bytes(writers.atis([(1, 2, 3, 1)]))
    found = recording(tmp_path / "a.bin")
    (tmp_path / "a.bin").unlink()
    with pytest.raises(BadInput, match=r"a\.bin cannot be read: No such file or directory"):
        list(found.chunks())


def test_frames_are_no_events(tmp_path):
    np.savez(tmp_path / "a.npz", frames=np.zeros((4, 2, 8, 8)))
    with pytest.raises(BadInput, match=r"a\.npz holds frames, not events; give a recording of events, or classify it"):
        recording(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", t=[1], x=[1])
    with pytest.raises(
        BadInput, match=r"b\.npz must have the arrays t, x, y and p .*, or one array events; it has t, x$"
    ):
        recording(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"t": ["1"]}, "array t has type <U1; events are integers, bools or floats"),
        (
            {"t": [1.5]},
            "its times have type float64, and the file does not say their unit; give `time_unit`, one of ns",
        ),
        ({"t": np.array([None])}, "has an array of Python objects; save arrays of numbers"),
        ({"x": [[1]]}, r"array x has shape \[1, 1\]; it must have one axis"),
        ({"x": [1, 2]}, "its arrays must have the same length; it has 1 t, 2 x, 1 y, 1 p"),
        ({"x": [-1]}, "x of event 0 is -1; it must be 0 to 65,535"),
        ({"y": [65536]}, "y of event 0 is 65536; it must be 0 to 65,535"),
        ({"p": [2]}, "p of event 0 is 2; it must be 0 or 1, or -1 or 1"),
        ({"x": [1.5]}, "x of event 0 is 1.5; it must be a whole number"),
        ({"x": [np.nan]}, "x of event 0 is nan; it must be 0 to 65,535"),
        ({"timestamps": [1]}, "t and timestamps could both be the t of events; keep one of them"),
        ({"t": np.array([2**63], np.uint64)}, "t of event 0 is 9223372036854775808"),
    ],
)
def test_arrays_that_are_no_events(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **({"t": [1], "x": [1], "y": [1], "p": [1]} | arrays))
    with pytest.raises(BadInput, match=rf"a\.npz:? {said}"):
        list(recording(tmp_path / "a.npz").chunks())


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr("tcja_runtime.events.formats.packages.importlib.util.find_spec", lambda _: None)
    (tmp_path / "a.aedat4").write_bytes(writers.aedat4([(1, 2, 3, 1)]))
    with pytest.raises(Unavailable, match=r"is AEDAT 4; the package aedat, .*, is missing: pip install aedat$"):
        recording(tmp_path / "a.aedat4")


def test_the_oldest_version_of_each_package_is_known():
    needed = {package for each in FORMATS.values() for package in (each.package, each.codecs) if package}
    assert needed
    assert needed <= OLDEST.keys()


def test_a_bag_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr("tcja_runtime.events.formats.packages.importlib.util.find_spec", lambda _: None)
    (tmp_path / "a.mcap").write_bytes(b"\x89MCAP0\r\n")
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").touch()
    for name in ("a.mcap", "bag"):
        said = rf"{name} is a bag of ROS 2; the package rosbags, which reads it, is missing: pip install rosbags$"
        with pytest.raises(Unavailable, match=said):
            recording(tmp_path / name)


@pytest.mark.parametrize(
    ("file", "content", "kind", "package", "oldest"),
    [
        ("a.aedat4", writers.aedat4([(1, 2, 3, 1)]), "AEDAT 4", "aedat", "2.2"),
        ("a.h5", b"\x89HDF\r\n\x1a\n", "HDF5", "h5py", "3.8"),
        ("a.db3", b"SQLite format 3\0", "a bag of ROS 2", "rosbags", "0.11"),
    ],
)
def test_a_package_that_is_too_old(tmp_path, monkeypatch, file, content, kind, package, oldest):
    monkeypatch.setattr("tcja_runtime.events.formats.packages.importlib.util.find_spec", lambda _: object())
    monkeypatch.setattr("tcja_runtime.events.formats.packages.version", lambda _: "0.1")
    (tmp_path / file).write_bytes(content)
    said = rf"{file} is {kind}; {package} 0.1 is too old, {oldest} is needed: run 'pip install -U {package}'$"
    with pytest.raises(Unavailable, match=said):
        recording(tmp_path / file)


@pytest.mark.parametrize("number", ["2.3.0", None])
def test_doctor_names_what_is_read_by_what(monkeypatch, number):
    monkeypatch.setattr(doctor, "version", lambda package: number if package == "aedat" else "1.0")
    found = {finding.what: finding for finding in doctor.examine()}
    alone = found["read event recordings"]
    assert alone.able
    assert all(each.title in alone.detail for each in FORMATS.values() if each.package is None)
    other = found["read AEDAT 4, as DV and dv-processing write it"]
    assert (other.able, other.fix) == ((True, "") if number else (False, "pip install aedat"))


@pytest.mark.parametrize("number", ["7.1.0", None])
def test_doctor_names_codecs_beside_the_reader(monkeypatch, number):
    monkeypatch.setattr(doctor, "version", lambda package: number if package == "hdf5plugin" else "9.0")
    found = {finding.what: finding for finding in doctor.examine()}
    title = FORMATS["hdf5"].title
    assert found[f"read {title}"].able
    codecs = found[f"read {title}, if compressed with blosc, zstd and others"]
    assert (codecs.able, codecs.fix) == ((True, "") if number else (False, "pip install hdf5plugin"))


def test_numpy_is_all_that_is_imported():
    code = """import sys
before = set(sys.modules)
import tcja_runtime.events
names = {name.partition(".")[0] for name in set(sys.modules) - before}
of_cython = {name for name in names if "cython" in name}  # of NumPy 1.24
print(sorted(names - of_cython - set(sys.stdlib_module_names)))"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "['numpy', 'tcja_runtime']\n"


LABELS = "class,startTime_usec,endTime_usec\n1,80048239,85092709\n8,150717639,157362334\n8,157300000,164029864\n"


def test_labels_beside_a_recording(tmp_path):
    file = tmp_path / "user01_lab.aedat"
    assert segments(file) is None
    spelt = LABELS, LABELS.replace("\n", "\r\n"), "\ufeff" + LABELS, LABELS.replace(",", ", ") + "\n\n"
    for text in (*spelt, LABELS.partition("\n")[2]):  # the last without heads
        (tmp_path / "user01_lab_labels.csv").write_text(text, encoding="utf-8", newline="")
        assert segments(file) == [
            Segment(80048239, 85092709, 0),
            Segment(150717639, 157362334, 7),
            Segment(157300000, 164029864, 7),
        ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"a_labels\.csv is empty; correct it, or remove it$"),
        ("class,start,end\n\n , ,\n", r"a_labels\.csv names no segment; correct it, or remove it$"),
        ("class,start,end\n1,2\n", r"line 2: '1,2' must be class, start and end$"),
        ("class,start,end\n1,2,3\n\n1,2,x\n", r"line 4: '1,2,x' must be class, start and end$"),
        (
            "class,start,end\n0,2,3\n",
            "line 2: class 0 from 2 to 3 us; classes count from 1, and .* must end after its begin$",
        ),
        ("class,start,end\n1,3,3\n", "line 2: class 1 from 3 to 3 us; "),
        ("class,start,end\n1,-3,3\n", "line 2: class 1 from -3 to 3 us; "),
        ("class,start,end\n1,3,9223372036854775808\n", "line 2: class 1 from 3 to 9223372036854775808 us; "),
        ("class,start,end\n" + "1," * 70000, "field larger|must be class"),
        ("class,start,end\n" + "1,2,3\n" * 200000, "has 1,200,016 bytes, and a label file has at most"),
        ("class,start,end\n" + "1" * 5000 + ",2,3\n", "must be class"),
        ("class\x00,start\n\x00,1,2\n", "must be class|is not a label file"),
    ],
)
def test_files_of_labels_that_are_none(tmp_path, text, said):
    (tmp_path / "a_labels.csv").write_text(text)
    with pytest.raises(BadInput, match=said) as caught:
        segments(tmp_path / "a.aedat")
    assert len(str(caught.value)) < 400


def test_labels_that_are_no_text(tmp_path):
    (tmp_path / "a_labels.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"a_labels\.csv cannot be read: 'utf-8'"):
        segments(tmp_path / "a.aedat")
