"""Flips, explained and not, of every network of the registry in its published size, over several seeds.

    python -m benchmarks.parity.parity [--seeds 3] [--samples 2] [NETWORK | CHECKPOINT[:DATA]]...

A network's weights are drawn from the seed; a trained checkpoint is compared on different parts of its data instead.
"undecided" is the largest share, over the layers, of neurons and time steps at which rounding decides. "of bound" is
the largest difference of any signal, as a share of its rounding bound. What was measured for the release is in
docs/measurements/parity.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import drawn
from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_deploy.parity.verdict import Report
from tcja_exporters.networks import NETWORKS
from tcja_runtime.errors import ParityNotMet

COLUMNS = (
    *("network", "seed", "flips", "explained", "unexplained", "free-running", "undecided", "of bound", "exact", "s"),
)


def compared(what: str, seed: int, samples: int, folder: Path) -> Report:
    """Export a drawn network, or a trained one with another part of its data."""
    checkpoint, _, data = what.partition(":")
    request = {"out": folder / f"{seed}.bundle", "target": "onnx", "samples": samples}
    if what in NETWORKS:
        path = drawn.checkpoint(what, seed, folder / f"{seed}.pth")
        return pipeline.export(ExportRequest(checkpoint=path, network=what, **request))[1]
    part = folder / f"{seed}.npz"
    with np.load(data) as arrays:
        chosen = np.random.default_rng(seed).permutation(len(arrays["labels"]))[:samples]
        np.savez(part, **{name: arrays[name][chosen] for name in arrays.files if len(arrays[name]) > chosen.max()})
    return pipeline.export(ExportRequest(checkpoint=Path(checkpoint), data=part, **request))[1]


def row(what: str, seed: int, report: Report, seconds: float) -> tuple[str, ...]:
    (found,) = report.backends
    undecided = max(layer.undecided_share(report.windows) for layer in found.layers)
    share = max(signal.share for signal in found.signals)
    dyadic = [signal for signal in found.signals if signal.scene == "dyadic"]
    return (
        Path(what.partition(":")[0]).stem,
        str(seed),
        f"{found.flips:,}",
        f"{found.flips - found.unexplained:,}",
        f"{found.unexplained:,}",
        f"{found.free_running_flips:,}",
        f"{100 * undecided:.2g} %",
        f"{share:.2f}",
        f"{sum(signal.exact for signal in dyadic)}/{len(dyadic)}",
        f"{seconds:.0f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", default=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=2)
    args = parser.parse_args()
    table = Table(*COLUMNS)
    console = Console(width=120)
    for what in args.what:
        for seed in range(args.seeds):
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                try:
                    report = compared(what, seed, args.samples, Path(folder))
                except ParityNotMet as error:
                    raise SystemExit(f"{what}, seed {seed}: {error}") from error
                table.add_row(*row(what, seed, report, time.perf_counter() - start))
                console.print(*table.columns[0]._cells[-1:], seed, "done", style="dim")
    console.print(table)


if __name__ == "__main__":
    main()
