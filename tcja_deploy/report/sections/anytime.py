"""The section of the report about how early a prediction can be had, and the meaning of its two kinds of curves."""

from __future__ import annotations

from collections.abc import Sequence

from tcja_deploy.formatting import FEW, percent, share_of
from tcja_deploy.report import html, plots
from tcja_deploy.report.html import Html, figure, joined, tag
from tcja_runtime.evidence.agreement import Accuracy, Interval
from tcja_runtime.evidence.anytime import FRAMES_SHOWN, SETTLED, STEPS_READ, Curve

_MEANING = {
    STEPS_READ: "the prediction from the output of the first time steps, when the network runs on whole windows. In a "
    "network with attention, later frames change these outputs, too.",
    FRAMES_SHOWN: "the prediction when the network runs on the first frames only, and the later frames are empty; a "
    "live system can compute it.",
}


def meaning(found: Sequence[Curve]) -> str:
    """Return a sentence for each kind of curve in a list, which says what the curve counts."""
    counted = {each.counted for each in found}
    return " ".join(f"{how.capitalize()}: {said}" for how, said in _MEANING.items() if how in counted)


def settling(found: Sequence[Curve]) -> str:
    """Return a sentence that says what it means that predictions are settled."""
    most = f"at least {100 * SETTLED:g} % of the windows have"
    few = [each.windows < FEW for each in found]
    who = "all windows have" if all(few) else f"{most} (of fewer than {FEW}, all)" if any(few) else most
    return f"Settled: from this time step on, {who} their final class."


def quarters(steps: int) -> list[int]:
    """Return the numbers of time steps for a short table: 1, and a quarter, half, three quarters and all of `steps`."""
    return sorted({1, *(max(1, round(steps * quarter / 4)) for quarter in (1, 2, 3)), steps})


def section(found: Sequence[Curve]) -> Html:
    """Return the section of the report about curves; empty if there are no curves."""
    if not found:
        return Html()
    same = [_line(each, found[0].network, each.agreement, None) for each in found]
    right = [
        _line(each, found[0].network, _shares(each), [after.interval for after in each.accuracy])
        for each in found
        if each.accuracy
    ]
    charts = {"Windows that have their final class": same, "Accuracy, with 95 % confidence": right}
    marks = quarters(len(found[0].same))
    panels = [figure(plots.chart(title, each, marks, "time step"), title) for title, each in charts.items() if each]
    heads, rows = _numbers(found)
    return html.section(
        "How early a prediction can be had",
        _conclusion(found[-1]),
        figure(
            joined([tag("div", *panels, class_="small charts"), plots.legend(same)]),
            f"{meaning(found)} {settling(found)}",
        ),
        html.table("When predictions are settled", *_settled(found), numbers=range(1, 5)),
        tag(
            "details",
            tag("summary", "After every step"),
            html.table("Predictions after every step", heads, rows, numbers=range(len(heads))),
        ),
    )


def _conclusion(curve: Curve) -> str:
    """Return a sentence on the time step from which the predictions of a curve are settled."""
    steps = len(curve.same)
    if curve.settled == steps:
        return (
            "The network needs all time steps: before the last one, too many windows do not have their final class yet."
        )
    return (
        f"After {curve.settled} of {steps} time steps the predictions of {curve.network} hardly change any more "
        f"({curve.counted})."
    )


def _line(each: Curve, reference: str, shares: Sequence[float], intervals: Sequence[Interval] | None) -> plots.Line:
    """Return the line of a curve in a chart.

    The line of the trained network (`reference`) is wide and lies under the other lines.
    """
    under = each.network == reference
    return plots.Line(
        name=f"{each.network}, {each.counted}",
        shares=shares,
        bands=None if under else intervals,
        other=each.counted == FRAMES_SHOWN,
        under=under,
    )


def _settled(found: Sequence[Curve]) -> tuple[list[str], list[list[str]]]:
    """Return the headings and rows of a table: for each curve, the time step from which its predictions are settled.

    Predictions are settled if nearly all windows have their final class (`Curve.settled`). If the windows have labels,
    further columns have the accuracy after this step and after all steps.
    """
    heads = ["", "windows", "settled from step"]
    rows = [[f"{each.network}, {each.counted}", f"{each.windows:,}", str(each.settled)] for each in found]
    if any(each.accuracy for each in found):
        heads += ["accuracy there", "accuracy after all"]
        for each, row in zip(found, rows, strict=True):
            both = (each.settled, len(each.same))
            row += [_right(each.accuracy[t - 1]) if each.accuracy else "-" for t in both]
    return heads, rows


def _numbers(found: Sequence[Curve]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the headings and rows of a table of the shares of all curves after every time step."""
    heads, columns = ["step"], [[str(t + 1) for t in range(len(found[0].same))]]
    for each in found:
        called = f"{each.network}, {each.counted}"
        heads.append(f"{called}: final class")
        columns.append([share_of(same, each.windows) for same in each.same])
        if each.accuracy:
            heads.append(f"{called}: accuracy")
            columns.append([_with_interval(after) for after in each.accuracy])
    return heads, list(zip(*columns, strict=True))


def _shares(each: Curve) -> list[float]:
    """Return the accuracy after each number of time steps, from 0 to 1."""
    return [after.share for after in each.accuracy if after.share is not None]


def _right(accuracy: Accuracy) -> str:
    return share_of(accuracy.right, accuracy.labelled)


def _with_interval(accuracy: Accuracy) -> str:
    """Return an accuracy and its confidence interval as text, such as "2 of 4 (15.00 % to 85.00 %)"."""
    low, high = accuracy.interval
    return f"{_right(accuracy)} ({percent(low)} to {percent(high)})"
