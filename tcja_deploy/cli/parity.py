"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcja_deploy.cli.flags import flagged
from tcja_deploy.console import table
from tcja_deploy.console import table as _table
from tcja_deploy.formatting import percent, windows
from tcja_deploy.parity.verdict import DYADIC, OutputParity, Report
from tcja_deploy.report.anytime import meaning, quarters
from tcja_runtime.evidence.anytime import SETTLED, Curve


def parity_text(report: Report) -> RenderableType:
    """Agreement, flips by layer, and the verdict."""
    judged = f"{windows(report.windows)} ({report.source})"
    parts = [_classes(report)] if any(found.statistics for found in report.backends) else []
    heads = [head for found in report.backends for head in (found.backend, "unexplained", "running free")]
    flips = _table(
        f"Spike flips in {judged}, each layer fed the trained network's spikes",
        ["layer"],
        ["neurons", "firing rate", "rounding decides", *heads],
    )
    for layers in zip(*(found.layers for found in report.backends), strict=True):
        layer = layers[0]
        rate = sum(layer.spikes) / (layer.neurons * len(layer.spikes) * report.windows)
        counts = (f"{sum(flips):,}" for each in layers for flips in (each.flips, each.unexplained, each.running_flips))
        near = f"{100 * layer.share_near(report.windows):.2g} %"
        flips.add_row(layer.layer, f"{layer.neurons:,}", percent(rate), near, *counts)
    early = [overview(report.anytime)] if report.anytime else []
    lines = [*_accuracy(report), *_exactness(report), *map(_engine_parity, report.engines), *report.untold]
    lines += [report.stepwise.text] if report.stepwise else []
    lines += [f"Not run: {why}" for why in report.not_run]
    return Group(*parts, *early, flips, *map(Text, map(flagged, lines)), verdict(report))


def _engine_parity(found: OutputParity) -> str:
    """The comparison of an engine, in a sentence or two."""
    if found.bounded:
        within = (
            f"is within the rounding bound in {found.decided - found.decided_beyond:,} of {found.decided:,} windows "
            "without an undecided neuron"
        )
    else:
        within = "need not be within the rounding bound, as it rounds to TF32"
    return (
        f"The output of engine {found.engine} {within}; it is beyond it in {found.undecided_beyond:,} of the other "
        f"{found.windows - found.decided:,}. Its largest difference is {found.output_difference:.2g}."
    )


def _classes(report: Report) -> Table:
    """How the networks classify."""
    found = next(found.statistics for found in report.backends if found.statistics)
    table = _table(f"Classes of {windows(found.windows)} ({found.source})", [""], ["accuracy", "same class"])
    table.add_row(report.reference, percent(report.accuracy))
    for parity in report.backends:
        table.add_row(parity.backend, percent(parity.accuracy), percent(parity.agreement))
    return table


def _exactness(report: Report) -> list[str]:
    """What was compared to the bit, and where free runs part."""
    lines = []
    for found in report.backends:
        dyadic = [signal for signal in found.signals if signal.scene == DYADIC]
        exact = sum(signal.exact for signal in dyadic)
        equal = sum(signal.exact and not signal.beyond for signal in dyadic)
        lines.append(f"With weights that leave no rounding, {equal} of {exact} signals are equal to the bit.")
        if found.divergence:
            at = found.divergence
            last = list(at.spikes.values())[-1]
            lines.append(
                f"Running free, {found.changed_windows:,} of {windows(report.windows)} have a flip in "
                f"{found.backend}; the first is in {at.layer}, window {at.window + 1}, time step {at.time_step}, and "
                f"{last:,} spikes of the last layer then differ."
            )
    return lines


def verdict(report: Report) -> Text:
    """One line: met or not, and why."""
    if not report.met:
        return Text(f"Parity not met: {report.why_not}", style="bold red")
    text = Text("Parity met", style="bold green")
    if sum(found.flips for found in report.backends):
        text.append(": rounding explains every spike that differs.", style="default")
    else:
        text.append(": not one spike differs.", style="default")
    if report.silent:
        text.append(f" No spike was seen in {', '.join(report.silent)}: this data proves little of it.", style="yellow")
    if not report.real:
        text.append(" No real data was used (--data), so accuracy is unknown.", style="yellow")
    unproven = [str(found.engine) for found in report.engines if not found.proven]
    if unproven:
        text.append(
            f" Of {', '.join(unproven)} the parts are proven; what the engine itself answers proves little, as "
            "rounding decides in every window, or TF32 does: give --data with labels, and look at the accuracy.",
            style="yellow",
        )
    if report.estimated:
        signals = ", ".join(report.estimated)
        text.append(f" What rounding explains is an estimate, not a bound, for {signals}.", style="yellow")
    return text


def _accuracy(report: Report) -> list[str]:
    """How sure the accuracy is, a line a backend with labels."""
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
                line += "; the bundle was exported with other data, so how the trained network classifies is not known"
            lines.append(f"{line}.")
    return lines


def overview(found: Sequence[Curve]) -> RenderableType:
    """Curves at a few numbers of steps, for a terminal."""
    some = quarters(len(found[0].same))
    made = table(
        "Windows that have their final class after the first t steps, and accuracy",
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
    """A share as a percentage with one digit, for a narrow column."""
    return "-" if share is None else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"
