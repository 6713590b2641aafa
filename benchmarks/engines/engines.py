"""What the engine of every published network moves, in each time form, against a plain export. No GPU is needed.

    python -m benchmarks.engines.engines [NETWORK]... [--precision fp32]... [--limit 600] [--json FILE] [--markdown]

Weights are drawn, the sizes are the published ones, and engines are built by TensorRT-RTX for one window at a time
(batch 1:1:1). The bytes are those of `tcja_runtime.tensorrt.kernel_plan`. "plain export" is the network with the
neurons of its training code and `torch.onnx.export(dynamo=True)` (`benchmarks.speed.peers`), in float32. "of unrolled"
and "of plain" are ratios of the data that is moved. The last columns are for a window on a Jetson Orin Nano: the
shortest times to move the bytes of the engine and to do the operations of the network, and at most so much energy in
the longer of the two. A build that has not ended after `--limit` seconds is stopped. docs/measurements/engines.md has
what was measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import drawn
from benchmarks.speed import peers
from tcja_deploy.console import silent
from tcja_deploy.export.models import Prepared, prepare
from tcja_deploy.export.network import Known
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.packages import tools
from tcja_exporters.costs.boards import Device
from tcja_exporters.costs.roofline import Costs
from tcja_exporters.graph.export import with_time_forms
from tcja_exporters.graph.exported import save
from tcja_exporters.networks import NETWORKS
from tcja_exporters.reference import recorder
from tcja_runtime.bundle.bundle import ENGINES, PLAIN_MODEL
from tcja_runtime.choices import PRECISIONS, SpikeCounts
from tcja_runtime.data.windows import random_windows
from tcja_runtime.errors import BadInput, BuildTimeout, TcjaError
from tcja_runtime.machine.conditions import conditions
from tcja_runtime.tensorrt.build import Batch, BuildOptions, BuildRequest, build

TARGET = "tensorrt-rtx"
BEFORE, NOW, PLAIN = "unrolled", "fused", "plain export"
"""The time form of engines until `fused`, the one that they have now, and the peer."""
COLUMNS = (
    *("kernels", "data, MB", "weights, MB", "of unrolled", "of plain", "engine, MB", "build, s"),
    *("memory, ms", "arithmetic, ms", "mJ"),
)
BOARD = "orin-nano"
"""The board whose bandwidth, speed and power give the last three columns."""
MOST_KERNELS, MOST_OF_UNROLLED, MOST_SECONDS = 36, {"fp32": 0.59, "fp16": 0.40}, 30.0
"""What is promised: of the published DVS128 network the kernels and the share of the data; of all, the seconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """An engine of a network, or why there is none.

    Attributes:
        network: the name of the network.
        time_steps: T.
        precision: the precision.
        form: the time form, or `PLAIN`.
        failed: why there is no engine, or no kernel plan; empty if there are both.
        kernels: the number of kernels.
        data: the bytes of data that they move for a window.
        weights: the bytes of weights that they move for a window.
        engine: the size of the engine in bytes.
        seconds: the time of the build.
        memory_seconds: the shortest possible time to move these bytes on `BOARD`.
        compute_seconds: the shortest possible time of the operations on `BOARD`.
        joules: the energy in the longer of the two times at most.
    """

    network: str
    time_steps: int
    precision: str
    form: str
    failed: str = ""
    kernels: int = 0
    data: int = 0
    weights: int = 0
    engine: int = 0
    seconds: float = 0.0
    memory_seconds: float = 0.0
    compute_seconds: float = 0.0
    joules: float = 0.0


def built(model: Path, of: Built, costs: Costs, limit: int) -> Built:
    """Build the engine of a model, for `limit` seconds at most. `costs` are those of the network's model."""
    request = BuildRequest(
        model=model,
        engines=model.parent / ENGINES,
        target=TARGET,
        precision=of.precision,
        time_steps=of.time_steps,
        options=BuildOptions(batch=Batch(1, 1, 1), build_timeout=limit),
    )
    try:
        info = build(request).info
    except BuildTimeout:
        return dataclasses.replace(of, failed=f"did not end in {limit} s")
    except TcjaError as error:
        return dataclasses.replace(of, failed=str(error))
    if info.plan is None:
        return dataclasses.replace(of, failed=info.plan_unread)
    on_board = costs.engine(of.network, info.plan, Device.named(BOARD))
    return dataclasses.replace(
        of,
        kernels=info.plan.kernels,
        data=info.plan.bytes,
        weights=info.plan.weight_bytes,
        engine=info.bytes,
        seconds=info.build_seconds,
        memory_seconds=on_board.memory_seconds,
        compute_seconds=on_board.compute_seconds,
        joules=on_board.joules,
    )


def engines(name: str, precisions: Sequence[str], forms: Sequence[str], limit: int) -> Iterator[Built]:
    """Yield the engines of a network of the registry."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        checkpoint = drawn.checkpoint(name, 0, folder / "drawn.pth")
        for precision in precisions:
            known = Known()
            try:
                made = prepared(name, checkpoint, precision, folder / precision, known)
            except BadInput as error:  # nothing of the network can be computed in this precision
                steps = known.trained.time_steps if known.trained else 0
                why = str(error).partition(":")[0]
                yield Built(network=name, time_steps=steps, precision=precision, form="-", failed=why)
                continue
            network, lowered = made.network.trained, made.network.lowered.exported
            of = Built(network=name, time_steps=network.time_steps, precision=precision, form=PLAIN)
            costs = Costs.of(lowered.model, spiking=network.contract.scaling == "spikes")
            for form in forms:
                out = folder / f"{precision} {form}"
                out.mkdir()
                layers = recorder.layers(network.model, network.contract)
                save(with_time_forms(lowered, {layer.name: form for layer in layers}), out)
                yield built(out / PLAIN_MODEL, dataclasses.replace(of, form=form), costs, limit)
            if precision == "fp32":
                trained = peers.as_trained(network.model, network.dialect)
                peers.export(trained, random_windows(network.contract, 1).inputs, folder / "plain.onnx")
                yield built(folder / "plain.onnx", of, costs, limit)


def prepared(name: str, checkpoint: Path, precision: str, folder: Path, known: Known) -> Prepared:
    """Return a network of the registry, exported to a new folder for engines, on two random windows."""
    folder.mkdir()
    request = ExportRequest(
        checkpoint=checkpoint,
        network=name,
        samples=2,
        out=folder / "x.bundle",
        target=TARGET,
        precision=precision,
        spike_counts=SpikeCounts.OFF.value,
        calibration="random" if precision == "int8" else "data",
    )
    return prepare(request, TARGET, folder, known, silent())


def rows(found: Sequence[Built]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each engine."""
    for each in found:
        key = (each.network, str(each.time_steps), each.precision, each.form)
        if each.failed:
            yield (*key, each.failed, *[""] * (len(COLUMNS) - 1))
            continue
        sizes = [f"{size / 1e6:,.1f}" for size in (each.data, each.weights)]
        ratios = [_ratio(each, found, form) for form in (BEFORE, PLAIN)]
        times = [f"{1e3 * seconds:.2f}" for seconds in (each.memory_seconds, each.compute_seconds)]
        on_board = *times, f"{1e3 * each.joules:.1f}"
        engine = f"{each.engine / 1e6:,.1f}", f"{each.seconds:.1f}"
        yield (*key, f"{each.kernels}", *sizes, *ratios, *engine, *on_board)


def _ratio(each: Built, found: Sequence[Built], form: str) -> str:
    share = shared(each, found, form)
    return "-" if share is None or each.form == form else f"{share:.2f}"


def shared(each: Built, found: Sequence[Built], form: str) -> float | None:
    """Return the data that an engine moves as a share of that of the same network in another form, if there is one."""
    key = each.network, each.precision, form
    other = next((one for one in found if (one.network, one.precision, one.form) == key and not one.failed), None)
    return None if other is None or each.failed else each.data / other.data


def promises(found: Sequence[Built]) -> Iterator[str]:
    """Yield what is promised and what was measured, a line each."""
    for each in (one for one in found if one.form == NOW):
        name = f"{each.network} {each.precision}"
        checks = [
            ("seconds of the build", each.seconds if not each.failed else None, MOST_SECONDS),
            ("data, of unrolled", shared(each, found, BEFORE), 1.0),
        ]
        if each.network == "dvs128":
            checks.append(("kernels", each.kernels or None, MOST_KERNELS))
            if each.precision in MOST_OF_UNROLLED:
                checks[1] = (checks[1][0], checks[1][1], MOST_OF_UNROLLED[each.precision])
        for what, value, most in checks:
            kept = value is not None and value <= most
            if not kept or each.network == "dvs128":
                measured = "unknown" if value is None else f"{value:.3g}"
                yield f"{name}, {what}: {measured}, at most {most:g}: {'kept' if kept else 'NOT KEPT'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help="of the registry; all without")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: all")
    parser.add_argument("--form", action="append", choices=(BEFORE, NOW), help="default: both")
    parser.add_argument("--limit", type=int, default=600, metavar="SECONDS", help="of a build")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    args = parser.parse_args()
    found: list[Built] = []
    for name in args.networks or NETWORKS:
        for each in engines(name, args.precision or PRECISIONS, args.form or (BEFORE, NOW), args.limit):
            found.append(each)
            print(*next(rows([each])), sep="  ", file=sys.stderr, flush=True)
    heads = ("network", "T", "precision", "form", *COLUMNS)
    if args.markdown:
        for cells in (heads, ["---"] * len(heads), *rows(found)):
            print(f"| {' | '.join(cells)} |")
    else:
        table = Table(*heads)
        for cells in rows(found):
            table.add_row(*cells)
        Console(width=180).print(table)
    for line in promises(found):
        print(line)
    if args.json:
        machine = {"before": dataclasses.asdict(conditions()), "versions": tools()}
        args.json.write_text(json.dumps({**machine, "engines": [dataclasses.asdict(each) for each in found]}, indent=1))


if __name__ == "__main__":
    main()
