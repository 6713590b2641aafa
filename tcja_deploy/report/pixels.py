"""Pictures of windows, as PNG files in data URLs: frames of events in a colour for each polarity, images, features."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import Floats

Pixels = npt.NDArray[np.uint8]

PAPER = 255.0
INKS = {"off": (184, 64, 26), "on": (8, 81, 156)}
INK = (40, 40, 40)  # for events of unknown polarity
_LEVELS = 12  # the strengths of an ink in a picture of a whole window, which has few so that the file is small


def frames(events: Floats, polarity: tuple[str, str] | None) -> Pixels:
    """Return pictures [T, H, W, 3] of event counts [T, P, H, W], all on one scale.

    Args:
        events: the counts.
        polarity: the polarities "off" and "on" in the order of the axis P, each with its own ink; None if the order is
            not known, so that all events have one ink.
    """
    if polarity is None:
        return _inked(_strength(events.sum(1, keepdims=True)), [INK])
    return _inked(_strength(events), [INKS[name] for name in polarity])


def window(events: Floats, polarity: tuple[str, str] | None) -> Pixels:
    """Return one picture [H, W, 3] of the events of all frames [T, P, H, W], in the inks of `frames`."""
    total = events.clip(0).sum(0, keepdims=True)
    if polarity is None:
        total = total.sum(1, keepdims=True)
    strength = (np.ceil(_strength(total) * _LEVELS) / _LEVELS).astype(np.float32)
    picture: Pixels = _inked(strength, [INK] if polarity is None else [INKS[name] for name in polarity])[0]
    return picture


def image(values: Floats) -> Pixels:
    """Return a picture [H, W, 3] of an image [C, H, W] with values from 0 to 1.

    If the image does not have three channels, its first channel is shown in grey.
    """
    channels = values if len(values) == 3 else values[:1].repeat(3, axis=0)
    return (channels.transpose(1, 2, 0).clip(0, 1) * 255).astype(np.uint8)


def features(values: Floats) -> Pixels:
    """Return a picture of features [T, F] or [T, C, L]: a column for each time step, a row for each value of a step.

    Positive values have the ink of on events, and negative ones that of off events, both on one scale.
    """
    rows = values.reshape(len(values), -1).T
    strength = np.abs(rows) / max(float(np.abs(rows).max()), float(np.finfo(np.float32).tiny))
    signs: Floats = np.stack([strength * (rows < 0), strength * (rows > 0)])[None].astype(np.float32)
    picture: Pixels = _inked(signs, [INKS["off"], INKS["on"]])[0]
    return picture


def png(picture: Pixels) -> str:
    """Return a picture [H, W, 3] as a data URL (W3C Portable Network Graphics, 8 bits for each channel, no filter)."""
    height, width, _ = picture.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _strength(counts: Floats) -> Floats:
    """Return the strength of the ink for counts, from 0 to 1: darker pixels have more events."""
    strength: Floats = np.sqrt(counts.clip(0) / max(float(counts.max()), 1.0))
    return strength


def _inked(strength: Floats, inks: Sequence[tuple[int, int, int]]) -> Pixels:
    """Return pictures [T, H, W, 3] of the strengths [T, P, H, W] of inks, one ink for each index of P."""
    taken = (np.float32(PAPER) - np.array(inks, np.float32))[None, :, None, None, :] * strength[..., None]
    pictures: Pixels = (np.float32(PAPER) - taken.sum(1)).clip(0, 255).astype(np.uint8)
    return pictures
