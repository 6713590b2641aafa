"""Predictions: the classes that a network gives to windows, at the end of a window and after each of its time steps.

The output of a network is the mean over time of the vectors y_1 .. y_T that it computes at the time steps. The elements
of y_t are logits, or spikes that are votes for classes.

    class after t steps     argmax (y_1 + ... + y_t); of equal elements, the first
    class after T steps     argmax of the network's output
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcja_runtime.data.contract import Labels
from tcja_runtime.data.windows import Windows
from tcja_runtime.evidence.trace import Observation, Values

TOP = 5
"""The number of likeliest classes that are stored for each window."""

Classes = npt.NDArray[np.int32]

_UNKNOWN = -1  # the class after t steps of a window whose output is not the mean of y_1 .. y_T


def likeliest(output: Values) -> Classes | None:
    """Returns the k likeliest classes of each window, the likeliest first, int32 [N, k]; None for an output of images.

    Of classes with equal scores, the one with the lower index comes first. k is TOP, or the number of classes if there
    are fewer than TOP classes.

    Args:
        output: the scores of the classes [N, classes]; or their scores at each time step [N, T, classes], of which the
            mean over time is taken.
    """
    if output.ndim > 3:
        return None
    scores = output if output.ndim == 2 else output.mean(1)
    return np.argsort(-scores, axis=1, kind="stable")[:, :TOP].astype(np.int32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """The classes that a network gives to N windows.

    Attributes:
        likeliest: the k likeliest classes of each window, the likeliest first, int32 [N, k]; [0, 0] for a network that
            does not classify.
        early: the likeliest class of each window after 1 to T time steps, int32 [N, T]; [N, 0] if the values of the
            time steps are not known.
        shown: the likeliest class of each of the first n windows when all frames after frame t are 0, for t = 1 to T,
            int32 [n, T]; n is 0 if this was not run (`tcja_runtime.evidence.anytime.shown`).
        source: the origin of the windows, for people.
        digest: a text that identifies the data (`tcja_runtime.data.windows.Windows.digest`); empty for windows that
            have no digest.
        labels: the labels of the first M windows, int64 [M] with M at most N; None if labels are not known.
    """

    likeliest: Classes
    early: Classes
    shown: Classes
    source: str = ""
    digest: str = ""
    labels: Labels | None = None

    @classmethod
    def of_output(cls, output: Values, steps: Values | None) -> Predictions | None:
        """Returns the predictions that the output of a network contains; None if the output is an image.

        Args:
            output: the scores of the classes [N, classes]; or their scores at each time step [N, T, classes].
            steps: the values whose mean over time is the output, [T, N, units]. If there are more units than classes,
                consecutive units vote for the same class. None if these values are not known.
        """
        found = likeliest(output)
        if found is None:
            return None
        early = _early(output, steps, found)
        return cls(likeliest=found, early=early, shown=early[:0])

    @classmethod
    def of_run(cls, run: Observation) -> Predictions:
        """Returns the predictions from what a backend computed with a network that classifies.

        Raises:
            ValueError: the network returns images.
        """
        found = cls.of_output(run.output, run.step_output)
        if found is None:
            raise ValueError("the network returns images, not scores of classes")
        return found

    @classmethod
    def none(cls) -> Predictions:
        """Returns predictions for 0 windows. They also stand for a network that does not classify."""
        return cls.from_rows(np.zeros((0, 0), np.int32), 0)

    @classmethod
    def joined(cls, parts: Sequence[Predictions | None]) -> Predictions | None:
        """Returns the predictions for successive batches as one object; None if the predictions for any are None."""
        known = [part for part in parts if part]
        if len(known) < len(parts):
            return None
        return cls.from_rows(np.concatenate([part.rows for part in known]), known[0].likeliest.shape[1])

    @classmethod
    def from_rows(cls, rows: Classes, k: int) -> Predictions:
        """Returns the predictions from `rows` [N, k + T]; k is the number of likeliest classes in a row."""
        return cls(likeliest=rows[:, :k], early=rows[:, k:], shown=rows[:0, k:])

    @property
    def rows(self) -> Classes:
        """The arrays `likeliest` and `early` side by side, one row for each window, int32 [N, k + T]."""
        return np.hstack([self.likeliest, self.early])

    @property
    def tells_steps(self) -> bool:
        """Whether the class of every window is known after 1 to T time steps, with T > 1 (`tells_steps`)."""
        return tells_steps(self.early)

    def __len__(self) -> int:
        return len(self.likeliest)

    def first(self, n: int) -> Predictions:
        """Returns the predictions for the first n windows, or for all windows if there are fewer than n."""
        return dataclasses.replace(
            self,
            likeliest=self.likeliest[:n],
            early=self.early[:n],
            shown=self.shown[:n],
            labels=None if self.labels is None else self.labels[:n],
        )

    def on(self, windows: Windows) -> Predictions:
        """Returns the same predictions with `source`, `digest` and `labels` of the windows that they are for."""
        return dataclasses.replace(self, source=windows.source, digest=windows.digest, labels=windows.labels)


def tells_steps(early: Classes) -> bool:
    """Whether the class of every window is known after 1 to T time steps. False for T = 1, and for no windows.

    Args:
        early: the classes [N, T] after 1 to T time steps (`Predictions.early`).
    """
    return early.shape[0] > 0 and early.shape[1] > 1 and bool((early != _UNKNOWN).all())


def _early(output: Values, steps: Values | None, whole: Classes) -> Classes:
    if output.ndim == 3:
        values, fits = output, np.ones(len(output), np.bool_)
    elif steps is None:
        return np.zeros((len(output), 0), np.int32)
    else:
        voters = steps.reshape(*steps.shape[:2], output.shape[1], -1)
        values = voters.sum(-1, dtype=np.float64).swapaxes(0, 1)  # not the mean, so that votes of spikes are exact
        n = len(steps) * voters.shape[-1]
        within = n * np.finfo(output.dtype).eps * np.abs(voters).max(initial=0.0)
        fits = ~(np.abs(values.sum(1) / n - output) > within).any(axis=1)
    classes: Classes = np.cumsum(values, axis=1, dtype=np.float64).argmax(axis=2).astype(np.int32)
    classes[:, -1] = whole[:, 0]  # rounding may have decided between equal scores
    classes[~fits] = _UNKNOWN
    return classes
