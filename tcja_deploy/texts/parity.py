"""A comparison with the trained network as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcja_deploy.console import empty_table
from tcja_deploy.formatting import FEW, NBSP, percent, share_of, windows
from tcja_deploy.parity import wording
from tcja_deploy.parity.verdict import Report
from tcja_deploy.report.sections.anytime import meaning, quarters, settling
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_runtime.evidence.anytime import Curve


def parity_text(report: Report, options: TextOptions = BRIEF) -> RenderableType:
    """Return a comparison as text: classes, early predictions, spike flips by layer, and the verdict.

    Args:
        report: the comparison.
        options: how it is told.
    """
    judged = f"{windows(report.windows)} ({report.source})"
    parts = [_classes(report)] if any(found.statistics for found in report.backends) else []
    heads = [head for found in report.backends for head in (found.backend, "unexplained", "free-running")]
    flips = empty_table(
        f"Spike flips in {judged}, teacher-forced",
        ["layer"],
        ["neurons", "firing rate", "undecided", *heads],
    )
    for layers in zip(*(found.layers for found in report.backends), strict=True):
        layer = layers[0]
        rate = sum(layer.spikes) / (layer.neurons * len(layer.spikes) * report.windows)
        undecided = f"{100 * layer.undecided_share(report.windows):.2g} %"
        counts = [each for found in layers for each in (found.flips, found.unexplained, found.free_running_flips)]
        flips.add_row(
            layer.layer, f"{layer.neurons:,}", percent(rate), undecided, *(f"{sum(each):,}" for each in counts)
        )
    early = [_overview(report.anytime)] if report.anytime else []
    lines = [*wording.accuracies(report), *wording.exactness(report), *map(wording.engine_output, report.engines)]
    lines += [*report.anytime_missing, *([wording.stepwise(report.stepwise)] if report.stepwise else [])]
    lines += [*report.not_run, *report.left_out]
    return Group(*parts, *early, flips, *map(Text, map(options.worded, lines)), _verdict(report, options))


def _classes(report: Report) -> Table:
    """Return a table of each network's accuracy, and of the share of windows with the trained network's class."""
    title, rows = wording.classes(report)
    table = empty_table(title, [""], ["accuracy", "same class"])
    for row in rows:
        table.add_row(*row)
    return table


def _verdict(report: Report, options: TextOptions = BRIEF) -> Text:
    """Return the verdict as text and, if parity is met, how much it proves."""
    if not report.met:
        return Text(wording.headline(report), style="bold red")
    met, said, more = wording.headline(report).partition("Parity met")
    text = Text(met + said, style="bold green")
    text.append(more, style="default")
    for caution in wording.cautions(report):
        text.append(f" {options.worded(caution)}", style="yellow")
    return text


def _overview(found: Sequence[Curve]) -> RenderableType:
    """Return a table of curves at a few time steps, and the meaning of each kind of curve."""
    some = quarters(len(found[0].same))
    labelled = ", and accuracy" if any(each.accuracy for each in found) else ""
    made = empty_table(
        f"Windows that have their final class after the first t time steps{labelled}",
        [""],
        [*(f"t = {t}" for t in some), "settled from"],
    )
    for each in found:
        name = f"{each.network}, {each.counted}, {windows(each.windows)}"
        made.add_row(name, *(_short(each.same[t - 1], each.windows) for t in some), str(each.settled))
        if each.accuracy:
            right = (each.accuracy[t - 1] for t in some)
            made.add_row("  accuracy", *(_short(after.right, after.labelled) for after in right))
    return Group(made, Text(f"{meaning(found)} {settling(found)}"))


def _short(k: int, n: int) -> str:
    """Return a share as `share_of` does, but with one decimal, for a narrow column."""
    return share_of(k, n) if n < FEW else f"{100 * k / n:.1f}{NBSP}%"
