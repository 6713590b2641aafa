"""What published networks of other libraries become: a table of check, export, parity and engine.

    python -m benchmarks.parity.zoo [--second FOLDER] [--check] [--json FILE] [--markdown FILE] [NAME...]

The networks are those of `benchmarks.parity.zoo_networks`. Each is checked and exported in a process of its own, from a
module in memory, on random windows, with the engine of tensorrt-rtx where it is installed. `--second` is the folder of
SpikingJelly 2.0, if the environment has another version. `--json` keeps the rows of a file that is there, except those
of the networks that are named.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import subprocess
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from rich.console import Console

from benchmarks.parity.zoo_networks import ROWS, SECOND, Row, drawn
from tcja_deploy.check.checker import check
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_runtime.bundle.bundle import MODEL
from tcja_runtime.errors import BadInput, TcjaError
from tcja_runtime.machine import children
from tcja_runtime.tensorrt.build import installed

HEADS = (
    *("network", "from", "smaller than published", "check", "layers", "nodes"),
    *("spikes", "flips", "unexplained", "engine", "seconds"),
)


@dataclasses.dataclass
class Found:
    """What became of a network.

    Attributes:
        name: its name.
        home: the library, with the version that was imported.
        remark: what is smaller than published.
        check: "accepted", or why `check` refuses it.
        layers: the number of judged spiking layers, and of modules that fire and are not judged.
        silent: the number of judged layers that never fired.
        nodes: the nodes of model.onnx.
        spikes: the spikes that were compared.
        flips: those that differ.
        unexplained: those that differ by more than rounding explains.
        engine: the kind, size and build time of its engine, or why there is none.
        seconds: the seconds of the export, with the engine and the comparison.
        verdict: the verdict of the export, or its error.
    """

    name: str
    home: str
    remark: str
    check: str = ""
    layers: str = ""
    silent: int = 0
    nodes: int | None = None
    spikes: int | None = None
    flips: int | None = None
    unexplained: int | None = None
    engine: str = ""
    seconds: float | None = None
    verdict: str = ""

    def cells(self) -> list[str]:
        """The row of the table."""
        fired = f"{self.layers}, {self.silent} silent" if self.silent else self.layers
        counts = [("" if n is None else f"{n:,}") for n in (self.spikes, self.flips, self.unexplained)]
        seconds = "" if self.seconds is None else f"{self.seconds:.0f}"
        check = self.verdict if self.verdict and not self.verdict.startswith("Parity met") else self.check
        nodes = "" if self.nodes is None else f"{self.nodes:,}"
        return [self.name, self.home, self.remark, check, fired, nodes, *counts, self.engine, seconds]


def version_of(home: str) -> str:
    """The library with the version that this process imports."""
    name = home.partition(" ")[0]
    return f"{name} {importlib.metadata.version(name)}"


def found(row: Row, target: str, *, only_check: bool) -> Found:
    """Check a network, and export it if it is accepted; do not export if `only_check`."""
    result = Found(row.name, version_of(row.home), row.remark)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "zoo.bundle"
        try:
            request = ExportRequest(
                model=drawn(row),
                shape=row.shape,
                layout=row.layout,
                out=out,
                target=target,
                **row.options,
            )
            checked = check(request)
            more = f" (and {len(checked.refusals) - 1} more like it)" if len(checked.refusals) > 1 else ""
            result.check = f"refused: {checked.refusals[0]}{more}" if checked.refusals else "accepted"
            if checked.models:
                result.nodes = checked.models.nodes[MODEL]
            if checked.refusals or only_check:
                return result
            began = time.perf_counter()
            try:
                manifest, report = pipeline.export(request)
            except BadInput as error:
                if "cannot build the model" not in str(error):
                    raise
                result.engine = f"not built: {error}"
                manifest, report = pipeline.export(dataclasses.replace(request, target="onnx"))
        except TcjaError as error:
            result.verdict = f"{type(error).__name__}: {error}"
            return result
        result.seconds = time.perf_counter() - began
        result.nodes = len(onnx.load(out / MODEL, load_external_data=False).graph.node)
        for engine in manifest.engines.values():
            result.engine = f"{engine.bytes / 1e6:.2f} MB in {engine.build_seconds:.0f} s"
    unjudged = f", {len(report.unjudged)} not judged" if report.unjudged else ""
    result.layers, result.silent = f"{len(manifest.layers)}{unjudged}", len(report.silent)
    result.verdict = manifest.parity.verdict
    layers = report.backends[0].layers
    result.spikes, result.flips, result.unexplained = (
        int(sum(sum(getattr(layer, name)) for layer in layers)) for name in ("spikes", "flips", "unexplained")
    )
    return result


def alone(row: Row, args: argparse.Namespace) -> Found:
    """Run `found` in a process of its own, with the version of SpikingJelly that the row asks for."""
    first = [str(args.second)] if args.second and row.home == SECOND else []
    arguments = ["--one", row.name, "--target", args.target, *["--check"] * args.check]
    command = children.main_of(__spec__.name, *arguments, first=first)
    lost = Found(row.name, row.home, row.remark)
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=args.limit)
    except subprocess.TimeoutExpired:
        return dataclasses.replace(lost, check=f"stopped after {args.limit:.0f} s")
    if done.returncode:
        return dataclasses.replace(lost, check=f"failed: {(done.stderr.strip().splitlines() or ['no error'])[-1]}")
    return Found(**json.loads(done.stdout.splitlines()[-1]))


def markdown(results: Sequence[Found]) -> str:
    """The table for a document."""
    lines = [f"| {' | '.join(HEADS)} |", f"|{' --- |' * len(HEADS)}"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in each.cells()) + " |" for each in results]
    return "\n".join(lines) + "\n"


def main(*arguments: str) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=[row.name for row in ROWS])
    parser.add_argument("--second", type=Path, help="the folder of SpikingJelly 2.0")
    parser.add_argument("--target", default="tensorrt-rtx" if "tensorrt-rtx" in installed() else "onnx")
    parser.add_argument("--limit", type=float, default=600.0, help="the longest time for a network, in seconds")
    parser.add_argument("--check", action="store_true", help="only check, and do not export")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments or None)
    warnings.simplefilter("ignore")  # of the libraries
    known: dict[str, Row] = {row.name: row for row in ROWS}
    if args.one:
        try:
            result: Any = found(known[args.one], args.target, only_check=args.check)
        except Exception:
            traceback.print_exc()
            raise SystemExit(1) from None
        print(json.dumps(dataclasses.asdict(result)))
        return
    console = Console(width=240)
    before = json.loads(args.json.read_text()) if args.json and args.json.exists() else []
    results = {each["name"]: Found(**each) for each in before}
    for name in args.names:
        results[name] = alone(known[name], args)
        console.print(" | ".join(results[name].cells()), soft_wrap=True)
        rows = [results[name] for name in known if name in results]
        if args.json:
            args.json.write_text(json.dumps([dataclasses.asdict(each) for each in rows], indent=1) + "\n")
        if args.markdown:
            args.markdown.write_text(markdown(rows))


if __name__ == "__main__":
    main()
