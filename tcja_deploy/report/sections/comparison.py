"""The sections of the report that compare the exported network with the trained one: spike flips and signals."""

from __future__ import annotations

from tcja_deploy.formatting import NBSP, fine_percent
from tcja_deploy.parity.failures import EXACT, RANDOM, RANGE, WIDE, WINDOWS
from tcja_deploy.parity.verdict import Divergence, Parity, Report, SignalParity
from tcja_deploy.report import plots
from tcja_deploy.report.html import Html, figure, joined, section, table, tag
from tcja_deploy.report.plots import FlipRow
from tcja_runtime.counting import agree, counted, listed

_SCENES = {
    WINDOWS: "windows",
    RANDOM: "random stimulus",
    EXACT: "exact stimulus",
    RANGE: "range stimulus",
    WIDE: "large batch",
}


def _of(title: str, report: Report, found: Parity) -> str:
    """Return the title of a section. If there are several backends, it names the backend."""
    return title if len(report.backends) == 1 else f"{title}: {found.backend}"


def flips(report: Report, found: Parity, *, mixes: bool) -> Html:
    """Return the section on the flips in one backend: where they arise, and how they spread.

    Args:
        report: the whole report.
        found: the comparison in one backend.
        mixes: whether the network has attention, which mixes its time steps.
    """
    rows = [
        FlipRow(
            layer=layer.layer,
            flips=layer.flips,
            unexplained=layer.unexplained,
            facts=[
                f"{sum(layer.flips):,}",
                f"{sum(layer.unexplained):,}",
                fine_percent(layer.undecided_share(report.windows)),
            ],
        )
        for layer in found.layers
    ]
    return section(
        _of("Where spikes flip", report, found),
        _flipped(found),
        tag(
            "p",
            "A flip is a neuron that fires at a time step in one network and not in the other. Here every layer is "
            "teacher-forced: it is fed the trained network's spikes, so that only rounding can separate the two.",
        ),
        figure(
            plots.heat_map("Flips by layer and time step", rows, ["all", "unexplained", "undecided"]),
            "Flips by layer and time step. A stronger colour means more flips; a dot means none. \u201c5 !2\u201d in a "
            "frame means 5 flips, of which rounding does not explain 2. Undecided: the share of neurons and time steps "
            "so near the threshold that rounding decides whether they fire. The smaller it is, the more the check "
            "proves.",
        ),
        tag("h3", "Free-running"),
        *_free_running(found, mixes=mixes),
    )


def _flipped(found: Parity) -> str:
    """Return a sentence on the flips of all layers."""
    if found.unexplained:
        wrong = [layer.layer for layer in found.layers if sum(layer.unexplained)]
        return (
            f"Rounding does not explain {counted(found.unexplained, 'flip')}, in {listed(wrong)}: the export has a bug."
        )
    if found.flips:
        return (
            f"Rounding explains {agree(found.flips, 'the', 'all')} {counted(found.flips, 'flip')}: each layer computes "
            "what it was trained to."
        )
    return "Not one spike flips: each layer computes what it was trained to."


def _free_running(found: Parity, *, mixes: bool) -> list[Html]:
    fed = "Free-running, every layer is fed the exported network's own spikes."
    start = found.divergence
    if start is None:
        return [tag("p", f"{fed} The network then fires every spike of the trained one.")]
    rows = [
        FlipRow(
            layer=layer.layer,
            flips=layer.free_running_flips,
            unexplained=[0] * len(layer.free_running_flips),
            facts=[f"{sum(layer.free_running_flips):,}", f"{start.spikes.get(layer.layer, 0):,}"],
        )
        for layer in found.layers
    ]
    heads = ["all", f"in window {start.window}"]
    mixed = " Attention mixes all time steps, so after it a late flip changes earlier steps too." if mixes else ""
    return [
        tag("p", f"{fed} {_spread(start)}"),
        figure(
            plots.heat_map("Flips by layer and time step, free-running", rows, heads),
            f"Flips of all windows, free-running. They show how a flip spreads, not where it arises.{mixed}",
        ),
    ]


def _spread(start: Divergence) -> str:
    """Return sentences on the first flip of the free-running network and its consequences."""
    last = list(start.spikes)[-1]
    most = max(start.spikes, key=lambda name: start.spikes[name])
    first = start.spikes[start.layer]
    spread = [f"{counted(first, 'spike')} of {start.layer} differ{'s' * (first == 1)}"]
    if most not in (start.layer, last):
        spread.append(f"{start.spikes[most]:,} of {most}, the most of all layers")
    if last != start.layer:
        spread.append(f"{start.spikes[last]:,} of {last}, the last layer")
    return (
        f"The network first differs in {start.layer}, in window {start.window} (from 0), time step {start.time_step} "
        f"(from 1). In that window {'; '.join(spread)}. A flip changes the layers after it."
    )


def signals(report: Report, found: Parity) -> Html:
    """Return the section on the largest difference of every signal in one backend.

    Its columns are the windows, the stimuli, and the random stimulus in a large batch.
    """
    cells = {(signal.signal, signal.scene): _difference(signal) for signal in found.signals}
    scenes = list(dict.fromkeys([*_SCENES, *(scene for _, scene in cells)]))
    scenes = [scene for scene in scenes if any(scene == other for _, other in cells)]
    rows = [
        [signal, *(cells.get((signal, scene), "-") for scene in scenes)]
        for signal in dict.fromkeys(signal for signal, _ in cells)
    ]
    heads = ["signal", *(_SCENES.get(scene, scene) for scene in scenes)]
    beyond = any(signal.beyond for signal in found.signals)
    return section(
        _of("Differences of signals, as shares of their rounding bounds", report, found),
        _within(found),
        figure(
            table("Largest difference of every signal", heads, rows),
            "Signals are the input currents of the layers, the parts of attention blocks, and the output, all "
            "teacher-forced. A cell shows the largest difference from the trained network, as a share of the rounding "
            f"bound; it must stay below 100{NBSP}%. Random stimulus: random spikes. Exact stimulus: random spikes and "
            "weights with which the sums of a layer have no rounding. Range stimulus: inputs up to the largest counts. "
            "Large batch: the random stimulus, repeated. \u201cTo the bit\u201d: nothing is rounded, and "
            "every bit is equal."
            + " \u201cBeyond\u201d: the number of values that differ by more than the bound."
            * beyond,
            class_="shares",
        ),
    )


def _within(found: Parity) -> str:
    """Return a sentence on the signal that comes nearest to its rounding bound, or is beyond it."""
    beyond = [signal.signal for signal in found.signals if signal.beyond]
    if beyond:
        wrong = list(dict.fromkeys(beyond))
        return f"Rounding does not explain the values of {listed(wrong)}: the export has a bug."
    rounded = [signal for signal in found.signals if not signal.exact]
    if not rounded:
        return "Every signal is equal to the bit."
    most = max(rounded, key=lambda signal: signal.share)
    return (
        f"Rounding explains every difference: the largest one, in {most.signal}, is {fine_percent(most.share)} of what "
        f"rounding can cause."
    )


def _difference(signal: SignalParity) -> Html:
    if signal.beyond:
        return tag("span", f"! {signal.beyond:,} of {signal.seen:,} beyond", class_="alert")
    if signal.exact:
        return tag("span", "to the bit", class_="soft")
    return joined([tag("span", f"{fine_percent(signal.share)} of the bound"), plots.bar(signal.share)])
