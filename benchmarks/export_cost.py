"""What an export costs, against the plain way: whole processes in turn, wall time and peak memory.

    python benchmarks/export_cost.py [CHECKPOINT] [--runs N]

The peer is what one would write without this tool: the same network with SpikingJelly's own neurons,
`torch.onnx.export(dynamo=True)`, and one window run in ONNX Runtime and compared with PyTorch (`plain_export.py`).
Ours is `tcja-deploy export --target onnx`: identification, both models, parity on two windows in both of them, golden
vectors, report. Without a checkpoint the published DVS128 network is drawn at random.
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
from tcja_exporters.networks.network import ShapeReader

HERE = Path(__file__).parent


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


def measured(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak memory in MiB of one process with the children it waits for."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{errors}")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = args.checkpoint or drawn_checkpoint(Path(folder) / "dvs128.pth")
        costs: dict[str, list[tuple[float, float]]] = {"tcja-deploy": [], "plain": []}
        for i in range(args.runs):
            out = Path(folder) / f"{i}.bundle"
            ours = [
                sys.executable,
                "-m",
                "tcja_deploy",
                "export",
                str(checkpoint),
                "--out",
                str(out),
                "--target",
                "onnx",
            ]
            plain = [sys.executable, str(HERE / "plain_export.py"), str(checkpoint), str(Path(folder) / "plain.onnx")]
            for name, command in (("tcja-deploy", ours), ("plain", plain)):
                costs[name].append(measured(command))
                print(f"run {i + 1}/{args.runs}  {name:12}  {costs[name][-1][0]:6.1f} s  {costs[name][-1][1]:6.0f} MiB")
    seconds = {name: statistics.median(c[0] for c in runs) for name, runs in costs.items()}
    memory = {name: statistics.median(c[1] for c in runs) for name, runs in costs.items()}
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}; medians of {args.runs} runs")
    print(f"{'':14}{'seconds':>9}{'peak MiB':>10}")
    for name in costs:
        print(f"{name:14}{seconds[name]:9.1f}{memory[name]:10.0f}")
    print(
        f"{'ratio':14}{seconds['tcja-deploy'] / seconds['plain']:9.2f}"
        f"{memory['tcja-deploy'] / memory['plain']:10.2f}   (tcja-deploy / plain; at most 1 is wanted)"
    )


if __name__ == "__main__":
    main()
