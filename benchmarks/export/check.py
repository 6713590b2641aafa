"""What `check` says of a network, beside what `export` then does; and the processor's seconds that both take.

    python -m benchmarks.export.check [--target TARGET] [--published] [NAME...]

The networks are those of `tests/deploy/check/agreement.py`: small ones of the registry, of SpikingJelly, snnTorch and
norse, odd ones, and such that are refused. `--published` takes the registry's networks in their published sizes with
drawn weights instead, and only checks them.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import drawn
from tcja_deploy.check.checker import check
from tcja_deploy.check.result import Checked
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.networks import NETWORKS
from tcja_runtime.bundle.bundle import MODEL, PLAIN_MODEL
from tests.deploy.check import agreement


def facts(found: Checked) -> list[str]:
    """The cells of a result: whether it is accepted, layers that are judged and not, estimates, nodes."""
    if found.network is None or found.models is None:
        return ["refused", *["-"] * 5]
    models = found.models
    counts = (len(found.network.layers), len(models.unjudged), len(models.estimated))
    return ["accepted", *map(str, counts), *(f"{models.nodes[name]:,}" for name in (MODEL, PLAIN_MODEL))]


HEADS = ("says", "judged", "not judged", "estimates", MODEL, PLAIN_MODEL, "check, CPU s")


def compared(names: list[str], target: str) -> Table:
    """Check and export each network; a row for each."""
    table = Table("network", *HEADS, "export, CPU s", "differences")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            row = agreement.compared(name, Path(folder), target)
        differences = "; ".join(row.differences) or "none"
        table.add_row(name, *facts(row.found), *(f"{seconds:.1f}" for seconds in row.seconds), differences)
    return table


def published(names: list[str], target: str) -> Table:
    """Check each network of the registry in its published sizes; a row for each."""
    table = Table("network", *HEADS, "engine layers")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = drawn.checkpoint(name, 0, Path(folder) / f"{name}.pth")
            began = time.process_time()
            found = check(ExportRequest(checkpoint=checkpoint, out=Path(folder) / "out.bundle", target=target))
            seconds = time.process_time() - began
        layers = found.models.engine.layers if found.models else None
        table.add_row(name, *facts(found), f"{seconds:.1f}", "-" if layers is None else f"{layers:,}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--target", default="onnx")
    parser.add_argument("--published", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of the libraries
    known = NETWORKS if args.published else agreement.CASES
    made = published if args.published else compared
    Console(width=200).print(made(args.names or list(known), args.target))


if __name__ == "__main__":
    main()
