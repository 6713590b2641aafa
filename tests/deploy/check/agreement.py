"""Networks that are checked and then exported, and the differences between what both say."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from tcja_deploy.check.checker import check
from tcja_deploy.check.result import Checked
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.parity.verdict import Report
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.errors import BadInput, ParityNotMet

from ... import networks
from ...exporters.peers import odd, own, refused

Options = dict[str, Any]


class OwnNeuron(nn.Module):
    """A neuron that no library and no `register` names, so that its spikes are not judged."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v, fired = torch.zeros_like(x[0]), []
        for step in x:
            v = 0.5 * v + step
            fired.append((v > 1).to(x.dtype))
            v = v * (1 - fired[-1])
        return torch.stack(fired)


def _with_determinant(x: torch.Tensor) -> torch.Tensor:
    return x + torch.linalg.det(x[..., :4, :4])[..., None, None].clamp(0, 1)


def _registered(name: str) -> Callable[[Path], Options]:
    return lambda folder: {"checkpoint": networks.REGISTRY[name].checkpoint(folder / f"{name}.pth")}


def _of_others(build: Callable[[], nn.Module], layout: str) -> Callable[[Path], Options]:
    return lambda _: {"model": own.awake(build()), "layout": layout, "shape": own.SHAPE}


def _odd(name: str) -> Callable[[Path], Options]:
    def options(_: Path) -> Options:
        network = odd.made(name)
        return {"model": network, "layout": network.layout, "shape": network.shape}

    return options


def _unjudged(_: Path) -> Options:
    known = own.activation_based("m")
    model = own.awake(own.Window(known[0], OwnNeuron(), known[2], known[3]))
    return {"model": model, "layout": "TN", "shape": own.SHAPE}


def _lower(precision: str) -> Callable[[Path], Options]:
    def options(folder: Path) -> Options:
        np.savez(folder / "data.npz", frames=own.windows(6))
        model = own.awake(own.Window(*own.activation_based("m")))
        kept = {"precision": precision, "keep": ("nothing",), "data": folder / "data.npz"}
        return {"model": model, "layout": "TN", **kept}

    return options


def _streamed(folder: Path) -> Options:
    return {**_registered("dvs128")(folder), "streaming": True}


def _unknown(folder: Path) -> Options:
    torch.save({"conv.weight": torch.ones(3, 3), "conv.bias": torch.ones(3)}, folder / "unknown.pth")
    return {"checkpoint": folder / "unknown.pth"}


def _changed(folder: Path) -> Options:
    small = networks.REGISTRY["fashion_mnist"]
    return {"checkpoint": small.checkpoint(folder / "changed.pth", conv__0__weight=torch.ones(8, 3, 3, 3))}


def _other_classes(folder: Path) -> Options:
    return {**_registered("dvs128")(folder), "classes": ("one", "two")}


_ODD = (
    "batch norm of snnTorch",
    "one batch norm of a convolution and of spikes",
    "the last step only",
    "batch norm",
    "a batch norm for each step",
    "a shared bias",
)
CASES: dict[str, Callable[[Path], Options]] = {
    **{name: _registered(name) for name in networks.REGISTRY},
    "dvs128, stepwise": _streamed,
    **{name: _of_others(*network) for name, network in own.NETWORKS.items()},
    **{name: _odd(name) for name in _ODD},
    "a neuron that is not known": _unjudged,
    "an operation without a rule": _of_others(lambda: own.Altered(torch.log1p), "TN"),
    "an operation that TensorRT does not have": _of_others(lambda: own.Altered(_with_determinant), "TN"),
    "fp16": _lower("fp16"),
    "int8": _lower("int8"),
    **{name: _of_others(*network) for name, network in refused.NETWORKS.items()},
    "an unknown checkpoint": _unknown,
    "a checkpoint of another shape": _changed,
    "too few class names": _other_classes,
}
"""For each network the function that returns the options of its request; it may write into a folder."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A network that was checked and exported.

    Attributes:
        name: its name in `CASES`.
        found: the result of the check.
        seconds: the processor's seconds of the check, and of the export.
        differences: what the check says otherwise than the export, a line each.
    """

    name: str
    found: Checked
    seconds: tuple[float, float]
    differences: list[str]


def compared(name: str, folder: Path, target: str = "onnx") -> Row:
    """Check a network, export it, and compare what both say."""
    request = ExportRequest(**CASES[name](folder), out=folder / "out.bundle", target=target, samples=2)
    began = time.process_time()
    found = check(request)
    checked = time.process_time()
    manifest = report = error = None
    try:
        manifest, report = pipeline.export(request)
    except (BadInput, ParityNotMet) as raised:
        error = raised
    seconds = (checked - began, time.process_time() - checked)
    differences = list(_differences(found, error, manifest, report, request.out))
    return Row(name, found, seconds, differences)


def _differences(
    found: Checked, error: Exception | None, manifest: Manifest | None, report: Report | None, bundle: Path
) -> Iterator[str]:
    if manifest is None or report is None:
        reason = str(error).partition(" (log: ")[0]  # the check keeps no log of TensorRT
        if found.refusals[:1] != [reason]:
            yield f"the export says {reason}, the check {found.refusals[:1]}"
        return
    if found.network is None or found.models is None:
        yield f"the network is exported, and the check says {found.refusals}"
        return
    network, models = found.network, found.models
    said: dict[str, tuple[Any, Any]] = {
        field: (getattr(network, field), getattr(manifest, field))
        for field in ("evidence", "time_steps", "input", "output", "output_shape", "parameters", "layers", "dialect")
    }
    said["network"] = (network.name, manifest.network)
    said["classes"] = (list(network.classes), manifest.classes)
    said["checkpoint"] = (network.checkpoint, manifest.checkpoint)
    said["unjudged"] = (models.unjudged, manifest.unjudged)
    said["estimated"] = (dict(models.estimated), report.estimated)
    said["time form"] = (models.time_form, manifest.time_form.form)
    said["nodes"] = (models.nodes, {file.name: _nodes(file) for file in bundle.glob("*.onnx")})
    lowered = [weight for weight in manifest.weights if weight.type == manifest.precision]
    said["lowered"] = (models.lowered, len(lowered))
    said["engine"] = (models.engine.layers, next((info.layers for info in manifest.engines.values()), None))
    for what, (ours, theirs) in said.items():
        if ours != theirs:
            yield f"{what}: {ours} in the check, {theirs} in the export"


def _nodes(file: Path) -> int:
    return len(onnx.load(file, load_external_data=False).graph.node)
