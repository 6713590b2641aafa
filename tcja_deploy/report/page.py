"""report.html: the evidence of a bundle as a page for people, in one file that loads no other files."""

from __future__ import annotations

from collections.abc import Callable

from tcja_deploy.console import Progress, silent
from tcja_deploy.parity.verdict import Report
from tcja_deploy.report import anytime, behaviour, comparison, description, html, summary
from tcja_deploy.report.html import Html, joined, tag
from tcja_deploy.report.network_profile import NetworkProfile
from tcja_runtime.bundle.manifest import Manifest


def render(manifest: Manifest, report: Report, profile: NetworkProfile, progress: Progress | None = None) -> str:
    """Return the report of a bundle as an HTML document.

    Args:
        manifest: the manifest of the bundle.
        report: the comparison of the exported network with the trained one.
        profile: the behaviour of the trained network on the windows of the report.
        progress: where sections that cannot be made are named; the page has a sentence in their place.
    """
    progress = progress or silent()
    mixes = bool(profile.gates)
    sections: dict[str, Callable[[], Html]] = {
        "the verdict": lambda: summary.verdict(report),
        "the key figures": lambda: joined([summary.tiles(report, found) for found in report.backends]),
        "spike flips": lambda: joined([comparison.flips(report, found, mixes=mixes) for found in report.backends]),
        "early predictions": lambda: anytime.section(report.anytime),
        "margins": lambda: behaviour.margins(report, profile),
        "firing rates": lambda: behaviour.rates(report.backends[0].layers, report.windows),
        "gates": lambda: behaviour.gates(profile),
        "signals": lambda: joined([comparison.signals(report, found) for found in report.backends]),
        "lower precisions": lambda: behaviour.advice(profile),
        "the network": lambda: description.network(manifest, report),
        "its origin": lambda: description.origin(manifest),
    }
    made = []
    for name, section in sections.items():
        found = progress.inform(f"the section of the report on {name}", section, None)
        made.append(tag("p", progress.left_out[-1]) if found is None else found)
    title = f"{manifest.network}: exported from {manifest.checkpoint['name']}"
    return html.page(title, tag("h1", title), *made)
