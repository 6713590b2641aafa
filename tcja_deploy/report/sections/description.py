"""The sections of the report that describe the exported network and its origin."""

from __future__ import annotations

from tcja_deploy.parity import wording
from tcja_deploy.parity.verdict import Report
from tcja_deploy.report.html import Html, facts, section, table, tag, worded
from tcja_deploy.report.sections.summary import NO_CLASSES
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.counting import counted


def network(manifest: Manifest, report: Report) -> Html:
    """Return the section on the network: its input and output, its layers, the graph passes, and the engines."""
    passes = [(p["name"], str(p["changes"]), "yes" if p["exact"] else "no", p["note"]) for p in manifest.passes]
    engines = [
        (name, f"{info.bytes:,}", ":".join(map(str, info.batch)), str(info.layers))
        for name, info in manifest.engines.items()
    ]
    return section(
        "The network in figures",
        "The neurons below must be those of the training: a checkpoint does not store their constants.",
        _signature(manifest, report),
        *_layers(manifest),
        tag("h3", "Graph passes"),
        table("Graph passes", ["pass", "changes", "keeps every bit", "note"], passes, numbers=[1]),
        tag("h3", "Engines"),
        table("Engines", ["engine", "bytes", "batch", "layers"], engines, numbers=[1, 3])
        if engines
        else tag("p", "No engine was built."),
    )


def _signature(manifest: Manifest, report: Report) -> Html:
    contract, time_form = manifest.input, manifest.time_form
    cut = f", recordings cut by {contract.rule}" if contract.rule else ""
    cut += f", cropped to {','.join(map(str, contract.crop))} (x, y, width, height)" if contract.crop else ""
    cut += f", resized by {contract.resize}" if contract.resize else ""
    return facts(
        [
            ("network", f"{manifest.network}, neurons of {manifest.dialect}"),
            ("time steps", str(manifest.time_steps)),
            ("parameters", f"{manifest.parameters:,}"),
            ("input", f"{contract.name} [{contract.axes}], window {contract.shape}, values: {contract.values}{cut}"),
            ("output", f"{manifest.output} [N, {', '.join(map(str, manifest.output_shape))}]"),
            ("classes", ", ".join(manifest.classes) or f"none: {NO_CLASSES}"),
            ("exported as", f"{manifest.precision}, time form {time_form.form} ({time_form.why})"),
            ("built for", ", ".join(manifest.targets)),
            *([("stepwise", wording.stepwise(report.stepwise))] if report.stepwise else []),
        ]
    )


def _layers(manifest: Manifest) -> list[Html]:
    rows = [
        (
            layer.name,
            " x ".join(map(str, layer.shape)),
            layer.neuron.charge_rule,
            layer.neuron.fire_rule,
            layer.neuron.reset_rule,
        )
        for layer in (*manifest.layers, *manifest.integrators)
    ]
    title = "Spiking layers and integrators" if manifest.integrators else "Spiking layers"
    return [tag("h3", title), table(title, ["layer", "neurons", "charge", "fires", "reset"], rows)]


def origin(manifest: Manifest) -> Html:
    """Return the section on the origin: the checkpoint, the tools, and the evidence that identified the network."""
    source = manifest.checkpoint
    return section(
        "Where it comes from",
        "The bundle is of the checkpoint with this sha256, and of no other.",
        facts(
            [
                ("checkpoint", source["name"]),
                ("checkpoint's sha256", source["sha256"]),
                ("checkpoint's size", counted(source["bytes"], "byte")),
                ("created", f"{manifest.created}, by {manifest.producer}"),
                ("made with", ", ".join(f"{name} {version}" for name, version in manifest.tools.items())),
            ]
        ),
        tag("h3", "How the network was identified"),
        tag("ul", *(tag("li", worded(line)) for line in manifest.evidence)),
    )
