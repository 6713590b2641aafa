"""Pixels of the pictures in a page, decoded by hand."""

from __future__ import annotations

import base64
import re
import struct
import zlib

import numpy as np
import numpy.typing as npt


def decoded(page: str) -> list[npt.NDArray[np.uint8]]:
    """Each picture [H, W, 3] of a page, whose PNG files must be sound and of 8 bits a channel, unfiltered."""
    return [_pixels(base64.b64decode(data)) for data in re.findall(r'"data:image/png;base64,([^"]+)"', page)]


def _pixels(png: bytes) -> npt.NDArray[np.uint8]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + content),)
        chunks[kind] = content
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)
