"""An exported network as text: the verdict, what to check, the bundle, and the details."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.formatting import engine_plan, part, windows
from tcja_deploy.parity.verdict import Report
from tcja_deploy.texts.build import engine_line
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.parity import details_text, verdict_text
from tcja_deploy.texts.table import Hanging, paragraph, whole
from tcja_runtime.bundle.bundle import REPORT
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.counting import counted
from tcja_runtime.neuron import NeuronSpec

_NO_RECORDINGS = (
    "It takes frames, and no recordings of events: how they are cut is not known. For recordings, export with `split` "
    "number, or the rule of the training."
)


def exported_text(bundle: Path, manifest: Manifest, report: Report, options: TextOptions = BRIEF) -> RenderableType:
    """Return an exported network as text: the verdict, what to check, the bundle, and the next command.

    Args:
        bundle: the path of the bundle.
        manifest: its manifest.
        report: the comparison with the trained network.
        options: how it is told.
    """
    doubts = (paragraph(options.worded(line), style="yellow") for line in manifest.doubts)
    engines = [f"Engine {name}: {engine_line(info)}. {engine_plan(info)}" for name, info in manifest.engines.items()]
    source = f" from {manifest.checkpoint['name']}" if manifest.checkpoint["name"] else ""
    facts = [
        f"{manifest.network}{source}: T = {manifest.time_steps}, "
        f"{manifest.output} [N, {', '.join(map(str, manifest.output_shape))}], "
        f"{counted(manifest.parameters, 'parameter')}, {manifest.precision}",
        *(engines or ["No engine was built."]),
    ]
    details: list[RenderableType] = []
    if options.details:
        details = [*_details(manifest, options), *details_text(report, options)]
    return Group(
        *verdict_text(report, options),
        *doubts,
        *map(Text, facts),
        *details,
        whole(f"Bundle: {bundle} (report: {bundle / REPORT})"),
        whole(f"Next, here or on the board: tcja-deploy verify {shlex.quote(str(bundle))}"),
        *(
            [Text(options.worded(_NO_RECORDINGS))]
            if manifest.input.name == "frames" and not manifest.input.rule
            else []
        ),
        *([Text(options.more)] if options.more and not options.details else []),
    )


def _details(manifest: Manifest, options: TextOptions) -> list[RenderableType]:
    """Return texts on the origin of the network, its neurons, its precision and the form of its model."""
    evidence = [Hanging("  ", options.worded(line)) for line in manifest.evidence if line not in manifest.doubts]
    lines = [
        *neurons([*manifest.layers, *manifest.integrators]),
        *([] if manifest.precision == "fp32" else [_precision(manifest)]),
        f"Time form: {manifest.time_form.form} ({manifest.time_form.why})",
        *(
            f"Pass {each['name']}, {counted(each['changes'], 'node')}: {each['note']}"
            for each in manifest.passes
            if not each["exact"]
        ),
    ]
    return [*evidence, *map(Text, lines)]


def neurons(layers: Iterable[Layer]) -> list[str]:
    """Return the constants of the neurons of layers, a line for all layers that have the same."""
    alike: dict[NeuronSpec, list[str]] = {}
    for layer in layers:
        alike.setdefault(layer.neuron, []).append(layer.name)
    return [f"Neurons of {', '.join(names)}: {neuron.rules}" for neuron, names in alike.items()]


def _precision(manifest: Manifest) -> str:
    """Return a line on the number of layers in lower precision, the layers in float32, and the int8 scales."""
    lowered = [weight for weight in manifest.weights if weight.type == manifest.precision]
    kept = [weight.module for weight in manifest.weights if weight.type != manifest.precision]
    scales = manifest.calibration
    return (
        f"{manifest.precision.upper()}: the weights of {part(len(lowered), len(manifest.weights), 'layer')}"
        + (f"; in float32: {', '.join(kept)}" if kept else "")
        + (f"; scales measured on {windows(scales['windows'])} ({scales['source']})" if scales else "")
    )
