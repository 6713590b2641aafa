"""Results as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcja_deploy import anytime
from tcja_deploy.bench.benchmark import Benchmark
from tcja_deploy.bench.measure import FEWEST, FEWEST_99, Latency
from tcja_deploy.bench.sweep import Growth, Sweep
from tcja_deploy.bisection import Culprit
from tcja_deploy.console import table as _table
from tcja_deploy.doctor import Finding
from tcja_deploy.estimation import Estimate
from tcja_deploy.formatting import percent, si, windows
from tcja_deploy.inspection import Facts
from tcja_deploy.parity import DYADIC, EngineParity, Report
from tcja_deploy.running import Classified
from tcja_exporters.costs.boards import SOURCES
from tcja_runtime.bundle.manifest import Manifest
from tcja_runtime.machine.conditions import Conditions
from tcja_runtime.tensorrt.plugin import NEVER_RUN


def parity(report: Report) -> RenderableType:
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
    early = [anytime.overview(report.anytime)] if report.anytime else []
    lines = [*_accuracy(report), *_exactness(report), *map(_engine_parity, report.engines), *report.untold]
    lines += [report.streamed.said] if report.streamed else []
    lines += [f"Not run: {why}" for why in report.not_run]
    return Group(*parts, *early, flips, *map(Text, lines), verdict(report))


def _engine_parity(found: EngineParity) -> str:
    """What an engine answers, in a line."""
    if not found.judged:
        within = "is not judged by its bounds, as it rounds to TF32"
    else:
        within = (
            f"answers {found.settled - found.beyond:,} of {found.settled:,} windows in which rounding decides no spike"
        )
        within += " within the bounds"
    return (
        f"Engine {found.engine} {within}; of the other {found.windows - found.settled:,} it answers "
        f"{found.elsewhere:,} beyond them. Largest difference {found.output_difference:.2g}."
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
    unproven = [found.engine for found in report.engines if not found.proven]
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
        if statistics and statistics.labelled:
            low, high = statistics.accuracy_interval
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


def culprit(found: Culprit) -> RenderableType:
    """Where a network first goes wrong, and what would explain it."""
    text = Text("First wrong: ", style="bold")
    text.append(f"{found.module or 'the output'}, node {found.node or 'unknown'} of {found.model}\n", style="bold red")
    text.append(f"  {found.seen}\n", style="default")
    text.append(f"  It fits: {'; or '.join(found.fits) or 'no mistake that is known'}", style="default")
    return text


def exported(manifest: Manifest) -> RenderableType:
    """What was exported, and the engines."""
    lines = [
        f"{manifest.network} from {manifest.checkpoint['name']}: T = {manifest.time_steps}, "
        f"{manifest.output} [N, {', '.join(map(str, manifest.output_shape))}], {manifest.parameters:,} parameters",
        *(f"  {line}" for line in manifest.evidence),
        *([] if manifest.precision == "fp32" else [_precision(manifest)]),
        f"Time form: {manifest.time_form['form']} ({manifest.time_form['why']})",
        *(f"Pass {p['name']}, {p['changes']} nodes: {p['note']}" for p in manifest.passes if not p["exact"]),
        *(engine(name, sidecar) for name, sidecar in manifest.engines.items()),
        *([] if manifest.engines else ["No engine was built."]),
    ]
    return Text("\n".join(lines))


def _precision(manifest: Manifest) -> str:
    """How much is in lower precision."""
    lowered = [weight for weight in manifest.weights if weight.type == manifest.precision]
    kept = [weight.module for weight in manifest.weights if weight.type != manifest.precision]
    scales = manifest.calibration
    return (
        f"{manifest.precision.upper()}: {len(lowered)} of {len(manifest.weights)} layers with weights"
        + (f"; in float32: {', '.join(kept)}" if kept else "")
        + (f"; scales from {scales['windows']} windows ({scales['source']})" if scales else "")
    )


def engine(name: str, sidecar: dict[str, Any]) -> str:
    """A built engine, in a line."""
    return (
        f"Engine {name}: {sidecar['bytes']:,} bytes for {sidecar['device']}, {sidecar['layers']} layers, "
        f"batch {':'.join(map(str, sidecar['batch']))}, built in {sidecar['build_seconds']} s{_plugin(sidecar)}"
    )


def _plugin(sidecar: dict[str, Any]) -> str:
    used = sidecar.get("plugin")
    if used is None:
        return ""
    return (
        f"; the plugin computes {used['nodes']} spiking layers, {used['pools']} with the pooling behind them "
        f"({NEVER_RUN}: verify before you rely on it)"
    )


def facts(facts: Facts) -> RenderableType:
    """What `inspection.inspect` found."""
    parts: list[RenderableType] = []
    for name, value in facts.items():
        title = name.replace("_", " ")
        if isinstance(value, list) and value and isinstance(value[0], dict):
            table = _table(title, [head.replace("_", " ") for head in value[0]])
            for row in value:
                table.add_row(*(_short(cell) for cell in row.values()))
            parts.append(table)
        elif value:
            parts.append(Text(f"{title}: {_short(value)}"))
    return Group(*parts)


def estimate(found: Estimate) -> RenderableType:
    """What a network costs on a board."""
    board, mode, total = found.board, found.mode, found.total
    peaks = [f"{si(board.peak('fp32', mode))}FLOPS fp32", f"{si(board.peak('fp16', mode))}FLOPS fp16"]
    at_most = ", ".join([*peaks, f"{si(board.peak('int8', mode))}OPS int8", f"{si(board.bandwidth(mode))}B/s"])
    heads = ["FLOPs", "weights", "moved", "kept", "time", "bound", "energy"]
    table = _table(f"Costs of {windows(found.batch)} at a time", ["layer"], heads)
    for layer in [*found.layers, total]:
        table.add_row(
            "total" if layer is total else layer.module or "(other)",
            *(si(count).rstrip() for count in (layer.operations, layer.parameters)),
            *(f"{si(count)}B" for count in (layer.bytes_moved, layer.activation_bytes)),
            f"{si(layer.seconds or 0)}s",
            layer.bound,
            f"{si(layer.joules or 0)}J",
            end_section=layer is found.layers[-1],
        )
    kept = f"{si(total.activation_bytes)}B of activations and {si(found.weight_bytes)}B of weights"
    roofline = (
        f"Roofline: {si(total.seconds or 0)}s, and at most {si(total.joules or 0)}J in that time. Layers that are "
        "joined move less; starting them, and what the processor does, is not counted. "
        f"Memory: {kept}, of {si(board.memory)}B."
    )
    return Group(
        Text(f"{board.title}, power mode {mode.name} ({mode.watts:g} W): at most {at_most}"),
        table,
        Text(roofline),
        *_synapses(found),
        Text("\n".join(["The board's figures are from:", *(f"  {SOURCES[source]}" for source in board.sources)])),
    )


def _synapses(found: Estimate) -> list[RenderableType]:
    """Synaptic operations and their energy."""
    if found.synapses is None:
        missing = "Synaptic operations need firing rates, which a bundle holds: export the network, inspect the bundle."
        return [Text(missing, style="yellow")]
    heads = ["not zero", "dense MACs", "ACs", "MACs", "energy"]
    table = _table(f"Synaptic operations of a window, by {found.measured_on}", ["layer", "input"], heads)
    for layer in found.synapses:
        table.add_row(
            layer.module or "(other)",
            layer.takes,
            "" if layer.takes == "values" else percent(layer.rate),
            *(si(count).rstrip() for count in (layer.macs, layer.accumulates, layer.multiply_accumulates)),
            f"{si(layer.joules)}J",
            end_section=layer is found.synapses[-1],
        )
    macs, left = (
        sum(layer.macs for layer in found.synapses),
        sum(each.multiply_accumulates for each in found.synapses),
    )
    added, joules = sum(layer.accumulates for layer in found.synapses), f"{si(found.synaptic_joules or 0)}J"
    table.add_row("total", "", "", *(si(count).rstrip() for count in (macs, added, left)), joules)
    summary = (
        f"{joules} a window, {si(found.dense_joules)}J if every input were dense, at 0.9 pJ an accumulate (AC) and "
        "4.6 pJ a multiply-accumulate (MAC): 45 nm, Horowitz 2014. So the literature counts the arithmetic of a chip "
        "that skips zeros; a GPU does not."
    )
    return [table, Text(summary)]


def benchmark(found: Benchmark) -> RenderableType:
    """How fast a network is on a machine, and under which conditions."""
    latency, memory, per = found.latency, found.memory, "" if found.batch == 1 else f", {found.batch} at a time"
    times = ((share, seconds, _too_few(latency)) for share, seconds in (("p50", latency.p50), ("p90", latency.p90)))
    rows = [(f"latency {share}", f"{si(seconds)}s" if seconds else few) for share, seconds, few in times]
    rows.append(("latency p99", f"{si(latency.p99)}s" if latency.p99 else _too_few(latency, FEWEST_99)))
    if found.throughput:
        rows.append(("throughput", f"{si(found.throughput)} windows/s"))
    if memory.process is not None:
        came = f", {si(memory.loaded)}B of it with the network" if memory.loaded is not None else ""
        rows.append(("memory", f"{si(memory.process)}B of this process at most{came}"))
    if memory.gpu is not None:
        rows.append(("GPU memory", f"{si(memory.gpu)}B less free than before"))
    rows.extend(_energy(found))
    rows.extend(_streamed(found))
    table = _table(f"{found.network}, {found.precision}{per}, in {found.title}", ["", ""])
    table.show_header = False
    for row in rows:
        table.add_row(*row)
    graph = "" if found.cuda_graph is None else f", {'as' if found.cuda_graph else 'not as'} a CUDA graph"
    lines = [
        f"{latency.runs:,} runs of {si(latency.least)}s to {si(latency.most)}s after {found.warm_up:g} s of others"
        f"{graph}. A run begins and ends in the machine's memory: copies to a GPU and back are in it.",
        *_conditions(found),
    ]
    return Group(table, *map(Text, lines), *(Text(line, style="yellow") for line in _doubts(found)))


def sweep(found: Sweep) -> RenderableType:
    """Backends and batch sizes side by side."""
    numbers = ["batch", "p50", "p90", "p99", "windows/s", "as fast", "memory"]
    table = _table(f"{found.network}, {found.precision}", ["run by"], numbers)
    for case in found.cases:
        latency, memory = case.latency, case.memory.loaded
        table.add_row(
            case.title,
            str(case.batch),
            *(f"{si(seconds)}s" if seconds else "-" for seconds in (latency.p50, latency.p90, latency.p99)),
            si(case.throughput).rstrip() if case.throughput else "-",
            f"{case.ratio:.2f}" if case.ratio else "-",
            f"{si(memory)}B" if memory else "-",
        )
    few = min((case.latency for case in found.cases), key=lambda latency: latency.runs)
    lines = [
        f"At least {few.runs:,} runs of each case, in turn, after {found.warm_up:g} s of others. How fast: compared "
        "with the first of the same batch. Memory: came with the network, at most, in a process of its own.",
        *(_grows(each, found) for each in found.growth),
        *_conditions(found),
    ]
    doubts = [f"Times are {_too_few(few)}."] if few.p50 is None else []
    return Group(table, *map(Text, lines), *(Text(line, style="yellow") for line in [*doubts, *_busy(found.before)]))


def _grows(growth: Growth, found: Sweep) -> str:
    title = next(case.title for case in found.cases if case.backend == growth.backend)
    times = [
        f"{what} {2**e:.2f} times" for what, e in (("time", growth.time), ("memory", growth.memory)) if e is not None
    ]
    return f"Twice the batch takes in {title}: {', '.join(times) or 'not told'}."


def _too_few(latency: Latency, fewest: int = FEWEST) -> str:
    return f"not told: {latency.runs} runs are too few, {fewest} are needed; give more --seconds"


def _streamed(found: Benchmark) -> list[tuple[str, str]]:
    """What is left to do after a window's last frame, and what a frame takes before."""
    streamed = found.streamed
    if streamed is None:
        return []
    if not (streamed.share and streamed.last.p50 and streamed.whole.p50):
        return [("after last frame", _too_few(streamed.last))]
    frame = f", {si(streamed.frame.p50)}s for each frame before it" if streamed.frame.p50 else ""
    part = f"{100 * streamed.share:.1f} % of the whole window's {si(streamed.whole.p50)}s"
    return [("after last frame", f"{si(streamed.last.p50)}s when streamed, {part}{frame} (medians, in turns)")]


def _energy(found: Benchmark) -> list[tuple[str, str]]:
    energy = found.energy
    if energy is None:
        return [("energy", "not told: this machine does not measure its power")]
    if energy.runs is None or found.joules is None:
        return [("energy", f"not told: too few samples of {energy.source}; give more --seconds")]
    of = energy.runs.whole or f"the sum of {', '.join(energy.runs.rails)}"
    above = found.joules_above_rest
    rest = f", {energy.rest.watts:.2f} W at rest" if energy.rest else ""
    more = f", {si(above)}J above rest" if above is not None else ""
    return [
        ("power", f"{energy.runs.watts:.2f} W{rest} ({of}, {energy.source}, {energy.runs.samples:,} samples)"),
        ("energy", f"{si(found.joules)}J a window{more}"),
    ]


def _conditions(found: Benchmark | Sweep) -> list[str]:
    """The machine, as far as it tells."""
    at, after = found.before, found.after
    gpu = [f"{after.gpu_mhz[0]:,} MHz of {after.gpu_mhz[1]:,} after the runs"] if after.gpu_mhz else []
    cpu = [f"{after.cpu_mhz[0]:,} MHz of {after.cpu_mhz[1]:,}"] if after.cpu_mhz else []
    governed = [f"governor {', '.join(at.governors)}"] if at.governors else []
    unknown = [
        *([] if at.governors else ["the processor's governor"]),
        *([] if after.cpu_mhz else ["its clock"]),
        *(["the GPU's clock"] if at.gpu and not after.gpu_mhz else []),
        *(["the power mode"] if at.jetpack and not at.power_mode else []),
        *(["jetson_clocks (root asks 'jetson_clocks --show')"] if at.jetpack and not at.jetson_clocks else []),
    ]
    return [
        ", ".join([f"Processor: {at.processor}", f"{at.cpus} cores", f"load {at.load:.2f}", *cpu, *governed]),
        *([", ".join([f"GPU: {at.gpu}", *gpu])] if at.gpu else []),
        *([f"Board: {at.jetpack}, power mode {at.power_mode or 'unknown'}"] if at.jetpack else []),
        *([f"Not known: {', '.join(unknown)}."] if unknown else []),
    ]


_DRIFT = 0.05
"""Share by which runs may become slower or faster before it is remarked."""


def _doubts(found: Benchmark) -> list[str]:
    """Why the figures may not be met again."""
    doubts, drift = _busy(found.before), found.latency.drift
    if drift is not None and abs(drift) > _DRIFT:
        how = "slower" if drift > 0 else "faster"
        doubts.append(
            f"The last fifth of the runs was {100 * abs(drift):.0f} % {how} than the first: a clock changed, by heat, "
            "power or other work. Give more --warm-up."
        )
    return doubts


def _busy(at: Conditions) -> list[str]:
    if at.load < at.cpus:
        return []
    return [f"The machine was busy with something else: load {at.load:.2f} on {at.cpus} cores."]


_LISTED = 50
"""Windows that a table has at most; more of them are for programs."""
_CROSSED = 12
"""Classes whose confusion fits a terminal; of more, that many pairs."""


def classified(found: Classified) -> RenderableType:
    """Classes of windows, and how many are right."""
    n, places = len(found.likeliest), found.likeliest.shape[1]
    heads = ["class", "score", "runner-up", "score"][: 2 * places]
    heads += [head for place in range(3, places + 1) for head in (f"{place}.", "score")]
    labels = ["label"] if found.labelled else []
    names = {file: Path(file).name for file in found.files}
    short = len(set(names.values())) == len(names)  # paths of many folders do not fit into a terminal
    table = _table(
        f"{found.network} in {found.backend}; scores are {found.output}", ["file", "window", *labels, *heads]
    )
    table.padding = (0, 0)  # so that a terminal of 80 columns is enough
    for row, _ in zip(found.rows(), range(_LISTED), strict=False):
        label = [row["label"] or ""] if labels else []
        cells = [cell for each in row["top"] for cell in (each["class"], f"{each['score']:.4g}")]
        table.add_row(names[row["file"]] if short else row["file"], str(row["window"]), *label, *cells)
    parts: list[RenderableType] = [table]
    if n > _LISTED:
        parts.append(Text(f"{windows(n - _LISTED)} more; --csv or --json has all."))
    if found.confusion is not None:
        parts += _confusion(found.classes, found.confusion)
    if found.accuracy is not None:
        low, high = found.accuracy_interval
        accuracy = (
            f"Accuracy: {percent(found.accuracy)} of {windows(found.labelled)} with a label "
            f"({percent(low)} to {percent(high)} with 95 % confidence)."
        )
        parts.append(Text(accuracy))
    return Group(*parts)


def _confusion(classes: Sequence[str], counts: npt.NDArray[np.int64]) -> list[RenderableType]:
    """Labels against classes: all of them where they fit a terminal, else the pairs that are confused most."""
    if len(classes) <= _CROSSED:
        table = _table("", ["label", ""], [str(i) for i in range(len(classes))])
        table.padding = (0, 0)
        for i, (name, row) in enumerate(zip(classes, counts, strict=True)):
            cells = (Text(str(n) if n else "·", style="bold" if i == j else "") for j, n in enumerate(row))
            table.add_row(name, str(i), *cells)
        return [Text("Confusion: labels down, classes across", style="bold"), table]
    wrong = counts - np.diag(np.diag(counts))
    pairs = [divmod(int(at), len(classes)) for at in np.argsort(-wrong, axis=None, kind="stable")[:_CROSSED]]
    table = _table("", ["label", "class"], ["windows", "of"])
    for label, taken in pairs:
        if wrong[label, taken]:
            table.add_row(classes[label], classes[taken], f"{wrong[label, taken]:,}", f"{counts[label].sum():,}")
    return [Text("Most confused", style="bold"), table] if wrong.any() else []


def findings(found: list[Finding]) -> RenderableType:
    """What `doctor.examine` found."""
    text = Text("This machine can\n", style="default")
    for finding in found:
        text.append("  yes  " if finding.able else "  no   ", style="green" if finding.able else "yellow")
        text.append(f"{finding.what}: {finding.detail}\n")
        text.append(f"         {finding.fix}\n" if finding.fix else "")
    text.rstrip()
    return text


def _short(value: Any) -> str:
    if isinstance(value, dict):
        said = ((key, _short(item)) for key, item in value.items())
        return ", ".join(f"{key} {text}" for key, text in said if text)
    if isinstance(value, (list, tuple)):
        return "; ".join(map(_short, value))
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
