"""Finds the kind of mistake that explains a difference.

Each mistake is made on purpose, in the neurons or in the reference's signal. If the difference is then gone, the
mistake explains it.

The kinds, in the words that reports use: "threshold comparison", "reset", "threshold", "decay", "reset value", "initial
value", "missing reset between windows", "time order", "padding side", "exchanged kernels", "polarity", "pooling",
"scale", "weights", "precision".
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.constant_arrays import Constant, array_of
from tcja_runtime.evidence.trace import Reference, Spikes, Witnesses
from tcja_runtime.neuron import NeuronSpec, fire, membranes
from tcja_runtime.neuron_rules import RESET_KINDS

Array = npt.NDArray[Any]

_SLACK = 2.0
"""The largest difference that may be left after a mistake is undone, in rounding bounds: undoing it rounds, too."""
_FEWER = 20
"""A changed constant explains the wrong spikes if fewer than one in this number of them are still wrong."""
_DEVIATIONS = tuple(m * 10.0**-k for k in range(6, 0, -1) for m in (1, 2, 5))
_COARSEST = 2.0**17
"""The largest difference of a coarser format, in float32 bounds: that of bfloat16, with a margin."""


@dataclasses.dataclass(frozen=True)
class Fired:
    """What the neurons of a layer, run alone, fired in a backend.

    Attributes:
        current: the currents that they were given, [T, N, ...].
        spikes: the spikes that they fired, [T, N, ...].
    """

    current: npt.NDArray[np.float32]
    spikes: Spikes

    def wrong(self, neuron: NeuronSpec) -> int:
        """The number of spikes that differ from those of neurons with other equations or constants."""
        return int(np.count_nonzero(self.wrong_at(neuron)))

    def wrong_at(self, neuron: NeuronSpec) -> Spikes:
        """Where spikes differ from those of neurons with other equations or constants, [T, N, ...]."""
        return np.not_equal(fire(neuron, self.current), self.spikes)

    def only(self, element: int) -> Fired:
        """What one neuron of the layer fired, [T, N, 1], given its index in the flattened layer."""
        flat, at = (*self.current.shape[:2], -1), np.s_[:, :, element : element + 1]
        return Fired(self.current.reshape(flat)[at], self.spikes.reshape(flat)[at])


def of_neurons(neuron: NeuronSpec, fired: Sequence[Fired]) -> list[str]:
    """The mistakes that explain the spikes of neurons that were run alone, the likeliest first.

    Args:
        neuron: the neurons as they are specified.
        fired: what they fired, for several sets of currents.
    """
    rules = [_other_rules(neuron, each.current) for each in fired]
    kinds = [
        kind
        for (kind, spikes), *others in zip(*rules, strict=True)
        if all(
            (found == each.spikes).all()
            for found, each in zip([spikes, *(other for _, other in others)], fired, strict=True)
        )
    ]
    return kinds or _other_constants(neuron, fired)


def of_membranes(neuron: NeuronSpec, current: Array, found: Array) -> list[str]:
    """The mistakes that explain the membranes of an integrator that was run alone, the likeliest first.

    A wrong decay d, gain g and bias b are the least squares of h_t = d h_{t-1} + g x_t + b, if all neurons share them.

    Args:
        neuron: the integrator as it is specified.
        current: the currents that it was given, [T, N, ...].
        found: the membranes that it returned, in the same shape.
    """
    if neuron.arrays:
        return []
    silent = np.zeros(current.shape, np.bool_)
    x, h = current.astype(np.float64), found.astype(np.float64)
    if np.allclose(membranes(neuron, x[::-1], silent)[::-1], h, rtol=1e-4, atol=1e-4):
        return ["time order"]
    before = np.concatenate([neuron.start(h[0])[None], h[:-1]])
    unknown = np.stack([before.ravel(), x.ravel(), np.ones(x.size)], axis=1)
    solved, *_ = np.linalg.lstsq(unknown, h.ravel(), rcond=None)
    if not np.allclose(unknown @ solved, h.ravel(), rtol=1e-4, atol=1e-4):
        return []
    said = {name: float(array_of(getattr(neuron, name))) for name in ("decay", "gain", "bias")}
    pairs = zip(said.items(), solved.tolist(), strict=True)
    return [f"{name} ({now:.7g} instead of {own:g})" for (name, own), now in pairs if abs(now - own) > 1e-5]


def _other_rules(neuron: NeuronSpec, current: Array) -> Iterator[tuple[str, Spikes]]:
    """Each mistake in the equations, and the spikes that neurons with it fire."""
    yield "threshold comparison", fire(dataclasses.replace(neuron, strict=not neuron.strict), current)
    for reset in RESET_KINDS:
        try:
            other = dataclasses.replace(neuron, reset=reset)
        except ValueError:  # no neuron has such a reset with these constants
            continue
        if other != neuron:
            yield f"reset ({reset} instead of {neuron.reset})", fire(other, current)
    yield "time order", fire(neuron, current[::-1])[::-1]
    in_turn = current.swapaxes(0, 1).reshape(-1, 1, *current.shape[2:])
    run_on = fire(neuron, in_turn).reshape(current.shape[1], current.shape[0], *current.shape[2:]).swapaxes(0, 1)
    yield "missing reset between windows", run_on


def _other_constants(neuron: NeuronSpec, fired: Sequence[Fired]) -> list[str]:
    """The constants that leave the fewest wrong spikes when they are changed alone, if these are few.

    If the constants of the neurons differ, they are those of the first neuron that fires wrong spikes.
    """
    place = ""
    if neuron.arrays:
        shape = fired[0].current.shape[2:]
        wrong_spikes = sum(each.wrong_at(neuron).sum(axis=(0, 1)) for each in fired)
        at = np.flatnonzero(wrong_spikes)[:1]
        if not len(at):
            return []
        neuron, fired = neuron.chosen(shape, at), [each.only(int(at[0])) for each in fired]
        place = f" in neuron {tuple(map(int, np.unravel_index(at[0], shape)))}"
    left: dict[str, int] = {}
    for name, (constant, changed) in _variants(neuron).items():
        value = float(array_of(constant))

        def wrong(deviation: float, value: float = value, changed: Callable[..., NeuronSpec] = changed) -> float:
            try:
                return float(sum(each.wrong(changed(value + deviation)) for each in fired))
            except ValueError:  # no neuron has such a constant
                return math.inf

        unit = abs(value) or float(neuron.unit)
        best = _refined(wrong, min((sign * unit * d for d in _DEVIATIONS for sign in (-1, 1)), key=wrong))
        if math.isfinite(wrong(best)):
            left[f"{name} ({value + best:.7g} instead of {value:g}{place})"] = int(wrong(best))
    fewest = min(left.values(), default=0)
    nominal = sum(each.wrong(neuron) for each in fired)
    return [kind for kind, count in left.items() if count == fewest and count * _FEWER < nominal]


def _variants(neuron: NeuronSpec) -> dict[str, tuple[Constant, Callable[[float], NeuronSpec]]]:
    """By the name of each constant, its value, and a function that returns the neuron with another value."""
    same = [name for name in ("v_initial", "v_rest") if getattr(neuron, name) == neuron.v_reset]

    def reset_to(value: float) -> NeuronSpec:
        return dataclasses.replace(neuron, v_reset=value, **dict.fromkeys(same, value))  # type: ignore[arg-type]

    variants: dict[str, tuple[Constant, Callable[[float], NeuronSpec]]] = {
        "threshold": (neuron.threshold, lambda value: dataclasses.replace(neuron, threshold=value)),
        "decay": (neuron.decay, lambda value: _decaying(neuron, value)),
    }
    if neuron.reset == "hard":
        variants["reset value"] = neuron.v_reset, reset_to
    if neuron.slope is not None:
        variants["slope"] = neuron.slope, lambda value: dataclasses.replace(neuron, slope=value)
    variants["initial value"] = neuron.v_initial, lambda value: dataclasses.replace(neuron, v_initial=value)
    return variants


def _decaying(neuron: NeuronSpec, decay: float) -> NeuronSpec:
    if neuron.charge_order == "linear":
        return dataclasses.replace(neuron, decay=decay)
    leaky = NeuronSpec.leaky(
        decay_input=neuron.charge_order == "decayed",
        rate=1.0 - decay,
        threshold=neuron.threshold,
        strict=neuron.strict,
        reset=neuron.reset,
        v_reset=neuron.v_reset,
        v_initial=neuron.v_initial,
        v_rest=neuron.v_rest,
    )
    return dataclasses.replace(leaky, slope=neuron.slope, rescales=neuron.rescales)


def _refined(wrong: Callable[[float], float], deviation: float) -> float:
    """The deviation of a constant that leaves the fewest wrong spikes, searched near a first guess.

    Args:
        wrong: returns the number of wrong spikes if the constant deviates by its argument from the specified value.
        deviation: the first guess. The search goes from 0.4 to 2.5 times this guess.
    """
    low, high = sorted((0.4 * deviation, 2.5 * deviation))
    for _ in range(30):
        third = (high - low) / 3
        if wrong(low + third) < wrong(high - third):
            high -= third
        else:
            low += third
    return min(deviation, (low + high) / 2, key=wrong)


@dataclasses.dataclass(frozen=True)
class SignalComparison:
    """The values of a signal, or of the output, in the reference and in a backend.

    Attributes:
        expected: the reference's values, [T, N, elements], NaN where there is no witness.
        found: the backend's values, [T, N, elements], NaN where there is no witness.
        bounds: the rounding bounds, [T, N, elements], NaN where there is no witness.
        shape: the shape of the elements, channels first.
    """

    expected: Array
    found: Array
    bounds: Array
    shape: tuple[int, ...]

    @classmethod
    def of_signal(cls, witnesses: Witnesses, signal: Array) -> SignalComparison:
        """The comparison of a backend's signal [T, N, ...] with its witnesses."""
        flat = signal.reshape(*signal.shape[:2], -1).astype(np.float64)

        def spread(values: Array) -> Array:
            array = np.full(flat.shape, np.nan)
            array[:, witnesses.window, witnesses.element] = values
            return array

        known = spread(np.ones_like(witnesses.values))
        return cls(spread(witnesses.values), flat * known, spread(witnesses.bounds), signal.shape[2:])

    @classmethod
    def of_output(cls, reference: Reference, output: Array) -> SignalComparison:
        """The comparison of a backend's output [N, ...] with the reference's, as a signal of one time step."""
        expected, found, bounds = (
            a.reshape(1, len(a), -1).astype(np.float64) for a in (reference.output, output, reference.output_bound)
        )
        return cls(expected, found, bounds, (expected.shape[2],))

    def explained(self, expected: Array, found: Array, bounds: Array) -> bool:
        """Whether rounding explains what is left of the difference, wherever there is a witness."""
        known = ~(np.isnan(expected) | np.isnan(found))
        difference = np.abs(found - expected)[known]
        return bool(known.any() and (difference <= _SLACK * bounds[known] + _TINY * np.abs(expected[known])).all())

    @property
    def beyond(self) -> Array:
        """Where the difference is beyond the bound, bool [T, N, C, rest]."""
        beyond = ~(np.abs(self.found - self.expected) <= self.bounds) & ~np.isnan(self.expected)
        return np.asarray(beyond.reshape(*beyond.shape[:2], self.shape[0], -1))

    @property
    def channels(self) -> Array:
        """The channels in which any value is beyond its bound, bool [C]."""
        return np.asarray(self.beyond.any(axis=(0, 1, 3)))

    @property
    def steps(self) -> Array:
        """The time steps in which any value is beyond its bound, bool [T]."""
        return np.asarray(self.beyond.any(axis=(1, 2, 3)))


_TINY = 2.0**-22


def of_signal(signal: SignalComparison) -> list[str]:
    """The mistakes that explain a signal, the likeliest first, as far as the signal alone shows them."""
    found = [kind for kind, holds in _TRIED.items() if holds(signal)]
    if found:
        return found[:2]
    # Wrong weights show in single outputs. Those of a convolution over time are time steps instead of channels.
    outputs = {"time step": signal.steps, "output channel": signal.channels}
    name, differs = min(outputs.items(), key=lambda item: item[1].mean())
    if differs.all():
        return ["weights"]
    which = np.flatnonzero(differs) + (1 if name == "time step" else 0)
    some = ", ".join(map(str, which[:5])) + (", ..." if len(which) > 5 else "")
    return [f"weights of {name}{'s' if len(which) > 1 else ''} {some}"]


def _reversed(signal: SignalComparison) -> bool:
    return len(signal.expected) > 1 and signal.explained(signal.expected[::-1], signal.found, signal.bounds[::-1])


def _shifted(signal: SignalComparison) -> bool:
    """Whether every value is that of the next or the previous channel or time step, apart from the edges."""
    if len(signal.shape) > 1:
        return False
    for axis, length in ((0, len(signal.expected)), (2, signal.shape[0])):
        for a, b in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            ours, theirs = [slice(None)] * 3, [slice(None)] * 3
            ours[axis], theirs[axis] = a, b
            found, expected, bounds = (
                signal.found[tuple(ours)],
                signal.expected[tuple(theirs)],
                signal.bounds[tuple(theirs)],
            )
            if length > 2 and signal.explained(expected, found, bounds) and bool(np.nanmax(np.abs(expected)) > 0):
                return True
    return False


def _exchanged(signal: SignalComparison) -> bool:
    """Whether two time steps, or two channels, are exchanged."""
    expected, found, bounds = (a.reshape(signal.beyond.shape) for a in (signal.expected, signal.found, signal.bounds))
    for axis, where in ((0, signal.steps), (2, signal.channels)):
        differs = np.flatnonzero(where)
        if len(differs) == 2:
            order = np.arange(expected.shape[axis])
            order[differs] = differs[::-1]
            if signal.explained(expected.take(order, axis), found, bounds.take(order, axis)):
                return True
    return False


def _scaled(signal: SignalComparison) -> bool:
    """Whether each channel is the expected one times a factor plus a constant. At least two channels must differ."""
    if signal.channels.sum() < 2:
        return False
    flat = [
        np.moveaxis(a.reshape(*a.shape[:2], signal.shape[0], -1), 2, 0).reshape(signal.shape[0], -1)
        for a in (signal.expected, signal.found, signal.bounds)
    ]
    for expected, found, bounds in zip(*flat, strict=True):
        known = ~np.isnan(expected)
        x, y = expected[known], found[known]
        slope, offset = np.polyfit(x, y, 1) if np.ptp(x) > 0 else (1.0, float(np.mean(y - x)))
        if not signal.explained(slope * x + offset, y, bounds[known] * max(1.0, abs(slope)) + _TINY * abs(offset)):
            return False
    return True


def _coarser(signal: SignalComparison) -> bool:
    """Whether the differences can come from a coarser number format, such as float16 or bfloat16.

    More than half of the time steps and of the channels differ, each sign has more than a fifth of the differences, and
    no difference is larger than `_COARSEST` rounding bounds.
    """
    known = ~np.isnan(signal.expected) & (signal.bounds > 0)
    if not known.any() or signal.steps.mean() <= 0.5:
        return False
    difference = (signal.found - signal.expected)[known]
    share = np.abs(difference) / signal.bounds[known]
    both = min(np.count_nonzero(difference > 0), np.count_nonzero(difference < 0))
    return bool(signal.channels.mean() > 0.5 and share.max() < _COARSEST and both > 0.2 * np.count_nonzero(difference))


_TRIED: dict[str, Callable[[SignalComparison], bool]] = {
    "time order": _reversed,
    "padding side": _shifted,
    "exchanged kernels": _exchanged,
    "scale": _scaled,
    "precision": _coarser,
}
