"""The export: from a checkpoint to a verified bundle."""

from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path

from tcja_deploy import consistency
from tcja_deploy.build import chosen_target, with_engine
from tcja_deploy.console import Progress, silent
from tcja_deploy.export.certify import Certificate, ExportedNetwork, certify
from tcja_deploy.export.lowering import lowered_network
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.export.time_form import choose
from tcja_deploy.packages import producer, tools
from tcja_deploy.parity import anytime, verdict
from tcja_deploy.parity.stepwise import stepwise_parity
from tcja_deploy.report.page import render
from tcja_exporters.checkpoint.constants import remarks
from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import load_checkpoint
from tcja_exporters.checkpoint.trained_network import TrainedNetwork, with_output_per_step
from tcja_exporters.graph import stepwise
from tcja_exporters.graph.export import export_onnx, with_time_forms
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.modules.neurons import spiking_neurons
from tcja_exporters.precision import NOTHING, Lowered
from tcja_exporters.reference import recorder
from tcja_exporters.reference.taps import find_taps
from tcja_exporters.user_models.conversion import convert
from tcja_exporters.user_models.factory import from_factory
from tcja_exporters.user_models.rebuilt import Built, check_rebuilt
from tcja_exporters.user_models.saved_module import compare_outputs
from tcja_exporters.user_models.weights import load_weights
from tcja_exporters.user_models.wrappers import network_inside
from tcja_runtime.backends import onnxruntime
from tcja_runtime.budget import batch_size, fewer_windows, judged_windows
from tcja_runtime.bundle import bundle
from tcja_runtime.bundle.bundle import Bundle, write_manifest
from tcja_runtime.bundle.input_statistics import MeasuredWindows
from tcja_runtime.bundle.manifest import Manifest, TimeForms
from tcja_runtime.bundle.signature import NetworkSignature
from tcja_runtime.bundle.stepwise import Streaming
from tcja_runtime.choices import AUTO, CALIBRATIONS, LABEL_RULES, PRECISIONS, RANDOM, TIME_FORMS
from tcja_runtime.counting import counted
from tcja_runtime.data import dataset
from tcja_runtime.data.camera import WHOLE, seen_through
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.recordings import DataOptions
from tcja_runtime.data.windows import Windows, random_windows
from tcja_runtime.errors import NO_ROOM, BadInput, ParityNotMet, TcjaError, Unavailable, check_choice
from tcja_runtime.evidence import golden
from tcja_runtime.files.staging import check_new_page, staged, write_new_file
from tcja_runtime.model_file.tensor_names import spikes_tensor
from tcja_runtime.records import argument
from tcja_runtime.tensorrt.build import BuildOptions

RANDOM_WINDOWS = 2
"""The least number of random windows. A small network gets more: as many as it runs at once (`batch_size`)."""


def export(request: ExportRequest, progress: Progress | None = None) -> tuple[Manifest, verdict.Report]:
    """Export a checkpoint and write its bundle.

    Args:
        request: the network to export, and the options.
        progress: where progress is shown; None shows nothing.

    Returns:
        The manifest of the bundle, and the comparison of the exported network with the trained one.

    Raises:
        BadInput: the checkpoint, the data or an option cannot be used, or TensorRT cannot build the model.
        Unavailable: this machine lacks a package, a device or memory that the export needs.
        ParityNotMet: the exported network does not agree with the trained one; no bundle is written.

    If `request.report` cannot be written when all else is done, the bundle is there, and the error says so.
    """
    request = argument("request", request, ExportRequest)
    progress = progress or silent()
    progress.left_out = []
    _check_options(request)
    target = chosen_target(request.target)
    if target is None and request.batch != BuildOptions.batch:
        least, tuned, most = dataclasses.astuple(request.batch)
        progress.note(f"`batch` {least}:{tuned}:{most} is for an engine, and none is built")
    onnxruntime.require()
    with staged(request.out) as folder:
        made = _export(request, target, folder, progress)
    if request.report:
        there = f"the bundle {request.out} is written, and has the same page"
        _copy_report(request.report, (request.out / bundle.REPORT).read_text(encoding="utf-8"), there)
    return made


def _export(
    request: ExportRequest, target: str | None, folder: Path, progress: Progress
) -> tuple[Manifest, verdict.Report]:
    network = _network(request, progress)
    anytime.check(request.anytime, network.contract)
    if request.streaming:
        stepwise.check(network.contract)
    signature = recorder.signature(network.model, network.contract, network.output, network.time_steps)
    windows = _windows(request, network, signature)
    asked = {"samples": request.samples, "judge": request.judge, "anytime": request.anytime}
    for line in fewer_windows(asked, len(windows)):
        progress.note(line)
    exported = _to_onnx(network, folder, signature, windows, request.precision, progress)
    exported = lowered_network(request, exported, windows, progress)
    exported, time_form = _laid_out(request, exported, target, progress)
    split = stepwise.split(exported.lowered.exported, network.contract, signature.layers) if request.streaming else None
    save(exported.lowered.exported, folder, split.models if split else {})
    judged = request.judge or judged_windows(signature)
    measured = MeasuredWindows(windows, network.contract)
    certificate = certify(exported, measured, judged, request.anytime, progress)
    for line in dataset.remarks([windows]) if isinstance(windows, dataset.Data) else ():
        progress.note(line)
    report = certificate.report
    manifest = _manifest(request, exported, time_form, split.streaming if split else Streaming(), report)
    manifest = dataclasses.replace(manifest, input_statistics=measured.statistics)
    if split:
        report.stepwise = stepwise_parity(folder, manifest, certificate.golden, "onnxruntime", progress)
        manifest = dataclasses.replace(manifest, parity=report.summary())
    if target and report.met:
        with progress.step(f"build the {target} engine"):
            manifest = with_engine(manifest, folder, target, BuildOptions(batch=request.batch))
    return _written(request, folder, manifest, certificate, progress), report


def _network(request: ExportRequest, progress: Progress) -> TrainedNetwork:
    """Return the trained network, with the request's output, class names and frames of recordings."""
    with progress.step("read the checkpoint" if request.model is None else "replace the neurons"):
        network = _trained(request)
        if request.per_step:
            network = with_output_per_step(network)
        network = dataclasses.replace(network, contract=_framed(network.contract, request))
    return dataclasses.replace(network, classes=_classes(network, request.classes))


def _to_onnx(
    network: TrainedNetwork,
    folder: Path,
    signature: NetworkSignature,
    windows: Windows,
    precision: str,
    progress: Progress,
) -> ExportedNetwork:
    """Export a network in float32. Returns its models, and their signature.

    The given signature gets the probed signals (`taps`), the output of each step, and the weights. `precision` is the
    precision that the models will have; it is stored in their metadata.
    """
    with progress.step("export to ONNX"):
        metadata = {"producer": producer(), **network.description(precision, signature.layers).texts()}
        exported = export_onnx(network.model, network.contract, network.output, metadata)
        _check_used(exported, signature)
        some = next(windows.batches(RANDOM_WINDOWS))
        signature = dataclasses.replace(
            signature,
            taps=find_taps(network.model, exported.model, network.time_steps),
            step_output=recorder.step_output(network.model, exported.model, signature.layers, some)
            if network.classes
            else None,
            weights=exported.weights,
            unjudged=exported.unjudged,
        )
    lowered = Lowered(exported, network.model, "fp32")
    return ExportedNetwork(trained=network, folder=folder, signature=signature, lowered=lowered)


def _laid_out(
    request: ExportRequest, network: ExportedNetwork, target: str | None, progress: Progress
) -> tuple[ExportedNetwork, TimeForms]:
    """Choose the time form of each layer in model.plain.onnx. Returns the models in these forms, and the forms."""
    signature, models = network.signature, network.lowered
    time_form = choose(request.time_form, target, models, signature, progress)
    exported = with_time_forms(models.exported, time_form.forms, pooled=target is None)
    signature = dataclasses.replace(signature, weights=exported.weights)
    laid_out = dataclasses.replace(models, exported=exported)
    return dataclasses.replace(network, signature=signature, lowered=laid_out), time_form


def _manifest(
    request: ExportRequest,
    network: ExportedNetwork,
    time_form: TimeForms,
    streaming: Streaming,
    report: verdict.Report,
) -> Manifest:
    """Return the manifest of a bundle without engines."""
    trained, signature, models = network.trained, network.signature, network.lowered
    return Manifest(
        producer=producer(),
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        checkpoint=trained.source,
        network=trained.name,
        dialect=trained.dialect,
        evidence=trained.evidence,
        time_steps=signature.time_steps,
        parameters=trained.parameters,
        input=signature.input,
        output=signature.output,
        output_shape=signature.output_shape,
        classes=list(trained.classes),
        layers=list(signature.layers),
        taps=list(signature.taps),
        answer=signature.step_output,
        weights=list(signature.weights),
        unjudged=list(signature.unjudged),
        passes=models.exported.passes,
        time_form=time_form,
        precision=models.precision,
        streaming=streaming,
        calibration=network.calibration,
        targets=["onnx"],
        engines={},
        parity=report.summary(),
        tools=tools(),
        labels=request.labels,
    )


def _written(
    request: ExportRequest, folder: Path, manifest: Manifest, certificate: Certificate, progress: Progress
) -> Manifest:
    """Write the report, and all other files of the bundle if parity is met. Returns the manifest as it was written.

    Raises:
        ParityNotMet: parity is not met.
        RuntimeError: `verify` would refuse the bundle.
    """
    report = certificate.report
    page = render(manifest, report, certificate.profile, progress)
    if not report.met:
        if request.report:
            try:
                _copy_report(request.report, page, "parity is not met, so no bundle has it either")
            except TcjaError as error:
                progress.note(str(error))
        raise ParityNotMet(f"the exported network is not the trained one: {report.why_not}", report.to_dict())
    # The report says which sections of the page were left out. The manifest and parity.json say the same.
    manifest = dataclasses.replace(manifest, parity=report.summary())
    golden.save(folder / bundle.GOLDEN, certificate.golden, manifest.input)
    (folder / bundle.PARITY).write_text(json.dumps(report.to_dict(), indent=1) + "\n")
    (folder / bundle.REPORT).write_text(page, encoding="utf-8")
    write_manifest(folder, manifest)
    try:
        manifest = Bundle.open(folder).manifest
        consistency.check(golden.load(folder / bundle.GOLDEN, manifest.input), manifest, folder)
    except BadInput as error:
        raise RuntimeError(f"the bundle that was written would be refused: {error}") from error
    return manifest


def _copy_report(path: Path, page: str, there: str) -> None:
    """Write the page into the file that the user asked for.

    Args:
        path: the file.
        page: the page.
        there: a phrase that says where else the page is, for the error.

    Raises:
        BadInput: the file cannot be written.
        Unavailable: the disk is full.
    """
    try:
        write_new_file(path, page)
    except OSError as error:
        kind = Unavailable if error.errno in NO_ROOM else BadInput
        raise kind(f"`report` {path} cannot be written: {error.strerror}; {there}") from error


def _trained(request: ExportRequest) -> TrainedNetwork:
    """Return the trained network: one of the registry, which is found from its checkpoint, or a user's own."""
    if request.checkpoint:
        checkpoint = load_checkpoint(
            request.checkpoint, trust_checkpoint=request.trust_checkpoint, weights=request.weights
        )
    elif request.weights is not None:
        raise BadInput("`weights` chooses weights in a checkpoint; give the checkpoint too, or leave it out")
    else:
        checkpoint = None
    if request.model is None:
        if request.shape or request.layout != "NT":
            raise BadInput("`shape` and `layout` say what `model` takes; give `model` too, or leave them out")
        if checkpoint is None:
            raise BadInput("neither a checkpoint nor a model was given")
        return identify(checkpoint, request.network, request.settings)
    if request.network or request.settings:
        raise BadInput("`network` and `settings` are for networks of the registry, not for `model`")
    model = network_inside(from_factory(request.model) if isinstance(request.model, str) else request.model)
    loaded = load_weights(model, checkpoint) if checkpoint else None
    shape = request.shape or dataset.shape_of(request.data)
    contract = _framed(InputContract.of(shape), request)
    windows: Windows = random_windows(contract, RANDOM_WINDOWS)
    if request.data:
        windows = dataset.load(request.data, contract, None, DataOptions(reading=request.reading))
    inputs = next(windows.batches(RANDOM_WINDOWS))
    same: list[str] = []
    if checkpoint and loaded and loaded.weights.module is not None:
        same = compare_outputs(loaded.weights.module, model, contract, request.layout, inputs, checkpoint.path)
    network = convert(
        model,
        contract,
        inputs,
        layout=request.layout,
        source=checkpoint.source(loaded.weights) if checkpoint and loaded else None,
    )
    if isinstance(request.model, str):
        same += check_rebuilt(
            Built(path=request.model, network=model, checkpoint=checkpoint), contract, request.layout, inputs
        )
    if checkpoint is None or loaded is None:
        return dataclasses.replace(network, evidence=[*same, *network.evidence])
    neurons = {layer: neuron.spec for layer, neuron in spiking_neurons(network.model).items()}
    told = remarks(checkpoint.told(loaded.weights), neurons, network.time_steps)
    return dataclasses.replace(network, evidence=[*loaded.lines, *same, *told, *network.evidence])


def _framed(contract: InputContract, request: ExportRequest) -> InputContract:
    """Return a contract with the request's rule that cuts recordings, and its view of the camera's picture."""
    if request.split is not None:
        contract = contract.cut_by(request.split)
    if request.camera_view == WHOLE:
        return contract
    title = "the network's camera" if request.data is None else str(request.data)
    return seen_through(contract, request.camera_view, dataset.camera_of(request.data, request.reading), title)


def _check_options(request: ExportRequest) -> None:
    """Check the options that can be checked without the network and the data."""
    check_choice("precision", request.precision, PRECISIONS)
    if request.time_form is not None:
        check_choice("time_form", request.time_form, (AUTO, *TIME_FORMS))
    if request.labels is not None:
        check_choice("labels", request.labels, LABEL_RULES)
    if NOTHING in request.keep and len(set(request.keep)) > 1:
        others = ", ".join(name for name in request.keep if name != NOTHING)
        raise BadInput(f"`keep` {NOTHING} keeps no layer, and `keep` {others} does; leave one of them out")
    if request.keep != ExportRequest.keep and request.precision == "fp32":
        raise BadInput("`keep` says what stays in float32 in a lower precision; give `precision` too, or leave it out")
    check_choice("calibration", request.calibration, CALIBRATIONS)
    if request.calibration == RANDOM and (request.precision != "int8" or request.data):
        raise BadInput(
            f"`calibration` {RANDOM} measures the scales of `precision` int8 without `data`; give that precision and "
            "no data, or leave it out"
        )
    if request.precision == "int8" and request.calibration != RANDOM and not request.data:
        raise BadInput(
            "`precision` int8 measures its scales on windows, which should be real: give `data`; or accept scales of "
            f"random windows, which are wrong for others, with `calibration` {RANDOM}"
        )
    if request.report is None:
        return
    if request.out.absolute() in (request.report.absolute(), *request.report.absolute().parents):
        raise BadInput(f"`report` {request.report} is the path of the bundle, or is in it; choose another file")
    check_new_page(request.report, "`report`")


def _check_used(exported: Exported, signature: NetworkSignature) -> None:
    made = {tensor for node in exported.model.graph.node for tensor in node.output}
    for layer in signature.layers:
        if spikes_tensor(layer.name) not in made:
            raise BadInput(
                f"the network's output does not depend on the spiking layer '{layer.name}', so it is not in the model; "
                "remove the layer from forward, or return the output that depends on it"
            )


def _classes(network: TrainedNetwork, given: tuple[str, ...] | None) -> tuple[str, ...]:
    own = network.classes
    if given is not None and len(given) != len(own):
        raise BadInput(f"`classes` names {counted(len(given), 'class')}, the network has {len(own)}")
    return given or own


def _windows(request: ExportRequest, network: TrainedNetwork, signature: NetworkSignature) -> Windows:
    """Return the windows to compare on: those of the request's data, or random windows if it has no data."""
    if request.data is None:
        for name in request.reading.given:
            raise BadInput(f"`{name}` is about recordings in `data`; give `data` too, or leave it out")
        return random_windows(network.contract, request.samples or max(RANDOM_WINDOWS, batch_size(signature)))
    how = DataOptions(labels=request.labels, reading=request.reading)
    windows = dataset.load(request.data, network.contract, network.classes, how)
    return windows if request.samples is None else windows.first(request.samples)
