"""The comparison of a bundle's network in one backend with its golden vectors."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from functools import partial

from tcja_deploy.cluster.cluster import Cluster
from tcja_deploy.console import Progress
from tcja_deploy.parity import anytime, verdict
from tcja_deploy.parity.bisect import Culprit, bisect
from tcja_deploy.parity.classify import Classifier, predict
from tcja_deploy.parity.compare import compare, with_earlier_agreement, with_statistics
from tcja_deploy.parity.engine import engine_parity, plain_parity
from tcja_deploy.parity.failures import Failure
from tcja_deploy.verify.answers import Answers
from tcja_deploy.verify.evidence import Evidence
from tcja_deploy.verify.network import Network
from tcja_deploy.verify.options import VerifyOptions
from tcja_deploy.verify.with_ray import SharedClassifier
from tcja_runtime.budget import batch_size, large_batch
from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.evidence.agreement import agreement
from tcja_runtime.evidence.anytime import Curve
from tcja_runtime.evidence.predictions import Predictions


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackendProof:
    """The comparison of a bundle's network in one backend with its golden vectors.

    Attributes:
        parity: the comparison of the network.
        engines: the comparison of the output of each engine; empty for ONNX Runtime.
        predictions: the predictions of the network for the windows that are classified; None if it does not classify.
        engine_sha256: the hash of the engine that predicted; None if none did.
        curves: the curves that show how early these predictions can be had.
        culprit: the first signal that is wrong; None if nothing is wrong, or if `VerifyOptions.bisect` is False.
    """

    parity: verdict.Parity
    engines: list[verdict.OutputParity]
    predictions: Predictions | None = None
    engine_sha256: str | None = None
    curves: list[Curve] = dataclasses.field(default_factory=list)
    culprit: Culprit | None = None

    @property
    def answers(self) -> list[Answers]:
        """The predicted classes; empty if the network does not classify."""
        return [Answers.of(self.parity.backend, self.engine_sha256, self.predictions)] if self.predictions else []


def prove(
    opened: Bundle, evidence: Evidence, name: str, options: VerifyOptions, progress: Progress, cluster: Cluster | None
) -> BackendProof:
    """Compare a bundle's network in a backend, named `name`, with the golden vectors, and classify windows with it.

    If there is a cluster, its workers classify the windows of the data.
    """
    manifest, golden = opened.manifest, evidence.golden
    network = Network.loaded(opened, name)
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
        reader = SharedClassifier.of(classifier, network, evidence, options, cluster) if cluster else classifier
        with ExitStack() as until:
            predictions = predict(reader, evidence.measured, none, network.identity, progress, until)
    else:
        predictions = (network.run(golden.samples.inputs) if network.engines else found.exported).on(golden.samples)
    predictions = evidence.shown.add_to(predictions, classifier, progress)
    parity = with_statistics(deployed, agreement(evidence.original, predictions))
    return dataclasses.replace(
        proof,
        parity=with_earlier_agreement(parity, manifest.parity),
        predictions=predictions,
        engine_sha256=network.engine_sha256,
        curves=anytime.curves(classifier.name, predictions),
    )


def compared(first: BackendProof, second: BackendProof) -> BackendProof:
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
