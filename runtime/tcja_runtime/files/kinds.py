"""Files that are often given in place of data, by what they are."""

from __future__ import annotations

import zipfile
from pathlib import Path

_FIRST = {
    b"\x89PNG\r\n\x1a\n": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"GIF8": "a picture (GIF)",
    b"II*\0": "a picture (TIFF)",
    b"MM\0*": "a picture (TIFF)",
    b"%PDF": "a document (PDF)",
    b"<!DOCTYPE": "a page (HTML)",
    b"<html": "a page (HTML)",
    b"\x80\x02": "a pickle of Python objects",
    b"\x80\x03": "a pickle of Python objects",
    b"\x80\x04": "a pickle of Python objects",
    b"\x80\x05": "a pickle of Python objects",
}
_SUFFIXES = {
    ".bmp": "a picture (BMP)",
    ".onnx": "an ONNX model",
    ".safetensors": "the weights of a network (safetensors)",
    ".engine": "an engine of TensorRT",
    ".plan": "an engine of TensorRT",
}
_ZIP = b"PK\x03\x04"


def other_kind(path: Path) -> str | None:
    """Returns what a file or folder is that can be no data, such as "a picture (PNG)"; None if it is not known.

    It is told by the first bytes, or else by the suffix. A file that cannot be read, or does not exist, is not known.
    Nor is a .bin, because the events of ATIS can begin with any bytes.
    """
    if path.is_dir():
        return "a bundle" if (path / "manifest.json").is_file() else None
    if path.suffix.lower() == ".bin" or not path.is_file():  # a pipe might never end
        return None
    try:
        with path.open("rb") as stream:
            head = stream.read(16)
    except (OSError, ValueError):
        return None
    if head.startswith(_ZIP):
        return _archive(path)
    for first, kind in _FIRST.items():
        if head.startswith(first):
            return kind
    return _SUFFIXES.get(path.suffix.lower()) if head else None


def _archive(path: Path) -> str | None:
    """What an archive is: a checkpoint of `torch.save` has a member data.pkl."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return None
    return "a checkpoint of PyTorch" if any(name.rpartition("/")[2] == "data.pkl" for name in names) else None
