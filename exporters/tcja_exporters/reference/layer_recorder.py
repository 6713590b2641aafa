"""Records one spiking layer of the reference while it runs: spikes, undecided neurons and witnesses.

An integrator, a layer that never fires, returns its membranes with their bounds (`Integration`).

A neuron is undecided at a time step if its membrane is so near the threshold that rounding may decide whether it fires.
A witness is a neuron whose current is recorded with its error bound. All undecided neurons and a sample of the others
are witnesses.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from tcja_exporters.reference.bounds import OWN_ROUNDING, Bound, Bounds, magnitude, sums_are_exact
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.constant_arrays import array_of
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import stimulus
from tcja_runtime.evidence.rounding import fires_within, membrane_error, membranes_within, reset_error
from tcja_runtime.evidence.trace import Spikes, Witnesses
from tcja_runtime.neuron import NeuronSpec

_TILE = 2**15
"""The number of neurons that are computed together over all time steps, so that their state stays in the cache."""


class LayerRecorder:
    """Fires in place of a layer's neurons, and finds the undecided neurons.

    The layer is called once for all time steps, or once a time step. For speed, the distance of each neuron from the
    threshold is first compared with the largest error in the layer at the time step. Only neurons that are undecided
    by this comparison are then compared with their own error.

    Args:
        layer: the layer.
        time_steps: the number of time steps, T.
        bounds: the error bounds of the network's tensors.
        given: the spikes [T, N, ...] that the layer is made to fire; None to let its neurons fire.
        most: the number of sampled witnesses in each window.
    """

    def __init__(self, layer: Layer, time_steps: int, bounds: Bounds, given: Spikes | None, most: int) -> None:
        self._layer = layer
        self._time_steps = time_steps
        self._bounds = bounds
        self._given = given
        self._most = most
        self._fired: list[Spikes] = []
        self._currents: list[Tensor] = []
        self._errors: list[Tensor] = []
        self._state: tuple[Tensor, Tensor, Tensor] | None = None
        self._worst = self._largest = 0.0
        self._result: tuple[Any, Witnesses] | None = None

    def fire(self, current: Tensor) -> Tensor:
        """Return the spikes of the next time steps, [steps, N, ...], from the currents in the same shape."""
        with _disable_current_modes():
            return self._bounds.mark_exact(self._record(current, self._bounds.error(current)), 0)

    def spikes(self) -> Spikes:
        """Return the spikes so far, [T, N, ...] after the last time step."""
        return self._fired[0] if len(self._fired) == 1 else np.concatenate(self._fired)

    def recorded(self) -> tuple[Any, Witnesses]:
        """Return the numbers of undecided neurons [N, T] and the witnesses.

        Raises:
            BadInput: the layer was not called for all time steps.
        """
        if self._result is None:
            raise BadInput(f"{self._layer.name} was not called at each of the {self._time_steps} time steps")
        return self._result

    def _record(self, current: Tensor, error: Tensor) -> Tensor:
        done = sum(map(len, self._fired))
        if self._given is not None:
            fired = torch.from_numpy(self._given[done : done + len(current)])
        else:
            fired = self._fire(current, error)
        self._fired.append(fired.numpy())
        self._currents.append(current)
        self._errors.append(error)
        if done + len(current) == self._time_steps:
            self._finish()
        return fired.to(current.dtype)

    def _fire(self, current: Tensor, error: Tensor) -> Tensor:
        """Return the spikes of the next time steps, and store which neurons may be undecided. Works tile by tile."""
        neuron, unit = self._layer.neuron, self._bounds.arithmetic.membrane
        # Constants that differ by neuron need the layer's axes, so there a tile has whole windows.
        rows = self._layer.shape if neuron.arrays else ()
        x = current.reshape(len(current), -1, *rows)
        if self._state is None:
            v = neuron.start(x[0])
            self._state = v, torch.zeros_like(v), torch.zeros_like(v, dtype=torch.bool)
            self._largest = abs(neuron.largest.constant("v_initial", v))
            self._worst = unit * self._largest
        v, s, doubtful = self._state
        within = self._largest_errors(x, error.reshape(x.shape), unit)
        fired = torch.empty(x.shape, dtype=torch.bool)
        tile = max(1, _TILE // math.prod(rows))
        for start in range(0, x.shape[1], tile):
            part = slice(start, start + tile)
            v_, s_ = v[part], s[part]
            for t, distance in enumerate(within):
                h = neuron.charge(v_, x[t, part], s_)
                fires = neuron.fires(h)
                fired[t, part] = fires
                s_ = fires.to(h.dtype)
                v_ = neuron.after(h, s_)
                doubtful[part] |= (h - neuron.constant("threshold", h)).abs_() <= distance
            v[part], s[part] = v_, s_
        return fired.reshape(current.shape)

    def _largest_errors(self, x: Tensor, error: Tensor, unit: float) -> list[float]:
        """Return a distance for each time step: no neuron farther from the threshold is undecided at that step.

        Args:
            x: the currents [steps, ...].
            error: the error bounds of the currents, in the same shape.
            unit: the unit roundoff of membranes.
        """
        neuron = self._layer.neuron.largest
        decay, gain, bias, threshold, v_reset = (
            abs(float(getattr(neuron, name))) for name in ("decay", "gain", "bias", "threshold", "v_reset")
        )
        slope = abs(float(array_of(1.0 if neuron.slope is None else neuron.slope)))
        distances = []
        for x_t, e_t in zip(x, error, strict=True):
            low, high = torch.aminmax(x_t)
            size, e_x = float(max(-low, high)), float(e_t.max()) * OWN_ROUNDING
            e_h = membrane_error(neuron, unit, self._largest, self._worst, size, e_x)
            distances.append(fires_within(neuron, unit, e_h))
            charged = slope * (decay * self._largest + gain * size + bias) + threshold
            self._worst = max(float(reset_error(neuron, unit, charged, e_h, 0.0)), unit * v_reset)
            self._largest = max(charged / slope if neuron.rescales else charged, v_reset)
        return distances

    def _finish(self) -> None:
        current, error = (parts[0] if len(parts) == 1 else torch.cat(parts) for parts in (self._currents, self._errors))
        self._currents, self._errors = [], []
        n = current.shape[1]
        window, element = _places(current, self._most)
        undecided = np.zeros((n, self._time_steps), np.int64)
        if self._state is not None:
            found = torch.nonzero(self._state[2].reshape(n, -1)).numpy()
            doubtful = _picked(current, error, found[:, 0].astype(np.int32), found[:, 1])
            fired = doubtful.of(self.spikes())
            arithmetic = self._bounds.arithmetic
            errors = doubtful.bounds.astype(np.float64)
            neuron = self._layer.neurons(doubtful.element)
            h, within = membranes_within(neuron, arithmetic, doubtful.values, errors, fired)
            is_undecided = ~(np.abs(h - neuron.constant("threshold", h)) > within)
            for t, now in enumerate(is_undecided):
                undecided[:, t] = np.bincount(doubtful.window[now], minlength=n)
            found = found[is_undecided.any(axis=0)]
            both = np.unique(np.concatenate([found, np.stack([window, element], axis=1)]), axis=0)
            window, element = both[:, 0].astype(np.int32), both[:, 1]
        self._result = undecided, _picked(current, error, window, element)


class Integration:
    """Integrates in place of an integrator's neurons, and bounds the rounding error of their membranes.

    With the error e_x of the current x, and e_v = 0 at first (`tcja_runtime.evidence.rounding.membrane_error`):

        e_h = decay e_v + gain e_x + ROUNDINGS u M
        e_v = e_h                                         as nothing resets the membrane

    The last term is left out where the operations have no rounding: all factors are powers of two, and the values are
    on a grid (`tcja_exporters.reference.bounds`) that is coarse enough.

    Args:
        neuron: the constants of the neurons.
        bounds: the error bounds of the network's tensors; those of the membranes are added.
        most: the number of sampled witnesses in each window; with 0, none are recorded.
    """

    def __init__(self, neuron: NeuronSpec, bounds: Bounds, most: int = 0) -> None:
        self._neuron, self._bounds, self._most = neuron, bounds, most
        self._seen: list[Witnesses] = []
        self._state: tuple[Tensor, Tensor, int | None] | None = None

    def integrate(self, current: Tensor) -> Tensor:
        """Return the membranes of the next time steps, [steps, N, ...], from the currents in the same shape."""
        error, grid = self._bounds.error(current), self._bounds.grid(current)
        with _disable_current_modes():
            h, e_h = torch.empty_like(current), torch.empty_like(current)
            for t, x in enumerate(current):
                h[t], e_h[t], grid_h = self._step(x, error[t].to(x.dtype) * OWN_ROUNDING, grid)
            stored = self._bounds.after_storing(h, e_h.to(torch.float32))
            self._bounds[h] = Bound(stored if stored.any() else None, grid_h)
            if self._most:
                self._seen.append(sampled_witnesses(h, stored, self._most))
        return h

    def recorded(self) -> Witnesses:
        """Return the witnesses: sampled elements of the membranes, the same in each window."""
        first = self._seen[0]
        values, errors = (np.concatenate([getattr(each, name) for each in self._seen]) for name in ("values", "bounds"))
        return Witnesses(first.window, first.element, values, errors)

    def _step(self, x: Tensor, e_x: Tensor, grid_x: int | None) -> tuple[Tensor, Tensor, int | None]:
        """Return the membranes after one time step, their errors and their grid."""
        neuron, unit = self._neuron, self._bounds.arithmetic.membrane
        if self._state is None:
            v = neuron.start(x)
            self._state = v, unit * v.abs(), 0 if neuron.v_initial == 0.0 else None
        v, e_v, grid_v = self._state
        h, grid = neuron.charge(v, x, torch.zeros_like(x)), self._grid(grid_v, grid_x)
        largest = max(float(neuron.largest.constant("gain", x)), 1.0)
        if sums_are_exact(grid, 2 * (magnitude(v) + magnitude(x) * largest), unit):
            e_h = neuron.constant("decay", x) * e_v + neuron.constant("gain", x) * e_x
        else:
            e_h, grid = membrane_error(neuron, unit, v, e_v, x, e_x), None
        self._state = h, e_h, grid
        return self._state

    def _grid(self, v: int | None, x: int | None) -> int | None:
        """Return the grid of the results of one time step, from those of membranes and currents; None if unknown."""
        neuron = self._neuron
        if v is None or x is None or neuron.arrays or neuron.bias or neuron.v_rest or not neuron.multiplies_exactly:
            return None
        decay, gain, rate = (_places_behind(float(array_of(each))) for each in (neuron.decay, neuron.gain, neuron.rate))
        return max(v + decay, x + gain) if neuron.charge_order == "linear" else max(v, x) + rate


def _places_behind(factor: float) -> int:
    """Return by how many binary places a product with a power of two is finer; 0 for the factor 0."""
    return max(0, 1 - math.frexp(factor)[1]) if factor else 0


def _places(signal: Tensor, most: int) -> tuple[Any, Any]:
    """Return the windows and elements (see `_picked`) of the sampled witnesses of a signal [T, N, ...]."""
    n, places = signal.shape[1], stimulus.places(tuple(signal.shape[2:]), most)
    return np.repeat(np.arange(n, dtype=np.int32), len(places)), np.tile(places, n)


def sampled_witnesses(signal: Tensor, error: Tensor, most: int) -> Witnesses:
    """Return sampled witnesses of a signal [T, N, ...]: at most `most` elements, the same in each window."""
    return _picked(signal, error, *_places(signal, most))


def _picked(signal: Tensor, error: Tensor, window: Any, element: Any) -> Witnesses:
    """Return the witnesses of a signal at given elements.

    Args:
        signal: the signal [T, N, ...].
        error: its error bound, in the same shape; it is multiplied by OWN_ROUNDING.
        window: the index of the window of each witness.
        element: the index of each witness in its flattened window.
    """
    at = torch.from_numpy(window.astype(np.int64)), torch.from_numpy(element)
    values, errors = (tensor.reshape(*tensor.shape[:2], -1)[:, at[0], at[1]].numpy() for tensor in (signal, error))
    return Witnesses(window, element, values, errors * np.float32(OWN_ROUNDING))
