"""The measurements of a benchmark as text."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.bench.results import Benchmark, Case, Growth
from tcja_deploy.bench.timing import FEWEST, FEWEST_99, Latency
from tcja_deploy.formatting import amount, si
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_deploy.texts.table import Rows, labelled, paragraph
from tcja_runtime.counting import agree, counted
from tcja_runtime.machine.conditions import Conditions


def bench_text(found: Benchmark, options: TextOptions = BRIEF) -> RenderableType:
    """Return the measurements: all of one case, or a table that compares several.

    Args:
        found: the measurements.
        options: how they are told.
    """
    parts = [_side_by_side(found)] if found.side_by_side else _single(found, found.cases[0], options)
    few = min((case.latency for case in found.cases), key=lambda latency: latency.runs)
    doubts = [] if found.side_by_side else _drift(found.cases[0])
    if found.side_by_side and few.p50 is None:
        doubts = [f"Times are {_too_few(few, options)}."]
    doubts += _busy(found.before)
    parts += [paragraph(options.worded(line), style="yellow") for line in doubts]
    if options.details:
        parts += map(paragraph, [*(_compared(found) if found.side_by_side else _counted(found)), *_conditions(found)])
    elif options.more:
        parts.append(Text(options.more))
    return Group(*parts)


def _single(found: Benchmark, case: Case, options: TextOptions) -> list[RenderableType]:
    """Return the measurements of one backend with one batch size."""
    latency, memory, per = case.latency, case.memory, "" if case.batch == 1 else f", {case.batch} at a time"
    rows: list[tuple[str, str]] = []
    shares = [("p50", latency.p50, FEWEST), ("p90", latency.p90, FEWEST), ("p99", latency.p99, FEWEST_99)]
    for share, seconds, fewest in shares:
        if share != "p90" or options.details:
            rows.append((f"latency {share}", f"{si(seconds)}s" if seconds else _too_few(latency, options, fewest)))
    if case.throughput:
        rows.append(("throughput", amount(case.throughput, "windows/s")))
    if memory.process is not None:
        came = f", of which the network took {si(memory.loaded)}B" if memory.loaded is not None else ""
        rows.append(("memory", f"{si(memory.process)}B at most in this process{came}"))
    if memory.gpu is not None:
        rows.append(("GPU memory", f"{si(memory.gpu)}B less free than before"))
    rows += [*_traffic(case), *_energy(case, options), *_stepwise(case, options)]
    title = f"{found.network}, {found.precision}{per}, in {case.title}"
    return [paragraph(title, style="bold"), *labelled(rows)]


def _counted(found: Benchmark) -> list[str]:
    """Return a line on the runs of a single case."""
    case = found.cases[0]
    latency, graph = case.latency, ""
    if case.cuda_graph is not None:
        graph = f", {'as' if case.cuda_graph else 'not as'} a CUDA graph"
    return [
        f"{counted(latency.runs, 'run')} of {si(latency.least)}s to {si(latency.most)}s after {found.warm_up:g} s of "
        f"warm-up{graph}. A run begins and ends in the machine's memory: it includes the copies to a GPU and back."
    ]


def _side_by_side(found: Benchmark) -> RenderableType:
    """Return a table of the speed and memory of several cases."""
    numbers = ["batch", "p50", "p90", "p99", "windows/s", "as fast", "memory"]
    engines = _has_engine(found)
    table = Rows(f"{found.network}, {found.precision}", ["run by"], [*numbers, *["bandwidth"] * engines])
    for case in found.cases:
        latency, memory, ratio = case.latency, case.memory.loaded, found.ratio(case)
        table.add(
            case.title,
            str(case.batch),
            *(f"{si(seconds)}s" if seconds else "-" for seconds in (latency.p50, latency.p90, latency.p99)),
            si(case.throughput).rstrip() if case.throughput else "-",
            f"{ratio:.2f}" if ratio else "-",
            f"{si(memory)}B" if memory else "-",
            *[f"{si(case.bandwidth)}B/s" if case.bandwidth else "-"] * engines,
        )
    return table


def _has_engine(found: Benchmark) -> bool:
    return any(case.traffic for case in found.cases)


def _compared(found: Benchmark) -> list[str]:
    """Return lines on the runs of several cases, and on how time and memory grow with the batch size."""
    few = min(case.latency.runs for case in found.cases)
    return [
        f"At least {counted(few, 'run')} of each case, in turn, after {found.warm_up:g} s of warm-up. As fast: the "
        "speed relative to the first backend with the same batch. Memory: the most that the network took, in a process "
        "of its own.",
        *(["Bandwidth: the bytes of the engine's kernel plan over the median time."] if _has_engine(found) else []),
        *(_grows(each, found) for each in found.growth),
    ]


def _grows(growth: Growth, found: Benchmark) -> str:
    title = next(case.title for case in found.cases if case.backend == growth.backend)
    exponents = {"time": growth.time, "memory": growth.memory}
    parts = [f"{2**e:.2f} times the {name}" for name, e in exponents.items() if e is not None]
    return f"Twice the batch in {title}: {' and '.join(parts) or 'unknown'}."


def _too_few(latency: Latency, options: TextOptions, fewest: int = FEWEST) -> str:
    runs = f"{counted(latency.runs, 'run')} {agree(latency.runs, 'is', 'are')}"
    return options.worded(f"unknown: {runs} too few, {fewest} are needed; give more `seconds`")


def _stepwise(case: Case, options: TextOptions) -> list[tuple[str, str]]:
    """Return a row on the stepwise latency: from a window's last frame to its prediction; empty if not measured."""
    stepwise = case.stepwise
    if stepwise is None:
        return []
    if not (stepwise.share and stepwise.last.p50 and stepwise.whole.p50):
        return [("after last frame", _too_few(stepwise.last, options))]
    frame = f", {si(stepwise.frame.p50)}s for each frame before it" if stepwise.frame.p50 else ""
    part = f"{100 * stepwise.share:.1f} % of the whole window's {si(stepwise.whole.p50)}s"
    return [("after last frame", f"{si(stepwise.last.p50)}s if run frame by frame, {part}{frame} (medians, in turn)")]


def _traffic(case: Case) -> list[tuple[str, str]]:
    """Return a row on the bytes that an engine moves over time; empty for ONNX Runtime."""
    traffic = case.traffic
    if traffic is None:
        return []
    if traffic.moved is None:
        return [("moved", f"unknown: {traffic.unknown}")]
    speed = f", {si(case.bandwidth)}B/s at the median latency" if case.bandwidth else ""
    return [("moved", f"{si(traffic.moved)}B a run, from the kernel plan{speed}")]


def _energy(case: Case, options: TextOptions) -> list[tuple[str, str]]:
    energy = case.energy
    if energy is None:
        return [("energy", "unknown: this machine does not measure its power")]
    if energy.runs is None or case.joules is None:
        return [("energy", options.worded(f"unknown: too few samples of {energy.source}; give more `seconds`"))]
    of = energy.runs.whole or f"the sum of {', '.join(energy.runs.rails)}"
    above = case.joules_above_rest
    rest = f", {energy.rest.watts:.2f} W at rest" if energy.rest else ""
    more = f", {si(above)}J above rest" if above is not None else ""
    return [
        ("power", f"{energy.runs.watts:.2f} W{rest} ({of}, {energy.source}, {counted(energy.runs.samples, 'sample')})"),
        ("energy", f"{si(case.joules)}J a window{more}"),
    ]


def _conditions(found: Benchmark) -> list[str]:
    """Return lines about the machine: the processor, the GPU, the board, and the conditions that are not known."""
    at, after = found.before, found.after
    gpu = [f"{after.gpu_mhz[0]:,} MHz of {after.gpu_mhz[1]:,} after the runs"] if after.gpu_mhz else []
    cpu = [f"{after.cpu_mhz[0]:,} MHz of {after.cpu_mhz[1]:,}"] if after.cpu_mhz else []
    governed = [f"governor {', '.join(at.governors)}"] if at.governors else []
    unknown = [
        *([] if at.governors else ["the processor's governor"]),
        *([] if after.cpu_mhz else ["its clock"]),
        *(["the GPU's clock"] if at.gpu and not after.gpu_mhz else []),
        *(["the power mode"] if at.jetpack and not at.power_mode else []),
        *(["jetson_clocks ('jetson_clocks --show' needs root)"] if at.jetpack and not at.jetson_clocks else []),
    ]
    return [
        ", ".join([f"Processor: {at.processor}", counted(at.cpus, "core"), f"load {at.load:.2f}", *cpu, *governed]),
        *([", ".join([f"GPU: {at.gpu}", *gpu])] if at.gpu else []),
        *([f"Board: {at.jetpack}, power mode {at.power_mode or 'unknown'}"] if at.jetpack else []),
        *([f"Not known: {', '.join(unknown)}."] if unknown else []),
    ]


_DRIFT = 0.05
"""The largest drift of the latency, as a share, for which no warning is shown."""


def _drift(case: Case) -> list[str]:
    """Return a line if the runs became slower or faster."""
    drift = case.latency.drift
    if drift is not None and abs(drift) > _DRIFT:
        how = "slower" if drift > 0 else "faster"
        return [
            f"The last fifth of the runs was {100 * abs(drift):.0f} % {how} than the first fifth: heat, the power mode "
            "or other programs changed a clock. Give a longer `warm_up`."
        ]
    return []


def _busy(at: Conditions) -> list[str]:
    if at.load < at.cpus:
        return []
    return [f"Other programs kept the machine busy: load {at.load:.2f} on {counted(at.cpus, 'core')}."]
