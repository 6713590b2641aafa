"""Does the exported network do what the trained one does? Judged layer by layer, spike by spike.

A spike is a comparison, so the last bit of a sum can flip it, and a flip changes everything behind it. Two correct
implementations therefore differ now and then, and how much they differ at the end says little. So each layer of the
exported network is fed the spikes that the reference fired before it, and its attention's gates (teacher forcing): then
only rounding may separate the two, and how much rounding may do is known (`tcja_runtime.evidence.rounding`,
`tcja_exporters.reference.bounds`).

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
        rounding explains, and the output of a window without any flip is within its bound;
    an engine, of which nothing but the output is seen, answers as `tcja_deploy.parity.engine` says;
    running free on all data, of which only the first windows are judged, the network is right less often than the
        reference by no more than chance explains (`tcja_runtime.evidence.agreement.CHANCE`).

What follows from an explained flip, even another class, is rounding too: PyTorch itself in another precision, or on
another machine, does no better. How often it happens is reported.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from tcja_deploy.parity.judge import Place
from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.agreement import Agreement
from tcja_runtime.evidence.anytime import Curve

OUTPUT = "the output"
WINDOWS, DRAWN, DYADIC = "windows", stimulus.DRAWN, stimulus.DYADIC
"""The scenes: the windows themselves, and those that are drawn."""

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
        kind: "neurons" alone, "values" of a signal or the output, "spikes" of a layer, "models" that differ from each
            other, what an "engine" answers, or "accuracy".
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
        statistics: how both classify, running free, these windows and more of the same data; None without classes.
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
    statistics: Agreement | None
    output_difference: float
    divergence: Divergence | None
    layers: list[LayerParity]
    signals: list[SignalParity]
    failures: list[Failure]

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, for parity.json."""
        statistics = self.statistics and self.statistics.to_dict()
        shares = {"agreement": self.agreement, "accuracy": self.accuracy}
        return {**dataclasses.asdict(self), "statistics": statistics, **shares}

    @property
    def agreement(self) -> float | None:
        """Share of windows with the reference's predicted class, running free; None without classes."""
        return self.statistics.same if self.statistics else None

    @property
    def accuracy(self) -> float | None:
        """Share of windows whose predicted class is the label, running free; None without labels."""
        return self.statistics.accuracy.share if self.statistics else None

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
class OutputParity:
    """The output of an engine or a stepwise network, compared with the reference on the golden windows.

    A window is decided if it has no undecided neuron at any time step. "The parts" are the same network in the same
    backend, cut into parts that are proven spike by spike, and free-running.

    Attributes:
        engine: the name of the engine in the bundle; None for a stepwise network.
        backend: the name and version of the backend, for people.
        windows: the number of windows.
        decided: the number of decided windows.
        decided_beyond: the number of decided windows whose output is beyond the rounding bound.
        undecided_beyond: the number of other windows whose output is beyond the rounding bound.
        further: the number of other windows whose output is further from the reference than the output of the parts.
        nearer: the number of other windows whose output is nearer to the reference than the output of the parts.
        output_difference: the largest difference of an output from the reference.
        bounded: whether the rounding bounds hold for the backend's arithmetic; they do not for TF32.
        failures: what was not met; empty if all was.
    """

    engine: str | None
    backend: str
    windows: int
    decided: int
    decided_beyond: int
    undecided_beyond: int
    further: int
    nearer: int
    output_difference: float
    bounded: bool
    failures: list[Failure] = dataclasses.field(default_factory=list)

    @property
    def proven(self) -> bool:
        """Whether the output can prove anything: the bounds hold, and some windows are decided."""
        return self.bounded and self.decided > 0

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, for parity.json."""
        return {
            "engine": self.engine,
            "backend": self.backend,
            "windows": self.windows,
            "settled": self.decided,
            "beyond": self.decided_beyond,
            "elsewhere": self.undecided_beyond,
            "further": self.further,
            "nearer": self.nearer,
            "output_difference": self.output_difference,
            "judged": self.bounded,
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
        }


@dataclasses.dataclass(kw_only=True)
class StepwiseParity:
    """A stepwise network, compared with the reference, and with the model of whole windows.

    Attributes:
        parity: the comparison of its spikes and signals with the reference.
        output: the comparison of its output with the reference.
        spikes: the number of spikes that the model of whole windows fires in the golden windows, free-running.
        unlike: the number of spikes that differ between the two, free-running.
        output_difference: the largest difference between the outputs of the two.
    """

    parity: Parity
    output: OutputParity
    spikes: int
    unlike: int
    output_difference: float

    @property
    def backend(self) -> str:
        """The name and version of the backend, for people."""
        return self.parity.backend

    @property
    def failures(self) -> list[Failure]:
        """What was not met; empty if all was."""
        return [*self.parity.failures, *self.output.failures]

    @property
    def identical(self) -> bool:
        """Whether every spike and every output equals that of the model of whole windows, to the bit."""
        return not self.unlike and self.output_difference == 0.0

    @property
    def text(self) -> str:
        """The comparison in a sentence, for people."""
        line = f"Stepwise in {self.backend}: {self.output.windows:,} windows, {self.spikes:,} spikes"
        if self.identical:
            return f"{line}; every spike and every output equals that of whole windows, to the bit."
        return (
            f"{line}, of which {self.unlike:,} differ from those of whole windows, and outputs by up to "
            f"{self.output_difference:.2g}; teacher-forced, {self.parity.flips:,} spikes flip, "
            f"{self.parity.unexplained:,} of them unexplained."
        )

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, for parity.json."""
        return {
            "backend": self.backend,
            "windows": self.output.windows,
            "spikes": self.spikes,
            "unlike": self.unlike,
            "output_difference": self.output_difference,
            "flips": self.parity.flips,
            "unexplained": self.parity.unexplained,
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
        }


@dataclasses.dataclass(kw_only=True)
class Report:
    """The comparison of the exported network with the reference, in every backend.

    Attributes:
        reference: what the network was compared with, for people.
        source: where the windows come from.
        real: whether they are data.
        windows: how many were judged, spike by spike.
        estimated: signals whose bounds are estimates, and the operations that no bound is known for.
        backends: one comparison a backend.
        engines: the comparison of each engine.
        stepwise: the comparison of the stepwise network; None without one.
        not_run: why the bundle's other engines were not run, a line each.
        anytime: how early answers can be had, from the reference and from each backend.
        untold: why that is not known, a line each.
    """

    reference: str
    source: str
    real: bool
    windows: int
    estimated: dict[str, list[str]]
    backends: list[Parity]
    engines: list[OutputParity] = dataclasses.field(default_factory=list)
    stepwise: StepwiseParity | None = None
    not_run: list[str] = dataclasses.field(default_factory=list)
    anytime: list[Curve] = dataclasses.field(default_factory=list)
    untold: list[str] = dataclasses.field(default_factory=list)

    @property
    def accuracy(self) -> float | None:
        """The reference's; None without labels."""
        statistics = self.backends[0].statistics
        return statistics.original_accuracy.share if statistics else None

    @property
    def silent(self) -> list[str]:
        """Layers in which the reference fired no spike on the windows."""
        return [layer.layer for layer in self.backends[0].layers if not sum(layer.spikes)]

    @property
    def failures(self) -> list[str]:
        """What was not met in any backend, a line each."""
        judged: list[Parity | OutputParity | StepwiseParity] = [*self.backends, *self.engines]
        judged += [self.stepwise] if self.stepwise else []
        return [f"{found.backend}: {failure.text}" for found in judged for failure in found.failures]

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
        """Every figure as plain values, for parity.json; None for numbers that JSON cannot hold, such as infinity."""
        figures: dict[str, Any] = {
            "met": self.met,
            "accuracy": self.accuracy,
            "silent": self.silent,
            "reference": self.reference,
            "source": self.source,
            "real": self.real,
            "windows": self.windows,
            "estimated": self.estimated,
            "backends": [found.to_dict() for found in self.backends],
            "engines": [found.to_dict() for found in self.engines],
            "streamed": self.stepwise and self.stepwise.to_dict(),
            "not_run": self.not_run,
            "anytime": [curve.to_dict() for curve in self.anytime],
            "untold": self.untold,
        }
        finite: dict[str, Any] = _finite(figures)
        return finite

    def summary(self) -> ParitySummary:
        """The figures that a manifest holds: all but those of layers and signals."""
        figures = self.to_dict()
        for found in figures["backends"]:
            del found["layers"], found["signals"]
        return ParitySummary(**figures)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
