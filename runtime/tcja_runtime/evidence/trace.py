"""What a network did with some windows, on both sides of a comparison: what the reference recorded, what a backend did.

Spikes and signals are [T, N, ...]. A signal is a value that a network computes on its way: the input current of a
spiking layer, under the layer's name, or what a part of an attention block returns, under the part's name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Spikes = npt.NDArray[np.bool_]
Values = npt.NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True)
class Witnesses:
    """Some elements of a signal as the reference computed them, at every time step.

    Attributes:
        window: of each, int32 [K], in ascending order.
        element: of each, its flat index in the signal without time and batch, int64 [K].
        values: float64 [T, K].
        bounds: how far rounding may move each value, float32 [T, K].
    """

    window: npt.NDArray[np.int32]
    element: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    bounds: npt.NDArray[np.float32]

    def of(self, signal: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The same elements [T, K] of another run's signal [T, N, ...]."""
        return signal.reshape(*signal.shape[:2], -1)[:, self.window, self.element]

    def windows(self, part: slice, total: int) -> Witnesses:
        """Those in some of `total` windows, which are then numbered from 0."""
        start, stop, _ = part.indices(total)
        kept = (self.window >= start) & (self.window < stop)
        return Witnesses(
            self.window[kept] - np.int32(start), self.element[kept], self.values[:, kept], self.bounds[:, kept]
        )

    @classmethod
    def joined(cls, parts: Sequence[Witnesses], sizes: Sequence[int]) -> Witnesses:
        """The witnesses of several runs over `sizes` windows each, as of one run."""
        starts = np.cumsum([0, *sizes[:-1]]).astype(np.int32)
        return cls(
            np.concatenate([part.window + start for part, start in zip(parts, starts, strict=True)]),
            np.concatenate([part.element for part in parts]),
            np.concatenate([part.values for part in parts], axis=1),
            np.concatenate([part.bounds for part in parts], axis=1),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """What the reference did with N windows, and how far rounding may move it.

    Attributes:
        output: what it returns, float64 [N, ...].
        output_bound: how far rounding may move it where all spikes agree, float32 [N, ...].
        steps: what the output is the mean over time of, [T, N, units]; None where it was not looked at.
        spikes: by layer, in the order of the network: what it fired, or was made to fire.
        near: by layer, neurons so near their threshold that rounding decides, [N, T]; none where spikes were given.
        witnesses: by signal. Those of a layer include every neuron that is near at any time step.
    """

    output: Values
    output_bound: npt.NDArray[np.float32]
    spikes: Mapping[str, Spikes]
    near: Mapping[str, npt.NDArray[np.int64]]
    witnesses: Mapping[str, Witnesses]
    steps: Values | None = None

    def __len__(self) -> int:
        return len(self.output)

    def whole(self, signal: str) -> npt.NDArray[np.float64]:
        """A signal of which every element is a witness, [T, N, elements]."""
        values = self.witnesses[signal].values
        return values.reshape(len(values), len(self), -1)

    def windows(self, part: slice) -> Reference:
        """The same of some of the windows."""
        return Reference(
            output=self.output[part],
            output_bound=self.output_bound[part],
            spikes={layer: spikes[:, part] for layer, spikes in self.spikes.items()},
            near={layer: near[part] for layer, near in self.near.items()},
            steps=None if self.steps is None else self.steps[:, part],
            witnesses={name: found.windows(part, len(self)) for name, found in self.witnesses.items()},
        )

    @classmethod
    def joined(cls, parts: Sequence[Reference]) -> Reference:
        """What the reference did with all windows of several runs."""
        sizes = [len(part) for part in parts]
        return cls(
            output=np.concatenate([part.output for part in parts]),
            output_bound=np.concatenate([part.output_bound for part in parts]),
            spikes={name: np.concatenate([part.spikes[name] for part in parts], 1) for name in parts[0].spikes},
            near={name: np.concatenate([part.near[name] for part in parts]) for name in parts[0].near},
            witnesses={
                name: Witnesses.joined([part.witnesses[name] for part in parts], sizes) for name in parts[0].witnesses
            },
            steps=np.concatenate(steps, 1) if (steps := [p.steps for p in parts if p.steps is not None]) else None,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """What a backend did with N windows.

    Attributes:
        output: what it returns, [N, ...].
        spikes: by layer.
        signals: by name; only those asked for.
        steps: what the output is the mean over time of, [T, N, units]; None where it was not looked at.
    """

    output: Values
    spikes: Mapping[str, Spikes]
    signals: Mapping[str, Values]
    steps: Values | None = None
