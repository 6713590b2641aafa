"""How early answers can be had (`tcja_runtime.evidence.anytime`): found for a network, and shown to people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tcja_deploy.console import Progress
from tcja_runtime.data.contract import Floats, InputContract, Labels
from tcja_runtime.data.samples import Windows
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import anytime
from tcja_runtime.evidence.agreement import Classes
from tcja_runtime.evidence.anytime import FRAMES_SHOWN, STEPS_READ, Curve, Predicted, curve, told

_MOST, _FEWEST = 64, 8
"""Windows that are shown unless others are asked for."""
_UNTOLD = (
    "How early an answer can be had is not known: no mean over time was found that the network answers with. One that "
    "returns [T, N, classes] tells."
)
_NOT_SHOWN = (
    "What could be answered before a window's last frame was not counted, as each window takes {} runs: `anytime` N "
    "does so for N of them."
)


def check(n: int | None, contract: InputContract) -> None:
    """Refuse a number of windows to show frame by frame.

    Raises:
        BadInput: it is negative, or the network takes no frames.
    """
    if n is not None and n < 0:
        raise BadInput(f"`anytime` {n} must be at least 0")
    if n and contract.name != "frames":
        raise BadInput(
            f"`anytime` {n} shows windows frame by frame, and the network takes {contract.name}; leave it out"
        )


class Shown:
    """Windows that networks are shown frame by frame.

    Args:
        windows: the first of them are shown.
        contract: of the networks.
        n: how many to show; None for as many real ones as `runs` allows, if that is enough to tell anything.
        runs: of a window, which are little beside what else is done.
        size: how many windows to run at once.
        progress: where progress is shown.
    """

    def __init__(
        self, windows: Windows, contract: InputContract, n: int | None, *, runs: int, size: int, progress: Progress
    ) -> None:
        framed = contract.name == "frames"
        affordable = min(runs // contract.shape[0], _MOST) if framed and windows.real else 0
        few = affordable if affordable >= _FEWEST else 0
        self.count = min(few if n is None else n, len(windows))
        self.left_out = framed and windows.real and n is None and not self.count
        self._windows, self._time_steps, self._size, self._progress = windows, contract.shape[0], size, progress

    def classes(self, who: str, run: Callable[[Floats], Predicted], predicted: Predicted) -> Classes:
        """What a network says of them when the first frames have come, [count, T]; nothing if it tells no steps.

        Args:
            who: the network, for people.
            run: it.
            predicted: what it says of the whole windows.
        """
        if not self.count or not told(predicted.early):
            return predicted.early[:0]
        with self._progress.counted(f"show frames to {who}", self.count) as advance:
            return anytime.shown(run, self._windows.first(self.count), self._time_steps, self._size, advance)


def untold(found: Sequence[Curve], time_steps: int, some: Shown) -> list[str]:
    """What is not known of how early the answers of a network that classifies can be had, a line each."""
    if not found:
        return [_UNTOLD] if time_steps > 1 else []
    return [_NOT_SHOWN.format(time_steps)] if some.left_out else []


def curves(network: str, predicted: Predicted, shown: Classes, labels: Labels | None) -> list[Curve]:
    """A network's, as far as they are told.

    Args:
        network: which, for people.
        predicted: its classes of windows.
        shown: those of the first of them when the first frames have come, [n, T].
        labels: of the windows.
    """
    found = (
        curve(network, how, early, labels) for how, early in ((STEPS_READ, predicted.early), (FRAMES_SHOWN, shown))
    )
    return [each for each in found if each]
