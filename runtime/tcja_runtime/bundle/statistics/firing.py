"""How a network fires: figures of each layer in a window, and their ranges over the windows of a proof.

A network whose inputs change in the field (a dirty lens, another light, swapped polarities, frames that were cut by
another rule) fires otherwise, long before anybody looks at its classes. A deployed network that returns its spike
counts is compared with the windows of its proof by these figures of each layer:

    rate of LAYER          log2 of the share of neurons and time steps that fire; of half a spike if none fires
    unevenness of LAYER    the standard deviation over their mean of the counts of the time steps

A figure is outside by the rule of `tcja_runtime.bundle.statistics.inputs`. The windows of a proof may be alike by
chance, and then one more spike would be far outside. n independent spikes deviate by sqrt(n) (Poisson). So with the
mean number n of a layer's spikes in a window of the proof, at least 1, its standard deviations are at least:

    of its rate            log2(1 + 1 / sqrt(n)), and 0.05 (3.5 % of the spikes)
    of its unevenness      1 / sqrt(2 n)

Inputs that are saturated may leave each rate within its range, and their pattern not. So the rates of all layers
together are compared, too. With the mean m and the standard deviation s of each rate, and the correlations R of the
rates, over the windows of the proof:

    distance    d^2 = z' R' z / layers                z = (rate - m) / s,    R' = ((1 - SHRINKAGE) R + SHRINKAGE 1)^-1

It is Mahalanobis' distance, with correlations that are shrunk to 0, as a proof may have few windows. If all rates are k
standard deviations from their means, and they are not correlated, the distance is k. The largest distance of the proof
is that of a window from all others of the proof. It is at least 2: two standard deviations of each rate are no drift.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.bundle.statistics.inputs import FEWEST, Figures, Spread, farthest

_RATE, _UNEVENNESS = "rate of ", "unevenness of "
SHRINKAGE = 0.3
MARGIN = 1.5
"""The factor of the largest distance of the proof beyond which a single window is far outside."""
_LEAST_DEVIATION = 0.05
_LEAST_DISTANCE = 2.0
_HALF_A_SPIKE = 0.5
_FLOORS = {_RATE: 0.5, _UNEVENNESS: 0.1}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pattern:
    """How the rates of the layers go together, over the windows of a proof.

    Attributes:
        mean: the mean of each layer's rate, log2.
        deviation: the standard deviation of each layer's rate, at least that of the module's docstring.
        inverse: the matrix R' of the module's docstring.
        largest: the largest distance of a window of the proof from the others, at least `_LEAST_DISTANCE`.
    """

    mean: list[float]
    deviation: list[float]
    inverse: list[list[float]]
    largest: float

    @classmethod
    def of(cls, rates: Figures, least: Figures) -> Pattern:
        """Returns the pattern of the rates of windows.

        Args:
            rates: the rates [N, layers] of N windows, at least two.
            least: the least standard deviation of each layer's rate, [layers].
        """
        others = (np.delete(rates, at, axis=0) for at in range(len(rates)))
        apart = [cls._of(each, least).distance(own[None])[0] for each, own in zip(others, rates, strict=True)]
        return dataclasses.replace(cls._of(rates, least), largest=float(max(*apart, _LEAST_DISTANCE)))

    @classmethod
    def _of(cls, rates: Figures, least: Figures) -> Pattern:
        mean, deviation = rates.mean(axis=0), np.maximum(rates.std(axis=0), least)
        z = (rates - mean) / deviation
        correlations = (z.T @ z) / len(z)
        np.fill_diagonal(correlations, 1.0)
        shrunk = (1 - SHRINKAGE) * correlations + SHRINKAGE * np.eye(len(mean))
        return cls(
            mean=mean.tolist(), deviation=deviation.tolist(), inverse=np.linalg.inv(shrunk).tolist(), largest=0.0
        )

    def deviations(self, rates: Figures) -> Figures:
        """Returns z, by how many standard deviations rates [N, layers] are from their means."""
        found: Figures = (rates - np.array(self.mean)) / np.array(self.deviation)
        return found

    def distance(self, rates: Figures) -> Figures:
        """Returns the distances of rates [N, layers], float64 [N]."""
        z = self.deviations(rates)
        found: Figures = np.sqrt(np.einsum("ni,ij,nj->n", z, np.array(self.inverse), z) / z.shape[1])
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerFiring:
    """How a layer fires in the median of windows.

    Attributes:
        rate: the share of neurons and time steps that fire, from 0 to 1.
        drift: by how many standard deviations log2 of the rate is above (or, if negative, below) its mean over the
            windows of the proof; the standard deviation is at least that of the module's docstring.
    """

    rate: float
    drift: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class FiringStatistics:
    """The figures of the windows on which a network was proven.

    Attributes:
        windows: the number of windows, at least `tcja_runtime.bundle.statistics.inputs.FEWEST`.
        time_steps: the number of time steps of a window.
        figures: the spread of each figure, by its name; deviations are at least those of the module's docstring.
        pattern: how the rates of the layers go together.
    """

    windows: int
    time_steps: int
    figures: dict[str, Spread]
    pattern: Pattern

    @classmethod
    def of(cls, counts: npt.NDArray[np.integer[Any]], layers: Sequence[Layer]) -> FiringStatistics | None:
        """Returns the statistics of the windows of a proof; None if they are fewer than FEWEST, and tell too little.

        Args:
            counts: the spike counts of the windows, [N, layers, T].
            layers: the spiking layers of the network.
        """
        if len(counts) < FEWEST:
            return None
        figures, spikes = fired(counts, layers), np.maximum(counts.sum(axis=2).mean(axis=0), 1.0)
        rates = np.maximum(np.log2(1 + 1 / np.sqrt(spikes)), _LEAST_DEVIATION)
        least = np.concatenate([rates, 1 / np.sqrt(2 * spikes)])
        spreads = {}
        for name, column, deviation in zip(_names(layers), figures.T, least.tolist(), strict=True):
            found = Spread.of(column)
            spreads[name] = dataclasses.replace(found, deviation=max(found.deviation, deviation))
        pattern = Pattern.of(figures[:, : len(layers)], rates)
        return cls(windows=len(counts), time_steps=counts.shape[2], figures=spreads, pattern=pattern)

    def outside(self, figures: Figures, layers: Sequence[Layer]) -> int:
        """Returns how many windows have a figure that is far outside those of the proof.

        Args:
            figures: the figures of the windows, [N, figures].
            layers: the spiking layers of the network.
        """
        apart = self.pattern.distance(figures[:, : len(layers)]) > MARGIN * self.pattern.largest
        return sum(bool(far or self._farthest(window, layers)) for far, window in zip(apart, figures, strict=True))

    def unlike(self, figures: Figures, layers: Sequence[Layer]) -> str:
        """Returns a sentence on what is outside of the proof in the median of windows; empty if nothing is.

        The arguments are those of `outside`.
        """
        if not len(figures):
            return ""
        medians = np.median(figures, axis=0)
        said = self._outside(medians, layers)
        rates = figures[:, : len(layers)]
        if not said and np.median(self.pattern.distance(rates)) > self.pattern.largest:
            at = int(np.abs(self.pattern.deviations(medians[None, : len(layers)])).argmax())
            own, mean = (self._percent(rate, layers[at]) for rate in (float(medians[at]), self.pattern.mean[at]))
            said = (
                "the rates of its layers are farther from their means than in each of these, most in "
                f"{layers[at].name}, where {own} % of neurons and time steps fire, and there {mean} % do on average"
            )
        return said and f"the network fires unlike in the {self.windows:,} windows that it was proven on: {said}"

    def by_layer(self, figures: Figures, layers: Sequence[Layer]) -> dict[str, LayerFiring]:
        """Returns how each layer fires, by its name; empty without windows.

        The arguments are those of `outside`.
        """
        if not len(figures):
            return {}
        medians = np.median(figures[:, : len(layers)], axis=0)
        drifts = self.pattern.deviations(medians)
        return {
            layer.name: LayerFiring(rate=self._share(rate, layer), drift=drift)
            for layer, rate, drift in zip(layers, medians.tolist(), drifts.tolist(), strict=True)
        }

    def _outside(self, medians: Figures, layers: Sequence[Layer]) -> str:
        """Returns a phrase on the figure that is farthest outside; empty if none is."""
        worst = self._farthest(medians, layers)
        if not worst:
            return ""
        at = _names(layers).index(worst)
        spread, own, layer = self.figures[worst], float(medians[at]), layers[at % len(layers)]
        name = layer.name
        if worst.startswith(_RATE):
            is_now, least, most = (f"{self._percent(each, layer)} %" for each in (own, spread.least, spread.most))
            return f"in {name} {is_now} of neurons and time steps fire, and there {least} to {most} do"
        return (
            f"the spikes of {name} deviate between time steps by {own:.2g} of their mean, and there by "
            f"{spread.least:.2g} to {spread.most:.2g}"
        )

    def _farthest(self, figures: Figures, layers: Sequence[Layer]) -> str:
        values = dict(zip(_names(layers), figures.tolist(), strict=True))
        return farthest(self.figures, values, lambda name: _FLOORS[_RATE if name.startswith(_RATE) else _UNEVENNESS])

    def _percent(self, rate: float, layer: Layer) -> str:
        """Returns a rate, log2 of a share, in percent."""
        return f"{100 * self._share(rate, layer):.3g}"

    def _share(self, rate: float, layer: Layer) -> float:
        """Returns the share of neurons and time steps of a rate, its log2; 0 if no neuron fires (see above)."""
        share: float = 2.0**rate
        return share if share * math.prod(layer.shape) * self.time_steps > _HALF_A_SPIKE * 1.01 else 0.0


def fired(counts: npt.NDArray[np.integer[Any]], layers: Sequence[Layer]) -> Figures:
    """Returns the figures of windows, float64 [N, figures].

    Args:
        counts: the spike counts of the windows, [N, layers, T].
        layers: the spiking layers of the network.
    """
    found = counts.astype(np.float64)
    neurons = np.array([math.prod(layer.shape) for layer in layers])
    mean = found.mean(axis=2)
    rates = np.log2(np.maximum(mean, _HALF_A_SPIKE / found.shape[2]) / neurons)
    return np.concatenate([rates, found.std(axis=2) / np.maximum(mean, 1.0)], axis=1)


def _names(layers: Sequence[Layer]) -> list[str]:
    return [f"{kind}{layer.name}" for kind in (_RATE, _UNEVENNESS) for layer in layers]
