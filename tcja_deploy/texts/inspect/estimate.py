"""The costs of a network on a board as text."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.formatting import percent, si, windows
from tcja_deploy.inspect.estimate import Estimate
from tcja_deploy.texts.table import Hanging, Rows
from tcja_exporters.costs.boards import SOURCES


def estimate_text(found: Estimate) -> RenderableType:
    """Return the costs of a network on a board as a table, and the sources of the board's figures."""
    device, total = found.device, found.total
    board, mode = device.board, device.mode
    peaks = [f"{si(device.peak('fp32'))}FLOPS fp32", f"{si(device.peak('fp16'))}FLOPS fp16"]
    at_most = ", ".join([*peaks, f"{si(device.peak('int8'))}OPS int8", f"{si(device.bandwidth)}B/s"])
    heads = ["FLOPs", "weights", "moved", "kept", "time", "bound", "energy"]
    table = Rows(f"Costs of {windows(found.batch)} at a time", ["layer"], heads)
    for layer in [*found.layers, total]:
        table.add(
            "total" if layer is total else layer.module or "(other)",
            *(si(count).rstrip() for count in (layer.operations, layer.parameters)),
            *(f"{si(count)}B" for count in (layer.bytes_moved, layer.activation_bytes)),
            f"{si(layer.seconds or 0)}s",
            layer.bound or "",
            f"{si(layer.joules or 0)}J",
            style="bold" if layer is total else "",
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
        *_engines(found),
        *_synapses(found),
        Text("The board's figures are from:"),
        *(Hanging("  ", SOURCES[source]) for source in board.sources),
    )


def _engines(found: Estimate) -> list[RenderableType]:
    """Return a table of the engines' own rooflines, from their kernel plans; empty without one."""
    if not found.engines:
        return []
    table = Rows(
        "Roofline of the engines, from the bytes that their kernels move",
        ["engine"],
        ["batch", "kernels", "moved", "arithmetic", "memory", "time", "energy"],
    )
    for each in found.engines:
        table.add(
            each.engine,
            str(each.batch),
            f"{each.kernels:,}",
            f"{si(each.bytes_moved)}B",
            *(f"{si(seconds)}s" for seconds in (each.compute_seconds, each.memory_seconds, each.seconds)),
            f"{si(each.joules)}J",
        )
    other = "An engine that is built on the board may have other kernels."
    return [table, Text(other)]


def _synapses(found: Estimate) -> list[RenderableType]:
    """Return a table of the synaptic operations and their energy; or, if the rates are not known, how to get them."""
    if found.synapses is None:
        missing = (
            "Synaptic operations are counted from firing rates, which only a bundle has: export the network, then "
            "inspect the bundle."
        )
        return [Text(missing, style="yellow")]
    heads = ["not zero", "dense MACs", "ACs", "MACs", "energy"]
    table = Rows(f"Synaptic operations of a window, by {found.measured_on}", ["layer", "input"], heads)
    for layer in found.synapses:
        table.add(
            layer.module or "(other)",
            layer.takes,
            "" if layer.takes == "values" else percent(layer.rate),
            *(si(count).rstrip() for count in (layer.macs, layer.accumulates, layer.multiply_accumulates)),
            f"{si(layer.joules)}J",
        )
    totals = (
        sum(layer.macs for layer in found.synapses),
        sum(layer.accumulates for layer in found.synapses),
        sum(layer.multiply_accumulates for layer in found.synapses),
    )
    joules = f"{si(found.synaptic_joules or 0)}J"
    table.add("total", "", "", *(si(count).rstrip() for count in totals), joules, style="bold")
    summary = (
        f"{joules} a window, {si(found.dense_joules)}J if every input were dense, at 0.9 pJ an accumulate (AC) and "
        "4.6 pJ a multiply-accumulate (MAC): 45 nm, Horowitz 2014. The literature counts in this way, for a chip that "
        "skips zeros; a GPU does not skip them."
    )
    return [table, Text(summary)]
