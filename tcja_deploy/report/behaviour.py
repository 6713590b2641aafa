"""The sections of the report on the trained network's behaviour: margins, firing rates, gates, lower precisions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from tcja_deploy.formatting import counted, fine_percent, percent, power, windows
from tcja_deploy.parity.verdict import LayerParity, Report
from tcja_deploy.report import plots
from tcja_deploy.report.html import Html, figure, joined, section, table, tag
from tcja_deploy.report.network_profile import MARGIN_EDGES, NetworkProfile


def margins(report: Report, profile: NetworkProfile) -> Html:
    """A histogram for each layer of its neurons' distances from the threshold; empty without samples."""
    counts = {layer: found for layer, found in profile.margins.items() if sum(found)}
    if not counts:
        return Html()
    least = min(min(n for n in found if n) / sum(found) for found in counts.values())
    furthest: dict[str, float] = {}
    for layer in (layer for found in report.backends for layer in found.layers):
        furthest[layer.layer] = max(furthest.get(layer.layer, 0.0), layer.margin)
    edges = MARGIN_EDGES.tolist()
    # A third of a decade below the smallest share, or its bar would have no height.
    floor = min(math.floor(math.log10(least) - 1 / 3), -1)
    panels = (
        figure(plots.histogram(_distances(layer, found), found, edges, floor, furthest.get(layer, 0.0)), layer)
        for layer, found in counts.items()
    )
    return section(
        "How near neurons come to their thresholds",
        figure(
            tag("div", *panels, class_="small"),
            "Across: the distance of a membrane from the threshold, just before the neuron fires or not, as a share of "
            f"the threshold. At 1 the membrane is zero or twice the threshold; at {power(-4)} one part in ten thousand "
            "decides. Up: the share of the sampled membranes; each line is ten times the one below. Dashed line: the "
            "largest distance of a flip that rounding explained. The outer bars hold all smaller and all larger "
            "distances.",
        ),
    )


def _distances(layer: str, counts: Sequence[int]) -> str:
    """A histogram of margins in words."""
    total = sum(counts)
    nearest = next(i for i, n in enumerate(counts) if n)
    middle = next(i for i, seen in enumerate(itertools.accumulate(counts)) if 2 * seen >= total)
    near = f"none nearer than {MARGIN_EDGES[nearest - 1]:.1g}" if nearest else "some at the threshold itself"
    half = (
        f"half of them within {MARGIN_EDGES[middle]:.2g}" if middle < len(MARGIN_EDGES) else "half of them beyond 100"
    )
    return f"{layer}: distance of {total:,} membranes from the threshold, as a share of it: {near}, {half}"


def rates(layers: Sequence[LayerParity], count: int) -> Html:
    """The firing rate of every layer, and its rate by time step.

    Args:
        layers: the spiking layers with the reference's spikes.
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
    return section(
        "Firing rates of the trained network",
        figure(
            table("Firing rates by layer", ["layer", "neurons", "rate", "", "by time step"], rows, numbers=(1, 2)),
            f"Spikes per neuron and time step, over all windows; the longest bar is {percent(highest)}. The small "
            "columns are the time steps, drawn from zero to the layer's highest rate.",
            class_="bars",
        ),
    )


def gates(profile: NetworkProfile) -> Html:
    """A map of the gate of every attention block; empty without attention."""
    found = {name: gate for name, gate in profile.gates.items() if gate and gate[0]}
    if not found:
        return Html()
    return section(
        "What attention lets through",
        tag("p", "An attention block multiplies every channel, at every time step, by its gate."),
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
        f"Across: channels, from 0. Down: time steps, from 1. The mean of {windows(count)}, {values}"
        f"{extremes if steps > 1 else ''}."
    )
    return joined([tag("h3", name), figure(plots.map_of(label, gate), caption)])


def advice(profile: NetworkProfile) -> Html:
    """The predicted flips in lower precisions; empty where none were predicted."""
    if not profile.advice:
        return Html()
    rows = [
        [layer, *(fine_percent(each.flips[layer]) + " (keep)" * (layer in each.keep) for each in profile.advice)]
        for layer in profile.advice[0].flips
    ]
    kept = [f"{each.precision}: {', '.join(each.keep) or 'none'}" for each in profile.advice]
    return section(
        "What lower precisions would flip",
        tag("p", f"Layers better kept in float32. {'. '.join(kept)}."),
        figure(
            table("Predicted flips", ["layer", *(each.precision for each in profile.advice)], rows, numbers=(1, 2)),
            "The predicted share of neurons and time steps that would fire otherwise, teacher-forced. It follows from "
            "the distances of the membranes from their thresholds on these windows, and from the rounding of weights "
            "and inputs.",
        ),
    )
