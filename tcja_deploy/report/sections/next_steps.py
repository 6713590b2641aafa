"""The section of the report with the commands that come next."""

from __future__ import annotations

import shlex

from tcja_deploy.parity.verdict import Report
from tcja_deploy.report.html import Html, section, tag
from tcja_runtime.bundle.manifest import Manifest


def commands(manifest: Manifest, report: Report, bundle: str) -> Html:
    """Return the section with the next commands.

    Args:
        manifest: the manifest of the bundle.
        report: the comparison.
        bundle: the name of the bundle's folder.
    """
    if not report.met:
        return section("What to do next", _not_met(manifest, report))
    name = shlex.quote(bundle)
    classify = [("Classify", f"tcja-deploy run {name} {manifest.classifies}")] if manifest.classifies else []
    steps = [
        ("Build an engine for the GPU of the board", f"tcja-deploy build {name}"),
        ("Prove its spikes there, without PyTorch", f"tcja-deploy verify {name}"),
        ("Measure its latency", f"tcja-deploy bench {name}"),
        *classify,
        ("Load it in Python", f"import tcja_runtime as tcja\nnet = tcja.load({bundle!r})"),
    ]
    lines = [element for what, command in steps for element in (tag("dt", what), tag("dd", tag("pre", command)))]
    return section(
        "What to do next",
        "The bundle is ready: copy its folder to the board, and run these commands there.",
        tag("dl", *lines, class_="facts commands"),
    )


def _not_met(manifest: Manifest, report: Report) -> str:
    """Return what to do where parity is not met: what the figures point to."""
    begin = "No bundle is written, as the exported network is not the trained one."
    wrong = [layer.layer for found in report.backends for layer in found.layers if sum(layer.unexplained)]
    where = f" The first layer with unexplained flips is {wrong[0]}: look at what comes before it." if wrong else ""
    if manifest.precision != "fp32":
        return f"{begin}{where} Export again with --precision fp32, which shows whether the precision is the reason."
    return (
        f"{begin}{where} Send this page with a report of the mistake: the export has a bug, or the network has an "
        "operation that it does not know."
    )
