"""Does the exported network do what the trained one does? Judged layer by layer, spike by spike.

A spike is a comparison, so the last bit of a sum can flip it, and a flip changes everything behind it. Two correct
implementations therefore differ now and then, and how much they differ at the end says little. So each layer of the
exported network is fed the spikes that the reference fired before it (teacher forcing): then only rounding may separate
the two, and how much rounding may do is known (`tcja_runtime.rounding`, `tcja_exporters.bounds`).

    flips           spikes that differ where every layer is fed the reference's spikes
    unexplained     flips whose exact membrane is further from the threshold than rounding can move it
    near            neurons that are so near their threshold, at a time step, that rounding decides: the share of them
                    says what the bounds are worth
    signals         input currents, and what attention blocks compute on their way; each must be within its bound
    running flips   spikes that differ where the network runs free, so that a flip changes the layers behind it

Parity is met if, for every model,

    no flip is unexplained, and every signal and the output read out of the reference's spikes are within their bounds,
        on real windows and on drawn ones, which put every weight to work;
    the same holds with drawn weights whose sums are exact, so that most bounds are zero and every bit is compared;
    neurons alone, on currents that meet their threshold, fire as they are specified, to the bit;
    all models fire the same spikes;
    running free, the first layer with a flip in a window, fed the reference's spikes until then, has only flips that
        rounding explains, and the output of a window without any flip is within its bound.

What follows from an explained flip, even another class, is rounding too: PyTorch itself in another precision, or on
another machine, does no better. How often it happens is reported.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime import stimulus
from tcja_runtime.agreement import Agreement, agreement
from tcja_runtime.bundle import Layer, Manifest
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.frames import Floats, Samples
from tcja_runtime.judgement import Deviation, Flips, Place, judge_output, judge_signal, judge_spikes
from tcja_runtime.neuron import fire
from tcja_runtime.sessions import Probe
from tcja_runtime.trace import Observation, Reference, Spikes, decisions

OUTPUT = "the output"

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
        near: how many neurons were so near their threshold that rounding decides, a time step.
        flips: how many spikes differ where the layer is fed the reference's spikes, a time step.
        unexplained: how many of them rounding does not explain, a time step.
        running_flips: how many differ where the network runs free, a time step.
        margin: largest distance of an explained flip's membrane from the threshold, as a share of it.
    """

    layer: str
    neurons: int
    spikes: list[int]
    near: list[int]
    flips: list[int]
    unexplained: list[int]
    running_flips: list[int]
    margin: float = 0.0

    def share_near(self, windows: int) -> float:
        """Share of its neurons and time steps at which rounding decides."""
        return sum(self.near) / (self.neurons * len(self.near) * windows)


@dataclasses.dataclass(kw_only=True)
class SignalParity:
    """A signal, or the output, in one scene.

    Attributes:
        scene: "windows", or the name of a drawn scene.
        signal: its name.
        seen: how many values were compared.
        beyond: how many are further from the reference than rounding explains.
        share: the largest difference, as a share of what rounding explains.
        exact: whether nothing is rounded, so that every bit was compared.
    """

    scene: str
    signal: str
    seen: int
    beyond: int
    share: float
    exact: bool


@dataclasses.dataclass(kw_only=True)
class Failure:
    """What was not met.

    Attributes:
        kind: "neurons" alone, "values" of a signal or the output, "spikes" of a layer, or "models" that differ from
            each other.
        text: for people, in a line.
        model: file of the model.
        scene: where it was seen; None where no windows were involved.
        signal: the layer, the part of an attention block, or the output; None for the whole network.
        place: where exactly, if it is at a place.
    """

    kind: str
    text: str
    model: str
    scene: str | None = None
    signal: str | None = None
    place: Place | None = None


@dataclasses.dataclass(kw_only=True)
class Divergence:
    """Where a free run first differs from the reference.

    Attributes:
        layer: the first layer, in the order they fire, with a flip.
        window: the first window with a flip there, from 0.
        time_step: the first there, from 1.
        spikes: how many spikes differ, in each layer, in that window.
    """

    layer: str
    window: int
    time_step: int
    spikes: dict[str, int]


@dataclasses.dataclass(kw_only=True)
class Parity:
    """The comparison of the exported network in one backend with the reference.

    Attributes:
        backend: what ran the network, for people.
        model: file of the model whose figures these are.
        twins: files of the models that fired the same spikes as it.
        changed_windows: how many windows have a flip, running free.
        agreement: share of windows with the reference's predicted class, running free; None without classes.
        accuracy: share of windows whose predicted class is the label, running free; None without labels.
        statistics: how both classify, running free; None without classes.
        output_difference: largest difference of an output, running free.
        divergence: where the free run first differs; None if nowhere.
        layers: flips by layer, in the order they fire.
        signals: signals and output by scene.
        failures: what was not met; empty if all was.
    """

    backend: str
    model: str
    twins: list[str]
    changed_windows: int
    agreement: float | None
    accuracy: float | None
    statistics: Agreement | None
    output_difference: float
    divergence: Divergence | None
    layers: list[LayerParity]
    signals: list[SignalParity]
    failures: list[Failure]

    @property
    def flips(self) -> int:
        """Flips in all layers, each fed the reference's spikes."""
        return sum(sum(layer.flips) for layer in self.layers)

    @property
    def unexplained(self) -> int:
        """Those that rounding does not explain."""
        return sum(sum(layer.unexplained) for layer in self.layers)

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
        estimated: signals whose bounds are estimates, and the operations that no bound is known for.
        backends: one comparison a backend.
    """

    reference: str
    source: str
    real: bool
    windows: int
    accuracy: float | None
    estimated: dict[str, list[str]]
    backends: list[Parity]

    @property
    def silent(self) -> list[str]:
        """Layers in which the reference fired no spike on the windows."""
        return [layer.layer for layer in self.backends[0].layers if not sum(layer.spikes)]

    @property
    def failures(self) -> list[str]:
        """What was not met in any backend, a line each."""
        return [f"{parity.backend}: {failure.text}" for parity in self.backends for failure in parity.failures]

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
        figures: dict[str, Any] = _finite(dataclasses.asdict(self))
        return {"met": self.met, "silent": self.silent, **figures}

    def summary(self) -> dict[str, Any]:
        """The figures that a manifest carries."""
        everything = self.to_dict()
        long = ("layers", "signals")
        backends = [{k: v for k, v in parity.items() if k not in long} for parity in everything["backends"]]
        return {**everything, "backends": backends}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compared:
    """What of an exported network a comparison needs to know.

    Attributes:
        layers: the spiking layers in the order they fire.
        time_steps: T.
        drawn_weights: weights that leave no rounding, by tensor.
    """

    layers: Sequence[Layer]
    time_steps: int
    drawn_weights: Mapping[str, Floats]

    @classmethod
    def of(cls, manifest: Manifest) -> Compared:
        """The network of a bundle."""
        return cls(
            layers=manifest.layers,
            time_steps=manifest.time_steps,
            drawn_weights=stimulus.dyadic(manifest.weights),
        )


WINDOWS, DRAWN, DYADIC = "windows", stimulus.DRAWN, stimulus.DYADIC


def compare(
    reference: Callable[[slice], Reference],
    called: str,
    probes: Sequence[Probe],
    samples: Samples,
    scenes: Mapping[str, tuple[Floats, Reference]],
    network: Compared,
    *,
    advance: Callable[[int], None],
) -> Report:
    """Compare a network with a reference over all samples and drawn scenes.

    Args:
        reference: what the reference did with a range of the samples.
        called: what reports call the reference.
        probes: models of the network in one backend. The figures are the first one's.
        samples: the windows.
        scenes: inputs of the drawn scenes, and what the reference did with them.
        network: what is compared.
        advance: is told the number of windows done, after each batch.

    Raises:
        BadInput: the reference's outputs are not finite.
    """
    comparison = _Comparison(probes, network)
    outputs = []
    for name, (inputs, expected) in scenes.items():
        comparison.add_scene(name, inputs, expected)
    size = batch_size(network.layers, network.time_steps)
    for start in range(0, len(samples), size):
        part = slice(start, start + size)
        expected = reference(part)
        outputs.append(expected.output)
        if not np.isfinite(expected.output).all():
            raise BadInput(
                f"{called} returns values that are NaN or infinite for {samples.source}; scale the data down"
            )
        comparison.add(samples.inputs[part], expected)
        advance(len(expected))
    return Report(
        reference=called,
        source=samples.source,
        real=samples.real,
        windows=len(samples),
        accuracy=_accuracy(np.concatenate(outputs), samples.labels),
        estimated={},
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

    def __init__(self, probes: Sequence[Probe], network: Compared) -> None:
        self._probe, *self._twins = probes
        self._network = network
        self._layers = [
            LayerParity(
                layer=layer.name,
                neurons=int(np.prod(layer.shape)),
                spikes=[0] * network.time_steps,
                near=[0] * network.time_steps,
                flips=[0] * network.time_steps,
                unexplained=[0] * network.time_steps,
                running_flips=[0] * network.time_steps,
            )
            for layer in network.layers
        ]
        self._signals: dict[tuple[str, str], SignalParity] = {}
        self._outputs: list[npt.NDArray[Any]] = []
        self._expected: list[npt.NDArray[Any]] = []
        self._flipped: list[npt.NDArray[np.bool_]] = []
        self._divergence: Divergence | None = None
        self._unlike: dict[str, set[str]] = {twin.model: set() for twin in self._twins}
        self._failures: dict[tuple[str | None, ...], Failure] = {}
        for probe in probes:
            for layer in network.layers:
                text = misfires(probe, layer, network.time_steps)
                if text:
                    self._fail("neurons", text, probe, None, layer.name)

    def add_scene(self, scene: str, inputs: Floats, reference: Reference) -> None:
        """Judge every model on drawn windows; one does for drawn weights, which all of them are given."""
        weights = self._network.drawn_weights if scene == DYADIC else None
        for probe in (self._probe, *(self._twins if scene == DRAWN else ())):
            observed = probe.stimulated(inputs, reference.spikes, weights)
            self._judge_signals(probe, scene, reference, observed)

    def add(self, inputs: Floats, reference: Reference) -> None:
        """Judge every model on a batch [N, ...], and let the first run free."""
        forced = self._probe.forced(inputs, reference.spikes)
        self._judge_signals(self._probe, WINDOWS, reference, forced)
        for layer, found in zip(self._network.layers, self._layers, strict=True):
            flips = judge_spikes(layer, reference, forced.spikes[layer.name])
            found.spikes = _added(found.spikes, _by_step(reference.spikes[layer.name]))
            found.near = _added(found.near, reference.near[layer.name].sum(axis=0))
            found.flips = _added(found.flips, flips.at)
            found.unexplained = _added(found.unexplained, flips.unexplained)
            found.margin = max(found.margin, flips.margin)
            self._judge_flips(self._probe, layer, flips)
        for twin in self._twins if not self._outputs else ():  # one batch tells: they are made of the same operations
            other = twin.forced(inputs, reference.spikes)
            self._judge_signals(twin, WINDOWS, reference, other)
            for layer in self._network.layers:
                if (other.spikes[layer.name] != forced.spikes[layer.name]).any():
                    self._unlike[twin.model].add(layer.name)
                    self._judge_flips(twin, layer, judge_spikes(layer, reference, other.spikes[layer.name]))
        self._add_free_run(self._probe.free(inputs), reference)

    def _add_free_run(self, free: Observation, reference: Reference) -> None:
        flipped = np.zeros(len(reference), np.bool_)
        differs = {name: free.spikes[name] != expected for name, expected in reference.spikes.items()}
        for layer, found in zip(self._network.layers, self._layers, strict=True):
            expected, running = reference.spikes[layer.name], differs[layer.name]
            found.running_flips = _added(found.running_flips, _by_step(running))
            if self._divergence is None and running.any():
                time_step, window = np.argwhere(running.reshape(*running.shape[:2], -1).any(axis=2))[0]
                self._divergence = Divergence(
                    layer=found.layer,
                    window=int(window) + sum(map(len, self._outputs)),
                    time_step=int(time_step) + 1,
                    spikes={name: int(np.count_nonzero(each[:, window])) for name, each in differs.items()},
                )
            now = running.reshape(*running.shape[:2], -1).any(axis=(0, 2)) & ~flipped
            if now.any():  # these windows are still fed the reference's spikes
                fed = np.where(now.reshape(-1, *(1,) * (running.ndim - 2)), free.spikes[layer.name], expected)
                self._judge_flips(self._probe, layer, judge_spikes(layer, reference, fed))
            flipped |= now
        if not flipped.all():
            kept = np.where(flipped.reshape(-1, *(1,) * (free.output.ndim - 1)), reference.output, free.output)
            self._judge_values(self._probe, WINDOWS, OUTPUT, judge_output(reference, kept))
        self._expected.append(reference.output)
        self._outputs.append(free.output)
        self._flipped.append(flipped)

    def _judge_signals(self, probe: Probe, scene: str, reference: Reference, observed: Observation) -> None:
        judged = {
            signal: judge_signal(witnesses, observed.signals[signal])
            for signal, witnesses in reference.witnesses.items()
            if signal in observed.signals
        }
        judged[OUTPUT] = judge_output(reference, observed.output)
        for signal, deviation in judged.items():
            if probe is self._probe:
                self._count(scene, signal, deviation)
            self._judge_values(probe, scene, signal, deviation)

    def _judge_values(self, probe: Probe, scene: str, signal: str, deviation: Deviation) -> None:
        first = deviation.first
        if first is None:
            return
        text = (
            f"{self._called(signal, scene)} is {first.found:.6g} instead of {first.expected:.6g} at {_place(first)}, "
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
        layers = {layer.name for layer in self._network.layers}
        name = f"the current of {signal}" if signal in layers else f"what {signal} returns"
        name = signal if signal == OUTPUT else name
        return name + {WINDOWS: "", DRAWN: ", on drawn spikes,", DYADIC: ", on drawn spikes and weights,"}[scene]

    def result(self, labels: npt.NDArray[np.int64] | None) -> Parity:
        """The verdict over all batches added."""
        outputs, expected = np.concatenate(self._outputs), np.concatenate(self._expected)
        both = agreement(expected, outputs, labels)
        failures = list(self._failures.values())
        model = self._probe.model
        for twin, unlike in self._unlike.items():
            if unlike:
                text = f"{twin} and {model} differ in {', '.join(sorted(unlike))}"
                failures.append(Failure(kind="models", text=text, model=twin, scene=WINDOWS))
        return Parity(
            backend=self._probe.backend,
            model=model,
            twins=[twin for twin, unlike in self._unlike.items() if not unlike],
            changed_windows=int(np.concatenate(self._flipped).sum()),
            agreement=None if both is None else both.same_class / both.windows,
            accuracy=None if both is None else both.accuracy,
            statistics=both,
            output_difference=float(np.abs(outputs - expected).max()),
            divergence=self._divergence,
            layers=self._layers,
            signals=list(self._signals.values()),
            failures=failures,
        )


def drawn_currents(layer: Layer, time_steps: int) -> Floats:
    """Currents [T, 2, ...] of a layer's rank, from which its neurons often come to their threshold itself.

    Multiples of half the threshold make ties that real data hardly ever does, and tell >= from > and every reset apart;
    the nearest numbers above and below them tell constants apart that differ in their last bits. Two windows at once
    show a membrane that is kept from one to the next.
    """
    neuron = layer.neuron
    shape = (time_steps, 2, _DRAWN_NEURONS) + (1,) * (len(layer.shape) - 1)
    random = np.random.default_rng(0)
    ties = (random.integers(-4, 9, shape) * (neuron.threshold / (2 * neuron.gain))).astype(np.float32)
    current = np.nextafter(ties, random.choice([-np.inf, 0, np.inf], shape).astype(np.float32))
    chosen: Floats = np.where(random.integers(0, 2, shape) == 0, ties, current)
    return chosen


def misfires(probe: Probe, layer: Layer, time_steps: int) -> str:
    """What is wrong with a layer's neurons alone, in a line; empty if nothing is.

    Elementwise float32 arithmetic is the same everywhere, so not one spike may differ.
    """
    current = drawn_currents(layer, time_steps)
    try:
        fired = probe.neurons(layer.name, current)
    except Unavailable as error:
        return f"the neurons of {layer.name} in {probe.model} cannot be run alone: {error}"
    wrong = int((fired != fire(layer.neuron, current)).sum())
    if not wrong:
        return ""
    rule = f"{layer.neuron.fire_rule}, {layer.neuron.reset} reset"
    return f"{layer.name} in {probe.model} does not fire as its neurons do ({rule}): {wrong} drawn spikes differ"


def _place(place: Place) -> str:
    """A place for people."""
    return f"window {place.window + 1}, time step {place.time_step}, neuron {place.element}"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _added(so_far: list[int], more: npt.NDArray[Any]) -> list[int]:
    return [a + int(b) for a, b in zip(so_far, more, strict=True)]


def _by_step(spikes: Spikes) -> npt.NDArray[Any]:
    return np.asarray(np.count_nonzero(spikes.reshape(len(spikes), -1), axis=1))
