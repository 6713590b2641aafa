"""Judges spike counts: the number of spikes of each layer at each time step, which a deployed network returns.

A neuron is open at a time step if a correct network may fire there where the reference does not, or the reverse. There
are three reasons:

    * it is undecided,
    * a spike or a gate in front of it may differ,
    * it was open at an earlier time step.

So the count of a layer, at each time step of each window, differs from
the reference's by at most the number of its open neurons:

    |count - count of the reference|  <=  open neurons          equal where no neuron is open

`tcja_exporters.reference.free_running` finds the open neurons at export. Nothing is excused: a count beyond is wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.evidence.trace import Spikes

Counts = npt.NDArray[np.integer[Any]]
"""Spike counts [N, layers, T]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FreeRunningBounds:
    """How far a correct, free-running network can be from the reference, for N windows.

    Attributes:
        open: the number of open neurons of each layer at each time step, int64 [N, layers, T].
        output: the largest difference of the output, float32 [N, ...].
    """

    open: npt.NDArray[np.int64]
    output: npt.NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Sequence[FreeRunningBounds]) -> FreeRunningBounds:
        """Returns the bounds of several runs as those of one run over all their windows."""
        return cls(
            open=np.concatenate([part.open for part in parts]), output=np.concatenate([part.output for part in parts])
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class WrongCount:
    """The first count that is wrong: of the first layer that has one, at its earliest time step.

    Attributes:
        window: the number of the window, from 0.
        layer: the name of the layer.
        time_step: the time step, from 1.
        expected: the count of the reference.
        found: the count of the network.
        open: the largest difference that rounding explains.
    """

    window: int
    layer: str
    time_step: int
    expected: int
    found: int
    open: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class CountParity:
    """The comparison of spike counts with the reference's. A count is that of a layer at a time step of a window.

    Attributes:
        counts: the number of counts.
        settled: the number of counts without an open neuron, which must be equal.
        differing: the number of counts that differ.
        beyond: the number of counts that differ by more than their open neurons.
        first: the first of these; None if there is none.
    """

    counts: int
    settled: int
    differing: int
    beyond: int
    first: WrongCount | None


def spike_counts(spikes: Mapping[str, Spikes]) -> Counts:
    """Returns the spike counts [N, layers, T] of the spikes [T, N, ...] of each layer."""
    return np.stack([np.count_nonzero(each.reshape(*each.shape[:2], -1), axis=2).T for each in spikes.values()], axis=1)


def judge_counts(found: Counts, expected: Counts, bounds: FreeRunningBounds, layers: Sequence[str]) -> CountParity:
    """Compare spike counts with the reference's.

    Args:
        found: the counts that a network returns for N windows, [N, layers, T].
        expected: the counts of the reference, in the same shape.
        bounds: how far a correct network can be from the reference.
        layers: the names of the layers, in the order in which they fire.
    """
    difference = np.abs(found.astype(np.int64) - expected)
    beyond, first = difference > bounds.open, None
    if beyond.any():
        layer, t, n = np.argwhere(beyond.transpose(1, 2, 0))[0]
        at = n, layer, t
        first = WrongCount(
            window=int(n),
            layer=layers[layer],
            time_step=int(t) + 1,
            expected=int(expected[at]),
            found=int(found[at]),
            open=int(bounds.open[at]),
        )
    return CountParity(
        counts=difference.size,
        settled=int(np.count_nonzero(bounds.open == 0)),
        differing=int(np.count_nonzero(difference)),
        beyond=int(np.count_nonzero(beyond)),
        first=first,
    )
