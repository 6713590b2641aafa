"""Proves an export against the trained network in PyTorch, and records what proves it again without PyTorch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import nn

from tcja_deploy.budget import batch_size
from tcja_deploy.console import Progress
from tcja_deploy.packages import tools
from tcja_deploy.parity import anytime
from tcja_deploy.parity.classify import Classifier, model_identity, predict
from tcja_deploy.parity.compare import compare, with_statistics
from tcja_deploy.parity.verdict import Report
from tcja_deploy.report.network_profile import NetworkProfile, profile
from tcja_exporters.checkpoint.trained_network import TrainedNetwork
from tcja_exporters.precision import MODEL_ARITHMETIC, Lowered
from tcja_exporters.precision.advice import Advice, advise
from tcja_exporters.reference import recorder as reference
from tcja_runtime.backends.probe import onnxruntime_probes
from tcja_runtime.bundle import conformance
from tcja_runtime.bundle.bundle import PLAIN_MODEL
from tcja_runtime.bundle.signature import NetworkSignature
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.samples import Windows
from tcja_runtime.evidence import golden, stimulus
from tcja_runtime.evidence.agreement import agreement
from tcja_runtime.evidence.anytime import Curve
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.trace import Recording, Reference, Spikes


def certify(
    network: TrainedNetwork,
    deployed: Lowered,
    windows: Windows,
    signature: NetworkSignature,
    folder: Path,
    progress: Progress,
    judge: int,
    show: int | None,
    advice: Sequence[Advice] = (),
) -> tuple[Report, Golden, NetworkProfile]:
    """Parity of both models, golden vectors of the first few windows, and a profile of the network.

    Args:
        network: the trained network.
        deployed: what was made of it, and what that is to do.
        windows: the data. All are classified, running free; the first are judged spike by spike.
        signature: the signature of the exported network.
        folder: of the exported models.
        progress: where progress is shown.
        judge: how many windows to judge.
        show: how many to show frame by frame; None for as many real ones as cost little.
        advice: for the profile; if none is given, it is derived, which only a network in float32 allows.
    """
    contract, time_steps, layers = signature.input, signature.time_steps, signature.layers
    precision = deployed.precision
    recorder = golden.Recorder()
    profiles: list[NetworkProfile] = []
    advised = list(advice)
    estimated: dict[str, list[str]] = {}

    def record(model: nn.Module, inputs: Floats, spikes: Mapping[str, Spikes] | None = None) -> Reference:
        recorded = reference.record(model, inputs, signature, spikes=spikes, arithmetic=MODEL_ARITHMETIC[precision])
        estimated.update(recorded.estimated)
        return recorded.reference

    def trained(inputs: Floats) -> Recording:
        recorded = record(deployed.network, inputs)
        recorder.add(recorded)
        profiles.append(profile(recorded, layers))
        if not advised:  # a batch is enough to tell
            advised.extend(advise(network.model, inputs, recorded, layers))
        return Recording(inputs, recorded)

    size = batch_size(signature)
    scenes: dict[str, Recording] = {}

    def draw(scene: str, model: nn.Module, n: int) -> None:
        inputs = stimulus.inputs(contract, n)
        spikes = {layer.name: stimulus.spikes(layer.name, layer.shape, time_steps, n) for layer in layers}
        parts = []
        for part in (slice(start, start + size) for start in range(0, n, size)):
            given = {name: fired[:, part] for name, fired in spikes.items()}
            recorded = record(model, inputs[part], given)
            parts.append(dataclasses.replace(recorded, spikes={}))
        scenes[scene] = Recording(inputs, dataclasses.replace(Reference.joined(parts), spikes=spikes))
        recorder.add_scene(scene, scenes[scene].reference)

    with progress.step("record drawn stimuli"):
        draw(stimulus.DRAWN, deployed.network, stimulus.windows([layer.shape for layer in layers], time_steps))
        drawn_weights = stimulus.dyadic(signature.weights)
        draw(stimulus.DYADIC, reference.with_weights(deployed.network, signature.weights, drawn_weights), 1)
    conformance.check(folder, signature)
    probes = onnxruntime_probes(folder, signature)
    judged = windows.first(judge)
    with progress.counted("compare with PyTorch, spike by spike", len(judged)) as advance:
        found = compare(map(trained, judged.batches(size)), probes, scenes, signature, advance=advance)

    # A network that is not the trained one need not classify the rest.
    classified = judged if found.parity.failures else windows
    trained_network = Classifier(
        f"PyTorch {tools()['torch']}, float64",
        lambda inputs: Predictions.of_run(reference.run(network.model, inputs, torch.float64, signature.step_output)),
        size,
    )
    exported_network = Classifier(
        probes[0].backend, lambda inputs: Predictions.of_run(probes[0].answered(inputs)), size
    )

    def predicted(network: Classifier, known: Predictions, until: ExitStack) -> Predictions:
        identity = f"{network.name} of {model_identity(folder, PLAIN_MODEL)}"
        return predict(network, classified, known, identity, progress, until)

    statistics, predictions = None, Predictions.none().on(windows)
    curves: list[Curve] = []
    untold: list[str] = []
    if found.original is not None and found.exported is not None:
        with ExitStack() as until:
            known = found.original if deployed.network is network.model else found.original.first(0)
            predictions = predicted(trained_network, known, until)
            theirs = predicted(exported_network, found.exported, until)
        statistics = agreement(predictions, theirs)
        shown = anytime.ShownWindows.choose(classified, contract, show, len(judged))
        predictions = shown.add_to(predictions, trained_network, progress)
        theirs = shown.add_to(theirs, exported_network, progress)
        curves += anytime.curves(trained_network.name, predictions)
        curves += anytime.curves(exported_network.name, theirs)
        untold += anytime.untold(curves, time_steps, shown)
    report = Report(
        reference=trained_network.name,
        source=windows.source,
        real=windows.real,
        windows=len(judged),
        estimated=estimated,
        backends=[with_statistics(found.parity, statistics)],
        anytime=curves,
        untold=untold,
    )
    return report, recorder.golden(windows, predictions), NetworkProfile.joined(profiles, advised)
