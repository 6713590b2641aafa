"""How early answers can be had (`tcja_runtime.evidence.anytime`): found for a network, and shown to people."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tcja_deploy import drawings
from tcja_deploy.console import Steps
from tcja_deploy.drawings import Html, figure, joined, tag
from tcja_deploy.formatting import percent
from tcja_runtime.data.contract import Floats, InputContract, Labels
from tcja_runtime.data.samples import Windows
from tcja_runtime.errors import BadInput
from tcja_runtime.evidence import anytime
from tcja_runtime.evidence.agreement import Classes, Interval
from tcja_runtime.evidence.anytime import FRAMES_SHOWN, SETTLED, STEPS_READ, Curve, Predicted, curve, told

_MOST, _FEWEST = 64, 8
"""Windows that are shown unless others are asked for."""
_UNTOLD = (
    "How early an answer can be had is not known: no mean over time was found that the network answers with. One that "
    "returns [T, N, classes] tells."
)
_NOT_SHOWN = (
    "What could be answered before a window's last frame was not counted, as each window takes {} runs: --anytime N "
    "does so for N of them."
)
_MEANING = {
    STEPS_READ: "the answer of the first steps of whole windows, in which attention, where there is any, has mixed "
    "what came later into each step.",
    FRAMES_SHOWN: "the answer when only the first frames have come, the others being empty, which is what a live "
    "system can know.",
}


def meaning(found: Sequence[Curve]) -> str:
    counted = {each.counted for each in found}
    return " ".join(f"{how.capitalize()}: {said}" for how, said in _MEANING.items() if how in counted)


def check(n: int | None, contract: InputContract) -> None:
    """Refuse a number of windows to show frame by frame.

    Raises:
        BadInput: it is negative, or the network takes no frames.
    """
    if n is not None and n < 0:
        raise BadInput(f"--anytime {n} must be at least 0")
    if n and contract.name != "frames":
        raise BadInput(
            f"--anytime {n} shows windows frame by frame, and the network takes {contract.name}; leave it out"
        )


class Shown:
    """Windows that networks are shown frame by frame.

    Args:
        windows: the first of them are shown.
        contract: of the networks.
        n: how many to show; None for as many real ones as `runs` allows, if that is enough to tell anything.
        runs: of a window, which are little beside what else is done.
        size: how many windows to run at once.
        steps: where progress is shown.
    """

    def __init__(
        self, windows: Windows, contract: InputContract, n: int | None, *, runs: int, size: int, steps: Steps
    ) -> None:
        framed = contract.name == "frames"
        affordable = min(runs // contract.shape[0], _MOST) if framed and windows.real else 0
        few = affordable if affordable >= _FEWEST else 0
        self.count = min(few if n is None else n, len(windows))
        self.left_out = framed and windows.real and n is None and not self.count
        self._windows, self._time_steps, self._size, self._steps = windows, contract.shape[0], size, steps

    def classes(self, who: str, run: Callable[[Floats], Predicted], predicted: Predicted) -> Classes:
        """What a network says of them when the first frames have come, [count, T]; nothing if it tells no steps.

        Args:
            who: the network, for people.
            run: it.
            predicted: what it says of the whole windows.
        """
        if not self.count or not told(predicted.early):
            return predicted.early[:0]
        with self._steps.counted(f"show frames to {who}", self.count) as advance:
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


def _some(steps: int) -> list[int]:
    """The first step, the last, and the quarters between."""
    return sorted({1, *(max(1, round(steps * quarter / 4)) for quarter in (1, 2, 3)), steps})


def section(found: Sequence[Curve]) -> Html:
    """Curves for the report; empty for none."""
    if not found:
        return Html()
    same = [_line(each, found[0].network, each.agreement, None) for each in found]
    right = [
        _line(each, found[0].network, each.accuracy, each.accuracy_interval)
        for each in found
        if each.accuracy is not None
    ]
    charts = {"Windows that have their final class": same, "Accuracy, with 95 % confidence": right}
    marks = _some(len(found[0].same))
    panels = [figure(drawings.chart(title, each, marks, "time step"), title) for title, each in charts.items() if each]
    heads, rows = _numbers(found)
    return tag(
        "section",
        tag("h2", "How early an answer can be had"),
        figure(joined([tag("div", *panels, class_="small charts"), drawings.legend(same)]), meaning(found)),
        drawings.table("When answers are settled", *_settled(found), numbers=range(1, 5)),
        tag(
            "details",
            tag("summary", "After every step"),
            drawings.table("Answers after every step", heads, rows, numbers=range(len(heads))),
        ),
    )


def _line(each: Curve, reference: str, shares: Sequence[float], intervals: Sequence[Interval] | None) -> drawings.Line:
    """A curve in a chart: the reference's wide, so that others, which should lie on it, do not hide it."""
    under = each.network == reference
    return drawings.Line(
        name=f"{each.network}, {each.counted}",
        shares=shares,
        bands=None if under else intervals,
        other=each.counted == FRAMES_SHOWN,
        under=under,
    )


def _settled(found: Sequence[Curve]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table that says from which step on answers hardly change."""
    heads = ["", "windows", f"{100 * SETTLED:g} % settled from step"]
    rows = [[f"{each.network}, {each.counted}", f"{each.windows:,}", str(each.settled)] for each in found]
    if any(each.accuracy is not None for each in found):
        heads += ["accuracy there", "accuracy after all"]
        for each, row in zip(found, rows, strict=True):
            row += [percent(each.accuracy[t - 1]) if each.accuracy else "-" for t in (each.settled, len(each.same))]
    return heads, rows


def _numbers(found: Sequence[Curve]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Heads and rows of a table of everything."""
    heads, columns = ["step"], [[str(t + 1) for t in range(len(found[0].same))]]
    for each in found:
        called = f"{each.network}, {each.counted}"
        heads.append(f"{called}: final class")
        columns.append([percent(share) for share in each.agreement])
        if each.accuracy is not None and each.accuracy_interval is not None:
            heads.append(f"{called}: accuracy")
            shares = zip(each.accuracy, each.accuracy_interval, strict=True)
            columns.append([f"{percent(share)} ({percent(low)} to {percent(high)})" for share, (low, high) in shares])
    return heads, list(zip(*columns, strict=True))
