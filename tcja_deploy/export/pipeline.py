"""The main job: from a checkpoint to a verified bundle."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tcja_deploy.budget import batch_size, judged_windows
from tcja_deploy.build import chosen, with_engine
from tcja_deploy.console import Progress, silent
from tcja_deploy.export.certify import certify
from tcja_deploy.export.request import Request
from tcja_deploy.export.time_form import choose
from tcja_deploy.packages import producer, tools
from tcja_deploy.parity import anytime, verdict
from tcja_deploy.parity.stepwise import stepwise_parity
from tcja_deploy.report.page import render
from tcja_exporters.checkpoint import load as checkpoints
from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.trained_network import TrainedNetwork, answering_each_step
from tcja_exporters.graph import export as onnx_export
from tcja_exporters.graph import stepwise
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.modules.attention import parts
from tcja_exporters.precision import (
    ADVISED,
    CALIBRATION_WINDOWS,
    NOTHING,
    Lowered,
    calibrate,
    keep_in_float32,
    lowered,
    quantizable,
)
from tcja_exporters.precision.advice import Advice, advise
from tcja_exporters.reference import recorder
from tcja_exporters.reference import taps as tapping
from tcja_exporters.user_models.conversion import convert
from tcja_exporters.user_models.factory import from_factory, load_weights
from tcja_runtime.backends import onnxruntime
from tcja_runtime.bundle import bundle
from tcja_runtime.bundle.bundle import write_manifest
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.signature import NetworkSignature
from tcja_runtime.bundle.stepwise import Streaming
from tcja_runtime.choices import AUTO, PRECISIONS, TIME_FORMS
from tcja_runtime.data import dataset
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.samples import Windows, draw
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.evidence import golden
from tcja_runtime.files.staging import check_new_file, staged
from tcja_runtime.model_file.tensor_names import spikes_tensor
from tcja_runtime.tensorrt.build import BuildOptions

DRAWN_WINDOWS = 2
"""How many windows are drawn at least; a small network takes more, as many as run at once."""


def export(request: Request, progress: Progress | None = None) -> tuple[Manifest, verdict.Report]:
    """Export a checkpoint and write its bundle.

    Raises:
        BadInput: the checkpoint, the data or an option cannot be used, or TensorRT cannot build the model.
        Unavailable: something is missing on this machine.
        ParityNotMet: the exported network does not do what the trained one does; no bundle is written.
    """
    progress = progress or silent()
    if request.precision not in PRECISIONS:
        raise BadInput(f"`precision` {request.precision} must be {', '.join(PRECISIONS)}")
    if request.time_form not in (None, AUTO, *TIME_FORMS):
        raise BadInput(f"`time_form` {request.time_form} must be {AUTO}, {', '.join(TIME_FORMS)}")
    if request.keep != Request.keep and request.precision == "fp32":
        raise BadInput("`keep` says what stays in float32 in a lower precision; give `precision` too, or leave it out")
    target = chosen(request.target)
    _check_report(request)
    onnxruntime.require()
    with staged(request.out) as folder:
        return _export(request, target, folder, progress)


def _export(request: Request, target: str | None, folder: Path, progress: Progress) -> tuple[Manifest, verdict.Report]:
    with progress.step("read the checkpoint" if request.model is None else "replace the neurons"):
        network = _trained(request)
        if request.per_step:
            network = answering_each_step(network)
        if request.split is not None:
            network = dataclasses.replace(network, contract=network.contract.cut_by(request.split))
    contract = network.contract
    anytime.check(request.anytime, contract)
    if request.streaming:
        stepwise.check(contract)
    classes = _classes(network, request.classes)
    signature = recorder.signature(network.model, contract, network.output, network.time_steps)
    enough = max(DRAWN_WINDOWS, batch_size(signature))
    windows = _windows(request, contract, classes, enough)
    judge = request.judge or judged_windows(signature)

    with progress.step("export to ONNX"):
        metadata = {
            "producer": producer(),
            "network": network.name,
            "dialect": network.dialect,
            "T": str(network.time_steps),
            "input": json.dumps(dataclasses.asdict(contract)),
            "checkpoint_sha256": network.source["sha256"],
        }
        exported = onnx_export.export(network.model, contract, network.output, metadata)
        _check_used(exported, signature)
        taps = tapping.taps(network.model, exported.model, network.time_steps)
        some = next(windows.batches(DRAWN_WINDOWS))
        averaged = recorder.step_output(network.model, exported.model, signature.layers, some) if classes else None
        signature = dataclasses.replace(signature, taps=taps, step_output=averaged)
    deployed, calibration, advice = _lowered(request, network, exported, signature, windows, progress)
    signature = dataclasses.replace(signature, weights=deployed.exported.weights)
    layers = list(signature.layers)
    time_form = choose(
        request.time_form, target, deployed.exported, layers, network.time_steps, request.precision, progress
    )
    exported = onnx_export.laid_out(deployed.exported, time_form.forms, pooled=target is None)
    deployed = dataclasses.replace(deployed, exported=exported)
    split = stepwise.split(exported, contract, layers) if request.streaming else None
    save(exported, folder, split.models if split else {})
    result, vectors, profile = certify(
        network, deployed, windows, signature, folder, progress, judge, request.anytime, advice
    )
    for line in dataset.remarks([windows]) if isinstance(windows, dataset.Data) else ():
        progress.note(line)
    manifest = Manifest(
        producer=producer(),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        checkpoint=network.source,
        network=network.name,
        dialect=network.dialect,
        evidence=network.evidence,
        time_steps=signature.time_steps,
        parameters=network.parameters,
        input=contract,
        output=signature.output,
        output_shape=signature.output_shape,
        classes=list(classes),
        layers=layers,
        taps=list(signature.taps),
        answer=signature.step_output,
        weights=list(signature.weights),
        passes=deployed.exported.passes,
        time_form=dataclasses.asdict(time_form),
        precision=request.precision,
        streaming=split.streaming if split else Streaming(),
        calibration=calibration,
        targets=["onnx"],
        engines={},
        parity=result.summary(),
        tools=tools(),
    )
    if split:
        result.stepwise = stepwise_parity(folder, manifest, vectors, "onnxruntime", progress)
        manifest = dataclasses.replace(manifest, parity=result.summary())
    if target and result.met:
        with progress.step(f"build the {target} engine"):
            manifest = with_engine(manifest, folder, target, BuildOptions(batch=request.batch))

    page = render(manifest, result, profile)
    if request.report:
        request.report.write_text(page, encoding="utf-8")
    if not result.met:
        raise ParityNotMet(f"the exported network is not the trained one: {result.why_not}", result.to_dict())
    golden.save(folder / bundle.GOLDEN, vectors, contract)
    (folder / bundle.PARITY).write_text(json.dumps(result.to_dict(), indent=1) + "\n")
    (folder / bundle.REPORT).write_text(page, encoding="utf-8")
    write_manifest(folder, manifest)
    return manifest, result


def _lowered(
    request: Request,
    network: TrainedNetwork,
    exported: Exported,
    signature: NetworkSignature,
    windows: Windows,
    progress: Progress,
) -> tuple[Lowered, dict[str, Any], list[Advice]]:
    """The network in the precision asked for, what its scales were found on, and what was advised of its layers."""
    if request.precision == "fp32":
        return Lowered(exported, network.model, "fp32"), {}, []
    size = batch_size(signature)
    with progress.step("predict flips in lower precision"):
        inputs = next(windows.batches(size))
        recorded = recorder.record(network.model, inputs, signature).reference
        advice = advise(network.model, inputs, recorded, signature.layers)
    advised = next(found.keep for found in advice if found.precision == request.precision)
    said = {ADVISED: advised, NOTHING: []}
    names = [name for given in request.keep for name in said.get(given, [given])]
    kept = keep_in_float32(names, exported.model, exported.weights, signature.layers)
    if all(weight.module in kept for weight in exported.weights):
        raise BadInput(
            f"`precision` {request.precision} would leave everything in float32, as "
            f"{', '.join(names)} are kept; choose with `keep`, or `keep` {NOTHING}"
        )
    scales: Mapping[str, float] = {}
    calibration: dict[str, Any] = {}
    if request.precision == "int8":
        blocks = {name.rpartition(".")[0] for name in parts(network.model)}
        modules = quantizable(exported.model, exported.weights, blocks) - kept
        looked_at = windows.first(CALIBRATION_WINDOWS)
        with progress.counted(f"calibrate on {windows.source}", len(looked_at)) as advance:
            found = calibrate(network.model, modules, looked_at.batches(size), advance)
        scales, calibration = found, {"source": windows.source, "windows": len(looked_at)}
    with progress.step(f"lower to {request.precision}"):
        return lowered(network.model, exported, request.precision, kept, scales), calibration, advice


def _trained(request: Request) -> TrainedNetwork:
    """The network to export: found by its checkpoint, or a user's own."""
    checkpoint = (
        checkpoints.load(request.checkpoint, trust_checkpoint=request.trust_checkpoint) if request.checkpoint else None
    )
    if request.model is None:
        if request.shape or request.layout != "NT":
            raise BadInput("`shape` and `layout` say what `model` takes; give `model` too, or leave them out")
        if checkpoint is None:
            raise BadInput("neither a checkpoint nor a model was given")
        return identify(checkpoint, request.network, request.settings)
    if request.network or request.settings:
        raise BadInput("`network` and `settings` are for networks of the registry, not for `model`")
    model = from_factory(request.model) if isinstance(request.model, str) else request.model
    if checkpoint:
        load_weights(model, checkpoint)
    shape = request.shape or dataset.shape_of(request.data)
    contract = InputContract.of(shape)
    windows: Windows = draw(contract, DRAWN_WINDOWS)
    if request.data:
        windows = dataset.load(request.data, contract, None)
    return convert(
        model,
        contract,
        next(windows.batches(DRAWN_WINDOWS)),
        layout=request.layout,
        source=checkpoint.source if checkpoint else None,
    )


def _check_report(request: Request) -> None:
    if request.report is None:
        return
    if request.report.absolute() == request.out.absolute():
        raise BadInput(f"`report` {request.report} is where the bundle goes; choose another file")
    check_new_file(request.report, "`report`")


def _check_used(exported: Exported, signature: NetworkSignature) -> None:
    made = {tensor for node in exported.model.graph.node for tensor in node.output}
    for layer in signature.layers:
        if spikes_tensor(layer.name) not in made:
            raise BadInput(
                f"the spiking layer '{layer.name}' has no part in the network's answer, so it is not in the model; "
                "leave it out of forward, or return what it leads to alone"
            )


def _classes(network: TrainedNetwork, given: tuple[str, ...] | None) -> tuple[str, ...]:
    own = network.classes
    if given is not None and len(given) != len(own):
        raise BadInput(f"`classes` names {len(given)} classes, the network has {len(own)}")
    return given or own


def _windows(request: Request, contract: InputContract, classes: tuple[str, ...], enough: int) -> Windows:
    for option, n in (("`samples`", request.samples), ("`judge`", request.judge)):
        if n is not None and n < 1:
            raise BadInput(f"{option} {n} must be at least 1")
    if request.data is None:
        return draw(contract, request.samples or enough)
    windows = dataset.load(request.data, contract, classes)
    return windows if request.samples is None else windows.first(request.samples)
