"""The export: from a checkpoint to a verified bundle."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from pathlib import Path

from tcja_deploy.build import chosen_target, with_engine
from tcja_deploy.consistency import contradictions
from tcja_deploy.console import Progress, silent
from tcja_deploy.export.certify import Certificate, ExportedNetwork, certify
from tcja_deploy.export.models import Prepared, prepare, without_fused_layers
from tcja_deploy.export.network import Known
from tcja_deploy.export.request import ExportRequest, check_options
from tcja_deploy.export.time_form import instead_of_fused
from tcja_deploy.packages import producer, tools
from tcja_deploy.parity import verdict
from tcja_deploy.parity.stepwise import stepwise_parity
from tcja_deploy.report.page import render
from tcja_deploy.report.page_data import PageData
from tcja_exporters.graph.outline import Block, outline
from tcja_runtime.backends import onnxruntime
from tcja_runtime.budget import fewer_windows, judged_windows
from tcja_runtime.bundle import bundle
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.statistics.inputs import MeasuredWindows
from tcja_runtime.bundle.stepwise import Streaming
from tcja_runtime.bundle.writing import write_manifest
from tcja_runtime.choices import AUTO, Target, TimeForm
from tcja_runtime.data import dataset
from tcja_runtime.data.windows import unusual
from tcja_runtime.errors import NO_ROOM, BadInput, BuildTimeout, ParityNotMet, TcjaError, Unavailable
from tcja_runtime.evidence import golden
from tcja_runtime.files.folder import Folder
from tcja_runtime.files.staging import staged, write_whole
from tcja_runtime.records import argument
from tcja_runtime.tensorrt.build import BuildOptions


def export(request: ExportRequest, progress: Progress | None = None) -> tuple[Manifest, verdict.Report]:
    """Export a checkpoint and write its bundle.

    Args:
        request: the network to export, and the options.
        progress: where progress is shown; None shows nothing.

    Returns:
        The manifest of the bundle, and the comparison of the exported network with the trained one.

    Raises:
        BadInput: the checkpoint, the data or an option cannot be used, or TensorRT cannot build the model.
        BuildTimeout: the builder of the engine did not end in time, in the requested time form.
        Unavailable: this machine lacks a package, a device or memory that the export needs.
        ParityNotMet: the exported network does not agree with the trained one; no bundle is written.

    If `request.report` cannot be written when all else is done, the bundle is there, and the error says so.
    """
    request = argument("request", request, ExportRequest)
    progress = progress or silent()
    progress.left_out = []
    check_options(request)
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
    made = prepare(request, target, folder, Known(), progress)
    asked = {"samples": request.samples, "judge": request.judge, "anytime": request.anytime}
    for line in fewer_windows(asked, len(made.windows)):
        progress.note(line)
    left_out = [*progress.left_out]
    try:
        return _proven(request, made, target, folder, progress)
    except BuildTimeout as error:
        if request.time_form not in (None, AUTO) or TimeForm.FUSED.value not in made.time_form.forms.values():
            raise
        other = instead_of_fused(made.network.signature.time_steps)
        why = f"{str(error).partition(';')[0]} in the form {TimeForm.FUSED.value}"
        progress.note(f"{why}; the form {other} is taken, and the proof is repeated")
    progress.left_out = left_out
    try:
        return _proven(request, without_fused_layers(made, why), target, folder, progress)
    except BuildTimeout as error:
        raise BuildTimeout(f"{error}, or build no engine here with `target` {Target.ONNX.value}") from error


def _proven(
    request: ExportRequest, made: Prepared, target: str | None, folder: Path, progress: Progress
) -> tuple[Manifest, verdict.Report]:
    """Prove the models of a network, build the engine, and write all other files of the bundle."""
    network, windows, split = made.network, made.windows, made.split
    judged = request.judge or judged_windows(network.signature)
    measured = MeasuredWindows(windows, network.trained.contract)
    certificate = certify(network, measured, judged, request.anytime, progress)
    for line in dataset.remarks([windows]) if isinstance(windows, dataset.Data) else ():  # known once they are read
        progress.note(line)
    report = certificate.report
    remark = unusual(certificate.golden.samples.inputs, network.trained.contract) if windows.real else ""
    if remark and report.met:
        progress.note(f"the data has{remark.removeprefix(',')}; the bundle takes such values, too")
    manifest = _manifest(request, made, report)
    manifest = dataclasses.replace(manifest, input_statistics=measured.statistics, firing_statistics=certificate.firing)
    if split:
        report.stepwise = stepwise_parity(Folder(folder), manifest, certificate.golden, "onnxruntime", progress)
        manifest = dataclasses.replace(manifest, parity=report.summary())
    if target and report.met:
        with progress.step(f"build the {target} engine"):
            how = BuildOptions(batch=request.batch, build_timeout=request.build_timeout)
            manifest = with_engine(manifest, Folder(folder), folder, target, how, progress)
    data = PageData(
        bundle=request.out.name,
        profile=certificate.profile,
        answers=certificate.answers,
        outline=_outline(network, progress),
        files=_sizes(folder),
    )
    return _written(request, folder, manifest, certificate, render(manifest, report, data, progress), progress), report


def _outline(network: ExportedNetwork, progress: Progress) -> Sequence[Block]:
    """Return the layers of the network for the report."""
    model = network.lowered.exported.model
    found: Sequence[Block] = progress.inform(
        "the drawing of the network", lambda: outline(model, network.signature), ()
    )
    return found


def _sizes(folder: Path) -> dict[str, int]:
    """Return the sizes in bytes of the models, of their weights and of the engines."""
    files = (file for file in folder.rglob("*") if file.suffix in (".onnx", ".bin", ".engine"))
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def _manifest(request: ExportRequest, made: Prepared, report: verdict.Report) -> Manifest:
    """Return the manifest of a bundle without engines."""
    network = made.network
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
        time_form=made.time_form,
        precision=models.precision,
        streaming=made.split.streaming if made.split else Streaming(),
        calibration=network.calibration,
        targets=["onnx"],
        engines={},
        parity=report.summary(),
        tools={**tools(), **trained.packages},
        labels=request.labels,
        spike_counts=signature.spike_counts,
        integrators=list(signature.integrators),
    )


def _written(
    request: ExportRequest, folder: Path, manifest: Manifest, certificate: Certificate, page: str, progress: Progress
) -> Manifest:
    """Write all other files of the bundle if parity is met. Returns the manifest as it was written.

    Args:
        request: the request.
        folder: the folder of the bundle, with its models.
        manifest: the manifest.
        certificate: the proof of the export.
        page: the report as a page.
        progress: where progress is shown.

    Raises:
        ParityNotMet: parity is not met.
        RuntimeError: `verify` would refuse the bundle.
    """
    report = certificate.report
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
        opened = Bundle.open(folder, check_signature=False)
        contradictions.check(golden.read(opened, opened.manifest.input), opened.manifest, opened)
    except BadInput as error:
        raise RuntimeError(f"the bundle that was written would be refused: {error}") from error
    return opened.manifest


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
        write_whole(path, page)
    except OSError as error:
        kind = Unavailable if error.errno in NO_ROOM else BadInput
        raise kind(f"`report` {path} cannot be written: {error.strerror}; {there}") from error
