"""Compares an exported network with its reference, batch by batch.

`tcja_deploy.parity.verdict` says what must hold.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_deploy.parity.judge import Deviation, Flips, Place, judge_output, judge_signal, judge_spikes
from tcja_deploy.parity.verdict import (
    DRAWN,
    DYADIC,
    OUTPUT,
    WINDOWS,
    Divergence,
    Failure,
    LayerParity,
    Parity,
    SignalParity,
)
from tcja_runtime.backends.probe import Probe
from tcja_runtime.bundle.signature import Layer, NetworkSignature
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput, ParityNotMet, Unavailable
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.agreement import Agreement
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.rounding import FLOAT32, membranes_within
from tcja_runtime.evidence.trace import Observation, Reference, Spikes, Values, Witnesses
from tcja_runtime.neuron import fire


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a comparison found.

    Attributes:
        parity: without statistics.
        original: the classes that the reference gave each window; None without classes.
        exported: those that the network gave it, running free.
        outputs: what the network returned, running free, [N, ...].
    """

    parity: Parity
    original: Predictions | None
    exported: Predictions | None
    outputs: Values


def compare(
    windows: Iterable[tuple[Floats, Reference]],
    probes: Sequence[Probe],
    scenes: Mapping[str, tuple[Floats, Reference]],
    signature: NetworkSignature,
    *,
    advance: Callable[[int], None],
) -> Judged:
    """Compare a network with a reference on windows and drawn scenes, spike by spike.

    Args:
        windows: inputs, and what the reference did with them, in batches.
        probes: models of the network in one backend. The figures are the first one's.
        scenes: inputs of the drawn scenes, and what the reference did with them.
        signature: the signature of the network.
        advance: is told the number of windows done, after each batch.

    Raises:
        BadInput: the reference's outputs are not finite.
        ParityNotMet: a model returns something of another shape, so that nothing can be compared.
    """
    windows = iter(windows)
    first = next(windows)
    for probe in probes:
        _check_shape(probe, *first)
    comparison = _Comparison(probes, signature)
    for name, (inputs, expected) in scenes.items():
        comparison.add_scene(name, inputs, expected)
    windows = itertools.chain([first], windows)
    del first  # a reference is large, and the next one takes room to record
    while batch := next(windows, None):
        inputs, expected = batch
        del batch
        if not np.isfinite(expected.output).all():
            raise BadInput("the trained network returns values that are NaN or infinite; scale the data down")
        comparison.add(inputs, expected)
        advance(len(expected))
        del inputs, expected
    return comparison.result()


def with_statistics(parity: Parity, statistics: Agreement | None) -> Parity:
    """Say how the network classifies, which fails where it is beyond chance worse."""
    failures = parity.failures
    if statistics and statistics.worse:
        text = (
            f"of {statistics.compared:,} windows {statistics.only_original:,} are right only before the export and "
            f"{statistics.only_exported:,} only after it, which no chance explains (p = {statistics.p_value:.1g})"
        )
        failures = [*failures, Failure(kind="accuracy", text=text, model=parity.model)]
    return dataclasses.replace(parity, statistics=statistics, failures=failures)


class _Comparison:
    """One backend's comparison, batch by batch."""

    def __init__(self, probes: Sequence[Probe], signature: NetworkSignature) -> None:
        self._probe, *self._twins = probes
        self._signature = signature
        self._layers = [
            LayerParity(
                layer=layer.name,
                neurons=int(np.prod(layer.shape)),
                spikes=[0] * signature.time_steps,
                near=[0] * signature.time_steps,
                flips=[0] * signature.time_steps,
                unexplained=[0] * signature.time_steps,
                running_flips=[0] * signature.time_steps,
            )
            for layer in signature.layers
        ]
        self._signals: dict[tuple[str, str], SignalParity] = {}
        self._outputs: list[npt.NDArray[Any]] = []
        self._expected: list[npt.NDArray[Any]] = []
        self._original: list[Predictions | None] = []
        self._exported: list[Predictions | None] = []
        self._flipped: list[npt.NDArray[np.bool_]] = []
        self._divergence: Divergence | None = None
        self._unlike: dict[str, set[str]] = {twin.model: set() for twin in self._twins}
        self._failures: dict[tuple[str | None, ...], Failure] = {}
        for probe in probes:
            for layer in signature.layers:
                text = misfires(probe, layer, signature.time_steps)
                if text:
                    self._fail("neurons", text, probe, None, layer.name)

    def add_scene(self, scene: str, inputs: Floats, reference: Reference) -> None:
        """Judge every model on drawn windows; one does for drawn weights, which all of them are given."""
        weights = stimulus.dyadic(self._signature.weights) if scene == DYADIC else None
        for probe in (self._probe, *(self._twins if scene == DRAWN else ())):
            self._judge_signals(probe, scene, reference, probe.stimulated(inputs, reference.spikes, weights))

    def add(self, inputs: Floats, reference: Reference) -> None:
        """Judge every model on a batch [N, ...], and let the first run free."""
        forced = self._probe.forced(inputs, reference)
        self._judge_signals(self._probe, WINDOWS, reference, forced)
        for layer, found in zip(self._signature.layers, self._layers, strict=True):
            flips = judge_spikes(layer, reference, forced.spikes[layer.name])
            found.spikes = _added(found.spikes, _by_step(reference.spikes[layer.name]))
            found.near = _added(found.near, reference.near[layer.name].sum(axis=0))
            found.flips = _added(found.flips, flips.at)
            found.unexplained = _added(found.unexplained, flips.unexplained)
            found.margin = max(found.margin, flips.margin)
            self._judge_flips(self._probe, layer, flips)
        spikes = forced.spikes
        del forced  # its signals are large
        for twin in self._twins if not self._outputs else ():  # one batch tells: they are made of the same operations
            other = twin.forced(inputs, reference)
            self._judge_signals(twin, WINDOWS, reference, other)
            for layer in self._signature.layers:
                if (other.spikes[layer.name] != spikes[layer.name]).any():
                    self._unlike[twin.model].add(layer.name)
                    self._judge_flips(twin, layer, judge_spikes(layer, reference, other.spikes[layer.name]))
            del other
        self._add_free_run(inputs, reference)

    def _add_free_run(self, inputs: Floats, reference: Reference) -> None:
        free = self._probe.free(inputs)
        differs = _differing(free, reference)
        for layer, found in zip(self._signature.layers, self._layers, strict=True):
            running = differs[layer.name]
            found.running_flips = _added(found.running_flips, _by_step(running))
            if self._divergence is None and running.any():
                time_step, window = np.argwhere(running.reshape(*running.shape[:2], -1).any(axis=2))[0]
                self._divergence = Divergence(
                    layer=found.layer,
                    window=int(window) + sum(map(len, self._outputs)),
                    time_step=int(time_step) + 1,
                    spikes={name: int(np.count_nonzero(each[:, window])) for name, each in differs.items()},
                )
        self._judge_free_run(self._probe, free, inputs, reference)
        self._expected.append(reference.output)
        self._original.append(Predictions.of_output(reference.output, reference.steps))
        self._exported.append(Predictions.of_output(free.output, free.steps))
        self._outputs.append(free.output)
        self._flipped.append(np.logical_or.reduce([_by_window(each) for each in differs.values()]))

    def _judge_free_run(self, probe: Probe, free: Observation, inputs: Floats, reference: Reference) -> None:
        first, output = self._judged_free(free, _differing(free, reference), reference)
        if probe.has_gates and (output.first or any(flips.first for _, flips in first)):
            # The bounds are those of a network that is given its gates, whose own rounding is judged where it arises.
            gated = probe.gated(inputs, reference)
            first, output = self._judged_free(gated, _differing(gated, reference), reference)
        for layer, flips in first:
            self._judge_flips(probe, layer, flips)
        self._judge_values(probe, WINDOWS, OUTPUT, output)

    def _judged_free(
        self, free: Observation, differs: Mapping[str, Spikes], reference: Reference
    ) -> tuple[list[tuple[Layer, Flips]], Deviation]:
        """Flips in the first layer of each window that has any, and the output of windows that have none."""
        flipped, judged = np.zeros(len(reference), np.bool_), []
        for layer in self._signature.layers:
            expected, fired = reference.spikes[layer.name], free.spikes[layer.name]
            now = _by_window(differs[layer.name]) & ~flipped
            if now.any():  # these windows are still fed the reference's spikes
                fed = np.where(now.reshape(-1, *(1,) * (fired.ndim - 2)), fired, expected)
                judged.append((layer, judge_spikes(layer, reference, fed)))
            flipped |= now
        kept = np.where(flipped.reshape(-1, *(1,) * (free.output.ndim - 1)), reference.output, free.output)
        return judged, judge_output(reference, kept)

    def _judge_signals(self, probe: Probe, scene: str, reference: Reference, observed: Observation) -> None:
        judged = {}
        for signal, witnesses in reference.witnesses.items():
            if signal in observed.signals:
                _check_signal(probe, signal, observed.signals[signal], witnesses, len(reference))
                judged[signal] = judge_signal(witnesses, observed.signals[signal])
        judged[OUTPUT] = judge_output(reference, observed.output)
        for signal, deviation in judged.items():
            if probe is self._probe:
                self._count(scene, signal, deviation)
            self._judge_values(probe, scene, signal, deviation)

    def _judge_values(self, probe: Probe, scene: str, signal: str, deviation: Deviation) -> None:
        first = deviation.first
        if first is None:
            return
        found, expected = _apart(first)
        text = (
            f"{self._called(signal, scene)} is {found} instead of {expected} at {_place(first)}, "
            f"where rounding explains a difference of {first.bound:.2g}; {deviation.beyond:,} of {deviation.seen:,} "
            f"values in {probe.model} differ so"
        )
        self._fail("values", text, probe, scene, signal, first)

    def _count(self, scene: str, signal: str, deviation: Deviation) -> None:
        found = self._signals.setdefault(
            (scene, signal), SignalParity(scene=scene, signal=signal, seen=0, beyond=0, share=0.0, exact=True)
        )
        found.seen += deviation.seen
        found.beyond += deviation.beyond
        found.share = max(found.share, deviation.share)
        found.exact &= deviation.exact

    def _judge_flips(self, probe: Probe, layer: Layer, flips: Flips) -> None:
        if flips.first is None:
            return
        place = flips.first
        if place.expected is None or place.bound is None:
            why = "where the neuron is not near its threshold"
        else:
            distance = abs(place.expected - layer.neuron.threshold)
            why = f"{distance:.2g} from its threshold, where rounding explains {place.bound:.2g}"
        text = (
            f"{int(flips.unexplained.sum()):,} spikes of {layer.name} in {probe.model} differ and rounding does not "
            f"explain them, the first at {_place(place)}, {why}"
        )
        self._fail("spikes", text, probe, WINDOWS, layer.name, place)

    def _fail(
        self, kind: str, text: str, probe: Probe, scene: str | None, signal: str, place: Place | None = None
    ) -> None:
        """Keep the first failure of a kind."""
        failure = Failure(kind=kind, text=text, model=probe.model, scene=scene, signal=signal, place=place)
        self._failures.setdefault((kind, probe.model, scene, signal), failure)

    def _called(self, signal: str, scene: str) -> str:
        layers = {layer.name for layer in self._signature.layers}
        name = f"the current of {signal}" if signal in layers else f"what {signal} returns"
        name = signal if signal == OUTPUT else name
        return name + {WINDOWS: "", DRAWN: ", on drawn spikes,", DYADIC: ", on drawn spikes and weights,"}[scene]

    def result(self) -> Judged:
        """The verdict over all batches added."""
        outputs, expected = np.concatenate(self._outputs), np.concatenate(self._expected)
        failures = list(self._failures.values())
        model = self._probe.model
        for twin, unlike in self._unlike.items():
            if unlike:
                text = f"{twin} and {model} differ in {', '.join(sorted(unlike))}"
                failures.append(Failure(kind="models", text=text, model=twin, scene=WINDOWS))
        parity = Parity(
            backend=self._probe.backend,
            model=model,
            twins=[twin for twin, unlike in self._unlike.items() if not unlike],
            changed_windows=int(np.concatenate(self._flipped).sum()),
            statistics=None,
            output_difference=float(np.abs(outputs - expected).max()),
            divergence=self._divergence,
            layers=self._layers,
            signals=list(self._signals.values()),
            failures=failures,
        )
        return Judged(parity, Predictions.joined(self._original), Predictions.joined(self._exported), outputs)


def _check_shape(probe: Probe, inputs: Floats, reference: Reference) -> None:
    """Run a model as it is, for one window and for several: it must return as many answers of the right shape."""
    for n in sorted({1, min(2, len(inputs)), len(inputs)}):
        found, expected = probe.output(inputs[:n]), (n, *reference.output.shape[1:])
        if found.shape != expected or found.dtype not in (np.float32, np.float16):
            raise ParityNotMet(
                f"{probe.backend}: {probe.model} returns {found.dtype} {list(found.shape)} for {n} windows, not "
                f"float32 {list(expected)}"
            )


def _check_signal(probe: Probe, name: str, signal: Values, witnesses: Witnesses, windows: int) -> None:
    """Refuse a signal whose elements are not where the reference's were."""
    fits = signal.ndim >= 2 and signal.shape[:2] == (len(witnesses.values), windows)
    if not fits or math.prod(signal.shape[2:]) <= witnesses.element.max(initial=-1):
        raise ParityNotMet(
            f"{probe.backend}: {name} in {probe.model} is {list(signal.shape)}, which is not of "
            f"{len(witnesses.values)} time steps of {windows} windows as the trained network's"
        )


def misfires(probe: Probe, layer: Layer, time_steps: int) -> str:
    """What is wrong with a layer's neurons alone, in a line; empty if nothing is.

    Elementwise float32 arithmetic is the same everywhere, so not one spike may differ. Where a backend may round a
    product and a sum at once, that holds for neurons whose products are exact; of others rounding may decide a spike.
    """
    current = stimulus.ties(layer, time_steps)
    try:
        values = probe.neurons(layer.name, current)
    except (BadInput, Unavailable) as error:
        return f"the neurons of {layer.name} in {probe.model} cannot be run alone: {error}"
    if values.shape != current.shape:
        return f"{layer.name} in {probe.model} fires {list(values.shape)} for currents {list(current.shape)}"
    fired = values == 1
    wrong = values != fire(layer.neuron, current)  # a spike is 1, and its lack 0, to the bit
    if probe.fuses and not layer.neuron.multiplies_exactly:
        h, within = membranes_within(layer.neuron, FLOAT32, current.astype(np.float64), np.zeros(current.shape), fired)
        far = (fired != layer.neuron.fires(h)) & (np.abs(h - layer.neuron.threshold) > within)
        wrong &= far | ((values != 0) & (values != 1))
    if not wrong.any():
        return ""
    rule = f"{layer.neuron.fire_rule}, {layer.neuron.reset} reset"
    return f"{layer.name} in {probe.model} does not fire as its neurons do ({rule}): {wrong.sum()} drawn spikes differ"


def _place(place: Place) -> str:
    """A place for people."""
    return f"window {place.window + 1}, time step {place.time_step}, neuron {place.element}"


def _apart(place: Place) -> tuple[str, str]:
    """The value that was found and the expected one, with as many digits as tell them apart."""
    for digits in (6, 9, 17):
        found, expected = f"{place.found:.{digits}g}", f"{place.expected:.{digits}g}"
        if found != expected:
            break
    return found, expected


def _added(so_far: list[int], more: npt.NDArray[Any]) -> list[int]:
    return [a + int(b) for a, b in zip(so_far, more, strict=True)]


def _differing(observed: Observation, reference: Reference) -> dict[str, Spikes]:
    """By layer, where spikes [T, N, ...] are not the reference's."""
    return {name: observed.spikes[name] != expected for name, expected in reference.spikes.items()}


def _by_window(differs: Spikes) -> npt.NDArray[np.bool_]:
    """The windows [N] in which any of [T, N, ...] is set."""
    return np.asarray(differs.any(axis=(0, *range(2, differs.ndim))))


def _by_step(spikes: Spikes) -> npt.NDArray[Any]:
    return np.asarray(np.count_nonzero(spikes.reshape(len(spikes), -1), axis=1))
