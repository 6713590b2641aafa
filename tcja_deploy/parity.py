"""Does the exported network do what the trained one does? Counted spike by spike.

A spike is a comparison, so the last bit of a sum can flip it, and a flip changes everything behind it. Two correct
implementations therefore differ now and then, and how much they differ at the end says little. What can be judged is
where a difference begins: in a window's first layer whose spikes differ, every input was the same, so only rounding
may separate the two, and a neuron's first flip must lie within rounding of its threshold.

    root flips    a window's flips in its first differing layer, at each neuron's first differing step
    margin        |h_t - threshold| / threshold there, recomputed in float64 from the exported model's own current
    met           every margin is below MARGIN; windows without a flip have the reference's output; the predicted class
                  changes in no more than CHANGED of the windows, or in one; both models fire the same spikes

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
from tcja_runtime.frames import Floats, Samples
from tcja_runtime.neuron import membranes
from tcja_runtime.sessions import Probe
from tcja_runtime.trace import Spikes, Trace

MARGIN = 1e-4
CHANGED = 0.01
OUTPUT = 1e-5
"""Largest difference of an output where all spikes agree: the rounding of a mean over time."""

_BATCH_BYTES = 256 * 2**20
_BATCH_WINDOWS = 64


@dataclasses.dataclass(kw_only=True)
class LayerParity:
    """One spiking layer, over all windows.

    Attributes:
        layer: its name.
        neurons: how many it has.
        spikes: how many the reference fired, a time step.
        flips: how many differ, a time step.
        root_flips: how many of them begin a difference.
    """

    layer: str
    neurons: int
    spikes: list[int]
    flips: list[int]
    root_flips: int = 0


@dataclasses.dataclass(kw_only=True)
class Parity:
    """The comparison of the exported network in one backend with the reference.

    Attributes:
        backend: what ran the network, for people.
        model: file of the model that was compared.
        twins: files of the models that fired the same spikes as it.
        changed_windows: how many windows have a flip.
        agreement: share of windows with the reference's predicted class.
        accuracy: share of windows whose predicted class is the label; None without labels.
        output_difference: largest difference of an output.
        largest_margin: of a root flip; 0 without flips.
        layers: flips by layer, in the order they fire.
        failures: what was not met, a line each; empty if all was.
    """

    backend: str
    model: str
    twins: list[str]
    changed_windows: int
    agreement: float
    accuracy: float | None
    output_difference: float
    largest_margin: float
    layers: list[LayerParity]
    failures: list[str]

    @property
    def flips(self) -> int:
        """Spike flips in all layers."""
        return sum(sum(layer.flips) for layer in self.layers)


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
    def met(self) -> bool:
        """Whether the network passed in every backend."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Every figure, for parity.json; None for what is not a finite number, which JSON cannot hold."""
        return {"met": self.met, **dataclasses.asdict(self, dict_factory=_finite)}

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
    """
    comparison = _Comparison(probes, layers, time_steps)
    outputs = []
    size = _batch_size(layers, time_steps)
    for start in range(0, len(samples), size):
        part = slice(start, start + size)
        expected = reference(part)
        outputs.append(expected.output)
        comparison.add(samples.inputs[part], expected)
        advance(len(expected.output))
    return Report(
        reference=called,
        source=samples.source,
        real=samples.real,
        windows=len(samples),
        accuracy=_accuracy(np.concatenate(outputs), samples.labels),
        backends=[comparison.result(samples.labels)],
    )


def _batch_size(layers: Sequence[Layer], time_steps: int) -> int:
    """How many windows to run at once, so that the recorded spikes stay small."""
    elements = sum(int(np.prod(layer.shape)) for layer in layers) * time_steps
    return int(np.clip(_BATCH_BYTES // (4 * elements), 1, _BATCH_WINDOWS))


def _accuracy(outputs: npt.NDArray[Any], labels: npt.NDArray[np.int64] | None) -> float | None:
    """Share of outputs [N, classes] whose largest is at the label [N]; None without labels."""
    return None if labels is None else float((outputs.argmax(1) == labels).mean())


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
            )
            for layer in layers
        ]
        self._outputs: list[npt.NDArray[Any]] = []
        self._differences: list[npt.NDArray[Any]] = []
        self._same_class: list[npt.NDArray[np.bool_]] = []
        self._flipped: list[npt.NDArray[np.bool_]] = []
        self._largest_margin = 0.0
        self._furthest = ""
        self._unlike: dict[str, set[str]] = {twin.model: set() for twin in self._twins}

    def add(self, inputs: Floats, reference: Trace) -> None:
        """Run a batch [N, ...] and compare it with the reference's trace."""
        trace = self._probe.trace(inputs)
        clean = np.ones(len(inputs), np.bool_)
        for layer, found in zip(self._layers, self._found, strict=True):
            expected, actual = reference.spikes[layer.name], trace.spikes[layer.name]
            differs = expected != actual
            found.spikes = _sum_by_step(found.spikes, expected)
            found.flips = _sum_by_step(found.flips, differs)
            hit = differs.reshape(*differs.shape[:2], -1).any(axis=(0, 2))
            if (roots := hit & clean).any():
                self._judge(layer, found, inputs, expected, differs & _over_windows(roots, differs.ndim))
            clean &= ~hit
        self._outputs.append(trace.output)
        self._differences.append(np.abs(trace.output - reference.output).max(axis=1))
        self._same_class.append(trace.output.argmax(1) == reference.output.argmax(1))
        self._flipped.append(~clean)
        for twin in self._twins:
            other = twin.trace(inputs)
            unlike = {name for name, spikes in trace.spikes.items() if (spikes != other.spikes[name]).any()}
            if not np.abs(trace.output - other.output).max() <= OUTPUT:
                unlike.add("the output")
            self._unlike[twin.model] |= unlike

    def _judge(self, layer: Layer, found: LayerParity, inputs: Floats, expected: Spikes, differs: Spikes) -> None:
        """Measure how far from the threshold the flips of a first differing layer are."""
        neurons = differs.any(axis=0)
        first = differs[:, neurons].argmax(axis=0)
        current = self._probe.current(layer.name, inputs)[:, neurons].astype(np.float64)
        h = membranes(layer.neuron, current, expected[:, neurons])[first, np.arange(len(first))]
        margins = np.abs(h - layer.neuron.threshold) / abs(layer.neuron.threshold)
        margins[np.isnan(margins)] = np.inf
        found.root_flips += len(margins)
        worst = int(margins.argmax())
        if margins[worst] > self._largest_margin:
            self._largest_margin = float(margins[worst])
            self._furthest = f"{layer.name} at time step {first[worst] + 1}"

    def result(self, labels: npt.NDArray[np.int64] | None) -> Parity:
        """The verdict over all batches added."""
        outputs, differences = np.concatenate(self._outputs), np.concatenate(self._differences)
        same_class, flipped = np.concatenate(self._same_class), np.concatenate(self._flipped)
        failures = []
        if self._largest_margin > MARGIN:
            failures.append(
                f"a spike of {self._furthest} differs although the membrane is {self._largest_margin:.2g} of the "
                f"threshold away from it (rounding explains {MARGIN:g})"
            )
        off = ~(differences[~flipped] <= OUTPUT)  # so that NaN is one
        if off.any():
            failures.append(f"the output differs by {differences[~flipped][off].max():.2g} where all spikes agree")
        changed = int((~same_class).sum())
        if changed > max(1, CHANGED * len(outputs)):
            failures.append(f"the predicted class differs in {changed} of {len(outputs)} windows")
        for model, unlike in self._unlike.items():
            if unlike:
                failures.append(f"{model} and {self._probe.model} differ in {', '.join(sorted(unlike))}")
        return Parity(
            backend=self._probe.backend,
            model=self._probe.model,
            twins=[model for model, unlike in self._unlike.items() if not unlike],
            changed_windows=int(flipped.sum()),
            agreement=float(same_class.mean()),
            accuracy=_accuracy(outputs, labels),
            output_difference=float(differences.max()),
            largest_margin=self._largest_margin,
            layers=self._found,
            failures=failures,
        )


def _finite(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields}


def _sum_by_step(so_far: list[int], spikes: Spikes) -> list[int]:
    counts = np.count_nonzero(spikes.reshape(len(spikes), -1), axis=1)
    return [a + int(b) for a, b in zip(so_far, counts, strict=True)]


def _over_windows(windows: npt.NDArray[np.bool_], ndim: int) -> npt.NDArray[np.bool_]:
    """A choice of windows [N], shaped to select from spikes [T, N, ...]."""
    return windows.reshape((1, -1) + (1,) * (ndim - 2))
