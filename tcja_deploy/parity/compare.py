"""Compares an exported network with its reference, batch by batch.

`tcja_deploy.parity.verdict` says what must hold, and `tcja_deploy.parity.checks` checks it, question by question.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tcja_deploy.parity.checks import (
    FlipCheck,
    FreeRunCheck,
    SignalCheck,
    check_large_batch,
    check_neurons,
    check_scene,
)
from tcja_deploy.parity.failures import RANDOM, Failure, Failures
from tcja_deploy.parity.verdict import LayerParity, Parity
from tcja_runtime.backends.probe import Probe
from tcja_runtime.bundle.network_signature import NetworkSignature
from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.errors import BadInput, ParityNotMet
from tcja_runtime.evidence.agreement import Agreement, hypergeometric
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.trace import Recording, Values

CHANCE = 1e-4
"""The p value below which a lower agreement than at export is not chance: 4 instead of 16 of 16 windows is below it."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        parity: the parity of the network, without statistics.
        original: the predictions of the reference; None where the network does not classify.
        exported: the predictions of the free-running network; None where it does not classify.
        outputs: the outputs of the free-running network, [N, ...].
    """

    parity: Parity
    original: Predictions | None
    exported: Predictions | None
    outputs: Values


def compare(
    recordings: Iterable[Recording],
    probes: Sequence[Probe],
    scenes: Mapping[str, Recording],
    signature: NetworkSignature,
    *,
    large_batch: int = 0,
    advance: Callable[[int], None],
) -> Comparison:
    """Compare a network with its reference, spike by spike.

    Args:
        recordings: the windows and what the reference computed from them, batch by batch.
        probes: models of the network in one backend. All must pass; the figures are those of the first.
        scenes: the stimuli, by the scene's name.
        signature: the signature of the network.
        large_batch: the number of windows of the largest batch to judge. The first windows are also run a second time
            at the end. 0 runs neither, for a backend that builds a part for one batch size.
        advance: a function that is called with the number of windows done, after each batch.

    Raises:
        BadInput: an output of the reference is not finite.
        ParityNotMet: a tensor of a model has another shape, so that nothing can be compared.
    """
    recordings = iter(recordings)
    first = next(recordings)
    _check_shapes(probes, first)
    failures = Failures(signature)
    check_neurons(probes, signature, failures, (2, large_batch) if large_batch > 2 else (2,))
    signals = SignalCheck(probes[0], failures)
    _check_stimuli(scenes, large_batch, probes, signature, signals)
    flips = FlipCheck(probes, signature, signals, failures)
    free_run = FreeRunCheck(probes[0], signature, failures)
    batches = itertools.chain([first], recordings)
    again = _first_windows(first) if large_batch else None
    largest = max(len(each.inputs) for each in (first, scenes[RANDOM]))
    del first  # a recording is large: it is freed before the next one is made
    while recording := next(batches, None):
        _check_finite(recording)
        flips.add(recording)
        free_run.add(recording)
        advance(len(recording.inputs))
        del recording
    if again:
        free_run.again(again)
    twins, outputs = flips.twins(), np.concatenate(free_run.outputs)
    parity = Parity(
        backend=probes[0].backend,
        model=probes[0].model,
        twins=twins,
        changed_windows=free_run.changed_windows,
        statistics=None,
        output_difference=float(np.abs(outputs - np.concatenate(free_run.expected)).max()),
        divergence=free_run.divergence,
        layers=_layers(signature, flips, free_run),
        signals=list(signals.found.values()),
        failures=failures.all,
        largest_batch=max(large_batch, largest),
    )
    return Comparison(parity, Predictions.joined(free_run.original), Predictions.joined(free_run.exported), outputs)


def with_statistics(parity: Parity, statistics: Agreement | None) -> Parity:
    """The same parity with statistics. It fails where the network is right less often than chance explains."""
    failures = parity.failures
    if statistics and statistics.worse:
        text = (
            f"of {statistics.compared:,} windows {statistics.only_original:,} are right only before the export and "
            f"{statistics.only_exported:,} only after it; chance does not explain this (p = {statistics.p_value:.1g})"
        )
        failures = [*failures, Failure(kind="accuracy", text=text, model=parity.model)]
    return dataclasses.replace(parity, statistics=statistics, failures=failures)


def with_earlier_agreement(parity: Parity, earlier: ParitySummary) -> Parity:
    """Return the same parity, which fails if the network agrees with the trained one less often than at export.

    Args:
        parity: the comparison, with statistics.
        earlier: the comparison of the export.
    """
    then = next((each.get("statistics") or {} for each in earlier.backends), {})
    before, of = then.get("same_class"), then.get("paired")
    now = parity.statistics
    if not now or not now.paired or type(before) is not int or type(of) is not int or not 0 <= before <= of:
        return parity
    p = hypergeometric(now.same_class, now.paired, before, of)
    if p >= CHANCE:
        return parity
    text = (
        f"free-running, {now.same_class:,} of {now.paired:,} windows get the class of the trained network, and at "
        f"export {before:,} of {of:,} did; chance does not explain this (p = {p:.1g})"
    )
    failure = Failure(kind="accuracy", text=text, model=parity.model)
    return dataclasses.replace(parity, failures=[*parity.failures, failure])


def _check_stimuli(
    scenes: Mapping[str, Recording],
    large_batch: int,
    probes: Sequence[Probe],
    signature: NetworkSignature,
    signals: SignalCheck,
) -> None:
    """Check all signals on each stimulus, and in a large batch of the random one (`compare`)."""
    for scene in scenes:
        check_scene(scene, scenes[scene], probes, signature, signals)
    if large_batch:
        check_large_batch(scenes[RANDOM], large_batch, probes, signature, signals)


def _check_shapes(probes: Sequence[Probe], recording: Recording) -> None:
    """Check the shapes of what whole models return, for one window and for several."""
    windows = len(recording.inputs)
    for probe, n in itertools.product(probes, sorted({1, min(2, windows), windows})):
        found, expected = probe.output(recording.inputs[:n]), (n, *recording.reference.output.shape[1:])
        if found.shape != expected or found.dtype not in (np.float32, np.float16):
            raise ParityNotMet(
                f"{probe.backend}: {probe.model} returns {found.dtype} {list(found.shape)} for {n} windows, not "
                f"float32 {list(expected)}"
            )


def _first_windows(recording: Recording) -> Recording:
    """The first two windows of a recording, in memory of their own."""
    part = slice(2)
    return copy.deepcopy(Recording(recording.inputs[part], recording.reference.windows(part)))


def _check_finite(recording: Recording) -> None:
    if not np.isfinite(recording.reference.output).all():
        raise BadInput("the trained network returns values that are NaN or infinite; scale the data down")


def _layers(signature: NetworkSignature, flips: FlipCheck, free_run: FreeRunCheck) -> list[LayerParity]:
    return [
        LayerParity(
            layer=layer.name,
            neurons=math.prod(layer.shape),
            spikes=flips.spikes[at].tolist(),
            undecided=flips.undecided[at].tolist(),
            flips=flips.flips[at].tolist(),
            unexplained=flips.unexplained[at].tolist(),
            free_running_flips=free_run.flips[at].tolist(),
            margin=float(flips.margins[at]),
        )
        for at, layer in enumerate(signature.layers)
    ]
