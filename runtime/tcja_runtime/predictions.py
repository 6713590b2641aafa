"""The predictions of a network: the scores of its classes, and which classes are the likeliest.

Of classes with equal scores, the one with the lower index comes first.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tcja_runtime.counting import counted
from tcja_runtime.data.contract import Floats
from tcja_runtime.files.text import one_line
from tcja_runtime.records import argument, check_size

_LISTED = 10
"""The largest number of windows that `print` lists."""


class ClassScore(NamedTuple):
    """A class and its score.

    Attributes:
        name: the name of the class.
        score: its score: the rate of its neuron, or its logit.
    """

    name: str
    score: float


def without_score(scores: Floats) -> npt.NDArray[np.bool_]:
    """Whether all scores of a window are 0, so that nothing but its number makes a class the first; never of one class.

    Args:
        scores: the scores of windows, float32 [..., C].

    Returns:
        The answers, bool [...].
    """
    found: npt.NDArray[np.bool_] = np.logical_and(scores.shape[-1] > 1, ~scores.any(axis=-1))
    return found


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """The prediction for a window.

    Attributes:
        scores: the score of each class, float32 [C].
        class_names: the names of all classes, in the order of the scores.
        output: the kind of the scores, as of `Predictions`.
    """

    scores: Floats
    class_names: Sequence[str] = dataclasses.field(repr=False)
    output: str

    @property
    def likeliest(self) -> list[int]:
        """The numbers of all classes, the likeliest first."""
        found: list[int] = np.argsort(-self.scores, kind="stable").tolist()
        return found

    @property
    def name(self) -> str:
        """The name of the likeliest class."""
        return self.class_names[int(self.scores.argmax())]

    @property
    def score(self) -> float:
        """The score of the likeliest class."""
        return float(self.scores.max())

    def top(self, k: int = 5) -> list[ClassScore]:
        """Returns the k likeliest classes with their scores, the likeliest first; all classes if there are fewer.

        Raises:
            BadInput: `k` is not a whole number of at least 1.
        """
        check_size("k", argument("k", k, int), 1)
        return [ClassScore(self.class_names[index], float(self.scores[index])) for index in self.likeliest[:k]]

    def standing_out(self, k: int = 5) -> list[ClassScore]:
        """Returns what `top` returns; of rates, without the classes after the first whose score is 0.

        No neuron fired for these classes, so which of them comes first says nothing. A logit of 0 is a score like any
        other. So are all scores of a window with a negative score: they are no rates, whatever their output is called.

        Raises:
            BadInput: `k` is not a whole number of at least 1.
        """
        ranked = self.top(k)
        if self.output != "rates" or self.scores.min() < 0:
            return ranked
        return [each for place, each in enumerate(ranked) if place == 0 or each.score != 0]

    def __str__(self) -> str:
        return ", ".join(f"{one_line(name)} ({score:.4g})" for name, score in self.standing_out(2))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Predictions:
    """The predictions for N windows. Its items are the windows: `len`, indices and `for` work as with a list.

    Attributes:
        scores: the score of each class for each window, float32 [N, C].
        class_names: the names of all C classes, in the order of the scores.
        output: the kind of the scores, "rates" (spikes for a class, from 0 to 1) or "logits".
        unlike: a sentence if the windows look unlike those that the network was proven on, or if the network fires
            unlike there; else empty. For calls, it is about the first 16 windows that the network got by calls, and
            about the firing in the last 16.
    """

    scores: Floats
    class_names: Sequence[str]
    output: str
    unlike: str = ""

    @property
    def indices(self) -> npt.NDArray[np.int64]:
        """The number of the likeliest class of each window, int64 [N]."""
        found: npt.NDArray[np.int64] = self.scores.argmax(axis=1)
        return found

    @property
    def classes(self) -> list[str]:
        """The name of the likeliest class of each window, N names."""
        return [self.class_names[index] for index in self.indices.tolist()]

    def top(self, k: int = 5) -> list[list[ClassScore]]:
        """Returns, for each window, the k likeliest classes with their scores, the likeliest first.

        Raises:
            BadInput: `k` is not a whole number of at least 1.
        """
        return [window.top(k) for window in self]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, window: int) -> Prediction:
        scores = self.scores[operator.index(window)]
        return Prediction(scores=scores, class_names=self.class_names, output=self.output)

    def __iter__(self) -> Iterator[Prediction]:
        return (self[window] for window in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({counted(len(self), 'window')}, {counted(len(self.class_names), 'class')})"

    def __str__(self) -> str:
        lines = [f"{counted(len(self), 'window')}; scores are the output '{one_line(self.output)}'"]
        lines += [f"  {one_line(self._title(window))}: {self[window]}" for window in range(min(len(self), _LISTED))]
        if len(self) > _LISTED:
            lines.append(f"  and {counted(len(self) - _LISTED, 'window')} more")
        return "\n".join([*lines, *filter(None, [one_line(self.unlike)])])

    def _title(self, window: int) -> str:
        """The words for a window in the list of `print`."""
        return str(window)
