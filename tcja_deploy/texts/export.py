"""An exported network as text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.formatting import part, windows
from tcja_deploy.parity.verdict import Report
from tcja_deploy.texts.build import engine_text
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.parity import parity_text
from tcja_runtime.bundle.bundle import REPORT
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.signature import Layer
from tcja_runtime.counting import counted


def exported_text(bundle: Path, manifest: Manifest, report: Report, options: TextOptions = BRIEF) -> RenderableType:
    """Return an exported network as text: its facts, the comparison with the trained network, and the next command.

    Args:
        bundle: the path of the bundle.
        manifest: its manifest.
        report: the comparison with the trained network.
        options: how it is told.
    """
    lines = [
        f"{manifest.network} from {manifest.checkpoint['name']}: T = {manifest.time_steps}, "
        f"{manifest.output} [N, {', '.join(map(str, manifest.output_shape))}], "
        f"{counted(manifest.parameters, 'parameter')}",
        *(f"  {options.worded(line)}" for line in manifest.evidence),
        *neurons(manifest.layers),
        *([] if manifest.precision == "fp32" else [_precision(manifest)]),
        f"Time form: {manifest.time_form.form} ({manifest.time_form.why})",
        *(f"Pass {p['name']}, {counted(p['changes'], 'node')}: {p['note']}" for p in manifest.passes if not p["exact"]),
        *(engine_text(name, info) for name, info in manifest.engines.items()),
        *([] if manifest.engines else ["No engine was built."]),
    ]
    return Group(
        Text("\n".join(lines)),
        parity_text(report, options),
        Text(f"Bundle: {bundle} (report: {bundle / REPORT})"),
        Text(f"Next, here or on the board: tcja-deploy verify {bundle}"),
    )


def neurons(layers: Iterable[Layer]) -> list[str]:
    """Return the constants of the neurons of spiking layers, a line for all layers that have the same."""
    alike: dict[str, list[str]] = {}
    for layer in layers:
        alike.setdefault(layer.neuron.rules, []).append(layer.name)
    return [f"Neurons of {', '.join(names)}: {rules}" for rules, names in alike.items()]


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
