"""From a request to the trained network, and to the windows that it runs on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import nn

from tcja_deploy.console import Progress
from tcja_deploy.export.input_contract import camera_of, contract_of
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.checkpoint.constants import remarks
from tcja_exporters.checkpoint.identify import UnknownNetwork, identify
from tcja_exporters.checkpoint.load import Checkpoint, load_checkpoint
from tcja_exporters.checkpoint.load import check_values as checkpoint_values
from tcja_exporters.checkpoint.trained_network import TrainedNetwork, with_output_per_step
from tcja_exporters.checkpoint.weight_sets import WeightSet
from tcja_exporters.libraries import backends
from tcja_exporters.libraries.recognition import class_name
from tcja_exporters.modules.neurons import spiking_neurons
from tcja_exporters.nir_graphs.file import is_graph
from tcja_exporters.nir_graphs.network import from_nir
from tcja_exporters.user_models.conversion import check_values, convert
from tcja_exporters.user_models.factory import Made, from_factory
from tcja_exporters.user_models.readout import output_chosen
from tcja_exporters.user_models.rebuilt import Built, check_rebuilt
from tcja_exporters.user_models.saved_module import compare_outputs
from tcja_exporters.user_models.weights import load_weights
from tcja_exporters.user_models.wrappers import network_inside
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.network_signature import NetworkSignature
from tcja_runtime.counting import counted
from tcja_runtime.data import dataset
from tcja_runtime.data.camera import WHOLE, seen_through
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.recordings import DataOptions
from tcja_runtime.data.windows import Windows, random_windows
from tcja_runtime.errors import BadInput

RANDOM_WINDOWS = 2
"""The least number of random windows. A small network gets more: as many as it runs at once (`batch_size`)."""


@dataclasses.dataclass
class Known:
    """What the steps of an export have found out so far. It is there for a caller, even if a later step fails.

    Attributes:
        original: the user's own network, as the factory built it; None for a network of the registry.
        trained: the trained network, with its neurons replaced.
        signature: the signature of the network, without the entries that need an exported model.
    """

    original: nn.Module | None = None
    trained: TrainedNetwork | None = None
    signature: NetworkSignature | None = None


def trained_network(request: ExportRequest, known: Known, progress: Progress) -> TrainedNetwork:
    """Return the trained network, with the request's output, class names and frames of recordings.

    Args:
        request: the network to export, and the options.
        known: gets the network of the user as soon as it is built.
        progress: where progress is shown.

    Raises:
        BadInput: the checkpoint, the network or an option cannot be used.
        ParityNotMet: the network with replaced neurons differs from the user's.
    """
    with progress.step("read the checkpoint" if request.model is None else "replace the neurons"):
        network = _trained(request, known)
        if request.per_step:
            network = with_output_per_step(network)
        network = dataclasses.replace(network, contract=_framed(network.contract, request))
    return dataclasses.replace(network, classes=_classes(network, request.classes))


def windows_of(request: ExportRequest, network: TrainedNetwork, signature: NetworkSignature) -> Windows:
    """Return the windows to compare on: those of the request's data, or random windows if it has no data.

    Raises:
        BadInput: the data cannot be used.
    """
    if request.data is None:
        return random_windows(network.contract, request.samples or max(RANDOM_WINDOWS, batch_size(signature)))
    how = DataOptions(labels=request.labels, reading=request.reading)
    windows = dataset.load(request.data, network.contract, network.classes, how)
    return windows if request.samples is None else windows.first(request.samples)


def with_readers(network: TrainedNetwork, windows: Windows) -> TrainedNetwork:
    """Return the network with the extensions that read its recordings among its evidence and packages."""
    readers = windows.extensions if isinstance(windows, dataset.Data) else []
    return dataclasses.replace(
        network,
        evidence=[*network.evidence, *(f"the recordings are read by {each}" for each in readers)],
        packages={**network.packages, **{each.package: each.version for each in readers}},
    )


def _trained(request: ExportRequest, known: Known) -> TrainedNetwork:
    """Return the trained network: that of a NIR graph, one of the registry by its checkpoint, or a user's own."""
    if request.checkpoint and is_graph(request.checkpoint):
        return from_nir(request.checkpoint, contract_of(request, timed=True), request.settings)
    checkpoint = None
    if request.checkpoint:
        checkpoint = load_checkpoint(
            request.checkpoint, trust_checkpoint=request.trust_checkpoint, weights=request.weights
        )
    if request.model is not None:
        return _own(request, request.model, checkpoint, known)
    if checkpoint is None:
        raise BadInput("neither a checkpoint nor a model was given")
    return _of_checkpoint(request, checkpoint, known)


def _of_checkpoint(request: ExportRequest, checkpoint: Checkpoint, known: Known) -> TrainedNetwork:
    """Return the network of the registry that a checkpoint belongs to; else the module that it stores."""
    saved = checkpoint.sets[0].module
    if not request.says_input:
        try:
            return identify(checkpoint, request.network, request.settings)
        except UnknownNetwork as error:
            if saved is None or request.network is not None:
                raise
            if request.data is None:
                raise BadInput(
                    f"{checkpoint.path} is of no known network, and stores a module ({class_name(saved)}); to export "
                    "this module, give `shape` or `data`"
                ) from error
    if saved is None:
        raise BadInput(
            f"`shape`, `input` and `layout` say what a network takes, and {checkpoint.path} stores weights only; give "
            "`model` too, or leave them out"
        )
    return _saved(request, saved, checkpoint, known)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Built:
    """A user's own network with its weights.

    Attributes:
        model: the network.
        weights: the weights in the checkpoint; None if there is no checkpoint.
        lines: what the user should know of how it was built, a line each.
        alike: a module with the same weights whose output must be the same; None if there is none.
    """

    model: nn.Module
    weights: WeightSet | None
    lines: list[str]
    alike: nn.Module | None = None


def _saved(request: ExportRequest, module: nn.Module, checkpoint: Checkpoint, known: Known) -> TrainedNetwork:
    """Return the module that a checkpoint stores, with its neurons replaced."""
    used, model = checkpoint.sets[0], network_inside(module)
    checkpoint_values(checkpoint.path, used.state)
    line = f"the network is the module that {checkpoint.path.name} stores ({class_name(model)}), with its own code"
    lines = [line, *checkpoint.taken(used), *backends.lines(model)]
    return _converted(request, _Built(model=model, weights=used, lines=lines), checkpoint, known)


def _own(request: ExportRequest, given: nn.Module | str, checkpoint: Checkpoint | None, known: Known) -> TrainedNetwork:
    """Return a user's own network, given as a module or as the path of its factory, with its neurons replaced."""
    made = from_factory(given) if isinstance(given, str) else Made(given, backends.lines(given))
    model = network_inside(made.network)
    check_values(model)
    loaded = load_weights(model, checkpoint) if checkpoint else None
    built = _Built(
        model=model,
        weights=loaded.weights if loaded else None,
        lines=[*made.lines, *(loaded.lines if loaded else [])],
        alike=loaded.weights.module if loaded else None,
    )
    return _converted(request, built, checkpoint, known)


def _converted(request: ExportRequest, built: _Built, checkpoint: Checkpoint | None, known: Known) -> TrainedNetwork:
    """Return a user's own network with its neurons replaced, and with the chosen output."""
    with output_chosen(request.output):
        return _with_output(request, built, checkpoint, known)


def _with_output(request: ExportRequest, built: _Built, checkpoint: Checkpoint | None, known: Known) -> TrainedNetwork:
    known.original = model = built.model
    contract = _framed(contract_of(request), request)
    windows: Windows = random_windows(contract, RANDOM_WINDOWS)
    if request.data is not None:
        windows = dataset.load(request.data, contract, None, DataOptions(reading=request.reading))
    inputs, lines = next(windows.batches(RANDOM_WINDOWS)), list(built.lines)
    if built.alike is not None and checkpoint is not None:
        lines += compare_outputs(built.alike, model, contract, request.layout, inputs, checkpoint.path)
    source = checkpoint.source(built.weights) if checkpoint and built.weights else None
    network = convert(model, contract, inputs, layout=request.layout, source=source)
    if isinstance(request.model, str):
        again = Built(path=request.model, network=model, checkpoint=checkpoint)
        lines += check_rebuilt(again, contract, request.layout, inputs)
    if checkpoint and built.weights:
        neurons = {layer: neuron.spec for layer, neuron in spiking_neurons(network.model).items()}
        lines += remarks(checkpoint.told(built.weights), neurons, network.time_steps)
    return dataclasses.replace(network, evidence=[*lines, *network.evidence])


def _framed(contract: InputContract, request: ExportRequest) -> InputContract:
    """Return a contract with the request's rule that cuts recordings, and its view of the camera's picture."""
    if request.split is not None:
        contract = contract.cut_by(request.split)
    if request.camera_view == WHOLE:
        return contract
    title = str(request.data) if isinstance(request.data, Path) else "the network's camera"
    camera = camera_of(request.data, request.reading) if contract.name == "frames" else None
    return seen_through(contract, request.camera_view, camera, title)


def _classes(network: TrainedNetwork, given: tuple[str, ...] | None) -> tuple[str, ...]:
    own = network.classes
    if given is not None and len(given) != len(own):
        raise BadInput(f"`classes` names {counted(len(given), 'class')}, the network has {len(own)}")
    return given or own
