"""Lowering the precision of an exported network: the advice, the layers that stay in float32, and the calibration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tcja_deploy.console import Progress
from tcja_deploy.export.certify import ADVICE, ExportedNetwork
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.graph.exported import Exported
from tcja_exporters.modules.attention import parts
from tcja_exporters.precision import (
    ADVISED,
    CALIBRATION_WINDOWS,
    NOTHING,
    calibrate,
    keep_in_float32,
    lowerable,
    lowered,
    quantizable,
)
from tcja_exporters.precision.advice import Advice, advise
from tcja_exporters.reference import recorder
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.network_signature import NetworkSignature
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.windows import Windows
from tcja_runtime.errors import BadInput


def lowered_network(
    request: ExportRequest, network: ExportedNetwork, windows: Windows, progress: Progress
) -> ExportedNetwork:
    """Return the models in the precision of the request, with the advice and the calibration that were used."""
    if request.precision == "fp32":
        return network
    trained, signature, exported = network.trained.model, network.signature, network.lowered.exported
    size = batch_size(signature)
    with progress.step("predict the flips in lower precisions"):
        advice: list[Advice] = progress.inform(ADVICE, lambda: _advice(network, next(windows.batches(size))), [])
    if not advice and ADVISED in request.keep:
        why = progress.left_out[-1].removeprefix(f"Left out: {ADVICE} ").rstrip(".")
        raise BadInput(
            f"the advice for `keep` {ADVISED} failed {why}; name the layers that stay in float32 with `keep`, or none "
            f"with `keep` {NOTHING}"
        )
    kept = _kept(request, advice, exported, signature)
    scales: Mapping[str, float] = {}
    calibration: dict[str, Any] = {}
    if request.precision == "int8":
        blocks = {name.rpartition(".")[0] for name in parts(trained)}
        modules = quantizable(exported.model, lowerable(trained, exported), blocks) - kept
        some = windows.first(CALIBRATION_WINDOWS)
        with progress.counted(f"calibrate ({windows.source})", len(some)) as advance:
            scales = calibrate(trained, modules, some.batches(size), advance)
        calibration = {"source": windows.source, "windows": len(some), "real": windows.real}
    with progress.step(f"lower the precision to {request.precision}"):
        found = lowered(trained, exported, request.precision, kept, scales)
    if all(weight.type != request.precision for weight in found.exported.weights):
        raise BadInput(
            f"`precision` {request.precision} would lower nothing: outside the layers that are kept, every weight is "
            "shared, or is not in a convolution or linear layer of torch that can be lowered; give `precision` fp32"
        )
    signature = dataclasses.replace(signature, weights=found.exported.weights)
    return dataclasses.replace(network, signature=signature, lowered=found, advice=advice, calibration=calibration)


def _advice(network: ExportedNetwork, inputs: Floats) -> list[Advice]:
    """Return the advice on lower precisions, predicted on windows [N, ...]."""
    recording = recorder.record(network.trained.model, inputs, network.signature)
    return advise(network.trained.model, inputs, recording.reference, network.signature.layers)


def _kept(request: ExportRequest, advice: list[Advice], exported: Exported, signature: NetworkSignature) -> set[str]:
    """Return the names of the modules that stay in float32.

    Raises:
        BadInput: all modules would stay in float32, or a name of the request is not known.
    """
    advised = next((found.keep for found in advice if found.precision == request.precision), [])
    meant = {ADVISED: advised, NOTHING: []}
    names = [name for given in request.keep for name in meant.get(given, [given])]
    kept = keep_in_float32(names, exported.model, exported.weights, signature.layers)
    if all(weight.module in kept for weight in exported.weights):
        raise BadInput(
            f"`precision` {request.precision} would leave everything in float32, because "
            f"{', '.join(names)} are kept; name fewer layers with `keep`, or none with `keep` {NOTHING}"
        )
    return kept
