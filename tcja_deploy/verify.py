"""Proving parity again on this machine, from what the bundle carries."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path

from tcja_deploy.budget import batch_size, quick_runs
from tcja_deploy.console import Progress, silent
from tcja_deploy.parity import anytime, bisect, stepwise, verdict
from tcja_deploy.parity.bisect import Culprit
from tcja_deploy.parity.classify import answers, identity
from tcja_deploy.parity.compare import compare, with_statistics
from tcja_deploy.parity.engine import answered, judge
from tcja_runtime.backends import onnxruntime, select
from tcja_runtime.backends.probe import onnxruntime_probes, tensorrt_probes
from tcja_runtime.backends.select import Backend
from tcja_runtime.bundle import bundle, conformance
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.engines import engines
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.bundle.stepwise import HEAD, TAIL
from tcja_runtime.choices import AUTO, ENGINE_TARGETS, PROVIDERS
from tcja_runtime.data.contract import Floats, Labels
from tcja_runtime.data.dataset import Data, load, remarks
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.evidence import golden, stimulus
from tcja_runtime.evidence.agreement import TOP, Agreement, agreement
from tcja_runtime.evidence.anytime import Curve, Predicted
from tcja_runtime.evidence.golden import Golden
from tcja_runtime.evidence.trace import Observation


@dataclasses.dataclass(frozen=True)
class Verified:
    """What verification found.

    Attributes:
        bundle: that was verified.
        report: the comparison.
        culprit: where it first goes wrong, if that was asked for and anything does.
    """

    bundle: Bundle
    report: verdict.Report
    culprit: Culprit | None


def verify(
    path: Path,
    progress: Progress | None = None,
    *,
    data: Path | None = None,
    samples: int | None = None,
    bisect: bool = False,
    backend: str = AUTO,
    trust_engine: bool = False,
    show: int | None = None,
) -> Verified:
    """Check a bundle's hashes and run it on its golden vectors; numpy and ONNX Runtime or TensorRT suffice.

    Args:
        path: of the bundle.
        progress: where progress is shown.
        data: windows to classify besides, running free (`tcja_runtime.data.dataset.load`). How the trained network
            classifies them is known where it was exported with the same.
        samples: how many of these to take, at most; None takes all.
        bisect: whether to find what is wrong, if anything is.
        backend: one of `tcja_runtime.choices.BACKENDS`, or `AUTO`: ONNX Runtime on the CPU, and the TensorRT
            of each engine that this machine can run.
        trust_engine: whether to load engines that the manifest does not know.
        show: how many windows, the first, to show the network frame by frame (`tcja_runtime.evidence.anytime`); None
            for as many real ones as cost little.

    Raises:
        BadInput: the bundle is damaged, its files do not belong together, or the data cannot be used.
        Unavailable: what the backend needs is missing.
    """
    progress = progress or silent()
    with progress.step("check the hashes"):
        opened = Bundle.open(path, any_engine=trust_engine)
    manifest = opened.manifest
    anytime.check(show, manifest.input)
    windows = _data(data, samples, manifest)
    vectors = golden.load(path / bundle.GOLDEN, manifest.input)
    _check_fit(vectors, manifest, path)
    conformance.check(path, manifest.signature)
    names, not_run = _backends(opened, backend, trust_engine)
    report = verdict.Report(
        reference=f"golden vectors ({manifest.parity['reference']})",
        source=vectors.samples.source,
        real=vectors.samples.real,
        windows=len(vectors.samples),
        estimated={},
        backends=[],
        not_run=not_run,
    )
    culprit: Culprit | None = None
    first: _Answered | None = None
    some, early = _early(vectors, windows, manifest, show, progress)
    report.anytime += early
    for name in names:
        proof = _Proof(opened, vectors, name, trust_engine, progress)
        found = with_statistics(proof.found.parity, proof.statistics(windows))
        report.backends.append(_beside(first, proof.answered, found) if first and proof.answered else found)
        report.engines.extend(proof.engines)
        first = first or proof.answered
        report.anytime += proof.curves(some)
        if bisect and culprit is None and proof.found.parity.failures:
            with progress.step("find what is wrong"):
                culprit = proof.culprit(report)
    for line in remarks([windows]) if windows else ():
        progress.note(line)
    if manifest.classes:
        report.untold += anytime.untold(report.anytime, manifest.time_steps, some)
    if manifest.streaming:
        runner = next((name for name in names if name in PROVIDERS), None)
        if runner:
            report.streamed = stepwise.judge(path, manifest, vectors, progress, runner)
        else:
            report.not_run.append(f"{HEAD} and {TAIL} are for ONNX Runtime; prove them with `backend` onnxruntime")
    return Verified(opened, report, culprit)


def _backends(opened: Bundle, backend: str, trust_engine: bool) -> tuple[list[str], list[str]]:
    """What to prove, and why engines are left out, a line each."""
    names, not_run = [], []
    found = engines(opened, trust_engine=trust_engine)
    if backend != AUTO:
        refusals = [engine.refusal() for engine in found if engine.target == backend]
        return [backend], [str(refusal) for refusal in refusals if refusal]
    try:
        onnxruntime.require()
        names.append("onnxruntime")
    except Unavailable as error:
        missing = error
    for engine in found:
        refusal = engine.refusal()
        if refusal:
            not_run.append(str(refusal))
        elif engine.target not in names:
            names.append(engine.target)
    if not names:
        raise Unavailable("; and ".join([*not_run[:1], str(missing)]))
    return names, not_run


def _early(
    vectors: Golden, windows: Data | None, manifest: Manifest, show: int | None, progress: Progress
) -> tuple[anytime.Shown, list[Curve]]:
    """Windows to show backends frame by frame, and how early the trained network's answers can be had.

    That is known of windows that the export saw; backends are then shown as many of them as it was.
    """
    seen = windows or vectors.samples
    known = vectors.answers if windows is None or windows.digest == vectors.answers.data else None
    signature = manifest.signature
    runs = max(quick_runs(signature), len(windows or ()))
    if show is None and known and 0 < len(known.shown) * manifest.time_steps <= runs:
        show = len(known.shown)
    some = anytime.Shown(seen, manifest.input, show, runs=runs, size=batch_size(signature), progress=progress)
    if known is None:
        return some, []
    shown = known.shown[: some.count or len(seen)]
    return some, anytime.curves(manifest.parity["reference"], known.predicted.first(len(seen)), shown, seen.labels)


@dataclasses.dataclass(frozen=True)
class _Answered:
    """How a backend classified windows, and their labels [N] where known."""

    backend: str
    source: str
    predicted: Predicted
    labels: Labels | None


def _beside(first: _Answered, second: _Answered, parity_: verdict.Parity) -> verdict.Parity:
    """Compare how two backends classify, where how the trained network does is not known."""
    if parity_.statistics and parity_.statistics.compared:
        return parity_
    found = agreement(second.source, first.predicted.likeliest, second.predicted.likeliest, second.labels)
    if not found.worse:
        return parity_
    text = (
        f"of {found.compared:,} windows {found.only_original:,} are right only in {first.backend} and "
        f"{found.only_exported:,} only here, which no chance explains (p = {found.p_value:.1g})"
    )
    failure = verdict.Failure(kind="accuracy", text=text, model=parity_.model)
    return dataclasses.replace(parity_, failures=[*parity_.failures, failure])


class _Proof:
    """A bundle's network in one backend, compared with its golden vectors."""

    def __init__(self, opened: Bundle, vectors: Golden, name: str, trust_engine: bool, progress: Progress) -> None:
        self._bundle, self._vectors, self._progress = opened, vectors, progress
        manifest, path = opened.manifest, opened.path
        self._signature = manifest.signature
        self._deployed: Backend | None = None
        if name in ENGINE_TARGETS:
            running = select.all_opened(opened, name, trust_engine=trust_engine)
            self._deployed = running[0]
            self._probes = tensorrt_probes(path, self._signature, name, manifest.precision)
        else:
            running = []
            self._probes = onnxruntime_probes(path, self._signature, name)
        self._scenes = {
            scene: (stimulus.inputs(manifest.input, len(recorded)), recorded)
            for scene, recorded in vectors.scenes.items()
        }
        self._size = batch_size(self._signature)
        n = len(vectors.samples)
        # TensorRT builds a part for each size of a batch, so all are of one.
        size = max(k for k in range(1, self._size + 1) if n % k == 0) if self._deployed else self._size
        with progress.counted(f"compare {name} with the golden vectors", n) as advance:
            self.found = compare(vectors.batches(size), self._probes, self._scenes, self._signature, advance=advance)
        self.engines = [judge(engine, vectors, manifest, self.found.outputs) for engine in running]
        self.answered: _Answered | None = None

    def statistics(self, windows: Data | None) -> Agreement | None:
        """How the network classifies the golden windows, or data; None without classes."""
        if self.found.original is None or self.found.exported is None:
            return None
        # The golden vectors are of the network in its precision; what is counted is how the trained one classifies.
        vectors, exported = self._vectors, self.found.exported
        if self._deployed and not windows:
            exported = self._answer(vectors.samples.inputs)
        known = vectors.answers.predicted.likeliest
        original = known[: len(vectors.samples)]
        source, labels = vectors.samples.source, vectors.samples.labels
        if windows:
            original = known if vectors.answers.data == windows.digest else known[:0]
            exported = self._classified(windows)
            source, labels = windows.source, windows.labels
        self.answered = _Answered(self.found.parity.backend, source, exported, labels)
        return agreement(source, original, exported.likeliest, labels)

    def curves(self, some: anytime.Shown) -> list[Curve]:
        """How early the answers of `statistics` can be had, windows being shown frame by frame."""
        if self.answered is None:
            return []
        who, predicted = self.answered.backend, self.answered.predicted
        return anytime.curves(who, predicted, some.classes(who, self._answer, predicted), self.answered.labels)

    def _classified(self, windows: Data) -> Predicted:
        probe = self._probes[0]
        who = f"{probe.backend} of {identity(self._bundle.path, probe.model)}"
        if self._deployed and self._deployed.engine:
            who += f" in {self._deployed.engine.sidecar['sha256']}"
        title, none = f"classify with {probe.backend}", self._answer(self._vectors.samples.inputs[:1]).first(0)
        with ExitStack() as until:
            return answers(
                self._answer,
                windows,
                self._size,
                known=none,
                who=who,
                title=title,
                progress=self._progress,
                until=until,
            )

    def _answer(self, inputs: Floats) -> Predicted:
        if self._deployed:  # an engine shows nothing but its output
            output = answered(self._deployed, inputs, self._bundle.manifest.output)
            return Predicted.seen(Observation(output=output, spikes={}, signals={}))
        return Predicted.seen(self._probes[0].answered(inputs))

    def culprit(self, report: verdict.Report) -> Culprit | None:
        """Where it first goes wrong; None where no signal shows it."""
        alone = dataclasses.replace(report, backends=[self.found.parity])
        return bisect.bisect(alone, self._bundle.path, self._probes, self._scenes, self._vectors, self._signature)


def _data(path: Path | None, samples: int | None, manifest: Manifest) -> Data | None:
    """The data to classify; None where there are none."""
    if samples is not None and samples < 1:
        raise BadInput(f"`samples` {samples} must be at least 1")
    if path is None:
        if samples is not None:
            raise BadInput("`samples` says how many windows of `data` to take; give `data` too, or leave it out")
        return None
    if not manifest.classes:
        raise BadInput(f"`data` {path}: the network does not classify, so there is nothing to count; leave it out")
    windows = load(path, manifest.input, manifest.classes)
    return windows if samples is None else windows.first(samples)


def _check_fit(vectors: Golden, manifest: Manifest, path: Path) -> None:
    """Refuse golden vectors of another network, so that what is compared is what the manifest describes."""
    n, labels = len(vectors.samples), vectors.samples.labels
    predicted, shown = vectors.answers.predicted, vectors.answers.shown
    counted = predicted.early.shape[1:]
    found = {layer: (len(packed.rows), *packed.shape) for layer, packed in vectors.spikes.items()}
    layers = {layer.name for layer in manifest.layers}
    taps = {tap.name for tap in manifest.taps}
    seen = {scene: layers | taps <= recorded.witnesses.keys() for scene, recorded in vectors.scenes.items()}
    near = {(n, manifest.time_steps)} == {each.shape for each in vectors.recorded.near.values()}
    steps = {len(found.values) for r in (vectors.recorded, *vectors.scenes.values()) for found in r.witnesses.values()}
    fits = (
        seen == {stimulus.DRAWN: True, stimulus.DYADIC: True}
        and layers <= vectors.recorded.witnesses.keys()
        and near
        and steps == {manifest.time_steps}
        and n > 0
        and vectors.samples.inputs.shape == (n, *manifest.input.shape)
        and vectors.recorded.output.shape == (n, *manifest.output_shape)
        and found == {layer.name: (n, manifest.time_steps, *layer.shape) for layer in manifest.layers}
        and (labels is None or labels.shape == (n,))
        and predicted.likeliest.shape[1:] == (min(TOP, len(manifest.classes)),)
        and predicted.early.shape == (len(predicted), *counted)
        and shown.shape == (len(shown), *counted)
        and counted in ((0,), (manifest.time_steps,))
    )
    if not fits:
        raise BadInput(f"{path / bundle.GOLDEN} is of another network than the manifest; export the bundle again")
