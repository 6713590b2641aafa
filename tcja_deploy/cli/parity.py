"""A comparison with the trained network as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcja_deploy.cli.options import flagged
from tcja_deploy.console import empty_table
from tcja_deploy.formatting import percent, windows
from tcja_deploy.parity.failures import EXACT
from tcja_deploy.parity.verdict import OutputParity, Report
from tcja_deploy.report.anytime import meaning, quarters
from tcja_runtime.evidence.anytime import SETTLED, Curve


def parity_text(report: Report) -> RenderableType:
    """Return a comparison as text: classes, early predictions, spike flips by layer, and the verdict."""
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
    early = [overview(report.anytime)] if report.anytime else []
    lines = [*_accuracy(report), *_exactness(report), *map(_engine_parity, report.engines), *report.untold]
    lines += [report.stepwise.text] if report.stepwise else []
    lines += [f"Not run: {why}" for why in report.not_run]
    return Group(*parts, *early, flips, *map(Text, map(flagged, lines)), verdict(report))


def _engine_parity(found: OutputParity) -> str:
    """Return the comparison of an engine's output, in two sentences."""
    if found.bounded:
        within = (
            f"is within the rounding bound in {found.decided - found.decided_beyond:,} of {found.decided:,} windows "
            "without an undecided neuron"
        )
    else:
        within = "need not be within the rounding bound, as it rounds to TF32"
    return (
        f"The output of engine {found.engine} {within}; it is beyond the bound in {found.undecided_beyond:,} of the "
        f"{found.windows - found.decided:,} other windows. Its largest difference is {found.output_difference:.2g}."
    )


def _classes(report: Report) -> Table:
    """Return a table of each network's accuracy, and of the share of windows with the trained network's class."""
    found = next(found.statistics for found in report.backends if found.statistics)
    table = empty_table(f"Classes of {windows(found.windows)} ({found.source})", [""], ["accuracy", "same class"])
    table.add_row(report.reference, percent(report.accuracy))
    for parity in report.backends:
        table.add_row(parity.backend, percent(parity.accuracy), percent(parity.agreement))
    return table


def _exactness(report: Report) -> list[str]:
    """Return sentences on each backend: signals equal to the bit on the exact stimulus, and how large inputs were.

    If a spike flips in the free-running network, a sentence on the first flip follows.
    """
    lines = []
    for found in report.backends:
        signals = [signal for signal in found.signals if signal.scene == EXACT and signal.exact]
        equal = sum(not signal.beyond for signal in signals)
        lines.append(f"On the exact stimulus, {equal} of {len(signals)} signals are equal to the bit.")
        counts = f"counts of up to {report.largest_count:,}, and " if report.largest_count else ""
        lines.append(f"Judged in {found.backend} for {counts}batches of up to {windows(found.largest_batch)}.")
        if found.divergence:
            at = found.divergence
            last = list(at.spikes.values())[-1]
            lines.append(
                f"Free-running, {found.changed_windows:,} of {windows(report.windows)} have a flip in "
                f"{found.backend}; the first is in {at.layer}, window {at.window + 1}, time step {at.time_step}, and "
                f"{last:,} spikes of the last layer then differ."
            )
    return lines


def verdict(report: Report) -> Text:
    """Return the verdict as text: parity is not met and why, or it is met, and how much the data proves."""
    if not report.met:
        return Text(f"Parity not met: {report.why_not}", style="bold red")
    text = Text("Parity met", style="bold green")
    if sum(found.flips for found in report.backends):
        text.append(": rounding explains every spike that differs.", style="default")
    else:
        text.append(": not one spike differs.", style="default")
    if report.silent:
        layers = ", ".join(report.silent)
        text.append(f" This data proves little about {layers}: no spike was seen there.", style="yellow")
    if not report.real:
        text.append(" No real data was used (--data), so accuracy is unknown.", style="yellow")
    unproven = [str(found.engine) for found in report.engines if not found.proven]
    if unproven:
        text.append(
            f" The parts of {', '.join(unproven)} are proven. The comparison of the output proves little: every window "
            "has an undecided neuron, or TF32 has no bounds: give --data with labels, and look at the "
            "accuracy.",
            style="yellow",
        )
    if report.estimated:
        signals = ", ".join(report.estimated)
        text.append(f" The rounding bounds of {signals} are estimates.", style="yellow")
    return text


def _accuracy(report: Report) -> list[str]:
    """Return a sentence on the confidence interval of the accuracy for each backend; empty without labels."""
    lines = []
    for found in report.backends:
        statistics = found.statistics
        if statistics and statistics.accuracy.labelled:
            low, high = statistics.accuracy.interval
            line = f"Accuracy in {found.backend}: {percent(low)} to {percent(high)} with 95 % confidence"
            if statistics.compared:
                line += (
                    f"; right only before the export {statistics.only_original:,}, only after it "
                    f"{statistics.only_exported:,} (McNemar's p = {statistics.p_value:.2g})"
                )
            else:
                line += "; the trained network's is not known, because the bundle was exported with other data"
            lines.append(f"{line}.")
    return lines


def overview(found: Sequence[Curve]) -> RenderableType:
    """Return a table of curves at a few time steps, and the meaning of each kind of curve."""
    some = quarters(len(found[0].same))
    made = empty_table(
        "Windows that have their final class after the first t time steps, and accuracy",
        [""],
        [*(f"t = {t}" for t in some), f"{100 * SETTLED:g} % from"],
    )
    for each in found:
        name = f"{each.network}, {each.counted}, {each.windows:,} windows"
        made.add_row(name, *(_short(each.agreement[t - 1]) for t in some), str(each.settled))
        if each.accuracy:
            made.add_row("  accuracy", *(_short(each.accuracy[t - 1].share) for t in some))
    return Group(made, Text(meaning(found)))


def _short(share: float | None) -> str:
    """Return a share as a percentage with one decimal, for a narrow column; a dash for None."""
    return "-" if share is None else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
