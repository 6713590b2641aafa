"""Pictures as arrays: against what Pillow reads, numpy's turns, and PNG files that are written by hand."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest

from tcja_runtime.data.images import decoding
from tcja_runtime.data.images.decoding import PictureHeader, decode, is_picture, read_header
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.files import limits

pytest.importorskip("PIL")
from PIL import Image, PngImagePlugin

ROWS, COLUMNS = 5, 7


def drawn(*shape: int, most: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, most, shape)


def picture(mode: str) -> Image.Image:
    """A picture in one of Pillow's modes; transparent modes are opaque everywhere."""
    if mode == "I;16":
        return Image.fromarray(drawn(ROWS, COLUMNS, most=65536).astype(np.uint16))
    colours = Image.fromarray(drawn(ROWS, COLUMNS, 3).astype(np.uint8))
    return colours.quantize(16) if mode == "P" else colours.convert(mode)


def png(rows: list[bytes], columns: int, depth: int, colours: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of rows without filters: the bits of a value, the type of the colours, and chunks before the rows."""
    head = struct.pack(">IIBBBBB", columns, len(rows), depth, colours, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", head), *chunks, (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
def test_pictures_have_the_values_that_pillow_reads(tmp_path, mode, channels):
    file = tmp_path / "a.png"
    picture(mode).save(file)
    with Image.open(file) as image:
        if mode == "I;16":
            wanted = np.stack([np.asarray(image).astype(np.int64)] * channels) / 65535
        else:
            values = np.asarray(image.convert({1: "L", 3: "RGB"}[channels])).reshape(ROWS, COLUMNS, channels)
            wanted = np.moveaxis(values, 2, 0) / 255
    found = decode(file, channels)
    assert (found.shape, found.dtype) == ((channels, ROWS, COLUMNS), np.float32)
    np.testing.assert_array_equal(found, wanted.astype(np.float32))
    assert found.max() > 0.5
    assert read_header(file) == PictureHeader((ROWS, COLUMNS), 1 if mode in ("1", "L", "LA", "I;16") else 3)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpeg_files_have_the_values_that_pillow_reads(tmp_path, mode):
    picture(mode).save(tmp_path / "a.jpg", quality=90)
    with Image.open(tmp_path / "a.jpg") as image:
        wanted = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(tmp_path / "a.jpg", 3), np.float32(wanted.transpose(2, 0, 1) / 255))


def test_colours_become_grey_by_their_weights(tmp_path):
    colours = drawn(ROWS, COLUMNS, 3)
    Image.fromarray(colours.astype(np.uint8)).save(tmp_path / "a.png")
    grey = colours @ [0.299, 0.587, 0.114] / 255
    assert np.abs(decode(tmp_path / "a.png", 1)[0] - grey).max() <= 1 / 255


@pytest.mark.parametrize(("depth", "most"), [(1, 1), (2, 3), (4, 15), (16, 65535)])
def test_grey_of_any_depth_is_a_share_of_the_largest_value(tmp_path, depth, most):
    values = drawn(ROWS, 8, most=most + 1)
    bits = (values[..., None] >> np.arange(depth)[::-1]) & 1
    rows = np.packbits(bits.reshape(ROWS, -1).astype(np.uint8), axis=1)
    (tmp_path / "a.png").write_bytes(png([row.tobytes() for row in rows], 8, depth, 0))
    np.testing.assert_allclose(decode(tmp_path / "a.png", 1)[0], values / most, rtol=1e-6)


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: np.rot90,
}
"""What the orientations of EXIF 2.3 say of a picture as it is stored."""


@pytest.mark.parametrize("orientation", TURNS)
def test_pictures_are_turned_as_exif_says(tmp_path, orientation):
    stored = drawn(ROWS, COLUMNS).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    wanted = TURNS[orientation](stored)
    np.testing.assert_array_equal(decode(tmp_path / "a.png", 1)[0], np.float32(wanted / 255))
    assert read_header(tmp_path / "a.png").size == wanted.shape


def test_an_orientation_behind_the_picture_is_found_when_it_is_decoded(tmp_path):
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    whole = png([bytes(range(4))] * 2, 4, 8, 0)
    end = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    (tmp_path / "a.png").write_bytes(whole[:-12] + end + whole[-12:])
    assert decode(tmp_path / "a.png", 1).shape == (1, 4, 2)


def saved(image: Image.Image, form: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


DAMAGED = r"is not a picture \(PNG or JPEG\), or it is damaged"


def see_through(mode: str) -> bytes:
    image = picture(mode)
    image.putpixel((1, 1), (*[9] * (len(mode) - 1), 254))
    return saved(image)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: see_through("RGBA"), "is transparent somewhere, and what is behind it is not known; save it without"),
        (lambda: see_through("LA"), "is transparent somewhere"),
        (lambda: saved(picture("P"), transparency=int(np.asarray(picture("P"))[0, 0])), "is transparent somewhere"),
        (lambda: png([b"\0\1\2\3"], 2, 16, 0, (b"tRNS", b"\0\1")), "is transparent somewhere"),
        (lambda: png([bytes(range(12))], 2, 16, 2), "has colours of 16 bits, of which Pillow reads 8; save it with 8"),
        (lambda: png([bytes(range(8))], 2, 16, 4), "has colours of 16 bits"),
        (lambda: saved(picture("CMYK"), "JPEG"), "has the colours CMYK; save it in grey or RGB"),
        (
            lambda: saved(picture("L"), save_all=True, append_images=[Image.new("L", (COLUMNS, ROWS))]),
            "is a moving picture of 2 frames; give single pictures",
        ),
        (lambda: saved(picture("L"), "GIF"), f"{DAMAGED}: its first bytes are those of neither$"),
        (lambda: b"", f"{DAMAGED}: its first bytes are those of neither$"),
        (lambda: saved(picture("L"))[:9], f"{DAMAGED}: "),
        (lambda: saved(picture("L"))[:-20], f"{DAMAGED}: "),
        (lambda: saved(picture("L"), "JPEG")[:-30], f"{DAMAGED}: "),
    ],
)
def test_what_cannot_be_read_rightly_is_refused(tmp_path, content, said):
    (tmp_path / "a.png").write_bytes(content())
    with pytest.raises(BadInput, match=rf"^\S+a\.png {said}") as caught:
        decode(tmp_path / "a.png", 1)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("most", [ROWS * COLUMNS - 1, ROWS * COLUMNS // 3])
def test_too_many_pixels_are_refused(tmp_path, monkeypatch, most):
    picture("L").save(tmp_path / "a.png")
    picture("L").save(tmp_path / "a.jpg")
    monkeypatch.setattr(limits, "PIXELS", most)
    for read, name in itertools.product((read_header, lambda file: decode(file, 1)), ("a.png", "a.jpg")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(BadInput, match=rf"{name} has more than {most} pixels, and is not decoded; give a sm"):
                read(tmp_path / name)


def test_as_many_pixels_as_the_limit_are_read(tmp_path, monkeypatch):
    picture("L").save(tmp_path / "a.png")
    monkeypatch.setattr(limits, "PIXELS", ROWS * COLUMNS)
    assert decode(tmp_path / "a.png", 1).shape == (1, ROWS, COLUMNS)


def vast(path: Path) -> None:
    picture("L").save(path)
    os.truncate(path, 200 * 10**9)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), vast])
def test_a_picture_is_a_file(tmp_path, make):
    """A pipe is not waited for, a device and 200 GB are not read."""
    make(tmp_path / "a.png")
    for read in (read_header, lambda file: decode(file, 1)):
        with pytest.raises(BadInput, match=r"a\.png (is a pipe, not|is a device, not|has 200,000,000,000 bytes, and)"):
            read(tmp_path / "a.png")


def test_the_bytes_that_were_checked_are_decoded(tmp_path, monkeypatch):
    """Another program writes the file when its checksums have been checked."""
    file, verify = tmp_path / "a.png", PngImagePlugin.PngImageFile.verify
    picture("L").save(file)
    wanted = decode(file, 1)

    def written(image):
        verify(image)
        Image.new("L", (COLUMNS, ROWS)).save(file)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "verify", written)
    np.testing.assert_array_equal(decode(file, 1), wanted)
    assert not decode(file, 1).any()


def test_the_filters_of_warnings_stay(tmp_path, monkeypatch):
    """They are those of all threads."""
    picture("L").save(tmp_path / "a.png")

    def changed(*_, **__):
        raise AssertionError("the filters were changed")

    with monkeypatch.context() as patch:  # pytest uses them as well
        patch.setattr(warnings, "catch_warnings", changed)
        patch.setattr(warnings, "simplefilter", changed)
        assert read_header(tmp_path / "a.png").size == decode(tmp_path / "a.png", 1).shape[1:]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BadInput, match=r"none\.png cannot be read or written: No such file"):
        read_header(tmp_path / "none.png")


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_damaged_file_is_refused_or_read(tmp_path, form):
    """Whichever byte is wrong, the only error is one that names the file. PNG has checksums: no value is ever wrong."""
    whole, read = saved(picture("RGB"), form), []
    for at in range(0, len(whole), 1 if form == "PNG" else 7):
        (tmp_path / "a.png").write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with contextlib.suppress(BadInput):
            read.append(decode(tmp_path / "a.png", 3))
    assert 0 < len(read) < len(whole) // 7
    if form == "PNG":
        values = np.float32(np.asarray(picture("RGB")).transpose(2, 0, 1) / 255)
        assert all(np.array_equal(each, values) for each in read)


@pytest.mark.parametrize(
    ("name", "content", "is_one"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n", True),
        ("a.jpg", b"\x89PNG\r\n\x1a\n", True),
        ("a", b"\xff\xd8\xff\xe0", True),
        ("a.JPEG", b"", True),
        ("a.png", b"<html>", False),
        ("a.npz", b"PK\3\4", False),
        ("a.gif", b"GIF89a", False),
        ("a.txt", b"text", False),
    ],
)
def test_pictures_are_told_by_their_bytes_and_then_by_their_suffix(tmp_path, name, content, is_one):
    (tmp_path / name).write_bytes(content)
    assert is_picture(tmp_path / name) == is_one


def test_without_pillow_its_extra_is_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "PIL" else find(name))
    with pytest.raises(Unavailable, match=r"a\.png is a picture; Pillow, .* run \"pip install 'tcja-deploy\[images\]'"):
        read_header(Path("a.png"))


def test_a_pillow_that_is_too_old_is_named(monkeypatch):
    monkeypatch.setattr(decoding, "version", lambda _: "9.5.0")
    with pytest.raises(Unavailable, match=r"a\.png is a picture; pillow 9\.5\.0 is too old, 10\.0 is needed: run 'pip"):
        read_header(Path("a.png"))
