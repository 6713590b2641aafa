"""How early an answer can be had: the class after the first t of a network's T steps, for every t.

A network answers with the mean of what it says at each step, y_1 .. y_T: logits, or spikes that are put to the vote.

    class after t steps     argmax (y_1 + ... + y_t), the first of equals;  after all T, that of what it returns

This is counted in two ways, which are one for a network in which no step depends on a later one:

    steps read      y of the whole window, for which nothing else is computed. Attention mixes the steps of a window, so
                    y_t behind it knows of frames after t.
    frames shown    y of a window whose frames after t are empty (0): what can be known when frame t has come. A window
                    takes T runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tcja_runtime.data.contract import Floats, Labels
from tcja_runtime.data.samples import Windows
from tcja_runtime.evidence.agreement import Accuracy, Classes, likeliest
from tcja_runtime.evidence.trace import Observation, Values

STEPS_READ, FRAMES_SHOWN = "steps read", "frames shown"
SETTLED = 0.99
"""Share of windows that have their final class where an answer counts as settled."""

_UNKNOWN = -1  # the class where what is said at each step is not what the answer is made of


@dataclasses.dataclass(frozen=True)
class Predicted:
    """Classes of N windows.

    Attributes:
        likeliest: the k likeliest of each, the likeliest first, int32 [N, k].
        early: the likeliest after each number of steps, int32 [N, T]; [N, 0] where steps are not told.
    """

    likeliest: Classes
    early: Classes

    @classmethod
    def of(cls, output: Values, steps: Values | None) -> Predicted | None:
        """From what a network returned; None where that is an image.

        Args:
            output: [N, classes], or [N, T, classes] where it returns what it says at each step.
            steps: what the output is the mean over time of, [T, N, units], consecutive units voting for a class; None
                where it is not known.
        """
        found = likeliest(output)
        return None if found is None else cls(found, _early(output, steps, found))

    @classmethod
    def seen(cls, run: Observation) -> Predicted:
        """From what a run of a network that classifies showed."""
        found = cls.of(run.output, run.steps)
        if found is None:
            raise ValueError("the network answers with images, not with scores of classes")
        return found

    @classmethod
    def nothing(cls) -> Predicted:
        """Of no windows, or of a network that does not classify."""
        return cls(np.zeros((0, 0), np.int32), np.zeros((0, 0), np.int32))

    @classmethod
    def joined(cls, parts: Sequence[Predicted | None]) -> Predicted | None:
        """Those of successive windows; None where there are none of some."""
        known = [part for part in parts if part]
        if len(known) < len(parts):
            return None
        return cls(np.concatenate([p.likeliest for p in known]), np.concatenate([p.early for p in known]))

    @classmethod
    def from_rows(cls, rows: Classes, like: Predicted) -> Predicted:
        """The inverse of `rows`, the columns being those of another."""
        k = like.likeliest.shape[1]
        return cls(rows[:, :k], rows[:, k:])

    @property
    def rows(self) -> Classes:
        """Everything in one array, a row a window."""
        return np.hstack([self.likeliest, self.early])

    def __len__(self) -> int:
        return len(self.likeliest)

    def first(self, n: int) -> Predicted:
        """Those of the first n windows, or of all."""
        return Predicted(self.likeliest[:n], self.early[:n])


def _early(output: Values, steps: Values | None, whole: Classes) -> Classes:
    if output.ndim == 3:
        said, fits = output, np.ones(len(output), np.bool_)
    elif steps is None:
        return np.zeros((len(output), 0), np.int32)
    else:
        voters = steps.reshape(*steps.shape[:2], output.shape[1], -1)
        said = voters.sum(-1, dtype=np.float64).swapaxes(0, 1)  # not the mean, so that votes of spikes are exact
        n = len(steps) * voters.shape[-1]
        within = n * np.finfo(output.dtype).eps * np.abs(voters).max(initial=0.0)
        fits = ~(np.abs(said.sum(1) / n - output) > within).any(axis=1)
    classes: Classes = np.cumsum(said, axis=1, dtype=np.float64).argmax(axis=2).astype(np.int32)
    classes[:, -1] = whole[:, 0]  # where rounding may have decided between equals
    classes[~fits] = _UNKNOWN
    return classes


def shown(
    run: Callable[[Floats], Predicted], windows: Windows, time_steps: int, size: int, advance: Callable[[int], None]
) -> Classes:
    """The class of each window of frames when the first t have come, int32 [N, T].

    Args:
        run: what the network, which tells its steps, says of windows [n, T, ...].
        windows: of frames.
        time_steps: T.
        size: how many to run at once.
        advance: is told the number of windows done, after each batch.
    """
    found = [np.zeros((0, time_steps), np.int32)]
    for inputs in windows.batches(size):
        batch = []
        for t in range(1, time_steps + 1):
            seen = inputs.copy()
            seen[:, t:] = 0
            batch.append(run(seen).early[:, t - 1])
        found.append(np.stack(batch, axis=1))
        advance(len(inputs))
    return np.concatenate(found)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curve:
    """For each number of steps t, how many windows have their final class after t steps, and how many are right.

    Attributes:
        network: the name of the network, for people.
        counted: STEPS_READ or FRAMES_SHOWN.
        windows: the number of windows.
        same: the number of windows that have their final class after t steps, for t = 1 to T.
        accuracy: the accuracy after t steps, for t = 1 to T; empty without labels.
    """

    network: str
    counted: str
    windows: int
    same: list[int]
    accuracy: list[Accuracy]

    @property
    def agreement(self) -> list[float]:
        """The share of windows that have their final class after t steps, for t = 1 to T."""
        return [same / self.windows for same in self.same]

    @property
    def settled(self) -> int:
        """The smallest t from which on a share of at least SETTLED of the windows has its final class."""
        late = [t for t, share in enumerate(self.agreement, 1) if share < SETTLED]
        return max(late, default=0) + 1

    def to_dict(self) -> dict[str, Any]:
        """Every figure as plain values, for parity.json."""
        return {
            "network": self.network,
            "counted": self.counted,
            "windows": self.windows,
            "same": self.same,
            "labelled": self.accuracy[0].labelled if self.accuracy else 0,
            "right": [each.right for each in self.accuracy] or [0] * len(self.same),
            "agreement": self.agreement,
            "accuracy": [each.share for each in self.accuracy] or None,
            "accuracy_interval": [each.interval for each in self.accuracy] or None,
            "settled": self.settled,
        }


def told(early: Classes) -> bool:
    """Whether classes [N, T] after each number of steps are known, and there are several steps to tell of."""
    return early.shape[0] > 0 and early.shape[1] > 1 and bool((early != _UNKNOWN).all())


def curve(network: str, counted: str, early: Classes, labels: Labels | None) -> Curve | None:
    """From classes [N, T] after each number of steps, and labels of as many or more; None where they are not told."""
    if not told(early):
        return None
    known = np.zeros(0, np.int64) if labels is None else labels[: len(early)]
    right = np.count_nonzero(early[: len(known)] == known[:, None], axis=0).tolist() if len(known) else []
    return Curve(
        network=network,
        counted=counted,
        windows=len(early),
        same=np.count_nonzero(early == early[:, -1:], axis=0).tolist(),
        accuracy=[Accuracy(each, len(known)) for each in right],
    )
