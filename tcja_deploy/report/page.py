"""report.html: a bundle's evidence for people, in one file that loads nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from tcja_deploy import formatting
from tcja_deploy.formatting import percent
from tcja_deploy.parity.verdict import DRAWN, DYADIC, WINDOWS, LayerParity, Parity, Report, SignalParity
from tcja_deploy.report import anytime, html, plots
from tcja_deploy.report.html import Html, figure, joined, table, tag
from tcja_deploy.report.network_profile import MARGIN_EDGES, NetworkProfile
from tcja_deploy.report.plots import Counted
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.evidence.agreement import Agreement

_SHOWN = 8  # failures before the rest is folded away
_SCENES = {WINDOWS: "on the windows", DRAWN: "on drawn spikes", DYADIC: "on drawn spikes and weights"}
_NO_CLASS = "it does not classify"
_NBSP = "\N{NO-BREAK SPACE}"


def render(manifest: Manifest, report: Report, profile: NetworkProfile) -> str:
    """The report of a bundle as an HTML document."""
    title = f"{manifest.network}: exported from {manifest.checkpoint['name']}"
    return html.page(
        title,
        tag("h1", title),
        _verdict(report),
        *(_tiles(report, found) for found in report.backends),
        *(_flips(report, found, bool(profile.gates)) for found in report.backends),
        anytime.section(report.anytime),
        _margins(report, profile),
        _rates(report.backends[0].layers, report.windows),
        _gates(profile, report.windows),
        *(_signals(report, found) for found in report.backends),
        *_advice(profile),
        _network(manifest, report),
        _origin(manifest),
    )


def _about(share: float) -> str:
    """A share in two digits, however small, without an exponent."""
    if not math.isfinite(share):
        return str(share)
    digits = max(0, 1 - math.floor(math.log10(100 * share))) if share > 0 else 0
    return f"{100 * share:.{digits}f}{_NBSP}%"


def _number(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _short(n: int) -> str:
    """A count that fits a tile."""
    return f"{n:,}" if n < 1_000_000 else formatting.compact(n)


def _section(title: str, *content: Html) -> Html:
    return tag("section", tag("h2", title), *content)


def _of(title: str, report: Report, found: Parity) -> str:
    """A title, with the backend where there are several."""
    return title if len(report.backends) == 1 else f"{title}: {found.backend}"


def _verdict(report: Report) -> Html:
    """Met or not and why, and what the figures were measured on."""
    failures, flips = report.failures, sum(found.flips for found in report.backends)
    why: list[Html] = []
    if report.met:
        differ = f"{_number(flips, 'spike')} that differ{'s' * (flips == 1)}"
        end = f"; rounding explains the {differ}" if flips else ", every one of them"
        verdict = f"\u2713 Parity met: the exported network fires the trained network's spikes{end}."
    elif len(failures) == 1:
        verdict = f"\u2717 Parity not met: {failures[0]}."
    else:
        verdict = f"\u2717 Parity not met, for {len(failures)} reasons:"
        why = _folded([tag("li", failure) for failure in failures])
    windows = f"{_number(report.windows, 'window')}{' of real data' if report.real else ''}"
    judged = f"Judged spike by spike against {report.reference}, on {windows} ({report.source})."
    lines = [judged, *_classified(report), *_cautions(report)]
    return tag(
        "div",
        tag("p", verdict),
        *why,
        *(tag("p", line) for line in lines),
        class_=f"verdict {'met' if report.met else 'unmet'}",
    )


def _folded(items: Sequence[Html]) -> list[Html]:
    """A list of which the first few are seen at once."""
    shown, more = items[:_SHOWN], items[_SHOWN:]
    fold = tag("details", tag("summary", f"and {len(more)} more"), tag("ul", *more))
    return [tag("ul", *shown), *([fold] if more else [])]


def _cautions(report: Report) -> list[str]:
    """What the verdict does not say."""
    lines = []
    if not report.real:
        lines.append("No real data was used, so nothing is known of accuracy.")
    for found in report.backends:
        changed = _changed(found)
        if changed and report.met:
            lines.append(f"Rounding changes the predicted class of {_number(changed, 'window')} in {found.backend}.")
    if report.silent:
        lines.append(f"No spike was seen in {', '.join(report.silent)}: this data proves little of it.")
    if report.estimated:
        each = "; ".join(f"{signal} ({', '.join(names)})" for signal, names in report.estimated.items())
        lines.append(
            f"What rounding explains is an estimate, not a bound, where there is no rule for an operation: {each}."
        )
    return [*lines, *report.untold]


def _classified(report: Report) -> list[str]:
    """On which windows the figures of classes are, where these are others."""
    counted = {
        f"Classes are counted on {_number(found.statistics.windows, 'window')} ({found.statistics.source})."
        for found in report.backends
        if found.statistics and found.statistics.windows != report.windows
    }
    return sorted(counted)


def _changed(found: Parity) -> int:
    """Windows whose predicted class differs, running free."""
    return 0 if found.statistics is None else found.statistics.paired - found.statistics.same_class


def _tiles(report: Report, found: Parity) -> Html:
    """The key figures: a name, a value and a remark each."""
    unexplained = found.unexplained
    tiles = [
        ("Accuracy, trained", percent(report.accuracy), _interval(found.statistics, original=True)),
        ("Accuracy, exported", percent(found.accuracy), _interval(found.statistics, original=False)),
        ("Same class", percent(found.agreement), _same(found.statistics)),
        *_paired(found.statistics),
        ("Spike flips", _short(found.flips), f"{_short(found.flips - unexplained)} explained by rounding"),
        ("Unexplained flips", _short(unexplained), "not rounding: a fault" if unexplained else "as it must be"),
        ("Windows judged", f"{report.windows:,}", f"{found.changed_windows:,} with a flip, running free"),
        ("Output differs by", f"{found.output_difference:.2g}", "at most, running free"),
    ]
    drawn = (
        tag(
            "div",
            tag("dt", name),
            tag("dd", value, class_="value"),
            tag("dd", remark),
            class_="wrong" if name == "Unexplained flips" and unexplained else None,
        )
        for name, value, remark in tiles
    )
    twins = f"; {' and '.join(found.twins)} fires the same spikes" if found.twins else ""
    return joined(
        [tag("p", f"{found.model} in {found.backend}{twins}", class_="soft"), tag("dl", *drawn, class_="tiles")]
    )


def _paired(statistics: Agreement | None) -> list[tuple[str, str, str]]:
    """Top-k and McNemar's test, where there are classes and labels."""
    if statistics is None:
        return []
    tiles = []
    if statistics.paired:
        top = f"the exported class is among the trained network's {statistics.top} likeliest"
        tiles.append((f"Top {statistics.top}", percent(statistics.in_top / statistics.paired), top))
    if statistics.compared:
        only = f"{statistics.only_original:,} right only before, {statistics.only_exported:,} only after the export"
        tiles.append(("McNemar's test", f"p = {statistics.p_value:.2g}", only))
    return tiles


def _same(statistics: Agreement | None) -> str:
    """In how many windows both predict the same class."""
    if statistics is None:
        return _NO_CLASS
    if not statistics.paired:
        return "the trained network's are not known"
    return f"in {statistics.same_class:,} of {_number(statistics.paired, 'window')}"


def _interval(statistics: Agreement | None, *, original: bool) -> str:
    """What the accuracy on these windows says of all there could be."""
    if statistics is None:
        return _NO_CLASS
    if not statistics.accuracy.labelled:
        return "no labels"
    if original and not statistics.compared:
        return "not known on these windows"
    low, high = (statistics.original_accuracy if original else statistics.accuracy).interval
    return f"{100 * low:.1f} to {100 * high:.1f}{_NBSP}% with 95{_NBSP}% confidence"


def _flips(report: Report, found: Parity, mixes: bool) -> Html:
    """Flips where they arise, and where they end up; `mixes` says whether attention mixes the time steps."""
    forced = [
        Counted(
            name=layer.layer,
            counts=layer.flips,
            wrong=layer.unexplained,
            facts=[f"{sum(layer.flips):,}", f"{sum(layer.unexplained):,}", _about(layer.share_near(report.windows))],
        )
        for layer in found.layers
    ]
    return _section(
        _of("Where spikes flip", report, found),
        tag(
            "p",
            "A flip is a neuron that fires at a time step in one network and not in the other. Here each layer is fed "
            "the trained network's spikes, so that only rounding may separate the two.",
        ),
        figure(
            plots.heat_map("Flips by layer and time step", forced, ["all", "unexplained", "rounding decides"]),
            "Flips by layer and time step, stronger in colour where there are more; a dot is none. \u201c5 !2\u201d in "
            "a frame: 5 flips, of which rounding does not explain 2. Rounding decides: the share of neurons, over all "
            "time steps, so near their threshold that the last bits say whether they fire; the smaller, the more the "
            "check is worth.",
        ),
        tag("h3", "Running free"),
        *_running(found, mixes),
    )


def _running(found: Parity, mixes: bool) -> list[Html]:
    start = found.divergence
    if start is None:
        return [tag("p", "Fed with its own spikes, the exported network fires every spike of the trained one.")]
    last = list(start.spikes)[-1]
    most = max(start.spikes, key=lambda name: start.spikes[name])
    first = start.spikes[start.layer]
    spread = [f"{_number(first, 'spike')} of {start.layer} differ{'s' * (first == 1)}"]
    if most not in (start.layer, last):
        spread.append(f"{start.spikes[most]:,} of {most}, where it is worst")
    if last != start.layer:
        spread.append(f"{start.spikes[last]:,} of {last}, the last layer")
    cascade = (
        f"Fed with its own spikes, the exported network first differs in {start.layer}, in window {start.window + 1} "
        f"at time step {start.time_step}. In that window {'; '.join(spread)}. A flip changes the layers behind it."
    )
    rows = [
        Counted(
            name=layer.layer,
            counts=layer.running_flips,
            wrong=[0] * len(layer.running_flips),
            facts=[f"{sum(layer.running_flips):,}", f"{start.spikes.get(layer.layer, 0):,}"],
        )
        for layer in found.layers
    ]
    mixed = " Attention mixes all time steps, so that behind it a late flip reaches earlier steps too." if mixes else ""
    return [
        tag("p", cascade),
        figure(
            plots.heat_map(
                "Flips by layer and time step, running free", rows, ["all", f"in window {start.window + 1}"]
            ),
            f"Flips of all windows where the network runs free: how a flip spreads, not where one arises.{mixed}",
        ),
    ]


def _margins(report: Report, profile: NetworkProfile) -> Html:
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
        figure(plots.histogram(_near(layer, found), found, edges, floor, furthest.get(layer, 0.0)), layer)
        for layer, found in counts.items()
    )
    return _section(
        "How near neurons come to their thresholds",
        figure(
            tag("div", *panels, class_="small"),
            "Across: how far membranes are from the threshold before they fire or not, as a share of it; at 1 they are "
            f"at zero or at twice the threshold, at {formatting.power(-4)} one part in ten thousand decides. Up: the "
            "share of the membranes that were sampled; each line is ten times the one below. Dashed: the furthest flip "
            "that rounding explained. The outer bars are all that is nearer or further.",
        ),
    )


def _near(layer: str, counts: Sequence[int]) -> str:
    """A histogram of margins in words."""
    total = sum(counts)
    nearest = next(i for i, n in enumerate(counts) if n)
    middle = next(i for i, seen in enumerate(itertools.accumulate(counts)) if 2 * seen >= total)
    near = f"none nearer than {MARGIN_EDGES[nearest - 1]:.1g}" if nearest else "some at the threshold itself"
    half = (
        f"half of them within {MARGIN_EDGES[middle]:.2g}" if middle < len(MARGIN_EDGES) else "half of them beyond 100"
    )
    return f"{layer}: distance of {total:,} membranes from the threshold, as a share of it: {near}, {half}"


def _rates(layers: Sequence[LayerParity], windows: int) -> Html:
    rates = [[n / (layer.neurons * windows) for n in layer.spikes] for layer in layers]
    means = [sum(rate) / len(rate) for rate in rates]
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
        for layer, mean, rate in zip(layers, means, rates, strict=True)
    ]
    return _section(
        "Firing rates of the trained network",
        figure(
            table("Firing rates by layer", ["layer", "neurons", "rate", "", "by time step"], rows, numbers=(1, 2)),
            f"Spikes for each neuron and time step, over all windows; the longest bar is {percent(highest)}. The small "
            "columns are the time steps, each layer's from zero to its own highest.",
            class_="bars",
        ),
    )


def _gates(profile: NetworkProfile, windows: int) -> Html:
    gates = {name: gate for name, gate in profile.gates.items() if gate and gate[0]}
    if not gates:
        return Html()
    return _section(
        "What attention lets through",
        tag("p", "An attention block multiplies every channel, at every time step, by its gate."),
        plots.scale("0, shut", "1, open"),
        *(_gate(name, gate, windows) for name, gate in gates.items()),
    )


def _gate(name: str, gate: Sequence[Sequence[float]], windows: int) -> Html:
    means = [sum(row) / len(row) for row in gate]
    low, high = min(map(min, gate)), max(map(max, gate))
    least, most = (means.index(bound(means)) + 1 for bound in (min, max))
    steps, channels = len(gate), len(gate[0])
    told = f"from {low:.2f} to {high:.2f}, {sum(means) / steps:.2f} on average"
    between = f"; most open at time step {most} ({max(means):.2f}), least at {least} ({min(means):.2f})"
    return joined(
        [
            tag("h3", name.removesuffix(".gate")),
            figure(
                plots.map_of(f"{name}, {_number(steps, 'time step')} x {_number(channels, 'channel')}: {told}", gate),
                f"Across: channels, from 0. Down: time steps, from 1. The mean of {_number(windows, 'window')}, {told}"
                f"{between if steps > 1 else ''}.",
            ),
        ]
    )


def _signals(report: Report, found: Parity) -> Html:
    cells = {(signal.signal, signal.scene): _deviation(signal) for signal in found.signals}
    scenes = list(dict.fromkeys([*_SCENES, *(scene for _, scene in cells)]))
    scenes = [scene for scene in scenes if any(scene == other for _, other in cells)]
    rows = [
        [signal, *(cells.get((signal, scene), "-") for scene in scenes)]
        for signal in dict.fromkeys(signal for signal, _ in cells)
    ]
    return _section(
        _of("Signals within rounding", report, found),
        figure(
            table(
                "Largest difference of every signal",
                ["signal", *(_SCENES.get(scene, scene) for scene in scenes)],
                rows,
            ),
            "Input currents of the layers, parts of attention blocks, and the output: the largest difference from the "
            f"trained network, as a share of what rounding explains. It must stay below 100{_NBSP}%. To the bit: "
            "nothing is rounded there, and every bit was found equal.",
            class_="shares",
        ),
    )


def _deviation(signal: SignalParity) -> Html:
    if signal.beyond:
        return tag("span", f"! {signal.beyond:,} of {signal.seen:,} beyond", class_="alert")
    if signal.exact:
        return tag("span", "to the bit", class_="soft")
    return joined([tag("span", _about(signal.share)), plots.bar(signal.share)])


def _advice(profile: NetworkProfile) -> list[Html]:
    """What lower precisions would do, where it was predicted."""
    if not profile.advice:
        return []
    rows = [
        [layer, *(_about(advice.flips[layer]) + " (keep)" * (layer in advice.keep) for advice in profile.advice)]
        for layer in profile.advice[0].flips
    ]
    kept = [f"{advice.precision}: {', '.join(advice.keep) or 'none'}" for advice in profile.advice]
    return [
        _section(
            "What lower precisions would flip",
            tag("p", f"Layers better kept in float32. {'. '.join(kept)}."),
            figure(
                table("Predicted flips", ["layer", *(advice.precision for advice in profile.advice)], rows, {1, 2}),
                "Predicted share of neurons and time steps that would fire otherwise, each layer fed the trained "
                "network's spikes: from the distances of membranes from their thresholds on these windows, and the "
                "rounding of weights and inputs.",
            ),
        )
    ]


def _network(manifest: Manifest, report: Report) -> Html:
    contract = manifest.input
    cut = f", recordings cut by {contract.rule}" if contract.rule else ""
    layers = [
        (
            layer.name,
            " x ".join(map(str, layer.shape)),
            layer.neuron.charge_rule,
            layer.neuron.fire_rule,
            layer.neuron.reset_rule,
        )
        for layer in manifest.layers
    ]
    time_form = manifest.time_form
    passes = [(p["name"], str(p["changes"]), "yes" if p["exact"] else "no", p["note"]) for p in manifest.passes]
    engines = [
        (name, f"{e['bytes']:,}", ":".join(map(str, e["batch"])), str(e["layers"]))
        for name, e in manifest.engines.items()
    ]
    return _section(
        "The network",
        _facts(
            [
                ("network", f"{manifest.network}, neurons of {manifest.dialect}"),
                ("time steps", str(manifest.time_steps)),
                ("parameters", f"{manifest.parameters:,}"),
                (
                    "input",
                    f"{contract.name} [{contract.axes}], window {contract.shape}, values: {contract.scaling}{cut}",
                ),
                ("output", f"{manifest.output} [N, {', '.join(map(str, manifest.output_shape))}]"),
                ("classes", ", ".join(manifest.classes) or f"none: {_NO_CLASS}"),
                ("exported as", f"{manifest.precision}, time form {time_form['form']} ({time_form['why']})"),
                ("built for", ", ".join(manifest.targets)),
                *([("streaming", report.streamed.said)] if report.streamed else []),
            ]
        ),
        tag("h3", "Spiking layers"),
        table("Spiking layers", ["layer", "neurons", "charge", "fires", "reset"], layers),
        tag("h3", "Graph passes"),
        table("Graph passes", ["pass", "changes", "keeps every bit", "note"], passes, numbers=[1]),
        tag("h3", "Engines"),
        table("Engines", ["engine", "bytes", "batch", "layers"], engines, numbers=[1, 3])
        if engines
        else tag("p", "None was built."),
    )


def _origin(manifest: Manifest) -> Html:
    source = manifest.checkpoint
    return _section(
        "Where it comes from",
        _facts(
            [
                ("checkpoint", source["name"]),
                ("its sha256", source["sha256"]),
                ("its size", f"{source['bytes']:,} bytes"),
                ("created", f"{manifest.created}, by {manifest.producer}"),
                ("made with", ", ".join(f"{name} {version}" for name, version in manifest.tools.items())),
            ]
        ),
        tag("h3", "How the network was identified"),
        tag("ul", *(tag("li", line) for line in manifest.evidence)),
    )


def _facts(rows: Sequence[tuple[str, str]]) -> Html:
    return tag(
        "dl", *(tag(kind, text) for row in rows for kind, text in zip(("dt", "dd"), row, strict=True)), class_="facts"
    )
