"""From a request to the trained network, and to the windows that it runs on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import nn

from tcja_deploy.console import Progress
from tcja_deploy.export.input_contract import camera_of, contract_of
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.checkpoint.constants import remarks
from tcja_exporters.checkpoint.identify import identify
from tcja_exporters.checkpoint.load import Checkpoint, load_checkpoint
from tcja_exporters.checkpoint.trained_network import TrainedNetwork, with_output_per_step
from tcja_exporters.modules.neurons import spiking_neurons
from tcja_exporters.nir_graphs.file import is_graph
from tcja_exporters.nir_graphs.network import from_nir
from tcja_exporters.user_models.conversion import check_values, convert
from tcja_exporters.user_models.factory import from_factory
from tcja_exporters.user_models.rebuilt import Built, check_rebuilt
from tcja_exporters.user_models.saved_module import compare_outputs
from tcja_exporters.user_models.weights import load_weights
from tcja_exporters.user_models.wrappers import network_inside
from tcja_runtime.budget import batch_size
from tcja_runtime.bundle.signature import NetworkSignature
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
    return identify(checkpoint, request.network, request.settings)


def _own(request: ExportRequest, given: nn.Module | str, checkpoint: Checkpoint | None, known: Known) -> TrainedNetwork:
    """Return a user's own network, given as a module or as the path of its factory, with its neurons replaced."""
    model = network_inside(from_factory(given) if isinstance(given, str) else given)
    check_values(model)
    known.original = model
    loaded = load_weights(model, checkpoint) if checkpoint else None
    contract = _framed(contract_of(request), request)
    windows: Windows = random_windows(contract, RANDOM_WINDOWS)
    if request.data is not None:
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
    title = str(request.data) if isinstance(request.data, Path) else "the network's camera"
    camera = camera_of(request.data, request.reading) if contract.name == "frames" else None
    return seen_through(contract, request.camera_view, camera, title)


def _classes(network: TrainedNetwork, given: tuple[str, ...] | None) -> tuple[str, ...]:
    own = network.classes
    if given is not None and len(given) != len(own):
        raise BadInput(f"`classes` names {counted(len(given), 'class')}, the network has {len(own)}")
    return given or own
