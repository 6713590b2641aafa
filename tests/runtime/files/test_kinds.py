"""Files of each kind, written by their own libraries where there are such, are told by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zipfile

import numpy as np
import pytest

from tcja_runtime.files.kinds import Kind, kind_of, other_kind


def written(write) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def zipped(file: io.BytesIO) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "a")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
FILES = {
    Kind.NPY: written(lambda file: np.save(file, np.ones(3))),
    Kind.ZIP: written(lambda file: np.savez(file, a=np.ones(3))),
    Kind.GZIP: gzip.compress(b"a"),
    Kind.BZIP2: bz2.compress(b"a"),
    Kind.XZ: lzma.compress(b"a"),
    Kind.PICKLE: pickle.dumps([1], protocol=2),
    Kind.HTML: b"\n <!DOCTYPE html><p>",
    Kind.LFS: LFS,
}


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.name)
def test_a_file_of_a_library_is_of_its_kind(kind):
    assert kind_of(FILES[kind]) is kind


def test_each_kind_is_told_from_all_others():
    for kind in Kind:
        assert [kind_of(first + b"...") for first in kind.value] == [kind] * len(kind.value)
    for head in (b"", b"PK", b"#!AER-DAT2.0", bytes(16)):
        assert kind_of(head) is None


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.raw", LFS, "a Git LFS pointer ('git lfs pull' fetches the file itself)"),
        ("a.npz", FILES[Kind.HTML], "a page (HTML)"),
        ("a.dat", b"ptrt" + bytes(60), "an engine of TensorRT"),
        ("a.plan", bytes(60), "an engine of TensorRT"),
        ("a.bin", LFS, None),  # the events of ATIS can begin with any bytes
        ("a.npz", written(zipped), None),
        ("a.plan", b"", None),
    ],
)
def test_what_can_be_no_data_is_named(tmp_path, name, content, what):
    (tmp_path / name).write_bytes(content)
    assert other_kind(tmp_path / name) == what
