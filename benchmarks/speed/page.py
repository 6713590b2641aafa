"""What `speed.py` measured, as tables for a terminal or for docs/measurements/speed.md, and as a plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.speed.runners import COMPILED, FLOOR, OURS, PLAIN, TORCH
from tcja_deploy.report.html import Html, joined, tag
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL

PEERS = (PLAIN, FLOOR, TORCH, COMPILED)


class Sheet(NamedTuple):
    """A table."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def show(result: dict[str, Any], *, markdown: bool) -> None:
    """Print all tables."""
    lines, sheets = [machine(result), *remarks(result)], tables(result)
    if markdown:
        print("\n".join(lines), *map(_markdown, sheets), sep="\n\n")
        return
    console = Console(width=None if Console().is_terminal else 150)
    console.print(*lines, sep="\n")
    for sheet in sheets:
        table = Table(title=sheet.title, title_justify="left")
        for i, name in enumerate(sheet.head):
            table.add_column(name, justify="left" if i == 0 else "right")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)


def machine(result: dict[str, Any]) -> str:
    """Where it was measured."""
    at, after = result["machine"]["before"], result["machine"]["after"]
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return (
        f"{at['processor']}, {at['cpus']} cores, load {at['load']:.2f} before, {after['load']:.2f} after; {versions}. "
        f"At least {result['rounds']} rounds and {result['seconds']:g} s of each network; {result['created']}."
    )


def remarks(result: dict[str, Any]) -> list[str]:
    """What could not be measured, and why; and what to think of the rest."""
    at = result["machine"]["before"]
    busy = "The machine was busy with something else; PyTorch, whose threads wait for each other, loses most by that."
    lines = [busy] if at["load"] >= at["cpus"] else []
    lines += [
        f"{network['name']}: {name} does not work: {contestant['failed']}"
        for network in result["networks"]
        for name, contestant in network["contestants"].items()
        if "failed" in contestant
    ]
    reason = result["engines"].get("failed")
    return [*lines, f"No engines: {reason}"] if reason else lines


def tables(result: dict[str, Any]) -> list[Sheet]:
    """All of them."""
    sheets = [_promises(result), _ratios(result), _contestants(result)]
    sheets += [_growth(along, sweep) for along, sweep in result["growth"].items() if sweep["rows"]]
    return sheets if "failed" in result["engines"] else [*sheets, _engines(result["engines"])]


def _promises(result: dict[str, Any]) -> Sheet:
    rows = [
        (each["what"], _number(each["measured"]), f"{each['at_most']:g}", "yes" if each["kept"] else "NO")
        for each in result["promises"]
    ]
    return Sheet("Promises", ("what", "measured", "at most", "kept"), rows)


def _ratios(result: dict[str, Any]) -> Sheet:
    rows = []
    for network in result["networks"]:
        found = network["contestants"]
        ratios = [_number(found.get(name, {}).get("ratio")) for name in PEERS]
        name, steps, batch = network["name"], str(network["T"]), str(network["batch"])
        rows.append((name, steps, batch, f"{1e3 * found[OURS]['median']:.1f}", *ratios))
    head = ("network", "T", "batch", f"{OURS}, ms", *(f"/ {name}" for name in PEERS))
    return Sheet("Time of a run, and as a share of the others'", head, rows)


def _contestants(result: dict[str, Any]) -> Sheet:
    rows = []
    for network in result["networks"]:
        for name, found in network["contestants"].items():
            if "failed" in found:
                continue
            latency = found["latency"]
            times = [latency["p50"] or found["median"], latency["p90"], latency["p99"]]
            rows.append(
                (
                    network["name"],
                    name,
                    str(latency["runs"]),
                    *("-" if seconds is None else f"{1e3 * seconds:.1f}" for seconds in times),
                    f"{found['throughput']:.2f}",
                    _mebibytes(found.get("memory")),
                    f"{found['nodes']:,}" if "nodes" in found else "-",
                )
            )
    head = ("network", "run as", "runs", "p50 ms", "p90 ms", "p99 ms", "windows/s", "peak MiB", "nodes")
    return Sheet("Latency, throughput and memory", head, rows)


def _growth(along: str, sweep: dict[str, Any]) -> Sheet:
    rows = []
    for row in sweep["rows"]:
        ours, plain = row[OURS], row[PLAIN]
        rows.append(
            (
                str(row[along]),
                f"{1e3 * ours['median']:.1f}",
                f"{1e3 * plain['median']:.1f}",
                f"{ours['throughput']:.2f}",
                f"{plain['throughput']:.2f}",
                _mebibytes(row["memory"][OURS]),
                _mebibytes(row["memory"][PLAIN]),
                *(f"{row['nodes'][name]:,}" for name in (MODEL, PLAIN_MODEL, PLAIN)),
            )
        )
    told = sweep["exponents"]
    both = [_number(told[name][what]) for what in ("time", "memory") for name in (OURS, PLAIN)]
    rows.append(("exponent", *both[:2], "-", "-", *both[2:], "-", "-", "-"))
    head = (along, "ms", "plain ms", "windows/s", "plain", "peak MiB", "plain", MODEL, PLAIN_MODEL, f"nodes of {PLAIN}")
    other = "one window" if along == "T" else f"T = {sweep['rows'][0]['T']}"
    return Sheet(f"Growth with {along}: {sweep['network']}, {other}", head, rows)


def _engines(found: dict[str, Any]) -> Sheet:
    rows = [
        (name, f"{each['nodes']:,}", f"{each['layers']:,}", f"{each['bytes']:,}", f"{each['build_seconds']:.1f}")
        for name, each in found["contestants"].items()
    ]
    title = f"Engines of {found['network']} for one window: {found['builder']}, medians of {found['builds']} builds"
    return Sheet(title, ("model", "nodes", "layers", "bytes", "build s"), rows)


def _markdown(sheet: Sheet) -> str:
    rows = [sheet.head, ["---", *["---:"] * (len(sheet.head) - 1)], *sheet.rows]
    return "\n".join([f"### {sheet.title}", "", *(f"| {' | '.join(row)} |" for row in rows)])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _mebibytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 2**20:,.0f}"


STYLE = """
svg { font: 12px system-ui, sans-serif; --ink: #1a2230; --line: #dbe1e8; --ours: #08519c; --other: #b8401a;
      background: #fff; }
text { fill: var(--ink); } .rule { stroke: var(--line); } .one { stroke: var(--ink); stroke-dasharray: 3 2; }
.ours { fill: var(--ours); stroke: var(--ours); } .other { fill: none; stroke: var(--other); stroke-width: 1.5; }
.line { fill: none; stroke-width: 2; } .line.other { stroke-dasharray: 5 3; } .title { font-weight: 600; }
@media (prefers-color-scheme: dark) { svg { --ink: #e6eaf0; --line: #303946; --ours: #78b4ff; --other: #ff9a70;
      background: #12161c; } }
"""
MARKS = {OURS: "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z", FLOOR: "M0-5L5 4H-5z", TORCH: "M-4-4H4V4H-4z"}
MARKS[COMPILED] = "M0-5L5 0L0 5L-5 0z"
WIDTH, LEFT, ROW, PANEL = 760, 190, 24, 200


def plot(result: dict[str, Any]) -> str:
    """Time as a share of the plain export's by network, and growth with T and the batch, all on logarithmic axes."""
    drawn, top = _shares(result["networks"])
    sweeps = [(along, sweep) for along, sweep in result["growth"].items() if sweep["rows"]]
    for i, (along, sweep) in enumerate(sweeps):
        at = tag("g", *_lines(along, sweep), transform=f"translate({50 + i * WIDTH // 2} {top + 30})")
        drawn.append(at)
    height = top + (PANEL + 80 if sweeps else 10)
    frame = {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "width": WIDTH, "height": height}
    style = tag("style", Html(STYLE))
    return tag("svg", style, *drawn, viewBox=f"0 0 {WIDTH} {height}", aria_label="Speed", **frame)


def _shares(networks: Sequence[dict[str, Any]]) -> tuple[list[Html], int]:
    """Marks of each contestant on a line a network, and where the next panel begins."""
    shares = [
        {name: found["median"] / network["contestants"][PLAIN]["median"] for name, found in _worked(network).items()}
        for network in networks
    ]
    values = [value for row in shares for value in row.values()] or [1.0]
    place = _axis(min([*values, 0.5]), max([*values, 2.0]), LEFT, WIDTH - 20)
    foot = 30 + ROW * len(networks)
    drawn = [tag("text", f"time of a run as a share of the {PLAIN}'s", class_="title", x=10, y=16)]
    for value in _ticks(min([*values, 0.5]), max([*values, 2.0])):
        x = f"{place(value):.1f}"
        drawn.append(tag("path", d=f"M{x} 26V{foot}", class_="one" if value == 1 else "rule"))
        drawn.append(tag("text", f"{value:g}", x=x, y=foot + 14, text_anchor="middle"))
    for i, (network, row) in enumerate(zip(networks, shares, strict=True)):
        y = 40 + ROW * i
        batch = f", {network['batch']} at a time" if network["batch"] > 1 else ""
        drawn.append(tag("text", f"{network['name']}{batch}", x=10, y=y + 4))
        for name in (name for name in MARKS if name in row):
            look = {
                "class_": "ours" if name == OURS else "other",
                "transform": f"translate({place(row[name]):.1f} {y})",
            }
            drawn.append(tag("path", tag("title", f"{name}: {row[name]:.2f}"), d=MARKS[name], **look))
    for i, name in enumerate(MARKS):
        x = LEFT + 130 * i
        look = {"class_": "ours" if name == OURS else "other", "transform": f"translate({x} {foot + 32})"}
        drawn += [tag("path", d=MARKS[name], **look), tag("text", name, x=x + 10, y=foot + 36)]
    return drawn, foot + 50


def _worked(network: dict[str, Any]) -> dict[str, Any]:
    return {name: found for name, found in network["contestants"].items() if "failed" not in found}


def _lines(along: str, sweep: dict[str, Any]) -> list[Html]:
    """Milliseconds of a run against T or the batch."""
    rows, width = sweep["rows"], WIDTH // 2 - 80
    times = {name: [1e3 * row[name]["median"] for row in rows] for name in (OURS, PLAIN)}
    every = [value for values in times.values() for value in values]
    sizes = [row[along] for row in rows]
    across = _axis(min(sizes), max(sizes), 0, width)
    up = _axis(min(every), max(every), PANEL, 10)
    drawn = [tag("text", f"ms of a run against {along} ({sweep['network']})", class_="title", x=-40, y=-6)]
    for value in _ticks(min(every), max(every)):
        drawn.append(tag("path", d=f"M0 {up(value):.1f}H{width}", class_="rule"))
        drawn.append(tag("text", f"{value:g}", x=-4, y=f"{up(value) + 4:.1f}", text_anchor="end"))
    drawn += [tag("text", str(size), x=f"{across(size):.1f}", y=PANEL + 16, text_anchor="middle") for size in sizes]
    for i, (name, values) in enumerate(times.items()):
        points = " ".join(f"{across(s):.1f},{up(v):.1f}" for s, v in zip(sizes, values, strict=True))
        class_ = f"line {'ours' if name == OURS else 'other'}"
        drawn.append(tag("polyline", points=points, class_=class_))
        drawn.append(tag("path", d=f"M{120 * i} {PANEL + 34}h24", class_=class_))
        drawn.append(tag("text", name, x=120 * i + 30, y=PANEL + 38))
    return [joined(drawn)]


def _axis(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Where a value is on a logarithmic axis from `low` at `start` to `high` at `end`."""
    span = math.log(high / low) or 1.0
    return lambda value: start + (end - start) * math.log(value / low) / span


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within the axis."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [digit * 10.0**power for power in powers for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]
