"""The picture of a run: a page with the frames of windows, their predictions, and the gates of attention."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from tcja_deploy.report import html, pixels, plots
from tcja_deploy.report.html import Html, figure, joined, tag
from tcja_runtime.counting import counted
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.trace import Values

MOST = 12
"""The largest number of windows on a page that `tcja-deploy run --picture` writes."""


@dataclasses.dataclass(frozen=True)
class PicturedWindow:
    """A classified window, with what is needed to draw it.

    Attributes:
        title: the title of the window, such as its file and number.
        label: the name of the class in the labels; None if the window has no label.
        top: the names and scores of the likeliest classes, the likeliest first.
        kind: the kind of the network's input, `tcja_runtime.data.contract.InputContract.name`.
        inputs: the input: frames [T, P, H, W], an image [C, H, W] with values from 0 to 1, or features [T, F] or
            [T, C, L].
        polarity: the polarities "off" and "on" in the order of the axis P; None if the order is not known.
        gates: the gates [T, C], by name.
    """

    title: str
    label: str | None
    top: Sequence[tuple[str, float]]
    kind: str
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
        for name, score in window.top
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
    """Return the caption below the pictures: the size of the input, and the number of its events."""
    inputs = window.inputs
    if window.kind == "features":
        return (
            f"{counted(inputs[0].size, 'feature')} by time step, 1 to {len(inputs)}: positive values in blue, negative "
            f"ones in red. The largest absolute value is {np.abs(inputs).max():.3g}."
        )
    if window.kind == "images":
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
    inputs = window.inputs
    if window.kind == "features":
        return tag("div", html.picture(pixels.png(pixels.features(inputs)), "the features by time step"))
    images = window.kind == "images"
    pictures = [pixels.image(inputs)] if images else list(pixels.frames(inputs, window.polarity))
    shown = (
        tag("span", html.picture(pixels.png(picture), f"frame {t}"), str(t)) for t, picture in enumerate(pictures, 1)
    )
    return tag("div", joined(list(shown)), class_="frames")
