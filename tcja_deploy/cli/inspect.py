"""`tcja-deploy inspect`: its options, and the facts and costs as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from tcja_deploy.cli import options
from tcja_deploy.cli.options import Json, NetworkName, Set, Trust, Verbose, WeightsKey
from tcja_deploy.console import empty_table, out, print_json
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
            help="Also estimate the operations, bytes, memory, time and energy of each layer on this Jetson in this "
            "power mode, such as orin-nano, agx-orin:30W or thor. Default: no estimate.",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, max=LARGEST_BATCH, help="The number of windows at a time for which --device estimates. Default: 1."
        ),
    ] = None,
    weights: WeightsKey = None,
    network: NetworkName = None,
    set_: Set = None,
    trust_checkpoint: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Describe a checkpoint, an ONNX file or a bundle: its network, layers, neurons and T, and its costs on a board."""
    from tcja_deploy.inspect.describe import CheckpointOptions
    from tcja_deploy.inspect.describe import inspect as facts_of
    from tcja_deploy.inspect.estimate import estimate
    from tcja_exporters.costs.boards import Device

    if batch is not None and device is None:
        raise BadInput("--batch is the number of windows that a board takes at a time; name the board with --device")
    named = None if device is None else Device.named(device)
    given = CheckpointOptions(
        weights=weights, network=network, settings=options.settings(set_), trust_checkpoint=trust_checkpoint
    )
    facts = facts_of(file, given)
    costs = None if named is None else estimate(file, named, batch or 1, options.progress(), given)
    if as_json:
        print_json(facts if costs is None else {**facts, "costs": costs.to_dict()})
    else:
        if "remark" in facts:
            options.progress().note(facts.pop("remark"))
        out.print(_facts_text(facts))
        if costs is not None:
            out.print(_estimate_text(costs))
    return DONE


def _facts_text(facts: Facts) -> RenderableType:
    """Return the facts of a file as text: a line or a table for each fact."""
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
            parts.append(Text(f"{title}: {options.flagged(said)}"))
        elif value:
            parts.append(Text(f"{title}: {options.flagged(_short(value))}"))
    return Group(*parts)


def _estimate_text(found: Estimate) -> RenderableType:
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
