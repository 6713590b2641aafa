"""The section of the report with sample windows: their pictures, their labels, and the answers of both networks."""

from __future__ import annotations

import numpy as np

from tcja_deploy.formatting import NBSP, windows
from tcja_deploy.parity.verdict import Report
from tcja_deploy.report import pixels
from tcja_deploy.report.answers import Samples
from tcja_deploy.report.html import Html, figure, joined, picture, section, tag
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.counting import agree, counted
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence.trace import Values


def samples(manifest: Manifest, report: Report, found: Samples) -> Html:
    """Return the section on sample windows.

    Args:
        manifest: the manifest of the bundle.
        report: the comparison, for the names of the two networks.
        found: the windows and their answers.
    """
    first = report.backends[0]
    names = f"Trained: {report.reference}. Exported: {first.model} in {first.backend}."
    if found.trained.ndim > 2:
        conclusion = (
            f"Both networks made these {counted(len(found), 'image')} from the same input; the largest difference of a "
            f"value is {np.abs(found.trained - found.exported).max():.2g}."
        )
        shown = [_images(at, found) for at in range(len(found))]
        return section(
            "Sample images", conclusion, tag("p", f"{names} Inputs count from 0."), tag("div", *shown, class_="samples")
        )
    chosen = (
        f"Of {windows(found.of)}, those with different answers were chosen first, then wrong ones, then one of each "
        "class."
        if len(found) < found.of
        else "They are all windows of the comparison."
    )
    shown = [_sample(manifest, at, found) for at in range(len(found))]
    return section(
        "Sample windows and their answers",
        _conclusion(found),
        figure(
            tag("div", *shown, class_="samples"),
            f"{names} Windows count from 0. The number in brackets is the score of the class. {chosen}",
        ),
    )


def _conclusion(found: Samples) -> str:
    trained, exported = found.trained.argmax(1), found.exported.argmax(1)
    n, same = len(found), int((trained == exported).sum())
    each = agree(n, "this window", f"each of these {n} windows")
    line = (
        f"Both networks give {each} the same class"
        if same == n
        else f"The networks give {same} of these {windows(n)} the same class, and {windows(n - same)} different ones"
    )
    chosen = " They were chosen for what they show, and are not typical." if n < found.of else ""
    if found.labels is None:
        return f"{line}.{chosen}"
    right = int((exported == found.labels).sum())
    return f"{line}; the exported network is right on {right} of {n}.{chosen}"


def _sample(manifest: Manifest, at: int, found: Samples) -> Html:
    label = None if found.labels is None else int(found.labels[at])
    said = "no label" if label is None else f"label: {_name(manifest, label)}"
    trained, exported = (_answer(manifest, outputs[at], label) for outputs in (found.trained, found.exported))
    lines = [f"both: {trained}"] if trained == exported else [f"trained: {trained}", f"exported: {exported}"]
    title = f"window {found.numbers[at]}"
    caption = tag("figcaption", tag("span", tag("b", title)), tag("span", said), *(tag("span", line) for line in lines))
    return tag("figure", _input(manifest, found.inputs[at], f"{title}, {said}"), caption)


def _answer(manifest: Manifest, scores: Values, label: int | None) -> str:
    """Return the likeliest class with its score, and whether it is the label."""
    best = int(scores.argmax())
    sign = "" if label is None else f"{NBSP}\u2713" if best == label else f"{NBSP}\u2717"
    return f"{_name(manifest, best)} ({scores[best]:.3g}){sign}"


def _name(manifest: Manifest, at: int) -> str:
    return manifest.classes[at] if at < len(manifest.classes) else f"class {at}"


def _input(manifest: Manifest, values: Floats, label: str) -> Html:
    """Return the picture of a window; nothing for an input that is no picture."""
    contract = manifest.input
    if contract.name == "latents":
        return Html()
    if contract.name == "frames":
        drawn = pixels.window(values, contract.polarity)
    else:
        drawn = pixels.image(values) if contract.name == "images" else pixels.features(values)
    return picture(pixels.png(drawn), label)


def _images(at: int, found: Samples) -> Html:
    """Return the images that both networks made from an input. Their values are from -1 or 0 to 1."""
    low = -1.0 if min(found.trained.min(), found.exported.min()) < 0 else 0.0
    drawn = [
        picture(pixels.png(pixels.image(((outputs[at] - low) / (1 - low)).astype(np.float32))), f"{name}, {at + 1}")
        for name, outputs in (("trained", found.trained), ("exported", found.exported))
    ]
    caption = tag("figcaption", tag("b", f"input {found.numbers[at]}"), tag("span", "trained, exported"))
    return tag("figure", tag("div", joined(drawn), class_="pair"), caption)
