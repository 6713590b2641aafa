"""Proving that exported models fire the spikes of the trained network in PyTorch.

The proof records golden vectors, with which `verify` repeats it without PyTorch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tcja_deploy.consistency.bounds import unaccounted, wide_bounds
from tcja_deploy.console import Progress
from tcja_deploy.packages import tools
from tcja_deploy.parity import anytime
from tcja_deploy.parity.classify import Classifier, model_identity, predict
from tcja_deploy.parity.compare import Comparison, compare, with_statistics
from tcja_deploy.parity.engine import plain_parity
from tcja_deploy.parity.verdict import Report
from tcja_deploy.report.answers import Answers, Network, answers
from tcja_deploy.report.network_profile import NetworkProfile, profile
from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_exporters.precision import Lowered
from tcja_exporters.precision.advice import Advice, advise
from tcja_exporters.reference.free_running import free_running_bounds
from tcja_exporters.reference.recorder import record, run, with_weights
from tcja_exporters.reference.taps import signals_of_input
from tcja_runtime.backends.probe import Probe, onnxruntime_probes
from tcja_runtime.budget import batch_size, large_batch
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.bundle.network_signature import NetworkSignature
from tcja_runtime.bundle.statistics.firing import FiringStatistics
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.windows import Windows
from tcja_runtime.evidence import golden, input_range, stimulus
from tcja_runtime.evidence.agreement import Agreement, agreement
from tcja_runtime.evidence.anytime import Curve
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.rounding import MODEL_ARITHMETIC
from tcja_runtime.evidence.spike_counts import Counts, spike_counts
from tcja_runtime.evidence.trace import Recording, Reference, Spikes, Values
from tcja_runtime.files.folder import Folder

_LARGEST_VALUES = {"fp32": 2.0**100, "fp16": 2.0**13, "int8": 2.0**100}
"""The largest value of a recorded signal of the range stimulus, by precision.

It is far below the largest number of the format, as only a sample of the values is recorded.
"""

ADVICE = "advice on fp16 and int8"
"""The name of the step that predicts the flips in lower precisions."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportedNetwork:
    """A trained network and the models that were exported from it.

    Attributes:
        trained: the trained network.
        folder: the folder of the models.
        signature: the signature of the models.
        lowered: the models in their precision, and the network in PyTorch that they must match.
        advice: the advice for each lower precision; empty if it has not been computed yet, as in a float32 export.
        calibration: the windows on which the scales of INT8 were measured: "source", "windows" and "real"
            (`tcja_runtime.bundle.manifest.Manifest`); empty in other precisions.
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
        answers: the answers of both networks; None if they could not be collected.
        firing: how the network fired in the windows that were judged; None without spike counts, and if the windows
            are random or fewer than 16.
    """

    report: Report
    golden: Golden
    profile: NetworkProfile
    answers: Answers | None
    firing: FiringStatistics | None


def certify(
    network: ExportedNetwork, windows: Windows, judged: int, shown: int | None, progress: Progress
) -> Certificate:
    """Prove an export in ONNX Runtime.

    Args:
        network: the trained network and its models.
        windows: the windows to compare on. The free-running network classifies all of them.
        judged: the number of windows, from the first on, that are judged spike by spike.
        shown: the number of windows to run again with only 1 to T of their frames; None takes as many real windows as
            take little time.
        progress: where progress is shown.
    """
    signature, size = network.signature, batch_size(network.signature)
    recorder = _Recorder(network, progress)
    with progress.step("record the stimuli"):
        scenes = recorder.stimuli(size)
    probes = onnxruntime_probes(Folder(network.folder), signature)
    first = windows.first(judged)
    with progress.counted("compare with PyTorch, spike by spike", len(first)) as advance:
        comparison = compare(
            map(recorder.windows, first.batches(size)),
            probes,
            scenes,
            signature,
            large_batch=large_batch(signature),
            advance=advance,
        )
    # If the exported network is not the trained one, the other windows need not be classified.
    classified = first if comparison.parity.failures else windows
    found = _classify(network, probes[0], comparison, classified, shown, progress)
    vectors = recorder.golden.golden(windows, found.original)
    parity = plain_parity(comparison.parity, probes[0], vectors, size)
    report = Report(
        reference=_reference_name(),
        source=windows.source,
        real=windows.real,
        windows=len(first),
        estimated=recorder.estimated,
        backends=[with_statistics(parity, found.statistics)],
        anytime=found.curves,
        largest_count=vectors.largest_count(signature.input),
        anytime_missing=found.missing,
        left_out=progress.left_out,
        unjudged=list(map(str, signature.unjudged)),
        calibration=network.calibration,
        classified_real=windows.real,
        ranged=vectors.covers_range(signature.input),
        wide_bounds=_wide_bounds(network, vectors, recorder.estimated),
    )
    shown_answers = progress.inform(
        "sample windows in the report",
        lambda: _answers(network, probes[0], classified, found),
        None,
    )
    joined = NetworkProfile.joined(recorder.profiles, recorder.advice)
    return Certificate(report, vectors, joined, shown_answers, recorder.statistics if windows.real else None)


def _wide_bounds(network: ExportedNetwork, vectors: Golden, estimated: Mapping[str, list[str]]) -> list[str]:
    """Return the signals whose rounding bounds are so wide that their comparison proves little."""
    signature, precision = network.signature, network.lowered.precision
    found = unaccounted(Folder(network.folder), signature, vectors, precision, estimated)
    return list(wide_bounds(vectors, signature.layers, precision) | found)


class _Recorder:
    """Records the trained network, and collects the golden vectors of the bundle and the profile for the report.

    Args:
        network: the network and its models.
        progress: where progress is shown.

    Attributes:
        golden: the golden vectors that were recorded until now.
        profiles: the profile of each batch of windows.
        advice: the advice for each lower precision. If `network` has none, it is computed from the first batch.
        estimated: by signal, the operations for which no rounding bound is known.
        fired: the spike counts of each batch of windows; empty without spike counts in the bundle.
    """

    def __init__(self, network: ExportedNetwork, progress: Progress) -> None:
        self._network, self._progress = network, progress
        self.golden = golden.Recorder()
        self.profiles: list[NetworkProfile] = []
        self.advice = list(network.advice)
        self.estimated: dict[str, list[str]] = {}
        self.fired: list[Counts] = []

    @property
    def statistics(self) -> FiringStatistics | None:
        """How the network fired in all windows that were recorded; None without spike counts, or of few windows."""
        layers = self._network.signature.layers
        return FiringStatistics.of(np.concatenate(self.fired), layers) if self.fired else None

    def windows(self, inputs: Floats) -> Recording:
        """Record a batch of windows [N, ...]."""
        recording, layers = self._record(self._network.lowered.network, inputs), self._network.signature.layers
        kept = self.golden.add(recording.reference)
        if self._network.signature.spike_counts:
            self.fired.append(spike_counts(recording.reference.spikes))
        if kept and self._network.signature.spike_counts:
            arithmetic = MODEL_ARITHMETIC[self._network.lowered.precision]
            bounds = free_running_bounds(self._network.lowered.network, inputs[:kept], layers, arithmetic)
            self.golden.add_bounds(bounds)
        self.profiles += self._progress.inform(
            "margins and gates in the report", lambda: [profile(recording.reference, layers)], []
        )
        if not self.advice:
            self.advice += self._progress.inform(
                ADVICE, lambda: advise(self._network.trained.model, inputs, recording.reference, layers), []
            )
        return recording

    def stimuli(self, size: int) -> dict[str, Recording]:
        """Record the network on the stimuli. Returns the recordings, by the stimulus's name.

        Args:
            size: the number of windows to run at once.
        """
        signature, network = self._network.signature, self._network.lowered.network
        windows = stimulus.windows([layer.shape for layer in signature.layers], signature.time_steps)
        inputs = stimulus.inputs(signature.input, windows)
        scenes = {stimulus.RANDOM: self._stimulus(network, inputs, size)}
        exact = with_weights(network, signature.weights, stimulus.exact_weights(signature.weights))
        scenes[stimulus.EXACT] = self._stimulus(exact, stimulus.inputs(signature.input, 1), size)
        for scene, recording in scenes.items():
            self.golden.add_scene(scene, recording.reference)
        return scenes | (self._range(network, size) if input_range.takes_range(signature.input) else {})

    def _range(self, network: nn.Module, size: int) -> dict[str, Recording]:
        """Record the range stimulus with the largest counts for which all signals are finite in the precision.

        Returns no recording if the signals are finite for none of the counts that are tried.
        """
        signature, models = self._network.signature, self._network.lowered
        signals = signals_of_input(models.exported.model, signature)
        n = input_range.windows([layer.shape for layer in signature.layers], signature.time_steps)
        for largest in input_range.LARGEST_COUNTS[models.precision]:
            estimated = dict(self.estimated)
            recording = self._stimulus(network, input_range.inputs(signature.input, n, largest), size)
            reference = recording.reference.only(signals)
            if _is_finite(reference, _LARGEST_VALUES[models.precision]):
                self.golden.add_scene(input_range.RANGE, reference, largest)
                return {input_range.RANGE: dataclasses.replace(recording, reference=reference)}
            self.estimated = estimated
        return {}

    def _stimulus(self, model: nn.Module, inputs: Floats, size: int) -> Recording:
        signature, windows = self._network.signature, len(inputs)
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
    """The predictions of the trained network, and their comparison with those of the exported network.

    Attributes:
        original: the predictions of the trained network; empty if it does not classify.
        exported: the predictions of the exported network; empty if it does not classify.
        statistics: the comparison of both networks' predictions; None if the networks do not classify.
        curves: the curves that show how early the predictions of each network can be had.
        missing: the reasons why a curve is missing, a sentence for each.
    """

    original: Predictions
    exported: Predictions
    statistics: Agreement | None = None
    curves: list[Curve] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)


def _classify(
    network: ExportedNetwork,
    probe: Probe,
    comparison: Comparison,
    windows: Windows,
    shown: int | None,
    progress: Progress,
) -> _Classification:
    """Classify windows with the trained network, and with one of the exported models.

    Args:
        network: the network and its models.
        probe: the exported model.
        comparison: the comparison of the first windows, which has their predictions.
        windows: the windows to classify.
        shown: the number of windows to run again with only 1 to T of their frames; None takes as many real windows as
            take little time.
        progress: where progress is shown.
    """
    if comparison.original is None or comparison.exported is None:
        none = Predictions.none().on(windows)
        return _Classification(original=none, exported=none)
    signature, trained = network.signature, network.trained.model

    def run_trained(inputs: Floats) -> Predictions:
        return Predictions.of_run(run(trained, inputs, torch.float64, signature.step_output))

    def run_exported(inputs: Floats) -> Predictions:
        return Predictions.of_run(probe.run(inputs))

    size, identity = batch_size(signature), model_identity(Folder(network.folder), PLAIN_MODEL)
    original = Classifier(_reference_name(), run_trained, size)
    exported = Classifier(probe.backend, run_exported, size)
    # In a lower precision the reference is not the trained network, so the predictions of the latter are not known.
    known = comparison.original if network.lowered.network is trained else comparison.original.first(0)
    with ExitStack() as until:
        ours = predict(original, windows, known, f"{original.name} of {identity}", progress, until)
        theirs = predict(exported, windows, comparison.exported, f"{exported.name} of {identity}", progress, until)
    chosen = anytime.ShownWindows.choose(windows, signature.input, shown, len(comparison.outputs))
    ours, theirs = chosen.add_to(ours, original, progress), chosen.add_to(theirs, exported, progress)
    curves: list[Curve] = progress.inform(
        "curves of early predictions",
        lambda: [*anytime.curves(original.name, ours), *anytime.curves(exported.name, theirs)],
        [],
    )
    missing = anytime.missing(curves, signature.time_steps, chosen)
    return _Classification(
        original=ours, exported=theirs, statistics=agreement(ours, theirs), curves=curves, missing=missing
    )


def _answers(network: ExportedNetwork, probe: Probe, windows: Windows, found: _Classification) -> Answers:
    """Return the answers of both networks to some of the windows that they have classified."""
    model = network.trained.model
    trained = Network(run=lambda x: run(model, x, torch.float64, None).output, predictions=found.original)
    exported = Network(run=lambda x: probe.run(x).output, predictions=found.exported)
    return answers(windows, trained, exported, len(network.trained.classes))


def _is_finite(reference: Reference, largest: float) -> bool:
    """Whether all recorded signals, and the output, are at most `largest` and have a finite bound."""
    recorded = reference.witnesses.values()
    values: list[Values] = [reference.output, *(each.values for each in recorded)]
    bounds = [reference.output_bound, *(each.bounds for each in recorded)]
    return all((np.abs(each) <= largest).all() for each in values) and all(np.isfinite(each).all() for each in bounds)


def _reference_name() -> str:
    return f"PyTorch {tools()['torch']}, float64"
