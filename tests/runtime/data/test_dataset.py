import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.dataset import load
from tcja_runtime.errors import BadInput

FRAMES = InputContract.frames(3, 4, 5)
IMAGES = InputContract.images(1, 4, 4)
FEATURES = InputContract.of((5, 3))


def named(n: int) -> list[str]:
    """Classes of a network."""
    return [f"class {i}" for i in range(n)]


def write(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def test_load_frames_and_labels(tmp_path):
    frames = np.random.default_rng(0).poisson(1.0, (2, 3, 2, 4, 5))
    samples = load(write(tmp_path / "a.npz", frames=frames.astype(np.uint8), labels=np.array([1, 0])), FRAMES, named(2))
    np.testing.assert_array_equal(next(samples.batches(9)), frames.astype(np.float32))
    np.testing.assert_array_equal(samples.labels, [1, 0])
    assert next(samples.batches(9)).dtype == np.float32
    assert samples.real
    assert len(samples.first(1)) == len(samples.first(1).labels) == 1


def test_integer_images_are_scaled_to_the_unit_interval(tmp_path):
    images = np.array([0, 51, 255, 102] * 4, np.uint8).reshape(1, 1, 4, 4)
    samples = load(write(tmp_path / "a.npz", images=images), IMAGES, named(10))
    np.testing.assert_array_equal(next(samples.batches(9)).ravel()[:4], np.float32([0, 0.2, 1, 0.4]))
    assert samples.labels is None


@pytest.mark.parametrize("kind", [np.float64, np.int16, np.float16])
def test_features_are_taken_as_they_are(tmp_path, kind):
    values = (np.arange(30).reshape(2, 5, 3) - 15).astype(kind) * 7
    samples = load(write(tmp_path / "a.npz", features=values, labels=np.array([1, 0])), FEATURES, named(2))
    np.testing.assert_array_equal(next(samples.batches(9)), values.astype(np.float32))
    assert (samples.source, samples.labels.tolist()) == ("a.npz", [1, 0])


def test_a_folder_is_its_files_in_order(tmp_path):
    for i in (1, 0):
        write(tmp_path / f"{i}.npz", images=np.full((2, 1, 4, 4), i, np.float32), labels=np.full(2, i))
    samples = load(tmp_path, IMAGES, named(2))
    np.testing.assert_array_equal(next(samples.batches(9))[:, 0, 0, 0], [0, 0, 1, 1])
    np.testing.assert_array_equal(samples.labels, [0, 0, 1, 1])


GOOD = np.zeros((2, 1, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"frames": GOOD}, r"has no array 'images' \(it has: frames\)"),
        ({"images": GOOD[:, :, :3]}, r"shape \(2, 1, 3, 4\), the network takes \[N, 1, 4, 4\] \(N, C, H, W\)"),
        ({"images": GOOD[:0]}, "'images' is empty"),
        ({"images": GOOD.astype(str)}, "type <U32, it must have numbers"),
        ({"images": GOOD * np.nan}, "NaN, infinite or too large for float32"),
        ({"images": GOOD.astype(float) + 1e300}, "NaN, infinite or too large for float32"),
        ({"images": GOOD, "labels": np.zeros(3, int)}, "'labels' must be 2 integers"),
        ({"images": GOOD, "labels": np.zeros(2)}, "'labels' must be 2 integers, it is float64"),
        ({"images": GOOD, "labels": np.array([0, 10])}, r"label 10 is outside the network's 10 classes \(0..9\)"),
    ],
)
def test_data_that_does_not_meet_the_contract_is_refused(tmp_path, arrays, message):
    with pytest.raises(BadInput, match=message):
        load(write(tmp_path / "bad.npz", **arrays), IMAGES, named(10))


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "is not an .npz file"), (b"PK\3\4 but no more", "or it is damaged")],
)
def test_files_that_are_no_archive_are_refused(tmp_path, content, message):
    path = tmp_path / "bad.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=message):
        load(path, IMAGES, named(10))


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", images=np.array([object()], object))
    with pytest.raises(BadInput, match="has an array of Python objects; save"):
        load(tmp_path / "objects.npz", IMAGES, named(10))


def other(folder: Path, name: str) -> Path:
    """A file, or a folder, that is often given in place of data."""
    path = folder / name
    if name == "net.bundle":
        path.mkdir()
        (path / "manifest.json").touch()
    elif name.endswith((".pth", ".npz")):
        torch.save({"w": torch.zeros(1)}, path)
    elif name.endswith(".npy"):
        np.save(path, GOOD)
    else:
        path.write_bytes(
            {"png": b"\x89PNG\r\n\x1a\n123", "jpg": b"\xff\xd8\xff\xe0abc", "gif": b"GIF89a"}.get(
                name[-3:], b"#!AER-DAT2.0\r\n"
            )
        )
    return path


TAKES = {
    IMAGES: r"the network takes pictures \(PNG, JPEG\), or an \.npz with 'images' \[N, 1, 4, 4\]$",
    FEATURES: r"the network takes an \.npz with 'features' \[N, 5, 3\]$",
    FRAMES: r"the network takes recordings of events, or an \.npz with 'frames' \[N, 3, 2, 4, 5\]$",
}


@pytest.mark.parametrize(
    ("name", "contract", "kind"),
    [
        ("net.pth", FRAMES, "a checkpoint of PyTorch"),
        ("net.npz", FRAMES, "a checkpoint of PyTorch"),
        ("net.pth", IMAGES, "a checkpoint of PyTorch"),
        ("cat.png", FEATURES, r"a picture \(PNG\)"),
        ("a.aedat", FEATURES, "a recording of events"),
        ("cat.png", FRAMES, r"a picture \(PNG\)"),
        ("cat.gif", IMAGES, r"a picture \(GIF\)"),
        ("cat.webp", IMAGES, r"a picture \(WEBP\)"),
        ("cat.jpg", FRAMES, r"a picture \(JPEG\)"),
        ("net.onnx", FRAMES, "an ONNX model"),
        ("one.npy", IMAGES, r"a single array \(.npy\)"),
        ("a.aedat", IMAGES, "a recording of events"),
        ("a.bin", IMAGES, "a recording of events"),
    ],
)
def test_what_is_no_data_of_the_network_is_named(tmp_path, name, contract, kind):
    with pytest.raises(BadInput, match=f"{name} is {kind}; {TAKES[contract]}"):
        load(other(tmp_path, name), contract, named(10))


def test_a_bundle_and_a_folder_without_data_are_no_data(tmp_path):
    with pytest.raises(BadInput, match=r"net\.bundle is a bundle, not a folder of data; give the files"):
        load(other(tmp_path, "net.bundle"), FRAMES, named(10))
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        other(tmp_path / "pictures", f"{i}.gif")
    with pytest.raises(BadInput, match=r"is a folder without data files; their suffixes are .*; it has 3 with \.gif$"):
        load(tmp_path / "pictures", IMAGES, named(10))


def test_events_of_atis_may_begin_like_anything(tmp_path):
    """Here like a pickle: an event in column 128, row 2."""
    (tmp_path / "a.bin").write_bytes(bytes([0x80, 2, 0, 0, 1]))
    assert len(load(tmp_path / "a.bin", InputContract.frames(1, 256, 256), named(2))) == 1


@pytest.mark.parametrize(
    ("contract", "values", "remark"),
    [
        (IMAGES, np.array([0, 255], np.uint8), ""),
        (IMAGES, np.array([False, True]), ""),
        (IMAGES, np.array([0.0, 1.0]), ""),
        (IMAGES, np.array([-1.0, 255.0]), ", values from -1 to 255 although intensities are in [0, 1]"),
        (FRAMES, np.array([0, 300]), ""),
        (FRAMES, np.array([-2, 3]), ", values from -2 to 3 although counts are not negative"),
    ],
)
def test_unusual_values_are_taken_and_remarked_on(tmp_path, contract, values, remark):
    """A network may have been trained on scaled images; whoever forgot to scale them should read it."""
    array = np.zeros((2, *contract.shape), values.dtype)
    array.flat[:2] = values
    samples = load(write(tmp_path / "a.npz", **{contract.name: array}), contract, named(10))
    assert samples.source == "a.npz" + remark
    assert next(samples.batches(9)).max() == (1 if values.max() in (1, 255) and not remark else values.max())
    write(tmp_path / "b.npz", **{contract.name: array})
    assert load(tmp_path, contract, named(10)).source.endswith("/ (2 files)" + remark)


def test_folders_are_refused_when_empty_or_half_labelled(tmp_path):
    with pytest.raises(BadInput, match="is a folder without data files; their suffixes are "):
        load(tmp_path, IMAGES, named(10))
    write(tmp_path / "a.npz", images=GOOD)
    write(tmp_path / "b.npz", images=GOOD, labels=np.zeros(2, int))
    with pytest.raises(BadInput, match="some of its files have labels and some do not"):
        load(tmp_path, IMAGES, named(10))


NUMBERED = np.arange(7, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 4, 4), np.float32)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed], ids=["stored", "compressed"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("sizes", [(7,), (1, 6), (2, 2, 3), (1,) * 7])
def test_batches_are_full_wherever_files_end(tmp_path, save, order, sizes):
    starts = np.cumsum([0, *sizes])
    for i, (start, size) in enumerate(zip(starts, sizes, strict=False)):
        part = np.asarray(NUMBERED[start : start + size], order=order)
        save(tmp_path / f"{i}.npz", images=part, labels=np.arange(start, start + size))
    found = load(tmp_path, IMAGES, named(7))
    assert len(found) == 7
    for size in (1, 2, 3, 7, 9):
        for start in range(8):
            batches = list(found.batches(size, start))
            assert all(len(batch) == size for batch in batches[:-1])
            joined = np.concatenate([NUMBERED[:0], *batches])
            np.testing.assert_array_equal(joined, NUMBERED[start:])
    first = found.first(3)
    assert len(first) == len(first.labels) == 3
    assert [len(batch) for batch in first.batches(2)] == [2, 1]
    np.testing.assert_array_equal(np.concatenate(list(first.batches(2, 1))), NUMBERED[1:3])


def test_files_are_not_held_in_memory(tmp_path):
    n = 40_000
    write(tmp_path / "a.npz", images=np.zeros((n, 1, 4, 4)))
    tracemalloc.start()
    try:
        found = load(tmp_path / "a.npz", IMAGES, named(10))
        assert sum(map(len, found.batches(64))) == n
        assert tracemalloc.get_traced_memory()[1] < 2**20  # of 5 MB
    finally:
        tracemalloc.stop()


def test_the_digest_tells_data_apart(tmp_path):
    for folder, i in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.npz", images=np.full((2, 1, 4, 4), i, np.float32))
        write(tmp_path / folder / "y.npz", images=GOOD)
    (tmp_path / "d").mkdir()
    np.savez_compressed(tmp_path / "d" / "x.npz", images=GOOD)
    np.savez_compressed(tmp_path / "d" / "y.npz", images=GOOD)
    a, b, c, d = (load(tmp_path / folder, IMAGES, named(10)).digest for folder in "abcd")
    assert a == b == d != c
    assert load(tmp_path / "a", IMAGES, named(10)).first(1).digest == a
    assert load(tmp_path / "a" / "y.npz", IMAGES, named(10)).digest != a


def test_what_is_wrong_far_behind_is_said_when_it_is_reached(tmp_path):
    images = np.zeros((100, 1, 4, 4), np.float32)
    images[70] = np.nan
    batches = load(write(tmp_path / "a.npz", images=images), IMAGES, named(10)).batches(32)
    assert len(next(batches)) == len(next(batches)) == 32
    with pytest.raises(BadInput, match="a.npz: 'images' has values that are NaN"):
        next(batches)


def test_a_file_cut_short_or_changed_is_refused(tmp_path):
    whole = write(tmp_path / "a.npz", images=np.arange(16 * 4000, dtype=np.float32).reshape(4000, 1, 4, 4))
    content = bytearray(whole.read_bytes())
    content[200_000] ^= 1
    whole.write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.npz: byte \d+: array \w+, which begins here, is damaged: "):
        list(load(whole, IMAGES, named(10)).batches(64))
    np.savez_compressed(whole, images=np.random.default_rng(0).integers(0, 256, (20_000, 1, 4, 4), np.uint8))
    content = bytearray(whole.read_bytes())
    content[200_000:200_100] = bytes(100)
    whole.write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.npz: byte \d+: array \w+, which begins here, is damaged: "):
        list(load(whole, IMAGES, named(10)).batches(64))


@pytest.mark.parametrize(
    ("shape", "fortran"), [((10**12, 1, 4, 4), False), ((10**12, 1, 4, 4), True), ((-5, 1, 4, 4), False)]
)
def test_a_header_that_says_more_than_there_is_is_refused(tmp_path, shape, fortran):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": fortran, "shape": shape})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue())
    with pytest.raises(BadInput, match=r"a\.npz: byte \d+: array \w+, which begins here, is damaged: "):
        load(tmp_path / "a.npz", IMAGES, named(10))


def test_an_encrypted_archive_is_refused(tmp_path):
    file = write(tmp_path / "a.npz", images=GOOD)
    content = bytearray(file.read_bytes())
    content[content.find(b"PK\1\2") + 8] |= 1
    content[content.find(b"PK\3\4") + 6] |= 1
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.npz: byte \d+: array \w+, which begins here, is damaged: "):
        load(file, IMAGES, named(10))


def test_what_is_no_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for path in (tmp_path / "pipe.npz", Path("/dev/zero")):
        with pytest.raises(BadInput, match=f"{path} is a (pipe|device), not a file"):
            load(path, IMAGES, named(10))


def test_members_that_are_no_arrays_are_passed_over(tmp_path):
    file = write(tmp_path / "a.npz", images=GOOD)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("README.txt", "hello")
    assert len(load(file, IMAGES, named(10))) == 2
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("odd.npy", "no array")
    with pytest.raises(BadInput, match=r"a\.npz: byte \d+: array \w+, which begins here, is damaged: "):
        load(file, IMAGES, named(10))


def test_a_header_that_is_no_text_of_python_and_a_damaged_lzma_member_are_refused(tmp_path):
    header = b"{'descr':'|u1'" + b" " * 50 + b"\n"
    with zipfile.ZipFile(tmp_path / "header.npz", "w") as archive:
        archive.writestr("frames.npy", b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(784))
    np.savez(tmp_path / "sound.npz", frames=np.zeros((3, *FRAMES.shape), np.float32))
    with zipfile.ZipFile(tmp_path / "sound.npz") as sound:
        content = sound.read("frames.npy")
    with zipfile.ZipFile(tmp_path / "lzma.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("frames.npy", content)
        at = archive.infolist()[0].header_offset + 60
    damaged = bytearray((tmp_path / "lzma.npz").read_bytes())
    damaged[at : at + 8] = bytes(8)
    (tmp_path / "lzma.npz").write_bytes(damaged)
    for name in ("header.npz", "lzma.npz"):
        with pytest.raises(BadInput, match=f"{name}: byte 0: array frames, which begins here, is damaged: "):
            list(load(tmp_path / name, FRAMES, None).batches(1))


def test_the_stamp_tells_when_a_file_was_written(tmp_path):
    np.savez(tmp_path / "a.npz", frames=np.zeros((1, *FRAMES.shape), np.float32))
    first = load(tmp_path / "a.npz", FRAMES, None)
    os.utime(tmp_path / "a.npz", ns=(1, 1))
    second = load(tmp_path / "a.npz", FRAMES, None)
    assert first.digest == second.digest
    assert first.stamp != second.stamp
