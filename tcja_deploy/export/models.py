"""From a request to the models of its network, before anything is compared: what `export` and `check` share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tcja_deploy.console import Progress
from tcja_deploy.export import spike_counts
from tcja_deploy.export.certify import ExportedNetwork
from tcja_deploy.export.lowering import lowered_network
from tcja_deploy.export.network import RANDOM_WINDOWS, Known, trained_network, windows_of, with_readers
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.export.time_form import choose, without_fused
from tcja_deploy.export.trials import Trials
from tcja_deploy.packages import producer
from tcja_deploy.parity import anytime
from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_exporters.graph import stepwise
from tcja_exporters.graph.export import export_onnx, with_spike_counts, with_time_forms
from tcja_exporters.graph.exported import Exported, save
from tcja_exporters.graph.rolling import AT_ONCE, ROLLING
from tcja_exporters.graph.stepwise import StepwiseModels
from tcja_exporters.precision import Lowered
from tcja_exporters.reference import recorder
from tcja_exporters.reference.taps import find_taps
from tcja_runtime.bundle import conformance
from tcja_runtime.bundle.manifest import TimeForms
from tcja_runtime.bundle.network_signature import NetworkSignature, Tap
from tcja_runtime.data.windows import Windows
from tcja_runtime.errors import BadInput
from tcja_runtime.files.folder import Folder
from tcja_runtime.model_file.tensor_names import spikes_tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """A network whose models are written, and not yet compared with it.

    Attributes:
        network: the trained network and its models.
        windows: the windows to compare on.
        time_form: the time form of each spiking layer in model.plain.onnx.
        split: the models of the network that runs stepwise; None if the request does not ask for them.
    """

    network: ExportedNetwork
    windows: Windows
    time_form: TimeForms
    split: StepwiseModels | None


def prepare(request: ExportRequest, target: str | None, folder: Path, known: Known, progress: Progress) -> Prepared:
    """Make the models of a network, and write them into a folder.

    Args:
        request: the network to export, and the options.
        target: the target that an engine is built for; None if none is built.
        folder: the folder for the models, which is empty.
        known: gets what is found out on the way.
        progress: where progress is shown.

    Raises:
        BadInput: the checkpoint, the network, the data or an option cannot be used.
        ParityNotMet: the network with replaced neurons differs from the user's, or a model does not agree with the
            network signature.
    """
    known.trained = network = trained_network(request, known, progress)
    anytime.check(request.anytime, network.contract)
    if request.streaming:
        stepwise.check(network.contract)
    known.signature = signature = recorder.signature(
        network.model, network.contract, network.output, network.time_steps
    )
    windows = windows_of(request, network, signature)
    known.trained = network = with_readers(network, windows)
    exported = _to_onnx(network, folder, signature, windows, request.precision, progress)
    exported = lowered_network(request, exported, windows, progress)
    exported, time_form = _laid_out(request, exported, target, progress)
    layers = [*signature.layers, *signature.integrators]
    split = stepwise.split(exported.lowered.exported, network.contract, layers) if request.streaming else None
    save(exported.lowered.exported, folder, split.models if split else {})
    conformance.check(Folder(folder), exported.signature)
    return Prepared(network=exported, windows=windows, time_form=time_form, split=split)


def without_fused_layers(made: Prepared, why: str) -> Prepared:
    """Write the models again, with another time form in each layer that has the form fused.

    Args:
        made: the network and its models.
        why: the reason, for the manifest.
    """
    models, signature = made.network.lowered, made.network.signature
    time_form = without_fused(made.time_form, signature.time_steps, why)
    exported = with_time_forms(models.exported, time_form.forms)
    if signature.spike_counts:
        exported = with_spike_counts(exported, signature.layers, signature.time_steps, fuses=True)
    network = dataclasses.replace(made.network, lowered=dataclasses.replace(models, exported=exported))
    save(exported, network.folder, made.split.models if made.split else {})
    conformance.check(Folder(network.folder), signature)
    return dataclasses.replace(made, network=network, time_form=time_form)


def _to_onnx(
    network: TrainedNetwork,
    folder: Path,
    signature: NetworkSignature,
    windows: Windows,
    precision: str,
    progress: Progress,
) -> ExportedNetwork:
    """Export a network in float32. Returns its models, and their network signature.

    The given one gets the probed signals (`taps`), the output of each step, and the weights. `precision` is the
    precision that the models will have; it is stored in their metadata.
    """
    with progress.step("export to ONNX"):
        metadata = {"producer": producer(), **network.description(precision, signature.layers).texts()}
        exported = export_onnx(network.model, network.contract, network.output, metadata)
        for each in exported.passes:
            if each["name"] == ROLLING and each["note"] not in ("", AT_ONCE):
                progress.note(f"the models grow with the {network.time_steps:,} time steps: {each['note']}")
        _check_used(exported, signature)
        made = {tensor for node in exported.model.graph.node for tensor in node.output}
        integrators = [layer for layer in signature.integrators if layer.result_tensor in made]  # others are not read
        some = next(windows.batches(RANDOM_WINDOWS))
        signature = dataclasses.replace(
            signature,
            integrators=integrators,
            taps=[*find_taps(network.model, exported.model, network.time_steps), *map(Tap.of_integrator, integrators)],
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
    """Choose the time form of each layer in model.plain.onnx, and whether it returns its spike counts.

    Returns:
        The models in these forms, and the forms.
    """
    signature, models = network.signature, network.lowered
    steps, limit = signature.time_steps, request.build_timeout
    trials = (
        Trials(target=target, precision=models.precision, time_steps=steps, build_timeout=limit) if target else None
    )
    time_form = choose(request.time_form, trials, models, signature, progress)
    counts = spike_counts.chosen(request.spike_counts, trials, models, signature, time_form.forms, progress)
    exported = with_time_forms(models.exported, time_form.forms, pooled=target is None and not counts)
    if counts:
        exported = with_spike_counts(exported, signature.layers, signature.time_steps, fuses=target is not None)
    signature = dataclasses.replace(signature, weights=exported.weights, spike_counts=counts)
    laid_out = dataclasses.replace(models, exported=exported)
    return dataclasses.replace(network, signature=signature, lowered=laid_out), time_form


def _check_used(exported: Exported, signature: NetworkSignature) -> None:
    made = {tensor for node in exported.model.graph.node for tensor in node.output}
    for layer in signature.layers:
        if spikes_tensor(layer.name) not in made:
            raise BadInput(
                f"the network's output does not depend on the spiking layer '{layer.name}', so it is not in the model; "
                "remove the layer from forward, or return the output that depends on it"
            )
