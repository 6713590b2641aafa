"""The spikes, signals and outputs of a network for N windows, recorded from the reference or observed in a backend.

The reference is the trained network, computed in float64. Spikes and signals are [T, N, ...]. A signal is one of these:

* the input current of a spiking layer; it has the name of the layer;
* another tensor that parity reads, such as a part of an attention block
  (`tcja_runtime.bundle.network_signature.Tap`); it has the name of the tap.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput

Spikes = npt.NDArray[np.bool_]
Values = npt.NDArray[np.floating[Any]]


@dataclasses.dataclass(frozen=True)
class Witnesses:
    """K chosen elements of a signal, with the values that the reference computed for them at every time step.

    A backend's values of the same elements are compared with them.

    Attributes:
        window: the index of the window of each element, int32 [K], in ascending order.
        element: the flat index of each element in the signal without time and batch, int64 [K].
        values: the values, float64 [T, K].
        bounds: the rounding bound of each value, float32 [T, K].
    """

    window: npt.NDArray[np.int32]
    element: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    bounds: npt.NDArray[np.float32]

    def of(self, signal: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns the values [T, K] of the same elements in a signal [T, N, ...] that a backend computed.

        Raises:
            BadInput: the signal has no such element, as those of damaged golden vectors.
        """
        flat = signal.reshape(*signal.shape[:2], -1)
        if self.element.max(initial=-1) >= flat.shape[2]:
            named, size = int(self.element.max()), flat.shape[2]
            raise BadInput(
                f"the golden vectors name element {named:,} of a signal of {size:,}; export the bundle again"
            )
        return flat[:, self.window, self.element]

    def windows(self, part: slice, total: int) -> Witnesses:
        """Returns the elements in a part of the windows. The windows of the part are numbered from 0 again.

        Args:
            part: the part.
            total: the number of all windows, N.
        """
        start, stop, _ = part.indices(total)
        kept = (self.window >= start) & (self.window < stop)
        return Witnesses(
            self.window[kept] - np.int32(start), self.element[kept], self.values[:, kept], self.bounds[:, kept]
        )

    def repeated(self, windows: npt.NDArray[np.intp], most: int) -> Witnesses:
        """Returns a sample of the elements for windows that are repeated.

        Args:
            windows: for each window of the result, the number of the window that is repeated there.
            most: the largest number of elements in a window of the result.
        """
        kept = [at[:: max(1, -(-len(at) // most))] for at in (np.flatnonzero(self.window == each) for each in windows)]
        chosen = np.concatenate(kept)
        numbers = np.repeat(np.arange(len(windows), dtype=np.int32), list(map(len, kept)))
        return Witnesses(numbers, self.element[chosen], self.values[:, chosen], self.bounds[:, chosen])

    @classmethod
    def joined(cls, parts: Sequence[Witnesses], sizes: Sequence[int]) -> Witnesses:
        """Returns the elements of several successive runs as if they were one run.

        The windows are counted through all runs. Example: if the first run has 8 windows, window 0 of the second run
        becomes window 8.

        Args:
            parts: the elements of each run.
            sizes: the number of windows of each run.
        """
        starts = np.cumsum([0, *sizes[:-1]]).astype(np.int32)
        return cls(
            np.concatenate([part.window + start for part, start in zip(parts, starts, strict=True)]),
            np.concatenate([part.element for part in parts]),
            np.concatenate([part.values for part in parts], axis=1),
            np.concatenate([part.bounds for part in parts], axis=1),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """The results of the reference for N windows: outputs, spikes and signals, with rounding bounds.

    Attributes:
        output: the output, float64 [N, ...].
        output_bound: the rounding bound of the output of a backend in which all spikes agree, float32 [N, ...].
        spikes: by layer, the spikes that the layer fired, or that it was given in a stimulus, bool [T, N, ...]; in the
            order in which the layers fire.
        undecided: by layer, the number of undecided neurons, int64 [N, T]; empty if the spikes were given.
        witnesses: by signal, the elements whose values were recorded. For a spiking layer they include every neuron
            that is undecided at any time step.
        step_output: the tensor whose mean over time is the output, [T, N, units]; None if it was not recorded.
    """

    output: Values
    output_bound: npt.NDArray[np.float32]
    spikes: Mapping[str, Spikes]
    undecided: Mapping[str, npt.NDArray[np.int64]]
    witnesses: Mapping[str, Witnesses]
    step_output: Values | None = None

    def __len__(self) -> int:
        return len(self.output)

    def whole(self, signal: str) -> npt.NDArray[np.float64]:
        """Returns all values of a signal, float64 [T, N, elements]. All of its elements must be in its witnesses."""
        values = self.witnesses[signal].values
        return values.reshape(len(values), len(self), -1)

    def windows(self, part: slice) -> Reference:
        """Returns the results for a part of the windows."""
        return Reference(
            output=self.output[part],
            output_bound=self.output_bound[part],
            spikes={layer: spikes[:, part] for layer, spikes in self.spikes.items()},
            undecided={layer: counts[part] for layer, counts in self.undecided.items()},
            witnesses={name: found.windows(part, len(self)) for name, found in self.witnesses.items()},
            step_output=None if self.step_output is None else self.step_output[:, part],
        )

    def only(self, signals: Collection[str]) -> Reference:
        """Returns the results with the witnesses of some signals only."""
        kept = {name: found for name, found in self.witnesses.items() if name in signals}
        return dataclasses.replace(self, witnesses=kept)

    @classmethod
    def joined(cls, parts: Sequence[Reference]) -> Reference:
        """Returns the results of several runs as those of one run over all their windows."""
        sizes = [len(part) for part in parts]
        steps = [part.step_output for part in parts if part.step_output is not None]
        return cls(
            output=np.concatenate([part.output for part in parts]),
            output_bound=np.concatenate([part.output_bound for part in parts]),
            spikes={name: np.concatenate([part.spikes[name] for part in parts], 1) for name in parts[0].spikes},
            undecided={name: np.concatenate([part.undecided[name] for part in parts]) for name in parts[0].undecided},
            witnesses={
                name: Witnesses.joined([part.witnesses[name] for part in parts], sizes) for name in parts[0].witnesses
            },
            step_output=np.concatenate(steps, 1) if steps else None,
        )


@dataclasses.dataclass(frozen=True)
class Recording:
    """Windows, and the results of the reference for them.

    Attributes:
        inputs: the windows, float32 [N, ...].
        reference: the results of the reference.
        estimated: by signal, the names of the operations for which no rounding bound is known. The bound of such a
            signal is an estimate.
    """

    inputs: Floats
    reference: Reference
    estimated: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)

    def repeated(self, n: int, most: int) -> Recording:
        """Returns n windows: those of a stimulus, repeated in their order.

        Args:
            n: the number of windows.
            most: the largest number of witnesses of a signal in a window.
        """
        at, reference = np.arange(n) % len(self.inputs), self.reference
        repeated = Reference(
            output=reference.output[at],
            output_bound=reference.output_bound[at],
            spikes={name: spikes[:, at] for name, spikes in reference.spikes.items()},
            undecided={},
            witnesses={name: found.repeated(at, most) for name, found in reference.witnesses.items()},
        )
        return Recording(self.inputs[at], repeated, self.estimated)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observation:
    """The results of a backend for N windows.

    Attributes:
        output: the output, [N, ...].
        spikes: the spikes by layer, bool [T, N, ...].
        signals: the requested signals by name, [T, N, ...].
        step_output: the tensor whose mean over time is the output, [T, N, units]; None if it was not requested.
    """

    output: Values
    spikes: Mapping[str, Spikes]
    signals: Mapping[str, Values]
    step_output: Values | None = None
