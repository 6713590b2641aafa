"""A page for people: what windows look like, what the network says of them, and what its attention lets through."""

from __future__ import annotations

import base64
import dataclasses
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tcja_deploy import drawings
from tcja_deploy.drawings import Html, figure, joined, tag
from tcja_runtime.frames import Floats
from tcja_runtime.trace import Values

MOST = 12
"""Windows on a page, at most."""

_PAPER = 255.0
_INKS = np.array([(184, 64, 26), (8, 81, 156)], np.float32)  # off, on
_FRAMES = "display: flex; flex-wrap: wrap; gap: .4rem; font-size: .75rem"
_FRAME = "width: 7.5rem; image-rendering: pixelated; border: 1px solid var(--line)"


@dataclasses.dataclass(frozen=True)
class Seen:
    """A window that was classified.

    Attributes:
        title: where it is from.
        label: its class, where known.
        top: names and scores of its likeliest classes, the likeliest first.
        inputs: as the network took it, [T, 2, H, W] or an image [C, H, W].
        gates: by attention block, [T, C].
    """

    title: str
    label: str | None
    top: Sequence[tuple[str, float]]
    inputs: Floats
    gates: Mapping[str, Values]


def page(title: str, windows: Sequence[Seen]) -> str:
    """Windows, one below the other, as an HTML document that loads nothing.

    Args:
        title: of the page.
        windows: `MOST` at most.
    """
    return drawings.page(title, tag("h1", title), *(_window(seen) for seen in windows), pictures=True)


def _window(seen: Seen) -> Html:
    most = max((score for _, score in seen.top), default=0.0)
    rows = [
        [f"{name} (the label)" if name == seen.label else name, f"{score:.4g}", drawings.bar(score / most)]
        for name, score in seen.top
        if most > 0
    ]
    gates = [
        figure(
            drawings.map_of(f"{name}: its gate by time step and channel", gate.tolist()),
            f"What {name.removesuffix('.gate')} lets through. Across: channels, from 0. Down: time steps, from 1.",
        )
        for name, gate in seen.gates.items()
    ]
    return tag(
        "section",
        tag("h2", seen.title),
        tag("p", f"Label: {seen.label}.") if seen.label else Html(),
        drawings.table("scores of the likeliest classes", ["class", "score", ""], rows, {1}) if rows else Html(),
        figure(_frames(seen.inputs), _told(seen.inputs)),
        *([drawings.scale("0, shut", "1, open")] if gates else []),
        *gates,
    )


def _told(inputs: Floats) -> str:
    if inputs.ndim == 3:
        return f"The image, {inputs.shape[1]} x {inputs.shape[2]}."
    off, on = (int(inputs[:, polarity].sum()) for polarity in (0, 1))
    return (
        f"Frames 1 to {len(inputs)} of {inputs.shape[2]} x {inputs.shape[3]}: {on:,} on events in blue, {off:,} off "
        "events in red; the more, the darker."
    )


def _frames(inputs: Floats) -> Html:
    pictures = _colours(inputs) if inputs.ndim == 4 else _greys(inputs)
    shown = (
        tag("span", Html(f'<img src="{_png(picture)}" alt="frame {t}" style="{_FRAME}"><br>'), str(t))
        for t, picture in enumerate(pictures, 1)
    )
    return tag("div", joined(list(shown)), style=_FRAMES)


def _colours(frames: Floats) -> npt.NDArray[np.uint8]:
    """Pictures [T, H, W, 3] of event counts [T, 2, H, W], on one scale."""
    strength = np.sqrt(frames / max(float(frames.max()), 1.0)).clip(0, 1)
    taken = (np.float32(_PAPER) - _INKS)[None, :, None, None, :] * strength[..., None]
    pictures: npt.NDArray[np.uint8] = (np.float32(_PAPER) - taken.sum(1)).clip(0, 255).astype(np.uint8)
    return pictures


def _greys(image: Floats) -> npt.NDArray[np.uint8]:
    """A picture [1, H, W, 3] of an image [C, H, W] with values in [0, 1]."""
    channels = image if len(image) == 3 else image[:1].repeat(3, axis=0)
    return (channels.transpose(1, 2, 0)[None].clip(0, 1) * 255).astype(np.uint8)


def _png(picture: npt.NDArray[np.uint8]) -> str:
    """A picture [H, W, 3] as a data URL (PNG: W3C Portable Network Graphics, 8 bits a channel, no filter)."""
    height, width, _ = picture.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return "data:image/png;base64," + base64.b64encode(content).decode()
