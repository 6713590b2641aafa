"""Does the exported network do what the trained one does? Judged layer by layer, spike by spike.

A spike is a comparison, so the last bit of a sum can flip it, and a flip changes everything behind it. Two correct
implementations therefore differ now and then, and how much they differ at the end says little. So each layer of the
exported network is fed the spikes that the reference fired before it (teacher forcing): then only rounding may separate
the two, and a neuron's first flip must lie within rounding of its threshold.

    flips           spikes that differ where every layer is fed the reference's spikes
    margin          |h_t - threshold| / threshold at a neuron's first flip in a window, recomputed in float64 from the
                    exported model's own current
    running flips   spikes that differ where the network runs free, so that a flip changes the layers behind it
    met             every margin is below MARGIN; the reference's spikes are read out as the reference's output; neurons
                    alone, on currents that meet their threshold, fire as they are specified, to the bit; both models
                    fire the same spikes; the predicted class changes in no more than CHANGED of the windows, or in one

MARGIN is generous for float32 (a sum of thousands of terms of either sign errs by some 1e-6) and far below what a wrong
constant, weight or order of time does. It is an estimate, not yet a proven bound.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.bundle import Layer
from tcja_runtime.errors import BadInput
from tcja_runtime.frames import Floats, Samples
from tcja_runtime.neuron import fire, membranes
from tcja_runtime.sessions import Probe
from tcja_runtime.trace import Spikes, Trace, decisions

MARGIN = 1e-4
CHANGED = 0.01
OUTPUT = 1e-5
"""Largest difference of an output from the same spikes: the rounding of a mean over time."""

_BATCH_BYTES = 256 * 2**20
_BATCH_WINDOWS = 64
_DRAWN_NEURONS = 4096
_SHOWN = 3  # failures in a line


@dataclasses.dataclass(kw_only=True)
class LayerParity:
    """One spiking layer, over all windows.

    Attributes:
        layer: its name.
        neurons: how many it has.
        spikes: how many the reference fired, a time step.
        flips: how many differ where the layer is fed the reference's spikes, a time step.
        running_flips: how many differ where the network runs free, a time step.
    """

    layer: str
    neurons: int
    spikes: list[int]
    flips: list[int]
    running_flips: list[int]


@dataclasses.dataclass(kw_only=True)
class Parity:
    """The comparison of the exported network in one backend with the reference.

    Attributes:
        backend: what ran the network, for people.
        model: file of the model that was compared.
        twins: files of the models that fired the same spikes as it.
        changed_windows: how many windows have a flip, running free.
        agreement: share of windows with the reference's predicted class, running free; None without classes.
        accuracy: share of windows whose predicted class is the label, running free; None without labels.
        output_difference: largest difference of an output, running free.
        readout_difference: largest difference of an output from the reference's spikes.
        largest_margin: of a flip; 0 without flips.
        layers: flips by layer, in the order they fire.
        failures: what was not met, a line each; empty if all was.
    """

    backend: str
    model: str
    twins: list[str]
    changed_windows: int
    agreement: float | None
    accuracy: float | None
    output_difference: float
    readout_difference: float
    largest_margin: float
    layers: list[LayerParity]
    failures: list[str]

    @property
    def flips(self) -> int:
        """Flips in all layers, each fed the reference's spikes."""
        return sum(sum(layer.flips) for layer in self.layers)

    @property
    def running_flips(self) -> int:
        """Flips in all layers, running free."""
        return sum(sum(layer.running_flips) for layer in self.layers)


@dataclasses.dataclass(kw_only=True)
class Report:
    """The comparison of the exported network with the reference, in every backend.

    Attributes:
        reference: what the network was compared with, for people.
        source: where the windows come from.
        real: whether they are data.
        windows: how many.
        accuracy: the reference's; None without labels.
        backends: one comparison a backend.
    """

    reference: str
    source: str
    real: bool
    windows: int
    accuracy: float | None
    backends: list[Parity]

    @property
    def silent(self) -> list[str]:
        """Layers in which the reference fired no spike, so that little is known of them."""
        return [layer.layer for layer in self.backends[0].layers if not sum(layer.spikes)]

    @property
    def failures(self) -> list[str]:
        """What was not met in any backend, a line each."""
        return [f"{parity.backend}: {failure}" for parity in self.backends for failure in parity.failures]

    @property
    def why_not(self) -> str:
        """The failures in one line, the first few of many."""
        shown, more = self.failures[:_SHOWN], len(self.failures) - _SHOWN
        return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")

    @property
    def met(self) -> bool:
        """Whether the network passed in every backend."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Every figure, for parity.json; None for what is not a finite number, which JSON cannot hold."""
        return {"met": self.met, "silent": self.silent, **dataclasses.asdict(self, dict_factory=_finite)}

    def summary(self) -> dict[str, Any]:
        """The figures that a manifest carries."""
        everything = self.to_dict()
        backends = [{k: v for k, v in parity.items() if k != "layers"} for parity in everything["backends"]]
        return {**everything, "backends": backends}


def compare(
    reference: Callable[[slice], Trace],
    called: str,
    probes: Sequence[Probe],
    samples: Samples,
    layers: Sequence[Layer],
    *,
    time_steps: int,
    advance: Callable[[int], None],
) -> Report:
    """Compare a network with a reference over all samples.

    Args:
        reference: gives the trace of a range of the samples.
        called: what reports call the reference.
        probes: models of the network in one backend. The first is compared with the reference, the others with it.
        samples: the windows.
        layers: the spiking layers in the order they fire.
        time_steps: T.
        advance: is told the number of windows done, after each batch.

    Raises:
        BadInput: the reference's outputs are not finite.
    """
    comparison = _Comparison(probes, layers, time_steps)
    outputs = []
    size = batch_size(layers, time_steps)
    pair = samples.inputs[[0, min(1, len(samples) - 1)]]
    # Where windows run one by one, two are run at once too: first, as long as little else is in memory.
    together = probes[0].output(pair) if min(size, len(samples)) == 1 else None
    for start in range(0, len(samples), size):
        part = slice(start, start + size)
        expected = reference(part)
        outputs.append(expected.output)
        if not np.isfinite(expected.output).all():
            raise BadInput(
                f"{called} returns values that are NaN or infinite for {samples.source}; scale the data down"
            )
        comparison.add(samples.inputs[part], expected)
        advance(len(expected.output))
    if together is not None:
        comparison.add_pair(pair, together)
    return Report(
        reference=called,
        source=samples.source,
        real=samples.real,
        windows=len(samples),
        accuracy=_accuracy(np.concatenate(outputs), samples.labels),
        backends=[comparison.result(samples.labels)],
    )


def batch_size(layers: Sequence[Layer], time_steps: int) -> int:
    """How many windows to run at once, so that the recorded spikes stay small."""
    elements = sum(int(np.prod(layer.shape)) for layer in layers) * time_steps
    return int(np.clip(_BATCH_BYTES // (4 * elements), 1, _BATCH_WINDOWS))


def _accuracy(outputs: npt.NDArray[Any], labels: npt.NDArray[np.int64] | None) -> float | None:
    """Share of outputs [N, ...] that decide for the label [N]; None without labels."""
    decided = decisions(outputs)
    return None if labels is None or decided is None else float((decided == labels).mean())


class _Comparison:
    """One backend's comparison, batch by batch."""

    def __init__(self, probes: Sequence[Probe], layers: Sequence[Layer], time_steps: int) -> None:
        self._probe, *self._twins = probes
        self._layers = layers
        self._found = [
            LayerParity(
                layer=layer.name,
                neurons=int(np.prod(layer.shape)),
                spikes=[0] * time_steps,
                flips=[0] * time_steps,
                running_flips=[0] * time_steps,
            )
            for layer in layers
        ]
        self._outputs: list[npt.NDArray[Any]] = []
        self._expected: list[npt.NDArray[Any]] = []
        self._readouts: list[npt.NDArray[Any]] = []
        self._flipped: list[npt.NDArray[np.bool_]] = []
        self._largest_margin = 0.0
        self._furthest = ""
        self._unlike: dict[str, set[str]] = {twin.model: set() for twin in self._twins}
        self._failures = [
            failure for probe in probes for layer in layers for failure in _misfires(probe, layer, time_steps)
        ]

    def add(self, inputs: Floats, reference: Trace) -> None:
        """Run a batch [N, ...] and compare it with the reference's trace."""
        trace = self._probe.trace(inputs)
        flipped = np.zeros(len(inputs), np.bool_)
        for layer, found in zip(self._layers, self._found, strict=True):
            expected, fired = reference.spikes[layer.name], trace.spikes[layer.name]
            differs = running = fired != expected
            # As long as nothing has flipped, a free run is fed the reference's spikes.
            if flipped.any() or running.any():
                differs = self._judged(layer, inputs, reference)
            found.spikes = _sum_by_step(found.spikes, expected)
            found.flips = _sum_by_step(found.flips, differs)
            found.running_flips = _sum_by_step(found.running_flips, running)
            flipped |= running.reshape(*running.shape[:2], -1).any(axis=(0, 2))
        self._readouts.append(self._probe.readout(inputs, reference.spikes) if flipped.any() else trace.output)
        self._expected.append(reference.output)
        self._outputs.append(trace.output)
        self._flipped.append(flipped)
        for twin in self._twins:
            other = twin.trace(inputs)
            unlike = {name for name, spikes in trace.spikes.items() if (spikes != other.spikes[name]).any()}
            if not np.abs(trace.output - other.output).max() <= OUTPUT:
                unlike.add("the output")
            self._unlike[twin.model] |= unlike

    def add_pair(self, inputs: Floats, together: npt.NDArray[Any]) -> None:
        """Compare the outputs of the first two windows [2, ...] (or the only one, twice), run at once and run alone."""
        outputs = np.concatenate(self._outputs[:2])[[0, -1]]
        if np.abs(together - outputs).max() <= OUTPUT:
            return
        alone = Trace.joined([self._probe.trace(inputs[i : i + 1]) for i in range(2)])
        judged = _Comparison([self._probe], self._layers, len(self._found[0].spikes))
        judged.add(inputs, alone)
        self._failures += [f"two windows at once: {failure}" for failure in judged.result(None).failures]

    def _judged(self, layer: Layer, inputs: Floats, reference: Trace) -> Spikes:
        """Where a layer flips, fed the reference's spikes; how far from the threshold its neurons then are is noted."""
        expected = reference.spikes[layer.name]
        fired, current = self._probe.layer(layer.name, inputs, reference.spikes)
        differs: Spikes = fired != expected
        if not differs.any():
            return differs
        neurons = differs.any(axis=0)
        first = differs[:, neurons].argmax(axis=0)
        h = membranes(layer.neuron, current[:, neurons].astype(np.float64), expected[:, neurons])
        margins = np.abs(h[first, np.arange(len(first))] - layer.neuron.threshold) / abs(layer.neuron.threshold)
        margins[np.isnan(margins)] = np.inf
        worst = int(margins.argmax())
        if margins[worst] > self._largest_margin:
            self._largest_margin = float(margins[worst])
            self._furthest = f"{layer.name} at time step {first[worst] + 1}"
        return differs

    def result(self, labels: npt.NDArray[np.int64] | None) -> Parity:
        """The verdict over all batches added."""
        outputs, expected = np.concatenate(self._outputs), np.concatenate(self._expected)
        readout = float(np.abs(np.concatenate(self._readouts) - expected).max())
        decided = decisions(outputs)
        same_class = None if decided is None else decided == decisions(expected)
        failures = list(self._failures)
        if self._largest_margin > MARGIN:
            failures.append(
                f"a spike of {self._furthest} differs although the membrane is {self._largest_margin:.2g} of the "
                f"threshold away from it (rounding explains {MARGIN:g})"
            )
        if not readout <= OUTPUT:  # so that NaN is more, too
            failures.append(f"the output differs by {readout:.2g} where all spikes agree")
        changed = 0 if same_class is None else int((~same_class).sum())
        if changed > max(1, CHANGED * len(outputs)):
            failures.append(f"the predicted class differs in {changed} of {len(outputs)} windows")
        for model, unlike in self._unlike.items():
            if unlike:
                failures.append(f"{model} and {self._probe.model} differ in {', '.join(sorted(unlike))}")
        return Parity(
            backend=self._probe.backend,
            model=self._probe.model,
            twins=[model for model, unlike in self._unlike.items() if not unlike],
            changed_windows=int(np.concatenate(self._flipped).sum()),
            agreement=None if same_class is None else float(same_class.mean()),
            accuracy=_accuracy(outputs, labels),
            output_difference=float(np.abs(outputs - expected).max()),
            readout_difference=readout,
            largest_margin=self._largest_margin,
            layers=self._found,
            failures=failures,
        )


def _misfires(probe: Probe, layer: Layer, time_steps: int) -> list[str]:
    """What is wrong with a layer's neurons alone, on currents whose membranes often are the threshold itself.

    Multiples of half the threshold make ties that real data hardly ever does, and tell >= from > and every reset apart;
    the nearest numbers above and below them tell constants apart that differ in their last bits. Elementwise float32
    arithmetic is the same everywhere, so not one spike may differ.
    """
    neuron = layer.neuron
    shape = (time_steps, 1, _DRAWN_NEURONS) + (1,) * (len(layer.shape) - 1)
    random = np.random.default_rng(0)
    ties = (random.integers(-4, 9, shape) * (neuron.threshold / (2 * neuron.gain))).astype(np.float32)
    current = np.nextafter(ties, random.choice([-np.inf, 0, np.inf], shape).astype(np.float32))
    current = np.where(random.integers(0, 2, shape) == 0, ties, current)
    wrong = int((probe.neurons(layer.name, current) != fire(neuron, current)).sum())
    if not wrong:
        return []
    rule = f"{neuron.fire_rule}, {neuron.reset} reset"
    return [f"{layer.name} in {probe.model} does not fire as its neurons do ({rule}): {wrong} drawn spikes differ"]


def _finite(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields}


def _sum_by_step(so_far: list[int], spikes: Spikes) -> list[int]:
    counts = np.count_nonzero(spikes.reshape(len(spikes), -1), axis=1)
    return [a + int(b) for a, b in zip(so_far, counts, strict=True)]
