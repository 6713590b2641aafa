"""Comparing windows with those that a bundle's network was proven on.

A network answers windows of another kind too, and its answers are wrong. So it is said once if windows

    * look unlike those of the proof (`tcja_runtime.bundle.statistics.inputs`),
    * hold fractions where the golden windows hold whole numbers only, as frames that were divided by 255 do, or
    * hold larger counts than those that parity was judged on.

If the network returns its spike counts, it is also said when its layers fire unlike in the windows of the proof
(`tcja_runtime.bundle.statistics.firing`). This check never stops.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tcja_runtime.bundle.bundle import Bundle
from tcja_runtime.bundle.statistics.firing import LayerFiring, fired
from tcja_runtime.bundle.statistics.inputs import Figures, fractions, measured, names
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence import golden
from tcja_runtime.model_file.tensor_names import SPIKE_COUNTS

WATCHED = 16
"""The number of windows, from the first on, that calls and streams compare with those of the proof."""
_ROUNDING = 1 + 1e-9  # of a value that is stored as its logarithm


@dataclasses.dataclass(frozen=True, kw_only=True)
class ValueRange:
    """The values of the golden windows.

    Attributes:
        least: the smallest value.
        most: the largest value.
        whole: whether all values are whole numbers.
    """

    least: float
    most: float
    whole: bool


@dataclasses.dataclass(frozen=True)
class Proven:
    """What the network of a bundle was proven on.

    Attributes:
        bundle: the bundle.
    """

    bundle: Bundle

    @functools.cached_property
    def values(self) -> ValueRange:
        """The values of the golden windows, which are read when this is asked for the first time.

        Raises:
            BadInput: the file of the golden vectors is damaged.
        """
        contract = self.bundle.manifest.input
        windows = golden.windows(self.bundle, contract)
        return ValueRange(
            least=float(windows.min()), most=float(windows.max()), whole=not fractions(contract, windows).any()
        )

    def unlike(self, figures: Figures, *, broken: bool) -> str:
        """Returns a sentence on what makes windows unlike those of the proof; empty if nothing is known to.

        Args:
            figures: the figures of the windows (`tcja_runtime.bundle.statistics.inputs.measured`).
            broken: whether the windows hold fractions where numbers are whole.
        """
        said = (self._fractions() if broken else "", self._beyond(figures), self.bundle.manifest.unlike(figures))
        return "; ".join(filter(None, said))

    def _fractions(self) -> str:
        kind = {"counts": "whole numbers of events", "spikes": "zeros and ones"}
        if not self.values.whole:
            return ""
        wanted = kind[self.bundle.manifest.input.scaling]
        return f"the inputs hold fractions, and the network was proven on {wanted}: do not divide or normalise them"

    def _beyond(self, figures: Figures) -> str:
        manifest = self.bundle.manifest
        judged, contract = manifest.parity.largest_count, manifest.input
        if not judged or contract.scaling != "counts" or not len(figures):
            return ""
        most = 2.0 ** float(figures[:, names(contract).index("largest")].max())
        if most <= judged * _ROUNDING or most <= self.values.most * _ROUNDING:
            return ""
        proven = max(judged, round(self.values.most))
        return f"the inputs hold counts of up to {most:,.0f}, and the network was proven on counts of up to {proven:,}"


class InputWatch:
    """Compares the windows that a network gets with those that it was proven on. Threads may share it.

    Args:
        proven: what the network was proven on.
        most: the number of windows that are compared, from the first on; None for all.
        span: the number of the newest windows among them that the sentence is about; None for all.
        note: the function that is called with the sentence on windows that are unlike, once; None for none.
        patience: the number of windows that are compared before the note.
    """

    def __init__(
        self,
        proven: Proven,
        *,
        most: int | None = None,
        span: int | None = None,
        note: Callable[[str], None] | None = None,
        patience: int = 1,
    ) -> None:
        self._proven, self._most, self._note, self._patience = proven, most, note, patience
        self._contract, self._lock = proven.bundle.manifest.input, threading.Lock()
        self._figures: collections.deque[Figures] = collections.deque(maxlen=span)
        self._broken: collections.deque[bool] = collections.deque(maxlen=span)  # whether each window holds fractions
        self._count, self._said = 0, ""
        self._known = True  # whether `_said` is about all windows that were added

    @property
    def over(self) -> bool:
        """Whether no more windows are compared."""
        return self._most is not None and self._count >= self._most

    @property
    def unlike(self) -> str:
        """A sentence if the windows look unlike those that the network was proven on; else empty."""
        with self._lock:
            return self._sentence()

    def add(self, windows: Floats) -> None:
        """Compare windows [N, ...] that the network took."""
        if self.over:
            return
        with self._lock:
            if self.over:  # another thread was faster
                return
            compared = windows if self._most is None else windows[: self._most - self._count]
            self._figures.extend(measured(self._contract, compared))
            self._broken.extend(fractions(self._contract, compared).tolist())
            self._count, self._known = self._count + len(compared), False
            note = self._note if self._count >= self._patience and self._sentence() else None
            self._note = None if note else self._note
        if note:
            note(self.unlike)

    def add_measured(self, rows: Figures) -> None:
        """Compare windows that were measured elsewhere; all of them are compared, and no note is given.

        Args:
            rows: their figures (`tcja_runtime.bundle.statistics.inputs.measured_with_fractions`).
        """
        with self._lock:
            self._figures.extend(rows[:, :-1])
            self._broken.extend((rows[:, -1] == 1).tolist())
            self._count, self._known = self._count + len(rows), False

    def _sentence(self) -> str:
        if not self._known:
            self._said = self._proven.unlike(np.array(self._figures), broken=any(self._broken))
            self._known = True
        return self._said


class FiringWatch:
    """Compares how a network fires with how it fired in its proof. Threads may share it.

    Args:
        bundle: the bundle of the network.
        span: the number of the newest windows whose medians are compared; None for all windows.
        note: the function that is called with the sentence on firing that is unlike, each time that it becomes unlike
            over a whole span; None for none.
    """

    def __init__(self, bundle: Bundle, *, span: int | None = None, note: Callable[[str], None] | None = None) -> None:
        self._statistics, self._layers = bundle.manifest.firing_statistics, bundle.manifest.layers
        self._span, self._note, self._lock = span, note, threading.Lock()
        self._figures: collections.deque[Figures] = collections.deque(maxlen=span)
        self._drifted: int | None = None
        self._said, self._known = "", True  # as in `InputWatch`
        self._was_unlike = False  # whether firing was unlike over the last whole span

    @property
    def drifted(self) -> int | None:
        """The number of windows in which a layer fired far outside the range of the proof; None if it is not known."""
        return self._drifted

    @property
    def unlike(self) -> str:
        """A sentence if the network fires unlike in the windows that it was proven on; else empty."""
        with self._lock:
            return self._sentence()

    @property
    def by_layer(self) -> dict[str, LayerFiring]:
        """How each layer fires in the median of the windows, by its name; empty if it is not known."""
        with self._lock:
            figures = np.array(self._figures)
        return self._statistics.by_layer(figures, self._layers) if self._statistics else {}

    def add(self, returned: Mapping[str, Any]) -> None:
        """Compare the spike counts among what the network returned for a batch, by name, if they are among it."""
        counts, statistics = returned.get(SPIKE_COUNTS), self._statistics
        if counts is None or statistics is None:
            return
        figures = fired(counts, self._layers)
        outside, note = statistics.outside(figures, self._layers), ""
        with self._lock:
            self._known = False
            self._drifted = (self._drifted or 0) + outside
            self._figures.extend(figures)
            if self._note and len(self._figures) == self._span:
                note = "" if self._was_unlike else self._sentence()
                self._was_unlike = bool(self._sentence())
        if note and self._note:
            self._note(note)

    def _sentence(self) -> str:
        if not self._known and self._statistics:
            figures = np.array(self._figures)
            self._said, self._known = self._statistics.unlike(figures, self._layers), True
        return self._said


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watched:
    """What is known of the windows that a network got, beside those of its proof.

    Attributes:
        inputs: a sentence if the first windows look unlike those of the proof; else empty.
        firing: a sentence if the network fires unlike in the newest windows; else empty.
        drifted: the number of windows in which a layer fired far outside the range of the proof; None if it is not
            known.
        layers: how each layer fires in the median of the newest windows, by its name; empty if it is not known.
    """

    inputs: str
    firing: str
    drifted: int | None
    layers: dict[str, LayerFiring]

    @classmethod
    def of(cls, inputs: InputWatch, firing: FiringWatch) -> Watched:
        """Returns what two comparisons found until now, of the windows and of how the network fires in them."""
        return cls(inputs=inputs.unlike, firing=firing.unlike, drifted=firing.drifted, layers=firing.by_layer)


def all_unlike(inputs: InputWatch, firing: FiringWatch) -> str:
    """Returns all that is unlike the windows of the proof, in one sentence; empty if nothing is known to be.

    Args:
        inputs: the comparison of the windows.
        firing: the comparison of how the network fires in them.
    """
    return "; ".join(filter(None, [inputs.unlike, firing.unlike]))
