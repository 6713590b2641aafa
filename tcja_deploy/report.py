"""report.html: a bundle's evidence for people, in one file that loads nothing."""

from __future__ import annotations

from html import escape
from typing import Any

from tcja_deploy.parity import LayerParity, Parity, Report
from tcja_runtime.bundle import Manifest

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --line: #d7dde5; --soft: #5d6b7d; --hit: 200 60 40;
        --bar: #3b7dd8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf2; --paper: #14181f; --line: #333c48; --soft: #9aa7b8; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
       margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.verdict { padding: .8rem 1rem; border-radius: .5rem; font-size: 1.1rem; border: 2px solid; }
.met { border-color: #2e9e5b; } .unmet { border-color: #c83c28; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: var(--soft); padding: .3rem 0; }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
td.cell { text-align: center; font-size: .85rem; }
code { overflow-wrap: anywhere; } .soft { color: var(--soft); }
.bar { display: block; height: .9rem; background: var(--bar); border-radius: .2rem; min-width: 1px; }
"""


def render(manifest: Manifest, report: Report) -> str:
    """The report of a bundle as an HTML document."""
    title = f"{manifest.network}: exported from {manifest.checkpoint['name']}"
    sections = [
        _verdict(report),
        _table(
            "Agreement",
            ["", "same class", "accuracy", "windows with flips", "output differs by"],
            _agreement(report),
        ),
        *(_flips(model) for model in report.backends),
        _rates(report.backends[0].layers, report.windows),
        _table("Network", ["", ""], _network(manifest)),
        _table(
            "Spiking layers",
            ["layer", "neurons", "charge", "fires", "reset"],
            [
                (
                    layer.name,
                    " x ".join(map(str, layer.shape)),
                    layer.neuron.charge_rule,
                    layer.neuron.fire_rule,
                    layer.neuron.reset_rule,
                )
                for layer in manifest.layers
            ],
        ),
        _table(
            "Graph passes",
            ["pass", "changes", "keeps every bit", "note"],
            [(p["name"], str(p["changes"]), "yes" if p["exact"] else "no", p["note"]) for p in manifest.passes],
        ),
        _table("Engines", ["engine", "bytes", "batch", "layers"], _engines(manifest)),
        _table(
            "Made with", ["", ""], [*manifest.tools.items(), ("created", manifest.created), ("by", manifest.producer)]
        ),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>{''.join(sections)}</html>\n"
    )


def percent(share: float | None) -> str:
    """A share as people read it; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.2f}\N{NO-BREAK SPACE}%"


def _verdict(report: Report) -> str:
    if report.met:
        text = "Parity met: the exported network fires the trained network's spikes, up to rounding."
    else:
        text = "Parity not met: " + "; ".join(report.failures)
    silent = f"No spike was seen in {', '.join(report.silent)}: this data proves little of it." if report.silent else ""
    data = f"{report.windows} windows: {report.source}"
    if not report.real:
        data += ". No real data was used: the windows were drawn, so nothing is known of accuracy."
    return (
        f'<p class="verdict {"met" if report.met else "unmet"}">{escape(text)}</p>'
        f"<p>Compared with {escape(report.reference)} on {escape(data)}</p><p>{escape(silent)}</p>"
    )


def _agreement(report: Report) -> list[tuple[str, ...]]:
    return [
        (report.reference, "", percent(report.accuracy), "", ""),
        *(
            (
                f"{' = '.join([found.model, *found.twins])} in {found.backend}",
                percent(found.agreement),
                percent(found.accuracy),
                f"{found.changed_windows} of {report.windows}",
                f"{found.output_difference:.2g}",
            )
            for found in report.backends
        ),
    ]


def _flips(model: Parity) -> str:
    """Flips by layer and time step, darker where there are more, and all of them where the network runs free."""
    most = max(max(layer.flips) for layer in model.layers) or 1
    head = "".join(f'<th class="n">{t + 1}</th>' for t in range(len(model.layers[0].flips)))
    rows = "".join(
        f"<tr><td>{escape(layer.layer)}</td>"
        + "".join(
            f'<td class="cell" style="background: rgb(var(--hit) / {n / most:.3f})">{n}</td>' for n in layer.flips
        )
        + f'<td class="n">{sum(layer.flips)}</td><td class="n">{sum(layer.running_flips)}</td></tr>'
        for layer in model.layers
    )
    return (
        f"<h2>Spike flips, {escape(model.backend)}</h2><p class=soft>By layer and time step, each "
        f"layer fed the trained network's spikes; {model.unexplained} of them are not explained by rounding. Running "
        f"free, a flip changes the layers behind it.</p>"
        f'<div class=wide><table><tr><th>layer</th>{head}<th class="n">all</th><th class="n">running free</th></tr>'
        f"{rows}</table></div>"
    )


def _rates(layers: list[LayerParity], windows: int) -> str:
    rows = ""
    for layer in layers:
        rate = sum(layer.spikes) / (layer.neurons * len(layer.spikes) * windows)
        rows += (
            f'<tr><td>{escape(layer.layer)}</td><td class="n">{percent(rate)}</td>'
            f'<td style="width: 60%"><span class="bar" style="width: {100 * rate:.2f}%"></span></td></tr>'
        )
    return (
        "<h2>Firing rates of the trained network</h2>"
        f"<table><caption>Spikes a neuron and time step.</caption>{rows}</table>"
    )


def _network(manifest: Manifest) -> list[tuple[str, str]]:
    contract = manifest.input
    return [
        ("network", f"{manifest.network}, neurons of {manifest.dialect}"),
        ("checkpoint", f"{manifest.checkpoint['name']}, sha256 {manifest.checkpoint['sha256']}"),
        ("found by", "; ".join(manifest.evidence)),
        ("time steps", str(manifest.time_steps)),
        ("parameters", f"{manifest.parameters:,}"),
        ("input", f"{contract.name} [{contract.axes}], window {contract.shape}, values: {contract.scaling}"),
        ("output", f"{manifest.output} [N, {', '.join(map(str, manifest.output_shape))}]"),
        ("classes", ", ".join(manifest.classes) or "none: it does not classify"),
    ]


def _engines(manifest: Manifest) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (name, f"{e['bytes']:,}", ":".join(map(str, e["batch"])), str(e["layers"]))
        for name, e in manifest.engines.items()
    ]
    return rows or [("none was built", "", "", "")]


def _table(title: str, head: list[str], rows: Any) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head) if any(head) else ""
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h2>{escape(title)}</h2><div class=wide><table><tr>{top}</tr>{body}</table></div>"
