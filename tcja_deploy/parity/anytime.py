"""How early a prediction can be had (`tcja_runtime.evidence.anytime`): which windows to show, and the curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tcja_deploy.console import Progress
from tcja_deploy.parity.classify import Classifier
from tcja_runtime.counting import counted
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.windows import Windows
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import anytime
from tcja_runtime.evidence.anytime import FRAMES_SHOWN, STEPS_READ, Curve, curve
from tcja_runtime.evidence.predictions import Predictions

_MOST, _FEWEST = 64, 8
"""The limits on the number of windows that are shown if the user asks for no number."""
_UNKNOWN = (
    "How early a prediction can be had is not known: no signal was found whose mean over time is the output. It is "
    "known of a network that returns [T, N, classes]."
)
_NOT_SHOWN = (
    "Predictions before the last frame of a window were not counted, because each window takes {}. With "
    "`anytime` N, they are counted for N windows."
)


def check(n: int | None, contract: InputContract) -> None:
    """Check that n windows can be shown to a network frame by frame; None is always possible.

    Raises:
        BadInput: the network does not take frames.
    """
    if n and contract.name != "frames":
        raise BadInput(
            f"`anytime` {n} shows windows frame by frame, and the network takes {contract.name}; leave it out"
        )


@dataclasses.dataclass(frozen=True)
class ShownWindows:
    """The windows that networks are shown frame by frame.

    Attributes:
        windows: the windows, possibly none.
        left_out: whether no window is shown only because T runs for each would take too long.
    """

    windows: Windows
    left_out: bool

    @classmethod
    def choose(cls, windows: Windows, contract: InputContract, n: int | None, affordable_runs: int) -> ShownWindows:
        """Choose how many of the windows, from the first on, are shown.

        Args:
            windows: the windows to choose from.
            contract: the input contract of the networks.
            n: the number of windows that the user asks for. None chooses as many real windows as `affordable_runs`
                allows, at most 64, or none if these are fewer than 8.
            affordable_runs: the number of runs of a window that take little time beside the rest of the command.
        """
        framed = contract.name == "frames" and windows.real
        affordable = min(affordable_runs // contract.shape[0], _MOST) if framed else 0
        count = n if n is not None else affordable if affordable >= _FEWEST else 0
        return cls(windows.first(count), left_out=framed and n is None and count == 0)

    def add_to(self, predictions: Predictions, network: Classifier, progress: Progress) -> Predictions:
        """Show the windows to a network; the classes become `shown` of its predictions for the whole windows.

        Nothing is shown to a network whose time steps are not known. The step only informs (`Progress.inform`).
        """
        if not len(self.windows) or not predictions.tells_steps:
            return predictions
        time_steps = predictions.early.shape[1]

        def show() -> Predictions:
            with progress.counted(f"show frames to {network.name}", len(self.windows)) as advance:
                shown = anytime.shown(network.run, self.windows, time_steps, network.size, advance)
            return dataclasses.replace(predictions, shown=shown)

        return progress.inform(f"predictions of {network.name} before the last frame of a window", show, predictions)


def missing(found: Sequence[Curve], time_steps: int, shown: ShownWindows) -> list[str]:
    """What is not known of how early the predictions of a network can be had, a sentence each.

    Args:
        found: the curves of the network.
        time_steps: T of the network.
        shown: the windows that it was shown frame by frame.
    """
    if not found:
        return [_UNKNOWN] if time_steps > 1 else []
    return [_NOT_SHOWN.format(counted(time_steps, "run"))] if shown.left_out else []


def curves(network: str, predictions: Predictions) -> list[Curve]:
    """The curves of a network's predictions: steps read, frames shown, or as many of these as are known.

    Args:
        network: the name of the network, for people.
        predictions: its predictions.
    """
    counted = {STEPS_READ: predictions.early, FRAMES_SHOWN: predictions.shown}
    found = (curve(network, how, classes, predictions.labels) for how, classes in counted.items())
    return [each for each in found if each]
