"""The section of the report on the size of the bundle, and on the times that were measured."""

from __future__ import annotations

from collections.abc import Mapping

from tcja_deploy.formatting import engine_plan
from tcja_deploy.report.html import Html, section, table, tag
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.choices import TIME_FORMS
from tcja_runtime.counting import counted
from tcja_runtime.model_file.model import WEIGHTS


def size(manifest: Manifest, files: Mapping[str, int]) -> Html:
    """Return the section on size and speed.

    Args:
        manifest: the manifest of the bundle.
        files: the size in bytes of each file of the models and engines, by its name.
    """
    rows = [(name, f"{files[name]:,}", f"{files[name] / 1e6:.2f}") for name in sorted(files)]
    engines = [name for name in files if name.startswith("engines/")]
    of_models = sum(n for name, n in files.items() if name not in engines)
    parameters = f"({counted(manifest.parameters, 'parameter')}, {manifest.precision})"
    weights = f"; {files[WEIGHTS] / 1e6:.2f} MB of it are the weights" if WEIGHTS in files else ""
    conclusion = (
        f"The models take {of_models / 1e6:.2f} MB{weights} {parameters}. The checkpoint has "
        f"{manifest.checkpoint['bytes'] / 1e6:.2f} MB."
    )
    return section(
        "Size and speed",
        conclusion,
        table("Files of the models and engines", ["file", "bytes", "MB"], rows, numbers=(1, 2)),
        *(tag("p", f"Engine {name}: {engine_plan(info)}") for name, info in manifest.engines.items()),
        *_times(manifest),
    )


def _times(manifest: Manifest) -> list[Html]:
    """Return what was measured of times during the export, and how to measure the rest."""
    layers = manifest.time_form.layers
    forms = [form for form in TIME_FORMS if any(f"{form}_ms" in layer for layer in layers.values())]
    whole = "The latency of the whole network was not measured: it depends on the board, and bench measures it there."
    if not forms:
        return [tag("p", whole)]
    rows = [(name, *(f"{layer[f'{form}_ms']:.3f}" for form in forms), layer["form"]) for name, layer in layers.items()]
    heads = ["layer", *(f"{form}, ms" for form in forms), "chosen"]
    return [
        tag("h3", "Measured time of the neurons"),
        tag("p", f"The neurons of a layer without the rest of the network, for one window: {manifest.time_form.why}."),
        table("Measured time of the neurons", heads, rows, numbers=tuple(range(1, 1 + len(forms)))),
        tag("p", whole),
    ]
