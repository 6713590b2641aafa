"""A comparison with the trained network as text for a terminal: the verdict, and its details."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from tcja_deploy.formatting import FEW, NBSP, percent, share_of, windows
from tcja_deploy.parity import wording
from tcja_deploy.parity.verdict import Parity, Report
from tcja_deploy.report.sections.anytime import meaning, quarters, settling
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.table import Rows, paragraph
from tcja_runtime.evidence.anytime import Curve


def verdict_text(report: Report, options: TextOptions = BRIEF) -> list[RenderableType]:
    """Return the verdict and what it does not prove, the accuracy, and what was judged, a line or more each.

    Args:
        report: the comparison.
        options: how it is told.
    """
    figures = [*wording.accuracy_change(report), *wording.early_predictions(report)]
    lines = [*figures, wording.judged(report), *report.not_run, *report.left_out]
    return [_verdict(report, options), *(paragraph(options.worded(line)) for line in lines)]


def details_text(report: Report, options: TextOptions = BRIEF) -> list[RenderableType]:
    """Return the details of a comparison: classes, early predictions, the spike flips by layer, and single figures.

    Args:
        report: the comparison.
        options: how it is told.
    """
    tables = [_classes(report)] if any(found.statistics for found in report.backends) else []
    early = _overview(report.anytime) if report.anytime else []
    lines = [*wording.accuracies(report), *wording.exactness(report), *map(wording.engine_output, report.engines)]
    lines += [*report.anytime_missing, *([wording.stepwise(report.stepwise)] if report.stepwise else [])]
    flips = [_flips(found, report) for found in report.backends]
    return [*tables, *early, *flips, *(paragraph(options.worded(line)) for line in lines)]


def _verdict(report: Report, options: TextOptions) -> Text:
    """Return the verdict and, if parity is met, what it does not prove."""
    if not report.met:
        return paragraph(wording.headline(report), style="bold red")
    met, said, more = wording.headline(report).partition("Parity met")
    text = paragraph(met + said, style="bold green")
    text.append(more, style="default")
    for caution in wording.cautions(report):
        text.append(f" {options.worded(caution)}", style="yellow")
    return text


def _classes(report: Report) -> Rows:
    """Return a table of each network's accuracy, and of the share of windows with the trained network's class."""
    title, rows = wording.classes(report)
    table = Rows(title, [""], ["accuracy", "same class"])
    for row in rows:
        table.add(*row)
    return table


def _flips(found: Parity, report: Report) -> Rows:
    """Return a table of the spike flips in a backend, by layer."""
    judged = f"{windows(report.windows)} ({report.source})"
    table = Rows(
        f"Spike flips in {found.backend}: {judged}, teacher-forced and free-running",
        ["layer"],
        ["neurons", "firing rate", "undecided", "flips", "unexplained", "free-running"],
    )
    for layer in found.layers:
        rate = sum(layer.spikes) / (layer.neurons * len(layer.spikes) * report.windows)
        undecided = f"{100 * layer.undecided_share(report.windows):.2g}{NBSP}%"
        counts = (layer.flips, layer.unexplained, layer.free_running_flips)
        table.add(layer.layer, f"{layer.neurons:,}", percent(rate), undecided, *(f"{sum(each):,}" for each in counts))
    return table


def _overview(found: Sequence[Curve]) -> list[RenderableType]:
    """Return a table of curves at a few time steps, and the meaning of each kind of curve."""
    some = quarters(len(found[0].same))
    labelled = ", and accuracy" if any(each.accuracy for each in found) else ""
    made = Rows(
        f"Windows that have their final class after the first t time steps{labelled}",
        [""],
        [*(f"t = {t}" for t in some), "settled from"],
    )
    for each in found:
        name = f"{each.network}, {each.counted}, {windows(each.windows)}"
        made.add(name, *(_short(each.same[t - 1], each.windows) for t in some), str(each.settled))
        if each.accuracy:
            right = (each.accuracy[t - 1] for t in some)
            made.add("  accuracy", *(_short(after.right, after.labelled) for after in right), "")
    return [made, paragraph(f"{meaning(found)} {settling(found)}")]


def _short(k: int, n: int) -> str:
    """Return a share as `share_of` does, but with one decimal, for a narrow column."""
    return share_of(k, n) if n < FEW else f"{100 * k / n:.1f}{NBSP}%"
