"""`tcja-deploy inspect`: its options, and the facts and costs as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.cli import flags, options
from tcja_deploy.cli.options import Json, NetworkName, Set, Trust, Verbose
from tcja_deploy.console import out, print_json
from tcja_deploy.console import table as _table
from tcja_deploy.formatting import percent, si, windows
from tcja_deploy.inspect.describe import Facts
from tcja_deploy.inspect.estimate import Estimate
from tcja_exporters.costs.boards import SOURCES
from tcja_runtime.errors import DONE, BadInput
from tcja_runtime.tensorrt.build import LARGEST_BATCH


def inspect(
    file: Annotated[Path, typer.Argument(help="A checkpoint, an .onnx file or a bundle.")],
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[:MODE]",
            help="Also estimate what it costs on a Jetson, such as orin-nano, agx-orin:30W or thor: operations, bytes, "
            "memory, time and energy of each layer.",
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=LARGEST_BATCH, help="Windows at a time, for --device. Default: 1.")
    ] = None,
    network: NetworkName = None,
    set_: Set = None,
    trust_checkpoint: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Say what a checkpoint, an ONNX file or a bundle is: network, layers, neurons, T, and what it costs."""
    from tcja_deploy.inspect.describe import inspect as inspected
    from tcja_deploy.inspect.estimate import estimate
    from tcja_exporters.costs.boards import board

    if batch is not None and device is None:
        raise BadInput("--batch says how many windows a board takes at a time; name the board with --device")
    at = None if device is None else board(device)
    told = options.settings(set_)
    facts = inspected(file, network=network, settings=told, trust_checkpoint=trust_checkpoint)
    costs = None
    if at is not None:
        costs = estimate(
            file, at, batch or 1, flags.progress(), network=network, settings=told, trust_checkpoint=trust_checkpoint
        )
    if as_json:
        print_json(facts if costs is None else {**facts, "costs": costs.to_dict()})
    else:
        out.print(_facts_text(facts))
        if costs is not None:
            out.print(_estimate_text(costs))
    return DONE


def _facts_text(facts: Facts) -> RenderableType:
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
            parts.append(Text(f"{title}: {flags.flagged(_short(value))}"))
    return Group(*parts)


def _estimate_text(found: Estimate) -> RenderableType:
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
