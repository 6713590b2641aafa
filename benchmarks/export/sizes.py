"""What each network becomes: parameters, nodes of both models, seconds of the export and of the engine.

    python -m benchmarks.export.sizes CHECKPOINT...

Each checkpoint is exported by the command line, with drawn windows and whichever TensorRT is installed. "whole" is the
command from start to end, with the comparison of every spike.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import onnx
from rich.console import Console
from rich.table import Table

COLUMNS = ("network", "parameters", "model.onnx", "model.plain.onnx", "ONNX s", "engine s", "whole s", "flips")


def exported(checkpoint: Path, folder: Path) -> tuple[str, ...]:
    """The row of a checkpoint's network."""
    bundle = folder / f"{checkpoint.stem}.bundle"
    command = [sys.executable, "-m", "tcja_deploy", "export", str(checkpoint), "--out", str(bundle), "--json"]
    start = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    whole = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    manifest: dict[str, Any] = json.loads(done.stdout)
    nodes = [
        len(onnx.load(bundle / name, load_external_data=False).graph.node)
        for name in ("model.onnx", "model.plain.onnx")
    ]
    step = re.search(r"export to ONNX ([\d.]+)", done.stderr)
    engine = next(iter(manifest["engines"].values()), {})
    flips = json.loads((bundle / "parity.json").read_text())["backends"][0]["layers"]
    return (
        manifest["network"],
        f"{manifest['parameters']:,}",
        *map(str, nodes),
        step[1] if step else "-",
        f"{engine['build_seconds']:.1f}" if engine else "-",
        f"{whole:.1f}",
        str(sum(sum(layer["flips"]) for layer in flips)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="+", type=Path)
    args = parser.parse_args()
    table = Table(*COLUMNS)
    for checkpoint in args.checkpoints:
        with tempfile.TemporaryDirectory() as folder:
            table.add_row(*exported(checkpoint, Path(folder)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
