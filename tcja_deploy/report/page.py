"""report.html: the evidence of a bundle as a page for people, in one file that loads no other files."""

from __future__ import annotations

from tcja_deploy.parity.verdict import Report
from tcja_deploy.report import anytime, behaviour, comparison, description, html, summary
from tcja_deploy.report.html import tag
from tcja_deploy.report.network_profile import NetworkProfile
from tcja_runtime.bundle.manifest import Manifest


def render(manifest: Manifest, report: Report, profile: NetworkProfile) -> str:
    """Return the report of a bundle as an HTML document.

    Args:
        manifest: the manifest of the bundle.
        report: the comparison of the exported network with the trained one.
        profile: the behaviour of the trained network on the windows of the report.
    """
    title = f"{manifest.network}: exported from {manifest.checkpoint['name']}"
    return html.page(
        title,
        tag("h1", title),
        summary.verdict(report),
        *(summary.tiles(report, found) for found in report.backends),
        *(comparison.flips(report, found, mixes=bool(profile.gates)) for found in report.backends),
        anytime.section(report.anytime),
        behaviour.margins(report, profile),
        behaviour.rates(report.backends[0].layers, report.windows),
        behaviour.gates(profile),
        *(comparison.signals(report, found) for found in report.backends),
        behaviour.advice(profile),
        description.network(manifest, report),
        description.origin(manifest),
    )
