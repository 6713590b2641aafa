"""Memory of one contestant in a process of its own: what came with the network and its runs, at most.

    python -m benchmarks.speed.peak CONTESTANT MODEL WINDOWS.npy

Counted from when libraries are imported and the windows are loaded, up to the peak of three runs, as Linux tells it
(VmHWM, set back before; getrusage's peak would include that of the process which began this one).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.speed.runners import OURS, TORCH, InOnnxRuntime, Ours, Runner
from tcja_deploy.bench.memory import MemoryMeter


def main() -> None:
    name, model, windows = sys.argv[1], Path(sys.argv[2]), np.load(sys.argv[3])
    if name == TORCH:
        import torch

        from benchmarks.speed import peers

        meter = MemoryMeter.start()
        runner: Runner = peers.InTorch(torch.load(model, weights_only=False))
    else:
        meter = MemoryMeter.start()
        runner = Ours(model.parent) if name == OURS else InOnnxRuntime(model)
    for _ in range(3):
        runner.run(windows)
    json.dump(meter.read().loaded, sys.stdout)


if __name__ == "__main__":
    main()
