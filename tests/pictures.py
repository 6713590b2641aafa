"""Pixels of the pictures in a page, decoded by hand."""

from __future__ import annotations

import base64
import re
import struct
import zlib

import numpy as np
import numpy.typing as npt


def decoded(page: str) -> list[npt.NDArray[np.uint8]]:
    """Each picture [H, W, 3] of a page."""
    return [pixels(base64.b64decode(data)) for data in re.findall(r'"data:image/png;base64,([^"]+)"', page)]


def pixels(png: bytes) -> npt.NDArray[np.uint8]:
    """Pixels [H, W, 3], grey ones [H, W, 1], of a PNG file, which must be sound, of 8 bits a channel and unfiltered."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + content),)
        chunks[kind] = content
        at += 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, rest) == (8, [0, 0, 0])
    channels = {0: 1, 2: 3}[colour]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + channels * width)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, channels)
