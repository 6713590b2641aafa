"""Judges whether rounding explains a difference, by the bounds that the reference recorded.

A flip is explained if every spike of its neuron is: at each time step, the neuron fires as its exact membrane says, or
the membrane is within its bound of the threshold. The membrane is computed from the reference's currents and the
backend's own spikes, as each spike changes the membrane that follows. A neuron without a witness is never undecided, so
nothing explains its flips.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.evidence.rounding import FLOAT32, Arithmetic, membranes_within
from tcja_runtime.evidence.trace import Reference, Spikes, Values, Witnesses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """The place of a difference: an element of a signal, or a neuron of a layer. It has the values of both sides.

    Attributes:
        window: the number of the window, from 0.
        time_step: the time step, from 1.
        element: the indices of the element or neuron, such as channel, row and column.
        expected: for a signal, the reference's value. For a neuron, its membrane before firing, computed from the
            reference's currents and the backend's own spikes; None if the neuron has no witness, so that the
            reference's currents are not known.
        found: for a signal, the backend's value. For a neuron, 1 if it fires in the backend and 0 if it does not.
        bound: the rounding bound of `expected`; None if `expected` is None.
    """

    window: int
    time_step: int
    element: tuple[int, ...]
    expected: float | None
    found: float
    bound: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flips:
    """The flips of a layer.

    Attributes:
        at: the number of flips at each time step, [T].
        unexplained: the number of unexplained flips at each time step, [T].
        margin: the largest distance of an explained flip's membrane from the threshold, as a share of the threshold (of
            1 if it is 0).
        first: the first unexplained flip: that of the earliest time step, then of the lowest window and element; None
            if all are explained.
    """

    at: npt.NDArray[np.int64]
    unexplained: npt.NDArray[np.int64]
    margin: float
    first: Place | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deviation:
    """The difference of a signal from the reference's.

    Attributes:
        seen: the number of values that were compared.
        beyond: the number of values that differ by more than their bound.
        share: the largest difference, as a share of its bound; infinite for a difference where the bound is 0.
        exact: whether all bounds are 0, so that every bit was compared.
        first: of the earliest time step with a value beyond its bound, the value with the largest share; None if there
            is no such value.
    """

    seen: int
    beyond: int
    share: float
    exact: bool
    first: Place | None


def judge_spikes(layer: Layer, reference: Reference, fired: Spikes, arithmetic: Arithmetic = FLOAT32) -> Flips:
    """Judge the spikes of a layer that was fed the reference's spikes.

    Args:
        layer: the layer.
        reference: what the reference computed from the same windows.
        fired: the spikes of the layer in a backend, [T, N, ...].
        arithmetic: the arithmetic of the backend.
    """
    expected = reference.spikes[layer.name]
    differs = (fired != expected).reshape(*fired.shape[:2], -1)
    at = np.count_nonzero(differs, axis=(1, 2)).astype(np.int64)
    nothing = Flips(at=at, unexplained=np.zeros_like(at), margin=0.0, first=None)
    if not at.any():
        return nothing
    window, element = np.nonzero(differs.any(axis=0))
    flipped = differs[:, window, element]

    witnesses = reference.witnesses[layer.name]
    known = _positions(witnesses, window, element, differs.shape[2])
    explained = known >= 0
    h = np.full(flipped.shape, np.nan)
    within = np.full(flipped.shape, np.nan)
    if explained.any():
        chosen = known[explained]
        own = fired.reshape(*fired.shape[:2], -1)[:, window[explained], element[explained]]
        currents, errors = witnesses.values[:, chosen], witnesses.bounds[:, chosen].astype(np.float64)
        neurons = layer.neurons(element[explained])
        h[:, explained], within[:, explained] = membranes_within(neurons, arithmetic, currents, errors, own)
        distance = np.abs(h[:, explained] - neurons.constant("threshold", h))
        may = (own == neurons.fires(h[:, explained])) | (distance <= within[:, explained])
        explained[explained] = may.all(axis=0)
    margin = 0.0
    if explained.any():
        first = flipped[:, explained].argmax(axis=0)
        judged = layer.neurons(element[explained])
        distances = np.abs(h[first, np.flatnonzero(explained)] - array_of(judged.threshold)) / judged.unit
        margin = float(distances.max())
    unexplained = flipped & ~explained
    place = None
    if unexplained.any():
        t, k = np.argwhere(unexplained)[0]
        place = Place(
            window=int(window[k]),
            time_step=int(t) + 1,
            element=tuple(map(int, np.unravel_index(element[k], layer.shape))),
            expected=_number(h[t, k]),
            found=float(fired.reshape(*fired.shape[:2], -1)[t, window[k], element[k]]),
            bound=_number(within[t, k]),
        )
    return Flips(at=at, unexplained=np.count_nonzero(unexplained, axis=1).astype(np.int64), margin=margin, first=place)


def judge_signal(witnesses: Witnesses, signal: Values) -> Deviation:
    """Judge a backend's signal [T, N, ...] by its witnesses."""
    found = witnesses.of(signal)
    return _deviation(witnesses.values, found, witnesses.bounds, signal.shape[2:], witnesses.window, witnesses.element)


def judge_output(reference: Reference, output: Values) -> Deviation:
    """Judge the output [N, ...] of a network all of whose spikes are the reference's."""
    window, element = np.divmod(np.arange(output.size), output[0].size)
    expected, found, bounds = (array.reshape(1, -1) for array in (reference.output, output, reference.output_bound))
    return _deviation(expected, found, bounds, output.shape[1:], window, element)


def _deviation(
    expected: Values,
    found: Values,
    bounds: Values,
    shape: tuple[int, ...],
    window: npt.NDArray[Any],
    element: npt.NDArray[np.int64],
) -> Deviation:
    difference = np.abs(found.astype(np.float64) - expected)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(difference == 0, 0.0, difference / bounds)
    share[np.isnan(share)] = np.inf
    beyond = int(np.count_nonzero(share > 1))
    first = None
    if beyond:
        t = (share > 1).any(axis=1).argmax()
        k = share[t].argmax()
        first = Place(
            window=int(window[k]),
            time_step=int(t) + 1,
            element=tuple(map(int, np.unravel_index(element[k], shape))),
            expected=float(expected[t, k]),
            found=float(found[t, k]),
            bound=float(bounds[t, k]),
        )
    return Deviation(
        seen=share.size, beyond=beyond, share=float(share.max(initial=0.0)), exact=not bounds.any(), first=first
    )


def _positions(
    witnesses: Witnesses, window: npt.NDArray[np.intp], element: npt.NDArray[np.intp], size: int
) -> npt.NDArray[np.int64]:
    """The index of each neuron among the witnesses; -1 for a neuron without a witness."""
    keys = witnesses.window.astype(np.int64) * size + witnesses.element
    order = np.argsort(keys, kind="stable")
    wanted = window.astype(np.int64) * size + element
    at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found: npt.NDArray[np.int64] = np.where(keys[order][at] == wanted, order[at], -1) if len(keys) else at * 0 - 1
    return found


def _number(value: np.float64) -> float | None:
    return None if math.isnan(value) else float(value)
