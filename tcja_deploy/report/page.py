"""report.html: the evidence of a bundle as a page for people, in one file that loads no other files."""

from __future__ import annotations

from collections.abc import Callable

from tcja_deploy.console import Progress, silent
from tcja_deploy.parity.verdict import Report
from tcja_deploy.report import html
from tcja_deploy.report.html import Html, joined, tag
from tcja_deploy.report.page_data import PageData
from tcja_deploy.report.sections import (
    anytime,
    behaviour,
    comparison,
    description,
    drawing,
    next_steps,
    size,
    summary,
)
from tcja_deploy.report.sections.answers import samples
from tcja_deploy.report.sections.confusion import confusion
from tcja_runtime.bundle.manifest import Manifest


def render(manifest: Manifest, report: Report, data: PageData, progress: Progress | None = None) -> str:
    """Return the report of a bundle as an HTML document.

    Args:
        manifest: the manifest of the bundle.
        report: the comparison of the exported network with the trained one.
        data: what else the page shows.
        progress: where sections that cannot be made are named; the page has a sentence in their place.
    """
    progress, profile, answers = progress or silent(), data.profile, data.answers
    mixes = bool(profile.gates)
    sections: dict[str, Callable[[], Html]] = {
        "the verdict": lambda: summary.verdict(report),
        "the key figures": lambda: joined([summary.tiles(report, found) for found in report.backends]),
        "sample windows": lambda: samples(manifest, report, answers.samples) if answers else Html(),
        "the next commands": lambda: next_steps.commands(manifest, report, data.bundle),
        "confusions": lambda: _confusion(manifest, data),
        "the drawing": lambda: drawing.drawing(report, profile, data.outline),
        "size and speed": lambda: size.size(manifest, data.files) if data.files else Html(),
        "spike flips": lambda: joined([comparison.flips(report, found, mixes=mixes) for found in report.backends]),
        "signals": lambda: joined([comparison.signals(report, found) for found in report.backends]),
        "margins": lambda: behaviour.margins(report, profile),
        "early predictions": lambda: anytime.section(report.anytime),
        "firing rates": lambda: behaviour.rates(report.backends[0].layers, report.windows),
        "gates": lambda: behaviour.gates(profile),
        "lower precisions": lambda: behaviour.advice(profile),
        "the network": lambda: description.network(manifest, report),
        "its origin": lambda: description.origin(manifest),
    }
    made = []
    for name, section in sections.items():
        found = progress.inform(f"the section of the report on {name}", section, None)
        made.append(tag("p", progress.left_out[-1]) if found is None else found)
    title = f"{manifest.network}: exported from {manifest.checkpoint['name']}"
    return html.page(title, tag("h1", title), *made, pictures=True)


def _confusion(manifest: Manifest, data: PageData) -> Html:
    counts = data.answers.confusion if data.answers else None
    return Html() if counts is None else confusion(counts, manifest.classes)
