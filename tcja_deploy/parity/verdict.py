"""Does the exported network compute what the trained network does? Its parity is judged spike by spike.

A spike is a comparison, so a rounding error in the last bit can flip it, and a spike flip changes all layers after it.
Two correct implementations therefore differ now and then, and the size of the difference in the output says little. So
the comparison is teacher-forced: each layer of the exported network is fed the spikes of the reference, and the gates
of its attention. Then only rounding may separate the two, and how far it can do so is known
(`tcja_runtime.evidence.rounding`, `tcja_exporters.reference.bounds`).

    flips               spikes that differ from the reference, teacher-forced
    unexplained         flips where the exact membrane is further from the threshold than rounding can move it
    undecided           neurons that are so near their threshold, at a time step, that rounding decides whether they
                        fire. The smaller their share, the more the comparison is worth.
    signals             the input currents of layers and the values in attention blocks
    free-running flips  spikes that differ from the reference where each layer is fed its own network's spikes

Parity is met if, for every model of the network,

    no flip is unexplained, and every signal and the teacher-forced output are within their rounding bounds, on the
        windows and on the random stimulus, which puts every weight to work;
    the same holds on the range stimulus, and on the random stimulus in a large batch;
    the same holds on the exact stimulus, whose sums have no rounding, so that most signals must be equal to the bit;
    the neurons of each layer alone fire as specified, to the bit, on currents that meet their thresholds exactly;
    all models fire the same spikes;
    free-running, in each window the first layer with a flip has explained flips only, and the output of a window
        without flips is within its bound;
    the output of each engine passes the tests of `tcja_deploy.parity.engine`;
    free-running on all data, of which only the first windows are judged spike by spike, the network is right less often
        than the reference by no more than chance explains (`tcja_runtime.evidence.agreement.CHANCE`).

What follows from an explained flip, even another class, is an effect of rounding: PyTorch itself does not agree better
with PyTorch in another precision or on another machine. How often this happens is reported.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from tcja_deploy.parity import wording
from tcja_deploy.parity.failures import Failure
from tcja_runtime.bundle.parity_summary import ParitySummary
from tcja_runtime.counting import listed
from tcja_runtime.evidence.agreement import Agreement
from tcja_runtime.evidence.anytime import Curve
from tcja_runtime.evidence.spike_counts import CountParity
from tcja_runtime.files.text import storable

_SHOWN = 3  # the number of failures in `why_not`


@dataclasses.dataclass(kw_only=True)
class LayerParity:
    """The comparison of one spiking layer, over all windows. Each list has one count for each time step, [T].

    Attributes:
        layer: the name of the layer.
        neurons: the number of its neurons.
        spikes: the number of spikes that the reference fired.
        undecided: the number of undecided neurons.
        flips: the number of spike flips, teacher-forced.
        unexplained: the number of these flips that rounding does not explain.
        free_running_flips: the number of spike flips, free-running.
        margin: the largest distance of an explained flip's membrane from the threshold, as a share of the threshold.
    """

    layer: str
    neurons: int
    spikes: list[int]
    undecided: list[int]
    flips: list[int]
    unexplained: list[int]
    free_running_flips: list[int]
    margin: float = 0.0

    def undecided_share(self, windows: int) -> float:
        """The share of neurons and time steps that are undecided, from 0 to 1, for a number of windows."""
        return sum(self.undecided) / (self.neurons * len(self.undecided) * windows)

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, for parity.json."""
        return dict(vars(self))


@dataclasses.dataclass(kw_only=True)
class SignalParity:
    """The comparison of a signal, or of the output, in one scene.

    Attributes:
        scene: the name of the scene, such as WINDOWS.
        signal: the name of the signal, or OUTPUT.
        seen: the number of values that were compared.
        beyond: the number of values beyond the rounding bound.
        share: the largest difference from the reference, as a share of its bound.
        exact: whether all bounds are 0, so that the values must be equal to the bit.
    """

    scene: str
    signal: str
    seen: int
    beyond: int
    share: float
    exact: bool


@dataclasses.dataclass(kw_only=True)
class Divergence:
    """The first spike flip of a free-running network.

    Attributes:
        layer: the name of the first layer with a flip, in the order the layers fire.
        window: the index of the first window with a flip in that layer, from 0.
        time_step: the first time step with a flip there, from 1.
        spikes: the number of spikes that differ in that window, by layer.
    """

    layer: str
    window: int
    time_step: int
    spikes: dict[str, int]


@dataclasses.dataclass(kw_only=True)
class Parity:
    """The comparison of the exported network in one backend with the reference.

    Attributes:
        backend: the name and version of the backend, for people.
        model: the file of the model that the figures are of.
        twins: the files of the other models, if they fired the same spikes.
        changed_windows: the number of windows with a flip, free-running.
        statistics: how both networks classify these windows and more of the same data, free-running; None without
            classes.
        output_difference: the largest difference of an output from the reference, free-running.
        divergence: the first flip, free-running; None if there is none.
        layers: the comparison of each layer, in the order they fire.
        signals: the comparison of each signal and of the output, in each scene.
        failures: the conditions that are not met; empty if parity is met.
        largest_batch: the number of windows of the largest batch that was judged.
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
    largest_batch: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, for parity.json."""
        statistics = self.statistics and self.statistics.to_dict()
        layers = [layer.to_dict() for layer in self.layers]
        shares = {"agreement": self.agreement, "accuracy": self.accuracy}
        return {**dataclasses.asdict(self), "statistics": statistics, "layers": layers, **shares}

    @property
    def agreement(self) -> float | None:
        """The share of windows with the predicted class of the reference, free-running; None without classes."""
        return self.statistics.same if self.statistics else None

    @property
    def accuracy(self) -> float | None:
        """The accuracy of the exported network, from 0 to 1, free-running; None without labels."""
        return self.statistics.accuracy.share if self.statistics else None

    @property
    def flips(self) -> int:
        """The number of flips in all layers, teacher-forced."""
        return sum(sum(layer.flips) for layer in self.layers)

    @property
    def unexplained(self) -> int:
        """The number of unexplained flips in all layers, teacher-forced."""
        return sum(sum(layer.unexplained) for layer in self.layers)

    @property
    def free_running_flips(self) -> int:
        """The number of flips in all layers, free-running."""
        return sum(sum(layer.free_running_flips) for layer in self.layers)


@dataclasses.dataclass(kw_only=True)
class OutputParity:
    """What an engine or a stepwise network returns, compared with the reference on the golden windows.

    A window is decided if it has no undecided neuron at any time step; with free-running bounds, if it has no open one.
    "The parts" are the same network in the same backend, cut into parts that are proven spike by spike, free-running.

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
        largest_batch: the number of windows of the engine's largest batch, which was run; 0 for a stepwise network.
        free_running: whether the golden vectors have free-running bounds, so that all windows and counts are judged.
        returns_counts: whether it returns spike counts.
        counts: the comparison of its spike counts; None without them, without free-running bounds, and for TF32.
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
    largest_batch: int = 0
    free_running: bool = False
    returns_counts: bool = False
    counts: CountParity | None = None

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, for parity.json."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(kw_only=True)
class StepwiseParity:
    """A stepwise network, compared with the reference, and with the model of whole windows.

    Attributes:
        parity: the comparison of its spikes and signals with the reference.
        output: the comparison of its output with the reference.
        spikes: the number of spikes that the model of whole windows fires in the golden windows, free-running.
        differing_spikes: the number of spikes that differ between the two, free-running.
        output_difference: the largest difference between the outputs of the two.
    """

    parity: Parity
    output: OutputParity
    spikes: int
    differing_spikes: int
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
        return not self.differing_spikes and self.output_difference == 0.0

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, for parity.json."""
        return {
            "backend": self.backend,
            "windows": self.output.windows,
            "spikes": self.spikes,
            "differing_spikes": self.differing_spikes,
            "output_difference": self.output_difference,
            "flips": self.parity.flips,
            "unexplained": self.parity.unexplained,
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
        }


@dataclasses.dataclass(kw_only=True)
class Report:
    """The comparison of the exported network with the reference, in every backend.

    Attributes:
        reference: what the network is compared with, for people.
        source: where the windows come from, for people.
        real: whether the windows are data; False for random ones.
        windows: the number of windows that are judged spike by spike.
        estimated: by signal whose bounds are estimates, the operations for which no bound is known.
        backends: the comparison in each backend.
        engines: the comparison of each engine.
        stepwise: the comparison of the stepwise network; None without one.
        not_run: why engines of the bundle were not run, a sentence each.
        anytime: how early predictions can be had, from the reference and from each backend.
        largest_count: the largest count of the range stimulus; 0 without one, and where inputs are not counts.
        anytime_missing: why parts of `anytime` are missing, a sentence each.
        left_out: the steps of the command that only inform and have failed, a sentence each.
        unjudged: the names and classes of the modules that fire and are not known neurons.
        calibration: the origin of the windows on which the int8 scales were measured ("source"), their number
            ("windows"), and whether they are data ("real"); empty without int8.
        classified_real: whether the windows that were classified are data; those that were judged may be others.
        unlike: a sentence if the user's data look unlike the windows of the export; else empty.
        wide_bounds: the signals whose rounding bounds are so wide that their comparison proves little.
        ranged: whether inputs over the whole range were compared, or the network takes none.
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
    largest_count: int = 0
    anytime_missing: list[str] = dataclasses.field(default_factory=list)
    left_out: list[str] = dataclasses.field(default_factory=list)
    unjudged: list[str] = dataclasses.field(default_factory=list)
    calibration: dict[str, Any] = dataclasses.field(default_factory=dict)
    classified_real: bool = False
    unlike: str = ""
    wide_bounds: list[str] = dataclasses.field(default_factory=list)
    ranged: bool = True

    @property
    def accuracy(self) -> float | None:
        """The accuracy of the reference, from 0 to 1; None without labels."""
        statistics = self.backends[0].statistics
        return statistics.original_accuracy.share if statistics else None

    @property
    def silent(self) -> list[str]:
        """The names of layers in which the reference fired no spike on the windows."""
        return [layer.layer for layer in self.backends[0].layers if not sum(layer.spikes)]

    @property
    def fired(self) -> bool:
        """Whether the reference fired a spike on the windows."""
        return any(sum(layer.spikes) for layer in self.backends[0].layers)

    @property
    def differs(self) -> bool:
        """Whether a spike differs in a backend or in the stepwise network, teacher-forced or free-running."""
        found = [*self.backends, *([self.stepwise.parity] if self.stepwise else [])]
        return any(each.flips or each.free_running_flips for each in found)

    @property
    def failures(self) -> list[str]:
        """The conditions that are not met, in all backends, a sentence each."""
        judged: list[Parity | OutputParity | StepwiseParity] = [*self.backends, *self.engines]
        judged += [self.stepwise] if self.stepwise else []
        return [f"{found.backend}: {failure.text}" for found in judged for failure in found.failures]

    @property
    def why_not(self) -> str:
        """The first few failures, and the number of the others, in one line."""
        return listed(self.failures, _SHOWN, "; ")

    @property
    def met(self) -> bool:
        """Whether parity is met in every backend."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, as parity.json and the manifest hold them."""
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
            "stepwise": self.stepwise and self.stepwise.to_dict(),
            "not_run": self.not_run,
            "anytime": [curve.to_dict() for curve in self.anytime],
            "largest_count": self.largest_count,
            "anytime_missing": self.anytime_missing,
            "left_out": self.left_out,
            "unjudged": self.unjudged,
            "calibration": self.calibration,
            "verdict": wording.headline(self),
            "cautions": wording.cautions(self),
            "unlike": self.unlike,
            "wide_bounds": self.wide_bounds,
        }
        found: dict[str, Any] = storable(figures)
        return found

    def summary(self) -> ParitySummary:
        """The figures that a manifest holds: all but those of layers and signals, and those of the user's data."""
        figures = self.to_dict()
        del figures["unlike"]
        for found in figures["backends"]:
            del found["layers"], found["signals"]
        return ParitySummary(**figures)
