"""The picture of a run: a page with the frames of windows, their predictions, and the gates of attention."""

from __future__ import annotations

import base64
import dataclasses
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tcja_deploy.report import html, plots
from tcja_deploy.report.html import Html, figure, joined, tag
from tcja_runtime.counting import counted
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.trace import Values
from tcja_runtime.predictions import standing_out

MOST = 12
"""The largest number of windows on a page that `tcja-deploy run --picture` writes."""

_PAPER = 255.0
_INKS = {"off": (184, 64, 26), "on": (8, 81, 156)}
_INK = (40, 40, 40)  # for events of unknown polarity
_FRAMES = "display: flex; flex-wrap: wrap; gap: .4rem; font-size: .75rem"
_FRAME = "width: 7.5rem; image-rendering: pixelated; border: 1px solid var(--line)"


@dataclasses.dataclass(frozen=True)
class PicturedWindow:
    """A classified window, with what is needed to draw it.

    Attributes:
        title: the title of the window, such as its file and number.
        label: the name of the class in the labels; None if the window has no label.
        top: the names and scores of the likeliest classes, the likeliest first.
        inputs: the network's input: frames [T, P, H, W], or an image [C, H, W] with values from 0 to 1.
        polarity: the polarities "off" and "on" in the order of the axis P; None if the order is not known.
        gates: the gates [T, C], by name.
    """

    title: str
    label: str | None
    top: Sequence[tuple[str, float]]
    inputs: Floats
    polarity: tuple[str, str] | None
    gates: Mapping[str, Values]


def page(title: str, windows: Sequence[PicturedWindow]) -> str:
    """Return an HTML document that shows windows, one below the other, and loads no other files.

    Args:
        title: the title of the page.
        windows: the windows; more than `MOST` make a large page.
    """
    return html.page(title, tag("h1", title), *(_window(window) for window in windows), pictures=True)


def _window(window: PicturedWindow) -> Html:
    most = max((score for _, score in window.top), default=0.0)
    rows = [
        [
            f"{name} (the label)" if name == window.label else name,
            f"{score:.4g}",
            plots.bar(score / most) if score > 0 else Html(),
        ]
        for name, score in standing_out(window.top)
    ]
    gates = [
        figure(
            plots.map_of(f"{name} by time step and channel", gate.tolist()),
            f"The gate of {name.removesuffix('.gate')}. Columns: channels, from 0. Rows: time steps, from 1.",
        )
        for name, gate in window.gates.items()
    ]
    return tag(
        "section",
        tag("h2", window.title),
        tag("p", f"Label: {window.label}.") if window.label else Html(),
        html.table("Scores of the likeliest classes", ["class", "score", ""], rows, {1}),
        figure(_frames(window), _caption(window)),
        *([plots.scale("0, shut", "1, open")] if gates else []),
        *gates,
    )


def _caption(window: PicturedWindow) -> str:
    """Return the caption below the frames: their size, and the number of their events."""
    inputs = window.inputs
    if inputs.ndim == 3:
        return f"The image, {inputs.shape[1]} x {inputs.shape[2]}."
    if window.polarity is None:
        events = counted(int(inputs.sum()), "event")
    else:
        counts = dict(zip(window.polarity, inputs.sum((0, 2, 3)).astype(int).tolist(), strict=True))
        events = f"{counted(counts['on'], 'on event')} in blue, {counted(counts['off'], 'off event')} in red"
    return (
        f"Frames 1 to {len(inputs)} of {inputs.shape[2]} x {inputs.shape[3]}: {events}. Darker pixels have more events."
    )


def _frames(window: PicturedWindow) -> Html:
    """Return the frames side by side, as pictures with their numbers."""
    if window.inputs.ndim == 3:
        pictures = _greys(window.inputs)
    elif window.polarity is None:
        pictures = _colours(window.inputs.sum(1, keepdims=True), [_INK])
    else:
        pictures = _colours(window.inputs, [_INKS[name] for name in window.polarity])
    shown = (
        tag("span", Html(f'<img src="{_png(picture)}" alt="frame {t}" style="{_FRAME}"><br>'), str(t))
        for t, picture in enumerate(pictures, 1)
    )
    return tag("div", joined(list(shown)), style=_FRAMES)


def _colours(frames: Floats, inks: Sequence[tuple[int, int, int]]) -> npt.NDArray[np.uint8]:
    """Return pictures [T, H, W, 3] of event counts [T, P, H, W], all on one scale, with a colour for each polarity."""
    strength = np.sqrt(frames.clip(0) / max(float(frames.max()), 1.0))
    taken = (np.float32(_PAPER) - np.array(inks, np.float32))[None, :, None, None, :] * strength[..., None]
    pictures: npt.NDArray[np.uint8] = (np.float32(_PAPER) - taken.sum(1)).clip(0, 255).astype(np.uint8)
    return pictures


def _greys(image: Floats) -> npt.NDArray[np.uint8]:
    """Return a picture [1, H, W, 3] of an image [C, H, W] with values from 0 to 1.

    If the image does not have three channels, its first channel is shown in grey.
    """
    channels = image if len(image) == 3 else image[:1].repeat(3, axis=0)
    return (channels.transpose(1, 2, 0)[None].clip(0, 1) * 255).astype(np.uint8)


def _png(picture: npt.NDArray[np.uint8]) -> str:
    """Return a picture [H, W, 3] as a data URL (W3C Portable Network Graphics, 8 bits for each channel, no filter)."""
    height, width, _ = picture.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b"")
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return "data:image/png;base64," + base64.b64encode(content).decode()
