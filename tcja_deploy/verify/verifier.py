"""Proving parity again on this machine, with the golden vectors of a bundle."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from tcja_deploy.cluster.cluster import joined
from tcja_deploy.consistency import bounds
from tcja_deploy.console import Progress, silent
from tcja_deploy.parity import anytime, stepwise, verdict
from tcja_deploy.parity.bisect import Culprit
from tcja_deploy.verify.answers import Answers
from tcja_deploy.verify.backend_proof import BackendProof, compared, prove
from tcja_deploy.verify.evidence import Evidence, read_evidence
from tcja_deploy.verify.options import VerifyOptions
from tcja_runtime.backends import onnxruntime
from tcja_runtime.backends.proven import Proven
from tcja_runtime.budget import fewer_windows
from tcja_runtime.bundle import conformance
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import engines
from tcja_runtime.bundle.statistics.inputs import MeasuredWindows
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.choices import AUTO, PROVIDERS
from tcja_runtime.data.dataset import remarks
from tcja_runtime.errors import Unavailable
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.records import argument


@dataclasses.dataclass(frozen=True)
class Verified:
    """The result of a verification.

    Attributes:
        bundle: the bundle.
        report: the comparison with the trained network.
        culprit: the first signal that is wrong; None if nothing is wrong, or if `VerifyOptions.bisect` is False.
        answers: the classes that each backend predicted; empty if the network does not classify.
    """

    bundle: Bundle
    report: verdict.Report
    culprit: Culprit | None
    answers: list[Answers]


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
    evidence = read_evidence(opened, options)
    there = len(evidence.data or evidence.golden.samples)
    for line in fewer_windows({"samples": options.samples, "anytime": options.anytime}, there):
        progress.note(line)
    conformance.check(opened, manifest.signature)
    names, not_run = _backends(opened, options)
    proofs = _proofs(opened, evidence, names, options, progress)
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
    culprit = next((proof.culprit for proof in proofs if proof.culprit), None)
    return Verified(opened, report, culprit, [each for proof in proofs for each in proof.answers])


def _proofs(
    opened: Bundle, evidence: Evidence, names: list[str], options: VerifyOptions, progress: Progress
) -> list[BackendProof]:
    """Return the comparison of the network in each of the named backends."""
    proofs: list[BackendProof] = []
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(joined(options.cluster, progress)) if options.cluster.ray else None
        for name in names:
            proof = prove(opened, evidence, name, options, progress, cluster)
            proofs.append(compared(proofs[0], proof) if proofs else proof)
    return proofs


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
