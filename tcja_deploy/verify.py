"""Proving parity again on this machine, with the golden vectors of a bundle."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tcja_deploy.consistency import bounds, contradictions
from tcja_deploy.console import Progress, silent
from tcja_deploy.parity import anytime, stepwise, verdict
from tcja_deploy.parity.bisect import Culprit, bisect
from tcja_deploy.parity.classify import Classifier, model_identity, predict
from tcja_deploy.parity.compare import compare, with_earlier_agreement, with_statistics
from tcja_deploy.parity.engine import Returned, engine_parity, plain_parity
from tcja_deploy.parity.failures import Failure
from tcja_runtime.backends import onnxruntime, select
from tcja_runtime.backends.probe import Probe, onnxruntime_probes, tensorrt_probes
from tcja_runtime.backends.proven import Proven
from tcja_runtime.backends.select import Backend
from tcja_runtime.budget import MOST_WINDOWS, batch_size, fewer_windows, large_batch, quick_runs
from tcja_runtime.bundle import conformance
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import engines
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.statistics.inputs import MeasuredWindows
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.choices import AUTO, BACKENDS, ENGINE_TARGETS, PROVIDERS
from tcja_runtime.data.camera import WHOLE, CameraView
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.dataset import Data, load, remarks
from tcja_runtime.data.recordings import DataOptions
from tcja_runtime.data.windows import GivenWindows
from tcja_runtime.errors import BadInput, Unavailable, check_choice
from tcja_runtime.events import ReadOptions
from tcja_runtime.evidence import golden
from tcja_runtime.evidence.agreement import agreement
from tcja_runtime.evidence.anytime import Curve
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.trace import Observation
from tcja_runtime.records import argument, check_arguments, check_size
from tcja_runtime.signing.trust import Trust


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """The options of a verification. With any options, the network is compared with the golden vectors.

    Attributes:
        data: windows to classify, free-running, or their path (`tcja_runtime.data.dataset.load`). The trained
            network's predictions for them are known only if they are the data of the export, or its first windows. None
            classifies the golden windows.
        samples: the largest number of windows to take from the data, from the first on; None takes all.
        bisect: whether to find the first signal that is wrong, if parity is not met.
        backend: one of `tcja_runtime.choices.BACKENDS`, or `AUTO`: ONNX Runtime on the CPU, and TensorRT for
            each engine that this machine can run.
        trust: whom and what the user trusts: keys, and engines of unknown origin.
        anytime: the number of windows to run again with only 1 to T of their frames, from the first window on
            (`tcja_runtime.evidence.anytime`); None takes as many real windows as take little time.
        camera_view: what the frames of recordings in the data are made from, instead of what the network's contract
            says.
        labels: the rule by which folders and label files of the data tell classes, one of
            `tcja_runtime.choices.LABEL_RULES`; None takes the rule of the bundle.
        reading: what the user says about recordings that do not say it themselves.
    """

    data: Path | GivenWindows | None = None
    samples: int | None = None
    bisect: bool = False
    backend: str = AUTO
    trust: Trust = dataclasses.field(default_factory=Trust)
    anytime: int | None = None
    camera_view: CameraView = WHOLE
    labels: str | None = None
    reading: ReadOptions = dataclasses.field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        check_arguments(self)
        check_size("samples", self.samples, 1)
        check_size("anytime", self.anytime, 0, MOST_WINDOWS)
        check_choice("backend", self.backend, (AUTO, *BACKENDS))


@dataclasses.dataclass(frozen=True)
class Verified:
    """The result of a verification.

    Attributes:
        bundle: the bundle.
        report: the comparison with the trained network.
        culprit: the first signal that is wrong; None if nothing is wrong, or if `VerifyOptions.bisect` is False.
    """

    bundle: Bundle
    report: verdict.Report
    culprit: Culprit | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackendProof:
    """The comparison of a bundle's network in one backend with its golden vectors.

    Attributes:
        parity: the comparison of the network.
        engines: the comparison of the output of each engine; empty for ONNX Runtime.
        predictions: the predictions of the network for the windows that are classified; None if it does not classify.
        curves: the curves that show how early these predictions can be had.
        culprit: the first signal that is wrong; None if nothing is wrong, or if `VerifyOptions.bisect` is False.
    """

    parity: verdict.Parity
    engines: list[verdict.OutputParity]
    predictions: Predictions | None = None
    curves: list[Curve] = dataclasses.field(default_factory=list)
    culprit: Culprit | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Evidence:
    """The golden vectors and the data on which a network is compared with the trained one.

    Attributes:
        golden: the golden vectors of the bundle.
        data: the windows of the user's data; None if no data is given.
        measured: the same windows, whose figures are stored when they are read.
        original: the trained network's predictions for the data, or for the golden windows if no data is given; empty
            if they are not known.
        shown: the windows that networks run again with only 1 to T of their frames.
    """

    golden: Golden
    data: Data | None
    measured: MeasuredWindows | None
    original: Predictions
    shown: anytime.ShownWindows


def verify(path: Path | str, options: VerifyOptions | None = None, progress: Progress | None = None) -> Verified:
    """Check a bundle's hashes and prove parity on its golden vectors. Needs numpy, and ONNX Runtime or TensorRT.

    Args:
        path: the path of the bundle.
        options: what to verify; None for the defaults.
        progress: where progress is shown; None shows nothing.

    Raises:
        BadInput: the bundle is damaged, its files do not belong together, or the data cannot be used.
        ParityNotMet: a model of the bundle is not the network that the manifest describes.
        Unavailable: this machine lacks a package or device that the backend needs.
    """
    path, progress = argument("path", path, Path), progress or silent()
    options = argument("options", options, VerifyOptions | None) or VerifyOptions()
    progress.left_out = []
    with progress.step("check the hashes"):
        opened = Bundle.open(path, options.trust)
    manifest = opened.manifest
    anytime.check(options.anytime, manifest.input)
    evidence = _evidence(opened, options)
    there = len(evidence.data or evidence.golden.samples)
    for line in fewer_windows({"samples": options.samples, "anytime": options.anytime}, there):
        progress.note(line)
    conformance.check(opened, manifest.signature)
    names, not_run = _backends(opened, options)
    proofs: list[BackendProof] = []
    for name in names:
        proof = prove(opened, evidence, name, options, progress)
        proofs.append(_compared(proofs[0], proof) if proofs else proof)
    unlike = _unlike(opened, evidence.measured)
    for line in (*(remarks([evidence.data]) if evidence.data else ()), *filter(None, [unlike])):
        progress.note(line)
    samples = evidence.golden.samples
    report = verdict.Report(
        reference=f"golden vectors ({manifest.parity.reference})",
        source=samples.source,
        real=samples.real,
        windows=len(samples),
        estimated=manifest.parity.estimated,
        backends=[proof.parity for proof in proofs],
        engines=[engine for proof in proofs for engine in proof.engines],
        not_run=not_run,
        left_out=progress.left_out,
        anytime=[*anytime.curves(manifest.parity.reference, evidence.original), *(c for p in proofs for c in p.curves)],
        largest_count=evidence.golden.largest_count(manifest.input),
        unjudged=list(map(str, manifest.unjudged)),
        calibration=manifest.calibrated_on,
        classified_real=(evidence.data or samples).real,
        unlike=unlike,
        ranged=evidence.golden.covers_range(manifest.input),
    )
    if manifest.classes:
        report.anytime_missing += anytime.missing(report.anytime, manifest.time_steps, evidence.shown)
    if manifest.streaming:
        _prove_stepwise(opened, evidence.golden, names, report, progress)
    _check_bounds(opened, evidence.golden, report, progress)
    return Verified(opened, report, next((proof.culprit for proof in proofs if proof.culprit), None))


def _unlike(bundle: Bundle, measured: MeasuredWindows | None) -> str:
    """Return a sentence if the windows that were read are unlike those that the network was proven on; else empty."""
    return Proven(bundle).unlike(measured.figures, broken=measured.broken) if measured else ""


def _prove_stepwise(
    opened: Bundle, vectors: Golden, names: list[str], report: verdict.Report, progress: Progress
) -> None:
    """Compare the stepwise network with the golden vectors, and add the result to the report.

    It runs in the first of the named backends that is a provider of ONNX Runtime. Without one, the report says so.
    """
    runner = next((name for name in names if name in PROVIDERS), None)
    if runner:
        report.stepwise = stepwise.stepwise_parity(opened, opened.manifest, vectors, runner, progress)
    else:
        report.not_run.append(f"{HEAD} and {TAIL} are for ONNX Runtime; prove them with `backend` onnxruntime")


def _check_bounds(opened: Bundle, vectors: Golden, report: verdict.Report, progress: Progress) -> None:
    """If parity is met, check the rounding bounds by which it was judged, and add the result to the report."""
    if report.met:
        with progress.step("check the rounding bounds"):
            report.wide_bounds, notes = bounds.check(opened, vectors)
        report.not_run += notes


@dataclasses.dataclass(frozen=True)
class _Network:
    """A bundle's network in one backend.

    Attributes:
        bundle: the bundle.
        probes: the models of the bundle, whose spikes and signals are outputs; the first is model.plain.onnx.
        engines: the engines of the backend that this machine can run, the last built first; none for ONNX Runtime.
    """

    bundle: Bundle
    probes: list[Probe]
    engines: list[Backend]

    @classmethod
    def loaded(cls, opened: Bundle, name: str) -> _Network:
        """Load the network in a backend."""
        manifest = opened.manifest
        if name not in ENGINE_TARGETS:
            return cls(opened, onnxruntime_probes(opened, manifest.signature, name), [])
        running = select.all_opened(opened, name)
        return cls(opened, tensorrt_probes(opened, manifest.signature, name, manifest.precision), running)

    def run(self, inputs: Floats) -> Predictions:
        """Return predictions for windows [n, ...]: of the first engine or, without engines, of model.plain.onnx."""
        if not self.engines:
            return Predictions.of_run(self.probes[0].run(inputs))
        found = Returned.of(self.engines[0].session, inputs, self.bundle.manifest.output)
        return Predictions.of_run(Observation(output=found.output, spikes={}, signals={}))

    @property
    def identity(self) -> str:
        """A text that identifies the model, the engine and the backend."""
        plain = self.probes[0]
        found = f"{plain.backend} of {model_identity(self.bundle, plain.model)}"
        engine = self.engines[0].engine if self.engines else None
        return f"{found} in {engine.info.sha256}" if engine else found


def prove(opened: Bundle, evidence: _Evidence, name: str, options: VerifyOptions, progress: Progress) -> BackendProof:
    """Compare a bundle's network in a backend, named `name`, with the golden vectors, and classify windows with it."""
    manifest, golden = opened.manifest, evidence.golden
    network = _Network.loaded(opened, name)
    signature, size, n = manifest.signature, batch_size(manifest.signature), len(golden.samples)
    # TensorRT builds each part of a network for one batch size, so all batches must have the same size.
    even = max(k for k in range(1, size + 1) if n % k == 0) if network.engines else size
    with progress.counted(f"compare {name} with the golden vectors", n) as advance:
        found = compare(
            golden.batches(even),
            network.probes,
            golden.stimuli(manifest.input),
            signature,
            large_batch=0 if network.engines else large_batch(signature),
            advance=advance,
        )
    deployed = found.parity if network.engines else plain_parity(found.parity, network.probes[0], golden, size)
    proof = BackendProof(
        parity=deployed,
        engines=[engine_parity(engine, golden, manifest, found.outputs) for engine in network.engines],
    )
    if options.bisect and found.parity.failures:
        with progress.step("find the first wrong signal"):
            find = partial(bisect, found.parity, opened, network.probes, golden, signature)
            proof = dataclasses.replace(proof, culprit=progress.inform(f"the first wrong signal in {name}", find, None))
    if found.exported is None:
        return proof
    classifier = Classifier(found.parity.backend, network.run, size)
    if evidence.measured:
        none = network.run(golden.samples.inputs[:1]).first(0)
        with ExitStack() as until:
            predictions = predict(classifier, evidence.measured, none, network.identity, progress, until)
    else:
        predictions = (network.run(golden.samples.inputs) if network.engines else found.exported).on(golden.samples)
    predictions = evidence.shown.add_to(predictions, classifier, progress)
    parity = with_statistics(deployed, agreement(evidence.original, predictions))
    return dataclasses.replace(
        proof,
        parity=with_earlier_agreement(parity, manifest.parity),
        predictions=predictions,
        curves=anytime.curves(classifier.name, predictions),
    )


def _backends(opened: Bundle, options: VerifyOptions) -> tuple[list[str], list[str]]:
    """Return the names of the backends to prove, and for each engine that is left out a sentence that says why.

    Raises:
        Unavailable: this machine can run neither ONNX Runtime nor an engine of the bundle.
    """
    names: list[str] = []
    found = engines(opened)
    if options.backend != AUTO:
        refusals = [engine.refusal() for engine in found if engine.target == options.backend]
        return [options.backend], [refusal.not_run for refusal in refusals if refusal]
    try:
        onnxruntime.require()
        names.append("onnxruntime")
    except Unavailable as error:
        missing = error
    unfit = []
    for engine in found:
        refusal = engine.refusal()
        if refusal:
            unfit.append(refusal)
        elif engine.target not in names:
            names.append(engine.target)
    if not names:
        raise Unavailable("; and ".join(map(str, [*unfit[:1], missing])))
    return names, [each.not_run for each in unfit]


def _evidence(opened: Bundle, options: VerifyOptions) -> _Evidence:
    """Load the golden vectors and the data, and find the predictions of the trained network that are known for them."""
    manifest = opened.manifest
    data = _data(options, manifest)
    vectors = golden.read(opened, manifest.input)
    contradictions.check(vectors, manifest, opened)
    windows = data or vectors.samples
    known = data is None or data.digest == vectors.predictions.digest
    original = vectors.predictions.first(len(windows) if known else 0).on(windows)
    runs = max(quick_runs(manifest.signature), len(data or ()))
    n, before = options.anytime, len(vectors.predictions.shown) if known else 0
    if n is None and 0 < before * manifest.time_steps <= runs:
        n = before
    shown = anytime.ShownWindows.choose(windows, manifest.input, n, runs)
    if len(shown.windows):
        original = dataclasses.replace(original, shown=original.shown[: len(shown.windows)])
    measured = MeasuredWindows(data, manifest.input) if data else None
    return _Evidence(golden=vectors, data=data, measured=measured, original=original, shown=shown)


def _compared(first: BackendProof, second: BackendProof) -> BackendProof:
    """Return the second proof, with one more failure if the second backend is right less often than the first.

    It is a failure only if chance does not explain the difference. The backends are compared with each other only if
    the trained network's predictions are not known; otherwise each backend is compared with these.
    """
    statistics = second.parity.statistics
    if not first.predictions or not second.predictions or (statistics and statistics.compared):
        return second
    found = agreement(first.predictions, second.predictions)
    if not found.worse:
        return second
    text = (
        f"of {found.compared:,} windows {found.only_original:,} are right only in {first.parity.backend} and "
        f"{found.only_exported:,} only here; chance does not explain this (p = {found.p_value:.1g})"
    )
    failure = Failure(kind="accuracy", text=text, model=second.parity.model)
    parity = dataclasses.replace(second.parity, failures=[*second.parity.failures, failure])
    return dataclasses.replace(second, parity=parity)


def _data(options: VerifyOptions, manifest: Manifest) -> Data | None:
    """Return the windows of the data to classify; None if no data is given.

    Raises:
        BadInput: the data cannot be used, or an option for data is given without data.
    """
    given, samples = options.data, options.samples
    how = DataOptions(
        camera_view=options.camera_view, labels=options.labels or manifest.labels, reading=options.reading
    )
    if given is None:
        if samples is not None:
            raise BadInput("`samples` is a number of windows of `data`; give `data` too, or leave it out")
        for name in [*how.given, *(["labels"] if options.labels else [])]:
            raise BadInput(f"`{name}` is about recordings in `data`; give `data` too, or leave it out")
        return None
    if not manifest.classes:
        named = "`data`" if isinstance(given, GivenWindows) else f"`data` {given}"
        raise BadInput(f"{named}: the network does not classify, so there is nothing to count; leave it out")
    windows = load(given, manifest.input, manifest.classes, how)
    return windows if samples is None else windows.first(samples)
