"""How a network fires: figures of each layer in a window, and their ranges over the windows of a proof.

A network whose inputs change in the field (a dirty lens, another light, swapped polarities, frames that were cut by
another rule) fires otherwise, long before anybody looks at its classes. A deployed network that returns its spike
counts is compared with the windows of its proof by these figures of each layer:

    rate of LAYER          log2 of the share of neurons and time steps that fire
    unevenness of LAYER    the standard deviation over their mean of the counts of the time steps

A figure is outside by the rule of `tcja_runtime.bundle.input_statistics`. Inputs that are saturated may leave each rate
within its range, and their pattern not. So the rates of all layers together are compared, too. With the mean m and the
standard deviation s of each rate, and the correlations R of the rates, over the windows of the proof:

    distance    d^2 = z' R' z / layers                z = (rate - m) / s,    R' = ((1 - SHRINKAGE) R + SHRINKAGE 1)^-1

It is Mahalanobis' distance, with correlations that are shrunk to 0, as a proof may have few windows. The largest
distance of the proof is that of a window from all others of the proof.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.bundle.input_statistics import FEWEST, Figures, Spread, farthest
from tcja_runtime.bundle.signature import Layer

_RATE, _UNEVENNESS = "rate of ", "unevenness of "
SHRINKAGE = 0.3
MARGIN = 1.5
"""The factor of the largest distance of the proof beyond which a single window is far outside."""
_LEAST_DEVIATION = 0.05
_FLOORS = {_RATE: 0.5, _UNEVENNESS: 0.1}
_TINY = 2.0**-24


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pattern:
    """How the rates of the layers go together, over the windows of a proof.

    Attributes:
        mean: the mean of each layer's rate, log2.
        deviation: the standard deviation of each layer's rate, at least `_LEAST_DEVIATION`.
        inverse: the matrix R' of the module's docstring.
        largest: the largest distance of a window of the proof from the others.
    """

    mean: list[float]
    deviation: list[float]
    inverse: list[list[float]]
    largest: float

    @classmethod
    def of(cls, rates: Figures) -> Pattern:
        """Returns the pattern of rates [N, layers] of N windows, at least one."""
        others = [np.delete(rates, at, axis=0) for at in range(len(rates))] if len(rates) > 1 else []
        apart = [cls._of(each).distance(own[None])[0] for each, own in zip(others, rates, strict=False)]
        return dataclasses.replace(cls._of(rates), largest=float(max(apart, default=0.0)))

    @classmethod
    def _of(cls, rates: Figures) -> Pattern:
        mean, deviation = rates.mean(axis=0), np.maximum(rates.std(axis=0), _LEAST_DEVIATION)
        z = (rates - mean) / deviation
        shrunk = (1 - SHRINKAGE) * (z.T @ z) / len(z) + SHRINKAGE * np.eye(len(mean))
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
class FiringStatistics:
    """The figures of the windows on which a network was proven.

    Attributes:
        windows: the number of windows.
        figures: the spread of each figure, by its name.
        pattern: how the rates of the layers go together.
    """

    windows: int
    figures: dict[str, Spread]
    pattern: Pattern

    @classmethod
    def of(cls, figures: Figures, layers: Sequence[Layer]) -> FiringStatistics:
        """Returns the statistics of figures [N, figures] of N windows (`fired`), at least one."""
        columns = zip(_names(layers), figures.T, strict=True)
        spreads = {name: Spread.of(each) for name, each in columns}
        return cls(windows=len(figures), figures=spreads, pattern=Pattern.of(figures[:, : len(layers)]))

    def outside(self, figures: Figures, layers: Sequence[Layer]) -> int:
        """Returns how many windows have a figure that is far outside those of the proof.

        Args:
            figures: the figures of the windows, [N, figures].
            layers: the spiking layers of the network.
        """
        if self.windows < FEWEST:
            return 0
        apart = self.pattern.distance(figures[:, : len(layers)]) > MARGIN * self.pattern.largest
        return sum(bool(far or self._farthest(window, layers)) for far, window in zip(apart, figures, strict=True))

    def unlike(self, figures: Figures, layers: Sequence[Layer]) -> str:
        """Returns a sentence on what is outside of the proof in the median of windows; empty if nothing is.

        The arguments are those of `outside`.
        """
        if self.windows < FEWEST or not len(figures):
            return ""
        medians = np.median(figures, axis=0)
        said = self._outside(medians, layers)
        rates = figures[:, : len(layers)]
        if not said and np.median(self.pattern.distance(rates)) > self.pattern.largest:
            at = int(np.abs(self.pattern.deviations(medians[None, : len(layers)])).argmax())
            own, mean = _percent(float(medians[at])), _percent(self.pattern.mean[at])
            said = (
                "the rates of its layers are farther from their means than in each of these, most in "
                f"{layers[at].name}, where {own} % of neurons and time steps fire, and there {mean} % do on average"
            )
        return said and f"the network fires unlike in the {self.windows:,} windows that it was proven on: {said}"

    def _outside(self, medians: Figures, layers: Sequence[Layer]) -> str:
        """Returns a phrase on the figure that is farthest outside; empty if none is."""
        worst = self._farthest(medians, layers)
        if not worst:
            return ""
        spread, own = self.figures[worst], float(medians[_names(layers).index(worst)])
        kind = _RATE if worst.startswith(_RATE) else _UNEVENNESS
        name = worst.removeprefix(kind)
        if kind == _RATE:
            is_now, least, most = (f"{_percent(each)} %" for each in (own, spread.least, spread.most))
            return f"in {name} {is_now} of neurons and time steps fire, and there {least} to {most} do"
        return (
            f"the spikes of {name} deviate between time steps by {own:.2g} of their mean, and there by "
            f"{spread.least:.2g} to {spread.most:.2g}"
        )

    def _farthest(self, figures: Figures, layers: Sequence[Layer]) -> str:
        values = dict(zip(_names(layers), figures.tolist(), strict=True))
        return farthest(self.figures, values, lambda name: _FLOORS[_RATE if name.startswith(_RATE) else _UNEVENNESS])


def fired(counts: npt.NDArray[np.integer[Any]], layers: Sequence[Layer]) -> Figures:
    """Returns the figures of windows, float64 [N, figures].

    Args:
        counts: the spike counts of the windows, [N, layers, T].
        layers: the spiking layers of the network.
    """
    found = counts.astype(np.float64)
    neurons = np.array([math.prod(layer.shape) for layer in layers])
    mean = found.mean(axis=2)
    rates = np.log2(np.maximum(mean / neurons, _TINY))
    return np.concatenate([rates, found.std(axis=2) / np.maximum(mean, 1.0)], axis=1)


def _names(layers: Sequence[Layer]) -> list[str]:
    return [f"{kind}{layer.name}" for kind in (_RATE, _UNEVENNESS) for layer in layers]


def _percent(rate: float) -> str:
    return "0" if rate <= math.log2(_TINY) else f"{100 * 2.0**rate:.3g}"
