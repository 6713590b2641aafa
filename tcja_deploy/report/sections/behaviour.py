"""The sections of the report on the trained network's behaviour: margins, firing rates, gates, lower precisions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tcja_deploy.formatting import fine_percent, percent, power, windows
from tcja_deploy.parity.verdict import LayerParity, Report
from tcja_deploy.report import plots
from tcja_deploy.report.html import Html, figure, joined, section, table, tag
from tcja_deploy.report.network_profile import MARGIN_EDGES, NetworkProfile
from tcja_exporters.precision.advice import Advice
from tcja_runtime.counting import agree, counted, listed


def margins(report: Report, profile: NetworkProfile) -> Html:
    """Return a section with a histogram for each layer: the distances |h - threshold| of its membranes.

    Distances are shares of the threshold. A dashed line marks the largest distance at which rounding explained a flip.
    The result is empty if no membranes were sampled.

    Args:
        report: the report of parity, for the dashed lines.
        profile: the behaviour of the network, for the histograms.
    """
    counts = {layer: found for layer, found in profile.margins.items() if sum(found)}
    if not counts:
        return Html()
    least = min(min(n for n in found if n) / sum(found) for found in counts.values())
    furthest: dict[str, float] = {}
    for layer in (layer for found in report.backends for layer in found.layers):
        furthest[layer.layer] = max(furthest.get(layer.layer, 0.0), layer.margin)
    edges = MARGIN_EDGES.tolist()
    # The axis begins a third of a decade below the smallest share, so that its bar has a height.
    floor = min(math.floor(math.log10(least) - 1 / 3), -1)
    panels = (
        figure(plots.histogram(_distances(layer, found), found, edges, floor, furthest.get(layer, 0.0)), layer)
        for layer, found in counts.items()
    )
    return section(
        "How near neurons come to their thresholds",
        _nearness(report, counts, max(furthest.values(), default=0.0)),
        figure(
            tag("div", *panels, class_="small"),
            "Horizontal axis: the distance of a membrane from the threshold when the two are compared, as a share of "
            f"the threshold. At 1 the membrane is zero or twice the threshold; at {power(-4)} it differs from the "
            "threshold by one part in ten thousand. Vertical axis: the share of the sampled membranes; each line is "
            "ten times the line below it. Dashed line: the largest distance at which rounding explained a flip. The "
            "first and the last bar hold all smaller and all larger distances.",
        ),
    )


_NEAR = -4
"""The distance for the conclusion of the section on margins, as a power of ten: one part in ten thousand."""


def _nearness(report: Report, counts: Mapping[str, Sequence[int]], furthest: float) -> str:
    """Return a sentence on the share of membranes that are very near to the threshold.

    Args:
        report: the report of parity, for the flips that were found.
        counts: by layer, the number of sampled margins in each bin.
        furthest: the largest distance at which rounding explained a flip, as a share of the threshold.
    """
    edge = int(np.argmin(np.abs(MARGIN_EDGES - 10.0**_NEAR)))
    near = {layer: sum(found[: edge + 1]) / sum(found) for layer, found in counts.items()}
    most = max(near, key=lambda layer: near[layer])
    if not near[most]:
        none = f"No sampled membrane is within {power(_NEAR)} of its threshold"
        flips = max(found.flips - found.unexplained for found in report.backends)
        if not flips:
            return f"{none}: small rounding errors can flip few spikes."
        return (
            f"{none}, so few spikes can flip by rounding. Among all neurons, not only the sampled ones, "
            f"{counted(flips, 'spike')} did, at most {furthest:.1g} of the threshold away."
        )
    return (
        f"In {most}, {fine_percent(near[most])} of the sampled membranes are within {power(_NEAR)} of the threshold, "
        "more than in any other layer: there, rounding flips spikes most easily."
    )


def _distances(layer: str, counts: Sequence[int]) -> str:
    """Return a description of a layer's histogram of margins, for screen readers."""
    total = sum(counts)
    nearest = next(i for i, n in enumerate(counts) if n)
    middle = next(i for i, seen in enumerate(itertools.accumulate(counts)) if 2 * seen >= total)
    near = f"none nearer than {MARGIN_EDGES[nearest - 1]:.1g}" if nearest else "some at the threshold itself"
    half = (
        f"half of them within {MARGIN_EDGES[middle]:.2g}" if middle < len(MARGIN_EDGES) else "half of them beyond 100"
    )
    return f"{layer}: distance of {total:,} membranes from the threshold, as a share of it: {near}, {half}"


def rates(layers: Sequence[LayerParity], count: int) -> Html:
    """Return a section with the firing rate of every layer, as a mean and by time step.

    Args:
        layers: the spiking layers, with the counts of the trained network's spikes.
        count: the number of windows in which the spikes were counted.
    """
    by_step = [[n / (layer.neurons * count) for n in layer.spikes] for layer in layers]
    means = [sum(rate) / len(rate) for rate in by_step]
    highest = max(means)
    rows = [
        (
            layer.layer,
            f"{layer.neurons:,}",
            percent(mean),
            plots.bar(mean / highest if highest else 0.0),
            plots.columns(
                f"{layer.layer} by time step: {', '.join(f'{100 * each:.3g} %' for each in rate)}",
                rate,
            ),
        )
        for layer, mean, rate in zip(layers, means, by_step, strict=True)
    ]
    silent = [layer.layer for layer, mean in zip(layers, means, strict=True) if not mean]
    conclusion = (
        f"{listed(silent)} never fired on these windows: nothing is known of {agree(len(silent), 'it', 'them')}."
        if silent
        else f"Every spiking layer fires, at {percent(min(means))} to {percent(highest)} of the time steps: the "
        "windows put all of them to work."
    )
    return section(
        "Firing rates of the trained network",
        conclusion,
        figure(
            table("Firing rates by layer", ["layer", "neurons", "rate", "", "by time step"], rows, numbers=(1, 2)),
            f"Spikes per neuron and time step, over all windows; the longest bar is {percent(highest)}. The small "
            "columns are the rates of the time steps; the highest column is the highest rate of the layer.",
            class_="bars",
        ),
    )


def gates(profile: NetworkProfile) -> Html:
    """Return a section with a map of the gate of every attention block; empty if the network has no attention."""
    found = {name: gate for name, gate in profile.gates.items() if gate and gate[0]}
    if not found:
        return Html()
    means = {name: sum(map(sum, gate)) / (len(gate) * len(gate[0])) for name, gate in found.items()}
    least = min(means, key=lambda name: means[name])
    return section(
        "What attention lets through",
        f"An attention block multiplies every channel, at every time step, by its gate; {least} lets "
        f"{percent(means[least])} through on average{', the least of all' if len(means) > 1 else ''}.",
        plots.scale("0, shut", "1, open"),
        *(_gate(name, gate, profile.windows) for name, gate in found.items()),
    )


def _gate(name: str, gate: Sequence[Sequence[float]], count: int) -> Html:
    means = [sum(row) / len(row) for row in gate]
    low, high = min(map(min, gate)), max(map(max, gate))
    least, most = (means.index(bound(means)) + 1 for bound in (min, max))
    steps, channels = len(gate), len(gate[0])
    values = f"from {low:.2f} to {high:.2f}, {sum(means) / steps:.2f} on average"
    extremes = f"; most open at time step {most} ({max(means):.2f}), least at {least} ({min(means):.2f})"
    label = f"Gate of {name}, {counted(steps, 'time step')} x {counted(channels, 'channel')}: {values}"
    caption = (
        f"Columns: channels, from 0. Rows: time steps, from 1. The mean of {windows(count)}, {values}"
        f"{extremes if steps > 1 else ''}."
    )
    return joined([tag("h3", name), figure(plots.map_of(label, gate), caption)])


def advice(profile: NetworkProfile) -> Html:
    """Return a section with the flips that are predicted for lower precisions; empty if none were predicted."""
    if not profile.advice:
        return Html()
    rows = [
        [layer, *(_per_thousand(each.per_spike[layer]) + " (keep)" * (layer in each.keep) for each in profile.advice)]
        for layer in profile.advice[0].per_spike
    ]
    heads = [f"{each.precision} (limit {1000 * each.limit:g})" for each in profile.advice]
    kept = any(each.keep for each in profile.advice)
    return section(
        "What lower precisions would flip",
        " ".join(_advised(each) for each in profile.advice),
        figure(
            table("Predicted flips for each 1,000 spikes", ["layer", *heads], rows, numbers=(1, 2)),
            "The predicted flips for each 1,000 spikes of a layer, teacher-forced. They are computed from the "
            "distances of the membranes from their thresholds on these windows, and from the rounding of weights and "
            "inputs. A coarser precision flips more spikes in every network, so each precision has a limit of its own. "
            "It is about twice the flips that were measured in a trained network whose accuracy they did not change."
            + " \u201cKeep\u201d: above the limit, better kept in float32."
            * kept,
        ),
    )


def _advised(found: Advice) -> str:
    """Return a sentence on the layers that should stay in float32 in a lower precision."""
    most = _per_thousand(max(found.per_spike.values()))
    flips = f"the worst layer would have {most} flips for each 1,000 spikes, and the limit for {found.precision} is "
    limit = f"{1000 * found.limit:g}"
    if not found.keep:
        return f"In {found.precision}, no layer needs to stay in float32: {flips}{limit}."
    return f"In {found.precision}, {listed(found.keep)} should stay in float32: {flips}{limit}."


def _per_thousand(per_spike: float) -> str:
    """Return a number of flips for each 1,000 spikes as text."""
    n = 1000 * per_spike
    if not math.isfinite(n):
        return "more than 999,999"
    return "< 0.01" if 0 < n < 0.005 else f"{n:,.2f}" if n < 10 else f"{n:,.0f}"
