"""A verification as text: the verdict, its details, and the first wrong signal inside the network."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.parity.bisect import Culprit
from tcja_deploy.texts.fleet.sign import origin_lines
from tcja_deploy.texts.inspect.facts import classes_line, input_line
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.parity import details_text, verdict_text
from tcja_deploy.texts.table import paragraph, whole
from tcja_deploy.verify.verifier import Verified
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.counting import counted


def verified_text(verified: Verified, options: TextOptions = BRIEF) -> RenderableType:
    """Return a verification as text.

    Args:
        verified: the verification.
        options: how it is told.
    """
    report, path = verified.report, shlex.quote(str(verified.bundle.path))
    parts = verdict_text(report, options)
    if verified.culprit:
        parts.append(_culprit(verified.culprit))
    parts += [paragraph(line) for line in origin_lines(verified.bundle)]
    if report.met and not verified.bundle.origin.manifest.trusted:
        parts += [paragraph(line) for line in _unproven(verified.bundle.manifest, options)]
    if options.details:
        parts += details_text(report, options)
    taken = verified.bundle.manifest.classifies
    if report.met and taken:
        parts.append(whole(f"Next: tcja-deploy run {path} {taken}"))
    elif not report.met and not verified.culprit:
        parts.append(Text(options.worded("`bisect` names the first wrong signal inside the network.")))
    if options.more and not options.details:
        parts.append(Text(options.more))
    return Group(*parts)


def _unproven(manifest: Manifest, options: TextOptions) -> list[str]:
    """Return what a bundle says of itself and no comparison on this machine can prove, for the eye."""
    lines = [input_line(manifest.input), _thresholds(manifest.layers)]
    lines += [classes_line(manifest.classes, options)] if manifest.classes else []
    return ["Look at these; they are what the bundle says, and golden vectors cannot prove them:", *lines]


def _thresholds(layers: Sequence[Layer]) -> str:
    """Return the thresholds of the spiking layers, with the number of layers that have them."""
    found: Counter[str] = Counter()
    for layer in layers:
        values = array_of(layer.neuron.threshold)
        low, high = float(values.min()), float(values.max())
        found[f"{low:g}" if low == high else f"{low:g} to {high:g}"] += 1
    return "Thresholds: " + ", ".join(f"{value} ({counted(n, 'layer')})" for value, n in found.items())


def _culprit(found: Culprit) -> Text:
    """Return the first wrong signal of a network, and the mistakes that would explain it, as text."""
    text = Text("First wrong: ", style="bold")
    text.append(f"{found.module or 'the output'}, node {found.node or 'unknown'} of {found.model}\n", style="bold red")
    text.append(f"  {found.seen}\n", style="default")
    text.append(f"  It can be explained by: {'; or '.join(found.fits) or 'no known mistake'}", style="default")
    return text
