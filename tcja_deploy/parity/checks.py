"""The checks of a comparison, one for each question.

neurons     do the neurons of a layer, run alone, fire as specified?
signals     is every signal, and the output, within its bound? Also for large counts, and in a large batch?
flips       teacher-forced, which spikes differ, and does rounding explain them?
free run    free-running, what does the first flip of a window change?
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_deploy.parity.failures import EXACT, OUTPUT, WIDE, WINDOWS, Failures
from tcja_deploy.parity.judge import Deviation, Flips, judge_output, judge_signal, judge_spikes
from tcja_deploy.parity.verdict import Divergence, SignalParity
from tcja_runtime.backends.probe import Probe
from tcja_runtime.bundle.network_signature import Layer, NetworkSignature
from tcja_runtime.counting import agree, counted
from tcja_runtime.errors import BadInput, ParityNotMet, Unavailable
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.predictions import Predictions
from tcja_runtime.evidence.rounding import FLOAT32, membranes_within
from tcja_runtime.evidence.trace import Observation, Recording, Reference, Spikes, Values, Witnesses
from tcja_runtime.neuron import fire, membranes

_PLACES = 64
"""The number of values of a signal that are compared in a window of a large batch."""


def check_neurons(
    probes: Sequence[Probe], signature: NetworkSignature, failures: Failures, windows: Sequence[int] = (2,)
) -> None:
    """Check that the neurons of every layer fire as specified in every model.

    The neurons are run alone, without the layers before and after them, on random currents
    (`tcja_runtime.evidence.stimulus.ties`).

    Args:
        probes: the models.
        signature: the signature of the network, with the specified neurons.
        failures: the failures so far, to which new ones are added.
        windows: the numbers of windows of the batches in which the neurons are run.
    """
    for probe in probes:
        for layer, n in itertools.product(signature.layers, windows):
            text = misfires(probe, layer, signature.time_steps, n)
            if text:
                failures.add_neurons(probe.model, layer.name, text)
        for layer in signature.integrators:
            text = misintegrates(probe, layer, signature.time_steps)
            if text:
                failures.add_neurons(probe.model, layer.name, text)


def misfires(probe: Probe, layer: Layer, time_steps: int, windows: int = 2) -> str:
    """How the neurons of a layer, run alone, depart from their specification, in a line; empty if they do not.

    Elementwise float32 arithmetic is the same everywhere, so not one spike may differ. Some backends compute a product
    and a sum with one rounding. There this only holds for neurons whose products are exact; in all others, rounding may
    decide a spike.
    """
    current = stimulus.ties(layer, time_steps, windows)
    try:
        values = probe.neurons(layer.name, current)
    except (BadInput, Unavailable) as error:
        return f"the neurons of {layer.name} in {probe.model} cannot be run alone: {error}"
    if values.shape != current.shape:
        return f"{layer.name} in {probe.model} fires {list(values.shape)} for currents {list(current.shape)}"
    fired = values == 1
    wrong = values != fire(layer.neuron, current)  # a spike is exactly 1, and no spike exactly 0
    if probe.fuses and not layer.neuron.multiplies_exactly:
        h, within = membranes_within(layer.neuron, FLOAT32, current.astype(np.float64), np.zeros(current.shape), fired)
        far = (fired != layer.neuron.fires(h)) & (np.abs(h - layer.neuron.constant("threshold", h)) > within)
        wrong &= far | ((values != 0) & (values != 1))
    if not wrong.any():
        return ""
    rule = f"{layer.neuron.fire_rule}, {layer.neuron.reset} reset"
    n = int(wrong.sum())
    differ = f"{counted(n, 'random spike')} {agree(n, 'differs', 'differ')}"
    return f"{layer.name} in {probe.model} does not fire as its neurons do ({rule}): {differ}"


def misintegrates(probe: Probe, layer: Layer, time_steps: int) -> str:
    """How the membranes of an integrator, run alone, depart from their specification, in a line; empty if they do not.

    They are equal to the bit, as spikes are (`misfires`). Where a backend computes a product and a sum with one
    rounding, and products are not exact, they are within their rounding bound.
    """
    current = stimulus.currents(layer, time_steps)
    try:
        found = probe.neurons(layer.name, current)
    except (BadInput, Unavailable) as error:
        return f"the neurons of {layer.name} in {probe.model} cannot be run alone: {error}"
    if found.shape != current.shape:
        return f"{layer.name} in {probe.model} returns {list(found.shape)} for currents {list(current.shape)}"
    silent = np.zeros(current.shape, np.bool_)
    wrong = found != membranes(layer.neuron, current, silent)
    if probe.fuses and not layer.neuron.multiplies_exactly:
        h, within = membranes_within(layer.neuron, FLOAT32, current.astype(np.float64), np.zeros(current.shape), silent)
        wrong = ~(np.abs(found - h) <= within)
    n = int(wrong.sum())
    if not n:
        return ""
    differ = f"{counted(n, 'membrane')} {agree(n, 'differs', 'differ')}"
    return f"{layer.name} in {probe.model} does not integrate as its neurons do ({layer.neuron.charge_rule}): {differ}"


def check_scene(
    scene: str, recording: Recording, probes: Sequence[Probe], signature: NetworkSignature, signals: SignalCheck
) -> None:
    """Check the signals of a stimulus in every model, and of the exact stimulus in the first.

    The exact stimulus replaces the weights, so it would show nothing new in a second model.
    """
    weights = stimulus.exact_weights(signature.weights) if scene == EXACT else None
    reference = recording.reference
    for probe in probes[:1] if scene == EXACT else probes:
        observed = probe.stimulated(recording.inputs, reference.spikes, weights, signals=reference.witnesses)
        signals.add(probe, scene, reference, observed)


def large_recording(recording: Recording, n: int, signature: NetworkSignature) -> Recording:
    """Return the random stimulus, repeated to n windows, with the currents of all layers and the output."""
    layers = {layer.name for layer in signature.layers}
    return Recording(recording.inputs, recording.reference.only(layers)).repeated(n, _PLACES)


def check_large_batch(
    recording: Recording, n: int, probes: Sequence[Probe], signature: NetworkSignature, signals: SignalCheck
) -> None:
    """Check the currents of all layers, and the output, in one batch of n windows; and the neurons in such a batch.

    Args:
        recording: the random stimulus, whose windows are repeated.
        n: the number of windows.
        probes: the models.
        signature: the signature of the network.
        signals: the check of the signals.
    """
    large = large_recording(recording, n, signature)
    for probe in probes:
        observed = probe.stimulated(large.inputs, large.reference.spikes, signals=large.reference.witnesses)
        signals.add(probe, WIDE, large.reference, observed)


class SignalCheck:
    """Checks that every signal, and the output, is within its bound.

    Args:
        counted: the probe whose figures are counted.
        failures: the failures so far.

    Attributes:
        found: the figures by scene and signal.
    """

    def __init__(self, counted: Probe, failures: Failures) -> None:
        self._counted, self._failures = counted, failures
        self.found: dict[tuple[str, str], SignalParity] = {}

    def add(self, probe: Probe, scene: str, reference: Reference, observed: Observation) -> None:
        """Judge all signals that a probe observed, and the output."""
        judged = {}
        for signal, witnesses in reference.witnesses.items():
            if signal in observed.signals:
                _check_signal_shape(probe, signal, observed.signals[signal], witnesses, len(reference))
                judged[signal] = judge_signal(witnesses, observed.signals[signal])
        judged[OUTPUT] = judge_output(reference, observed.output)
        for signal, deviation in judged.items():
            if probe is self._counted:
                self._count(scene, signal, deviation)
            self._failures.add_values(probe.model, scene, signal, deviation)

    def _count(self, scene: str, signal: str, deviation: Deviation) -> None:
        nothing = SignalParity(scene=scene, signal=signal, seen=0, beyond=0, share=0.0, exact=True)
        found = self.found.setdefault((scene, signal), nothing)
        found.seen += deviation.seen
        found.beyond += deviation.beyond
        found.share = max(found.share, deviation.share)
        found.exact &= deviation.exact


def _check_signal_shape(probe: Probe, name: str, signal: Values, witnesses: Witnesses, windows: int) -> None:
    """Refuse a signal whose shape does not fit the witnesses of the reference."""
    fits = signal.ndim >= 2 and signal.shape[:2] == (len(witnesses.values), windows)
    if not fits or math.prod(signal.shape[2:]) <= witnesses.element.max(initial=-1):
        raise ParityNotMet(
            f"{probe.backend}: {name} in {probe.model} is {list(signal.shape)}, which is not of "
            f"{len(witnesses.values)} time steps of {windows} windows as the trained network's"
        )


class FlipCheck:
    """Counts the flips of teacher-forced runs, and checks that rounding explains them.

    The first model is checked on every batch. The others are made of the same operations, so the first batch is enough.

    Args:
        probes: the models.
        signature: the signature of the network.
        signals: the check of the signals, which a teacher-forced run shows too.
        failures: the failures so far.

    Attributes:
        spikes: the number of spikes of the reference, by layer and time step, int64 [L, T].
        undecided: the number of undecided neurons, [L, T].
        flips: the number of flips, [L, T].
        unexplained: the number of unexplained flips, [L, T].
        margins: the largest margin of an explained flip, by layer, float64 [L].
    """

    def __init__(
        self, probes: Sequence[Probe], signature: NetworkSignature, signals: SignalCheck, failures: Failures
    ) -> None:
        self._probe, *self._twins = probes
        self._layers, self._signals, self._failures = signature.layers, signals, failures
        self.spikes, self.undecided, self.flips, self.unexplained = (_counts(signature) for _ in range(4))
        self.margins = np.zeros(len(self._layers))
        self._unlike: dict[str, set[str]] = {}

    def add(self, recording: Recording) -> None:
        """Judge a batch."""
        fired = self._run(self._probe, recording)
        reference = recording.reference
        for at, layer in enumerate(self._layers):
            flips = judge_spikes(layer, reference, fired[layer.name])
            self.spikes[at] += _by_step(reference.spikes[layer.name])
            self.undecided[at] += reference.undecided[layer.name].sum(axis=0)
            self.flips[at] += flips.at
            self.unexplained[at] += flips.unexplained
            self.margins[at] = max(self.margins[at], flips.margin)
            self._failures.add_flips(self._probe.model, layer, flips)
        for twin in self._twins:
            if twin.model not in self._unlike:
                self._unlike[twin.model] = self._compare(twin, recording, fired)

    def twins(self) -> list[str]:
        """The files of the models that fire the same spikes as the first. The others are failures."""
        for model, layers in self._unlike.items():
            if layers:
                self._failures.add_unlike(self._probe.model, model, layers)
        return [model for model, layers in self._unlike.items() if not layers]

    def _run(self, probe: Probe, recording: Recording) -> Mapping[str, Spikes]:
        """The spikes of a teacher-forced run, whose signals are judged and freed."""
        observed = probe.forced(recording.inputs, recording.reference)
        self._signals.add(probe, WINDOWS, recording.reference, observed)
        return observed.spikes

    def _compare(self, twin: Probe, recording: Recording, fired: Mapping[str, Spikes]) -> set[str]:
        """The layers in which another model fires other spikes, which are judged too."""
        found = self._run(twin, recording)
        unlike = {layer.name for layer in self._layers if (found[layer.name] != fired[layer.name]).any()}
        for layer in self._layers:
            if layer.name in unlike:
                flips = judge_spikes(layer, recording.reference, found[layer.name])
                self._failures.add_flips(twin.model, layer, flips)
        return unlike


class FreeRunCheck:
    """Counts the flips of free runs, and checks that rounding explains the first flips of each window.

    The first layer of a window that has a flip was fed the reference's spikes until then, so only rounding may explain
    its flips. The output of a window without a flip must be within its bound.

    Args:
        probe: the model.
        signature: the signature of the network.
        failures: the failures so far.

    Attributes:
        flips: the number of flips by layer and time step, int64 [L, T].
        divergence: where the first batch with a flip first differs from the reference.
        changed_windows: the number of windows with a flip.
        outputs: the outputs, batch by batch, each [N, ...].
        expected: the outputs of the reference.
        exported: the predictions; None for each batch where the network does not classify.
        original: the predictions of the reference.
    """

    def __init__(self, probe: Probe, signature: NetworkSignature, failures: Failures) -> None:
        self._probe, self._layers, self._failures = probe, signature.layers, failures
        self.flips = _counts(signature)
        self.divergence: Divergence | None = None
        self.changed_windows = 0
        self.outputs: list[Values] = []
        self.expected: list[Values] = []
        self.exported: list[Predictions | None] = []
        self.original: list[Predictions | None] = []

    def again(self, recording: Recording) -> None:
        """Judge windows that were run before: nothing may be left of what was run since then."""
        self._judge(recording, self._probe.free(recording.inputs))

    def add(self, recording: Recording) -> None:
        """Run a batch and judge it."""
        observed, reference = self._probe.free(recording.inputs), recording.reference
        differs = _differing(observed, reference)
        for at, layer in enumerate(self._layers):
            self.flips[at] += _by_step(differs[layer.name])
        self.divergence = self.divergence or self._first(differs)
        self.changed_windows += int(np.logical_or.reduce([_by_window(each) for each in differs.values()]).sum())
        self._judge(recording, observed)
        self.expected.append(reference.output)
        self.original.append(Predictions.of_output(reference.output, reference.step_output))
        self.exported.append(Predictions.of_output(observed.output, observed.step_output))
        self.outputs.append(observed.output)

    def _first(self, differs: Mapping[str, Spikes]) -> Divergence | None:
        """Where a batch first differs, in the order that layers fire; None if nowhere."""
        for layer in self._layers:
            flipped = differs[layer.name]
            if flipped.any():
                time_step, window = np.argwhere(flipped.reshape(*flipped.shape[:2], -1).any(axis=2))[0]
                return Divergence(
                    layer=layer.name,
                    window=int(window) + sum(map(len, self.outputs)),
                    time_step=int(time_step) + 1,
                    spikes={name: int(np.count_nonzero(each[:, window])) for name, each in differs.items()},
                )
        return None

    def _judge(self, recording: Recording, observed: Observation) -> None:
        reference = recording.reference
        flips, output = self._judged(observed, reference)
        if self._probe.has_gates and (output.first or any(each.first for _, each in flips)):
            # The bounds hold where the gates are given. The rounding of a gate itself is judged among the signals.
            flips, output = self._judged(self._probe.gated(recording.inputs, reference), reference)
        for layer, each in flips:
            self._failures.add_flips(self._probe.model, layer, each)
        self._failures.add_values(self._probe.model, WINDOWS, OUTPUT, output)

    def _judged(self, observed: Observation, reference: Reference) -> tuple[list[tuple[Layer, Flips]], Deviation]:
        """The flips in the first layer of each window that has any, and the output of windows that have none."""
        differs = _differing(observed, reference)
        flipped, judged = np.zeros(len(reference), np.bool_), []
        for layer in self._layers:
            expected, fired = reference.spikes[layer.name], observed.spikes[layer.name]
            now = _by_window(differs[layer.name]) & ~flipped
            if now.any():
                fed = np.where(now.reshape(-1, *(1,) * (fired.ndim - 2)), fired, expected)
                judged.append((layer, judge_spikes(layer, reference, fed)))
            flipped |= now
        kept = np.where(flipped.reshape(-1, *(1,) * (observed.output.ndim - 1)), reference.output, observed.output)
        return judged, judge_output(reference, kept)


def _counts(signature: NetworkSignature) -> npt.NDArray[np.int64]:
    return np.zeros((len(signature.layers), signature.time_steps), np.int64)


def _differing(observed: Observation, reference: Reference) -> dict[str, Spikes]:
    """By layer, where the spikes [T, N, ...] are not the reference's."""
    return {name: observed.spikes[name] != expected for name, expected in reference.spikes.items()}


def _by_window(differs: Spikes) -> npt.NDArray[np.bool_]:
    """The windows [N] in which any of [T, N, ...] is set."""
    return np.asarray(differs.any(axis=(0, *range(2, differs.ndim))))


def _by_step(spikes: Spikes) -> npt.NDArray[Any]:
    """The number of spikes at each time step, [T]."""
    return np.asarray(np.count_nonzero(spikes.reshape(len(spikes), -1), axis=1))
