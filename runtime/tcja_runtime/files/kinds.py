"""Kinds of files by their first bytes, for those that are often given in place of another, and what such a file is."""

from __future__ import annotations

import enum
from pathlib import Path

from tcja_runtime.errors import BadInput
from tcja_runtime.files import zips


class Kind(enum.Enum):
    """A kind of file; its value has the first bytes of such files, one of which each file has."""

    PNG = (b"\x89PNG\r\n\x1a\n",)
    JPEG = (b"\xff\xd8\xff",)
    GIF = (b"GIF8",)
    TIFF = (b"II*\0", b"MM\0*")
    PDF = (b"%PDF",)
    HTML = (b"<!doctype", b"<html")
    PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    ZIP = (b"PK\x03\x04",)
    NPY = (b"\x93NUMPY",)
    HDF5 = (b"\x89HDF\r\n\x1a\n",)
    ROS1 = (b"#ROSBAG V",)
    GGUF = (b"GGUF",)
    ENGINE = (b"ptrt",)
    LFS = (b"version https://git-lfs",)
    GZIP = (b"\x1f\x8b",)
    BZIP2 = (b"BZh",)
    XZ = (b"\xfd7zXZ\x00",)
    ZSTD = (b"\x28\xb5\x2f\xfd",)
    SEVEN_ZIP = (b"7z\xbc\xaf\x27\x1c",)
    RAR = (b"Rar!",)


_LONGEST = max(len(first) for kind in Kind for first in kind.value)
_NO_DATA = {
    Kind.PNG: "a picture (PNG)",
    Kind.JPEG: "a picture (JPEG)",
    Kind.GIF: "a picture (GIF)",
    Kind.TIFF: "a picture (TIFF)",
    Kind.PDF: "a document (PDF)",
    Kind.HTML: "a page (HTML)",
    Kind.PICKLE: "a pickle of Python objects",
    Kind.GGUF: "the weights of a network (GGUF)",
    Kind.ENGINE: "an engine of TensorRT",
    Kind.LFS: "a Git LFS pointer ('git lfs pull' fetches the file itself)",
}
_SUFFIXES = {
    ".bmp": "a picture (BMP)",
    ".webp": "a picture (WEBP)",
    ".onnx": "an ONNX model",
    ".safetensors": "the weights of a network (safetensors)",
    ".engine": "an engine of TensorRT",
    ".plan": "an engine of TensorRT",
}


def kind_of(head: bytes) -> Kind | None:
    """Returns the kind of a file with these first bytes; None if it is none of `Kind`.

    Spaces and capital letters at the beginning of a page (HTML) say nothing.
    """
    if head.lstrip().lower().startswith(Kind.HTML.value):
        return Kind.HTML
    return next((kind for kind in Kind if head.startswith(kind.value)), None)


def is_bundle(path: Path) -> bool:
    """Whether a path is the folder of a bundle: it has a manifest."""
    return (path / "manifest.json").is_file()


def other_kind(path: Path) -> str | None:
    """Returns what a file or folder is that can be no data, such as "a picture (PNG)"; None if it is not known.

    It is told by the first bytes, or else by the suffix. A file that cannot be read, or does not exist, is not known.
    Nor is a .bin, because the events of ATIS can begin with any bytes.
    """
    if path.is_dir():
        return "a bundle" if is_bundle(path) else None
    if path.suffix.lower() == ".bin":
        return None
    head = _head(path)
    kind = kind_of(head)
    if kind is Kind.ZIP:
        return _archive(path)
    if kind in _NO_DATA:
        return _NO_DATA[kind]
    return _SUFFIXES.get(path.suffix.lower()) if head else None


def kind_in(path: Path) -> Kind | None:
    """Returns the kind of a file; None if it is none of `Kind`, or cannot be read, or does not exist."""
    return kind_of(_head(path))


def _head(path: Path) -> bytes:
    """The first bytes of a file; none if it cannot be read, or does not exist."""
    if not path.is_file():  # a pipe might never end
        return b""
    try:
        with path.open("rb") as stream:
            return stream.read(_LONGEST)
    except (OSError, ValueError):
        return b""


def _archive(path: Path) -> str | None:
    """What an archive is: a checkpoint of `torch.save` has a member data.pkl."""
    try:
        with path.open("rb") as stream, zips.opened(stream, path) as archive:
            names = archive.namelist()
    except (OSError, BadInput):
        return None
    return "a checkpoint of PyTorch" if any(name.rpartition("/")[2] == "data.pkl" for name in names) else None
