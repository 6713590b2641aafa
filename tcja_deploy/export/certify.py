"""Proves an export against the trained network in PyTorch, and records what proves it again without PyTorch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tcja_deploy.budget import batch_size
from tcja_deploy.console import Progress
from tcja_deploy.packages import tools
from tcja_deploy.parity import anytime
from tcja_deploy.parity.classify import Classifier, model_identity, predict
from tcja_deploy.parity.compare import Comparison, compare, with_statistics
from tcja_deploy.parity.verdict import Report
from tcja_deploy.report.network_profile import NetworkProfile, profile
from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_exporters.precision import MODEL_ARITHMETIC, Lowered
from tcja_exporters.precision.advice import Advice, advise
from tcja_exporters.reference.recorder import record, run, with_weights
from tcja_runtime.backends.probe import Probe, onnxruntime_probes
from tcja_runtime.bundle import conformance
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.bundle.signature import NetworkSignature
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.windows import Windows
from tcja_runtime.evidence import golden, stimulus
from tcja_runtime.evidence.agreement import Agreement, agreement
from tcja_runtime.evidence.anytime import Curve
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.trace import Recording, Reference, Spikes


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedNetwork:
    """A trained network and the models that were exported from it.

    Attributes:
        trained: the trained network.
        folder: the folder of the models.
        signature: the signature of the models.
        lowered: the models in their precision, and the network in PyTorch that they must match.
        advice: the advice for each lower precision; empty if it is still to be derived, which needs a float32 export.
        calibration: the source and the number of the windows that the scales of INT8 come from; empty without scales.
    """

    trained: TrainedNetwork
    folder: Path
    signature: NetworkSignature
    lowered: Lowered
    advice: Sequence[Advice] = ()
    calibration: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Certificate:
    """The proof of an export.

    Attributes:
        report: the comparison with the trained network.
        golden: the golden vectors of the first few windows.
        profile: the behaviour of the trained network on the windows that were judged.
    """

    report: Report
    golden: Golden
    profile: NetworkProfile


def certify(
    network: ExportedNetwork, windows: Windows, judged: int, shown: int | None, progress: Progress
) -> Certificate:
    """Prove an export in ONNX Runtime.

    Args:
        network: the trained network and its models.
        windows: the data. All windows are classified by the free-running network.
        judged: the number of windows, from the first on, that are judged spike by spike.
        shown: the number of windows that are shown frame by frame; None for as many real ones as take little time.
        progress: where progress is shown.

    Raises:
        ParityNotMet: a model departs from the signature, so that nothing can be compared.
    """
    signature, size = network.signature, batch_size(network.signature)
    recorder = _Recorder(network)
    with progress.step("record random and exact stimuli"):
        scenes = recorder.stimuli(size)
    conformance.check(network.folder, signature)
    probes = onnxruntime_probes(network.folder, signature)
    first = windows.first(judged)
    with progress.counted("compare with PyTorch, spike by spike", len(first)) as advance:
        comparison = compare(map(recorder.windows, first.batches(size)), probes, scenes, signature, advance=advance)
    # If the exported network is not the trained one, the other windows need not be classified.
    classified = first if comparison.parity.failures else windows
    found = _classify(network, probes[0], comparison, classified, shown, progress)
    report = Report(
        reference=_reference_name(),
        source=windows.source,
        real=windows.real,
        windows=len(first),
        estimated=recorder.estimated,
        backends=[with_statistics(comparison.parity, found.statistics)],
        anytime=found.curves,
        untold=found.untold,
    )
    vectors = recorder.golden.golden(windows, found.original)
    return Certificate(report, vectors, NetworkProfile.joined(recorder.profiles, recorder.advice))


class _Recorder:
    """Records what the reference computes, and collects what the bundle and the report keep of it.

    Args:
        network: the network and its models.

    Attributes:
        golden: the golden vectors so far.
        profiles: the profile of each batch of windows.
        advice: the advice for each lower precision; derived from the first batch if it is not given.
        estimated: by signal, the operations for which no rounding bound is known.
    """

    def __init__(self, network: ExportedNetwork) -> None:
        self._network = network
        self.golden = golden.Recorder()
        self.profiles: list[NetworkProfile] = []
        self.advice = list(network.advice)
        self.estimated: dict[str, list[str]] = {}

    def windows(self, inputs: Floats) -> Recording:
        """Record a batch of windows [N, ...]."""
        recording, layers = self._record(self._network.lowered.network, inputs), self._network.signature.layers
        self.golden.add(recording.reference)
        self.profiles.append(profile(recording.reference, layers))
        if not self.advice:
            self.advice += advise(self._network.trained.model, inputs, recording.reference, layers)
        return recording

    def stimuli(self, size: int) -> dict[str, Recording]:
        """Record the random and the exact stimulus, `size` windows at a time. Returns them by the scene's name."""
        signature, network = self._network.signature, self._network.lowered.network
        windows = stimulus.windows([layer.shape for layer in signature.layers], signature.time_steps)
        scenes = {stimulus.RANDOM: self._stimulus(network, windows, size)}
        exact = with_weights(network, signature.weights, stimulus.exact_weights(signature.weights))
        scenes[stimulus.EXACT] = self._stimulus(exact, 1, size)
        for scene, recording in scenes.items():
            self.golden.add_scene(scene, recording.reference)
        return scenes

    def _stimulus(self, model: nn.Module, windows: int, size: int) -> Recording:
        signature = self._network.signature
        inputs = stimulus.inputs(signature.input, windows)
        spikes = {
            layer.name: stimulus.spikes(layer.name, layer.shape, signature.time_steps, windows)
            for layer in signature.layers
        }
        parts = []
        for part in (slice(start, start + size) for start in range(0, windows, size)):
            given = {name: fired[:, part] for name, fired in spikes.items()}
            recorded = self._record(model, inputs[part], given).reference
            parts.append(dataclasses.replace(recorded, spikes={}))
        return Recording(inputs, dataclasses.replace(Reference.joined(parts), spikes=spikes))

    def _record(self, model: nn.Module, inputs: Floats, spikes: Mapping[str, Spikes] | None = None) -> Recording:
        arithmetic = MODEL_ARITHMETIC[self._network.lowered.precision]
        recording = record(model, inputs, self._network.signature, spikes=spikes, arithmetic=arithmetic)
        self.estimated.update(recording.estimated)
        return recording


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Classification:
    """How the trained and the exported network classify the data.

    Attributes:
        original: the predictions of the trained network; those for no windows if it does not classify.
        statistics: the comparison of both networks' predictions; None without classes.
        curves: how early the predictions of each network can be had.
        untold: why that is not known, a sentence each.
    """

    original: Predictions
    statistics: Agreement | None = None
    curves: list[Curve] = dataclasses.field(default_factory=list)
    untold: list[str] = dataclasses.field(default_factory=list)


def _classify(
    network: ExportedNetwork,
    probe: Probe,
    comparison: Comparison,
    windows: Windows,
    shown: int | None,
    progress: Progress,
) -> _Classification:
    """Classify windows with the trained network, and with a model of the exported one.

    Args:
        network: the network and its models.
        probe: the model.
        comparison: the comparison of the first windows, whose predictions are known.
        windows: the windows to classify.
        shown: the number of windows to show frame by frame; None for as many real ones as take little time.
        progress: where progress is shown.
    """
    if comparison.original is None or comparison.exported is None:
        return _Classification(original=Predictions.none().on(windows))
    signature, trained = network.signature, network.trained.model

    def run_trained(inputs: Floats) -> Predictions:
        return Predictions.of_run(run(trained, inputs, torch.float64, signature.step_output))

    def run_exported(inputs: Floats) -> Predictions:
        return Predictions.of_run(probe.run(inputs))

    size, identity = batch_size(signature), model_identity(network.folder, PLAIN_MODEL)
    original = Classifier(_reference_name(), run_trained, size)
    exported = Classifier(probe.backend, run_exported, size)
    # The reference is the trained network itself only where the export keeps its precision.
    known = comparison.original if network.lowered.network is trained else comparison.original.first(0)
    with ExitStack() as until:
        ours = predict(original, windows, known, f"{original.name} of {identity}", progress, until)
        theirs = predict(exported, windows, comparison.exported, f"{exported.name} of {identity}", progress, until)
    chosen = anytime.ShownWindows.choose(windows, signature.input, shown, len(comparison.outputs))
    ours, theirs = chosen.add_to(ours, original, progress), chosen.add_to(theirs, exported, progress)
    curves = [*anytime.curves(original.name, ours), *anytime.curves(exported.name, theirs)]
    untold = anytime.untold(curves, signature.time_steps, chosen)
    return _Classification(original=ours, statistics=agreement(ours, theirs), curves=curves, untold=untold)


def _reference_name() -> str:
    return f"PyTorch {tools()['torch']}, float64"
