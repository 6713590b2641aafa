"""Files that are no NIR graphs, and files that would read others or fill the memory."""

import struct
import zlib

import h5py
import numpy as np
import pytest

from tcja_exporters.nir_graphs.file import content_of, is_graph
from tcja_exporters.nir_graphs.file import read as read_content
from tcja_runtime.errors import BadInput, Unavailable

from . import graphs


def read(path):
    return read_content(path, content_of(path))


def outside(folder):
    """An HDF5 file that holds something private."""
    file = folder / "private.h5"
    with h5py.File(file, "w") as content:
        content["secret"] = np.full(5, 42.0, np.float32)
    return file


def test_the_content_is_that_which_the_package_reads(tmp_path):
    import nir

    file = graphs.written(graphs.small(), tmp_path)
    ours, theirs = read(file), nir.read(file)
    np.testing.assert_array_equal(ours["nodes"]["fc"]["weight"], theirs.nodes["fc"].weight)
    assert sorted(ours["nodes"]) == sorted(theirs.nodes)
    assert [tuple(edge) for edge in ours["edges"]] == theirs.edges


def test_a_graph_is_known_by_its_content_or_by_its_suffix(tmp_path):
    assert is_graph(graphs.written(graphs.small(), tmp_path))
    assert is_graph(graphs.written(graphs.small(), tmp_path, "renamed.h5"))
    assert not is_graph(outside(tmp_path))
    assert not is_graph(tmp_path / "missing.nir")
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04")
    assert not is_graph(tmp_path / "weights.pth")


def truncated(folder):
    file = graphs.written(graphs.small(), folder)
    file.write_bytes(file.read_bytes()[:-2000])
    return file


def damaged_heap(folder):
    """The free space behind the texts has no size, on which the HDF5 library never ends."""
    file = graphs.written(graphs.small(), folder)
    content = bytearray(file.read_bytes())
    at = content.index(b"GCOL") + 16
    while content[at : at + 2] != b"\0\0":
        at += 16 + -(-content[at + 8] // 8) * 8
    content[at + 8 : at + 16] = bytes(8)
    file.write_bytes(content)
    return file


def damaged_length(folder):
    """The length of the type of a node is 4 GB, for which the HDF5 library takes the memory first."""
    file = graphs.written(graphs.small(), folder)
    with h5py.File(file) as content:
        at = content["node/nodes/fc/type"].id.get_offset()
    data = bytearray(file.read_bytes())
    assert data[at : at + 4] == struct.pack("<I", len("Affine"))
    data[at : at + 4] = b"\xff" * 4
    file.write_bytes(data)
    return file


def with_bytes(content: bytes):
    def make(folder):
        (folder / "net.nir").write_bytes(content)
        return folder / "net.nir"

    return make


def by(change):
    return lambda folder: graphs.changed(change, folder)


def external_link(nodes):
    del nodes["lif/tau"]
    nodes["lif/tau"] = h5py.ExternalLink("private.h5", "/secret")


def soft_link(nodes):
    del nodes["lif/tau"]
    nodes["lif/tau"] = h5py.SoftLink("/node/nodes/lif/r")


def external_storage(nodes):
    del nodes["lif/tau"]
    nodes["lif"].create_dataset("tau", shape=(5,), dtype="f4", external=[("/etc/hostname", 0, 20)])


def virtual(nodes):
    del nodes["lif/tau"]
    layout = h5py.VirtualLayout(shape=(5,), dtype="f4")
    layout[:] = h5py.VirtualSource("private.h5", "secret", shape=(5,))
    nodes["lif"].create_virtual_dataset("tau", layout)


def inside_itself(nodes):
    nodes["lif/again"] = nodes


def huge(nodes):
    del nodes["fc/weight"]
    nodes["fc"].create_dataset("weight", shape=(2**20, 2**20), dtype="f4", chunks=(64, 64))


def nan(nodes):
    nodes["fc/weight"][0, 0] = np.nan


def complex_weights(nodes):
    graphs.replaced(nodes, "fc/weight", np.zeros((5, 6), np.complex64))


def no_values(nodes):
    del nodes["fc/weight"]
    nodes["fc/weight"] = h5py.Empty("f4")


def long_text(nodes):
    graphs.replaced(nodes, "fc/type", "A" * 2**21)


def long_fixed_text(nodes):
    del nodes["fc/type"]
    nodes["fc"].create_dataset("type", (), "S1000000000")


def text_in_chunks(nodes):
    del nodes["fc/type"]
    nodes["fc"].create_dataset("type", data=["Affine"], dtype=h5py.string_dtype(), chunks=(1,))


def many_chunks(nodes):
    del nodes["fc/weight"]
    nodes["fc"].create_dataset("weight", (2**20,), "f4", chunks=(1,))


def unpacks_to_much(nodes):
    del nodes["fc/weight"]
    made = nodes["fc"].create_dataset("weight", (5, 6), "f4", chunks=(128, 128), maxshape=(None, None), compression=9)
    made.id.write_direct_chunk((0, 0), zlib.compress(bytes(2**26 + 2**20), 9))


def large_chunk(nodes):
    """It is stored in more than twice its bytes."""
    del nodes["fc/weight"]
    made = nodes["fc"].create_dataset("weight", (5, 6), "f4", chunks=(5, 6), compression="lzf")
    made.id.write_direct_chunk((0, 0), bytes(10**4))


BROKEN = {
    "empty": (with_bytes(b""), "is not HDF5, so it is no NIR graph; pass the file that nir.write wrote"),
    "a text": (with_bytes(b"version https://git-lfs.github.com/spec/v1"), "is a Git LFS pointer .*, so it is no NIR"),
    "truncated": (truncated, r"is truncated or damaged \(.*\); copy it again"),
    "only the magic number": (with_bytes(b"\x89HDF\r\n\x1a\n"), "is truncated or damaged"),
    "a damaged heap": (damaged_heap, r"is damaged: the heap of texts at byte [\d,]+ does not fit; copy it again"),
    "NaN": (by(nan), "/node/nodes/fc/weight holds 1 values that are NaN or infinite"),
    "complex numbers": (by(complex_weights), "/node/nodes/fc/weight holds values of type complex64, not numbers"),
    "no values": (by(no_values), "/node/nodes/fc/weight has no values"),
    "a long text": (by(long_text), "/node/nodes/fc/type holds more text than the names of a network"),
    "a damaged length of a text": (
        damaged_length,
        "is damaged: a text of /node/nodes/fc/type has not the 4,294,967,295 bytes that it asks for",
    ),
    "a long text of fixed length": (
        by(long_fixed_text),
        "/node/nodes/fc/type holds more text than the names of a network",
    ),
    "texts in chunks": (by(text_in_chunks), "the texts of /node/nodes/fc/type are stored in a way that is not read"),
    "many chunks": (by(many_chunks), "/node/nodes/fc/weight has more than 262,144 chunks; store it with larger ones"),
    "packed": (by(unpacks_to_much), "a chunk of /node/nodes/fc/weight unpacks to more than its size; copy it again"),
    "a large chunk": (by(large_chunk), "a chunk of /node/nodes/fc/weight unpacks to more than its size"),
    "a huge array": (by(huge), "/node/nodes/fc/weight has 1048576 x 1048576 values, far more than the file can store"),
    "an external link": (by(external_link), r"/node/nodes/lif/tau is a link to another place \(ExternalLink\)"),
    "a soft link": (by(soft_link), r"/node/nodes/lif/tau is a link to another place \(SoftLink\)"),
    "external storage": (by(external_storage), "the values of /node/nodes/lif/tau are in other files"),
    "a virtual dataset": (by(virtual), "the values of /node/nodes/lif/tau are in other files"),
    "a group inside itself": (by(inside_itself), "the group /node/nodes/lif/again is inside itself"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_files_are_refused_in_a_line(broken, tmp_path):
    outside(tmp_path)
    make, text = BROKEN[broken]
    file = make(tmp_path)
    with pytest.raises(BadInput, match=text) as raised:
        read(file)
    assert str(raised.value).startswith(str(file))
    assert "\n" not in str(raised.value)


def test_hdf5_without_a_graph_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"private.h5 is HDF5, but no NIR graph: it has no group 'node'; see nir.write"):
        read(outside(tmp_path))


def test_a_missing_package_is_named_with_the_command(tmp_path, monkeypatch):
    file = graphs.written(graphs.small(), tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(
        Unavailable, match=r"the package h5py and nir is missing: run \"pip install 'tcja-deploy\[nir\]'"
    ):
        read(file)
