"""Every network in every precision: the engine that TensorRT-RTX builds, and spikes and classes in ONNX Runtime.

    python -m benchmarks.parity.precision [--samples 2] [--batch 1:4:16] [NETWORK | CHECKPOINT:DATA]...

A network's weights are drawn from seed 0 and it sees drawn windows; a trained checkpoint sees its own data, all of it
unless --samples says otherwise. "flips" are spikes that differ from the network of the same constants in float64, each
layer fed its spikes; "same class" and "accuracy" compare with the trained network, free-running. What was measured for
the release is in docs/measurements/precision.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import drawn
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.networks import NETWORKS
from tcja_runtime.choices import PRECISIONS
from tcja_runtime.errors import TcjaError
from tcja_runtime.tensorrt.build import Batch

COLUMNS = (
    *("network", "precision", "lowered", "layers", "build s", "bytes"),
    *("flips", "explained", "unexplained", "undecided", "same class", "accuracy"),
)


def row(what: str, precision: str, samples: int | None, batch: Batch, folder: Path) -> tuple[str, ...]:
    """Export a network and say what became of it."""
    path, _, data = what.partition(":")
    network = path if path in NETWORKS else None
    request = ExportRequest(
        checkpoint=drawn.checkpoint(path, 0, folder / f"{path}.pth") if network else Path(path),
        network=network,
        data=Path(data) if data else None,
        samples=samples if data else samples or 2,
        judge=256,
        out=folder / f"{precision}.bundle",
        target="tensorrt-rtx",
        batch=batch,
        precision=precision,
        calibration="random" if precision == "int8" and not data else "data",
    )
    try:
        manifest, report = pipeline.export(request)
    except TcjaError as error:
        return (Path(path).stem, precision, str(error))
    (engine,), (found,) = manifest.engines.values(), report.backends
    lowered = sum(weight.type == precision for weight in manifest.weights)
    undecided = max(layer.undecided_share(report.windows) for layer in found.layers)
    return (
        Path(path).stem,
        precision,
        f"{lowered}/{len(manifest.weights)}",
        str(engine["layers"]),
        f"{engine['build_seconds']:.1f}",
        f"{engine['bytes']:,}",
        f"{found.flips:,}",
        f"{found.flips - found.unexplained:,}",
        f"{found.unexplained:,}",
        f"{100 * undecided:.2g} %",
        "-" if found.agreement is None else f"{100 * found.agreement:.2f} %",
        "-" if found.accuracy is None else f"{100 * found.accuracy:.2f} %",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=list(NETWORKS))
    parser.add_argument("--samples", type=int)
    parser.add_argument("--batch", type=Batch.parse, default=Batch(1, 4, 16))
    args = parser.parse_args()
    table, console = Table(*COLUMNS), Console(width=160)
    for what in args.what:
        for precision in PRECISIONS:
            with tempfile.TemporaryDirectory() as folder:
                found = row(what, precision, args.samples, args.batch, Path(folder))
            table.add_row(*found)
            console.print(" | ".join(found))
    console.print(table)


if __name__ == "__main__":
    main()
