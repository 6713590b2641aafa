"""How early a network predicts its final class: the class after the first t time steps of a window, for t = 1 to T.

`tcja_runtime.evidence.predictions` defines the class after t steps. There are two ways to count:

    steps read      The whole window is run, and the class is that of the outputs of the first t steps. No further run
                    is needed. In a network with attention, the outputs of step t also depend on later frames.
    frames shown    The window is run with all frames after frame t set to 0. The class is what can be known when frame
                    t has arrived. This takes T runs for each window.

Both ways give the same classes if no time step of the network depends on a later one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from tcja_runtime.data.contract import Floats, Labels
from tcja_runtime.data.windows import Windows
from tcja_runtime.evidence.agreement import Accuracy
from tcja_runtime.evidence.predictions import Classes, Predictions, tells_steps

STEPS_READ, FRAMES_SHOWN = "steps read", "frames shown"
SETTLED = 0.99
"""The share of windows that must have their final class after t steps, so that t is a possible `Curve.settled`."""


def shown(
    run: Callable[[Floats], Predictions], windows: Windows, time_steps: int, size: int, advance: Callable[[int], None]
) -> Classes:
    """Returns the class of each window of frames when only its first t frames are shown, for t = 1 to T, int32 [N, T].

    Args:
        run: a function that runs the network on windows [n, T, ...] and returns its predictions, whose `early` must be
            known.
        windows: the windows of frames.
        time_steps: T.
        size: the number of windows to run at once.
        advance: a function that is called after each batch with the number of its windows.
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
    """For each number of steps t, how many windows have their final class after t steps, and the accuracy then.

    Attributes:
        network: the name of the network, for people.
        counted: the way of counting, STEPS_READ or FRAMES_SHOWN.
        windows: the number of windows.
        same: the number of windows that have their final class after t steps, for t = 1 to T.
        accuracy: the accuracy of the classes after t steps, for t = 1 to T; empty without labels.
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
        """The number of time steps after which predictions are settled.

        It is the smallest t for which at least a share SETTLED of the windows has its final class after t steps, and
        also after every larger number of steps.
        """
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


def curve(network: str, counted: str, early: Classes, labels: Labels | None) -> Curve | None:
    """Count how many windows have their final class after each number of steps.

    Returns None if the class after 1 to T steps is not known for every window, or if T is 1.

    Args:
        network: the name of the network, for people.
        counted: the way of counting, STEPS_READ or FRAMES_SHOWN.
        early: the classes of N windows after 1 to T time steps, int32 [N, T].
        labels: the labels of the first M windows, int64 [M]; M may be larger than N. None if labels are not known.
    """
    if not tells_steps(early):
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
