"""The facts of a file, and the costs of a network on a board, as text."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.console import empty_table
from tcja_deploy.formatting import percent, si, windows
from tcja_deploy.inspect.describe import Facts
from tcja_deploy.inspect.estimate import Estimate
from tcja_deploy.texts.options import BRIEF, TextOptions
from tcja_exporters.costs.boards import SOURCES


def facts_text(facts: Facts, options: TextOptions = BRIEF) -> RenderableType:
    """Return the facts of a file as text: a line or a table for each fact.

    Args:
        facts: the facts, from `tcja_deploy.inspect.describe.inspect`.
        options: how it is told.
    """
    parts: list[RenderableType] = []
    for name, value in facts.items():
        title = name.replace("_", " ")
        if isinstance(value, list) and value and isinstance(value[0], dict):
            table = empty_table(title, [head.replace("_", " ") for head in value[0]])
            for row in value:
                table.add_row(*(_batch(cell) if head == "batch" else _short(cell) for head, cell in row.items()))
            parts.append(table)
        elif name == "parity" and value["verdict"]:
            judged = f"Judged on {windows(value['windows'])} ({value['source']}), against {value['reference']}."
            said = " ".join([value["verdict"], *value["cautions"], judged])
            parts.append(Text(f"{title}: {options.worded(said)}"))
        elif value:
            parts.append(Text(f"{title}: {options.worded(_short(value))}"))
    return Group(*parts)


def estimate_text(found: Estimate) -> RenderableType:
    """Return the costs of a network on a board as a table, and the sources of the board's figures."""
    device, total = found.device, found.total
    board, mode = device.board, device.mode
    peaks = [f"{si(device.peak('fp32'))}FLOPS fp32", f"{si(device.peak('fp16'))}FLOPS fp16"]
    at_most = ", ".join([*peaks, f"{si(device.peak('int8'))}OPS int8", f"{si(device.bandwidth)}B/s"])
    heads = ["FLOPs", "weights", "moved", "kept", "time", "bound", "energy"]
    table = empty_table(f"Costs of {windows(found.batch)} at a time", ["layer"], heads)
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
        f"Roofline: {si(total.seconds or 0)}s, and at most {si(total.joules or 0)}J in that time. An engine that fuses "
        "layers moves fewer bytes. The start of kernels and the work of the processor are not counted. "
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
    """Return a table of the synaptic operations and their energy; or, if the rates are not known, how to get them."""
    if found.synapses is None:
        missing = (
            "Synaptic operations are counted from firing rates, which only a bundle has: export the network, then "
            "inspect the bundle."
        )
        return [Text(missing, style="yellow")]
    heads = ["not zero", "dense MACs", "ACs", "MACs", "energy"]
    table = empty_table(f"Synaptic operations of a window, by {found.measured_on}", ["layer", "input"], heads)
    for layer in found.synapses:
        table.add_row(
            layer.module or "(other)",
            layer.takes,
            "" if layer.takes == "values" else percent(layer.rate),
            *(si(count).rstrip() for count in (layer.macs, layer.accumulates, layer.multiply_accumulates)),
            f"{si(layer.joules)}J",
            end_section=layer is found.synapses[-1],
        )
    totals = (
        sum(layer.macs for layer in found.synapses),
        sum(layer.accumulates for layer in found.synapses),
        sum(layer.multiply_accumulates for layer in found.synapses),
    )
    joules = f"{si(found.synaptic_joules or 0)}J"
    table.add_row("total", "", "", *(si(count).rstrip() for count in totals), joules)
    summary = (
        f"{joules} a window, {si(found.dense_joules)}J if every input were dense, at 0.9 pJ an accumulate (AC) and "
        "4.6 pJ a multiply-accumulate (MAC): 45 nm, Horowitz 2014. The literature counts in this way, for a chip that "
        "skips zeros; a GPU does not skip them."
    )
    return [table, Text(summary)]


def _batch(sizes: tuple[int, ...]) -> str:
    """Return the batch sizes of an engine as --batch takes them, such as 1:1:8."""
    return ":".join(map(str, sizes))


def _short(value: Any) -> str:
    if isinstance(value, dict):
        said = ((key, _short(item)) for key, item in value.items())
        return ", ".join(f"{key} {text}" for key, text in said if text)
    if isinstance(value, (list, tuple)):
        return (" x " if all(type(item) is int for item in value) else "; ").join(map(_short, value))
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
