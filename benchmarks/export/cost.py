"""What an export costs, against the plain way: whole processes in turn, wall time and peak memory.

    python -m benchmarks.export.cost [CHECKPOINT] [--runs N] [--profile]

The peer is what one would write without this tool: the same network with SpikingJelly's own neurons, and
`torch.onnx.export(dynamo=True)` (`plain_export.py`). Two pairs of processes are compared, imports and all:

    ONNX      to the model's file alone, nothing checked: ours writes two models (`onnx_stage.py`), the peer one
    whole     `tcja-deploy export --target onnx`, with its proof: parity on two windows in both models, spike by spike,
              against float64 with bounds, on drawn windows too, golden vectors, report; the peer runs one window in
              ONNX Runtime and prints how far it is from PyTorch

so the second ratio is of unequal things: what ours proves is not had by the plain way at any price. `--profile` then
prints where ours spends it (`export_profile.py`). Without a checkpoint the published DVS128 network is drawn at random.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from tcja_exporters.networks import NETWORKS
from tcja_exporters.networks.base import ShapeReader

OUT = "OUT"
"""In a command, where it writes."""


def drawn_checkpoint(path: Path) -> Path:
    """The published DVS128 network with random weights, large enough that it fires."""
    torch.manual_seed(0)
    network = NETWORKS["dvs128"]
    module = network.build(network.sizes(ShapeReader({})))
    for parameter in module.parameters():
        gain = {1: 0.0, 2: 8.0, 3: 6.0, 4: 1.6}[parameter.ndim]
        if gain:
            torch.nn.init.normal_(parameter, std=gain / parameter[0].numel() ** 0.5)
    torch.save({"net": module.state_dict(), "optimizer": {}, "lr_scheduler": {}, "epoch": 0, "max_test_acc": 0.0}, path)
    return path


Cost = tuple[float, float, float]
"""Wall seconds, processor seconds of all threads, and peak memory in MiB."""


def measured(command: list[str]) -> Cost:
    """What one process costs with the children it waits for."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compared(ours: list[str], plain: list[str], runs: int, folder: Path, title: str) -> None:
    """Run both in turn, each writing to a new place, and print the ratio of their medians."""
    costs: dict[str, list[Cost]] = {"tcja-deploy": [], "plain": []}
    for i in range(runs):
        for name, command in (("tcja-deploy", ours), ("plain", plain)):
            out = str(folder / f"{title} {name} {i}.onnx")
            costs[name].append(measured([sys.executable, *(out if word == OUT else word for word in command)]))
    medians = {
        name: [statistics.median(figures) for figures in zip(*found, strict=True)] for name, found in costs.items()
    }
    print(f"\n{title:14}{'seconds':>9}{'cpu s':>9}{'peak MiB':>10}")
    for name, (seconds, processor, memory) in medians.items():
        print(f"{name:14}{seconds:9.1f}{processor:9.1f}{memory:10.0f}")
    ratios = [a / b for a, b in zip(*medians.values(), strict=True)]
    print(f"{'ratio':14}{ratios[0]:9.2f}{ratios[1]:9.2f}{ratios[2]:10.2f}   (tcja-deploy / plain)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--stage", choices=("onnx", "whole"), help="compare this alone")
    parser.add_argument("--profile", action="store_true", help="print where ours spends its time and memory, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        checkpoint = str(args.checkpoint or drawn_checkpoint(folder / "dvs128.pth"))
        print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; medians of {args.runs} runs")
        plain = ["-m", "benchmarks.export.plain_export", checkpoint, OUT]
        if args.stage != "whole":
            ours = ["-m", "benchmarks.export.onnx_stage", checkpoint, OUT]
            compared(ours, [*plain, "--unchecked"], args.runs, folder, "ONNX")
        if args.stage != "onnx":
            ours = ["-m", "tcja_deploy", "export", checkpoint, "--out", OUT, "--target", "onnx"]
            compared(ours, plain, args.runs, folder, "whole")
        if args.profile:
            print(flush=True)
            bundle = str(folder / "profile.bundle")
            subprocess.run([sys.executable, "-m", "benchmarks.export.profile", checkpoint, bundle], check=True)


if __name__ == "__main__":
    main()
