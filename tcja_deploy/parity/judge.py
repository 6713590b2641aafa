"""Is a difference rounding, or a mistake? Each is judged by the bounds that the reference recorded.

A spike that differs is explained where, given all that its neuron fired before, the exact membrane is so near the
threshold that rounding decides; so must be every later spike of that neuron, judged by what the backend's own spikes
made of it. A neuron that is not among the witnesses is near its threshold at no time, so that nothing explains it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.bundle.signature import Layer
from tcja_runtime.evidence.rounding import FLOAT32, Arithmetic, membranes_within
from tcja_runtime.evidence.trace import Reference, Spikes, Values, Witnesses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """One element of a signal or of a layer, and both sides of a difference there.

    Attributes:
        window: its number, from 0.
        time_step: from 1.
        element: its indices in the layer, such as channel, row and column.
        expected: the reference's value: of a signal, or the membrane before firing.
        found: the backend's value, or 1 and 0 for fired and not fired.
        bound: how far rounding may move the value, or decides about the spike; None where no bound was recorded,
            because it is nowhere near.
    """

    window: int
    time_step: int
    element: tuple[int, ...]
    expected: float | None
    found: float
    bound: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flips:
    """The spikes of a layer that differ.

    Attributes:
        at: how many, [T].
        unexplained: how many of them rounding does not explain, [T].
        margin: the largest distance of an explained flip's membrane from the threshold, as a share of the threshold.
        first: the first unexplained one: the earliest step, then the lowest window and element.
    """

    at: npt.NDArray[np.int64]
    unexplained: npt.NDArray[np.int64]
    margin: float
    first: Place | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deviation:
    """How far a signal is from the reference's.

    Attributes:
        seen: how many values were compared.
        beyond: how many are further away than rounding explains.
        share: the largest difference, as a share of its bound; infinite where there is no rounding and a difference.
        exact: whether no rounding is possible anywhere, so that every bit was compared.
        first: the earliest time step beyond, and where the share is largest then.
    """

    seen: int
    beyond: int
    share: float
    exact: bool
    first: Place | None


def judge_spikes(layer: Layer, reference: Reference, fired: Spikes, arithmetic: Arithmetic = FLOAT32) -> Flips:
    """Judge what a layer fired, [T, N, ...], where it was fed the reference's spikes."""
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
        h[:, explained], within[:, explained] = membranes_within(layer.neuron, arithmetic, currents, errors, own)
        distance = np.abs(h[:, explained] - layer.neuron.threshold)
        may = (own == layer.neuron.fires(h[:, explained])) | (distance <= within[:, explained])
        explained[explained] = may.all(axis=0)
    margin = 0.0
    if explained.any():
        first = flipped[:, explained].argmax(axis=0)
        distances = np.abs(h[first, np.flatnonzero(explained)] - layer.neuron.threshold)
        margin = float(distances.max() / abs(layer.neuron.threshold))
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
    """Judge a signal [T, N, ...] by its witnesses."""
    found = witnesses.of(signal)
    return _deviation(witnesses.values, found, witnesses.bounds, signal.shape[2:], witnesses.window, witnesses.element)


def judge_output(reference: Reference, output: Values) -> Deviation:
    """Judge an output [N, ...] read out of the reference's spikes."""
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
    """Where among the witnesses each neuron is; -1 for those that are not."""
    keys = witnesses.window.astype(np.int64) * size + witnesses.element
    order = np.argsort(keys, kind="stable")
    wanted = window.astype(np.int64) * size + element
    at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found: npt.NDArray[np.int64] = np.where(keys[order][at] == wanted, order[at], -1) if len(keys) else at * 0 - 1
    return found


def _number(value: np.float64) -> float | None:
    return None if math.isnan(value) else float(value)
