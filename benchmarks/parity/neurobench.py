"""NeuroBench's network for DVS128 Gesture, which others trained: its export, and its synaptic operations.

    pip install --no-deps neurobench snntorch
    python -m benchmarks.parity.neurobench dvs_gesture_snn.pth [--windows N]

The weights are `examples/dvs_gesture/model_data/dvs_gesture_snn` of github.com/NeuroBench/neurobench. The network is
exported as it is, and its operations are counted twice on the same windows: by NeuroBench's own functions, and by
`tcja-deploy inspect` (`tcja_exporters.costs`). DVS128 Gesture is not at hand, so the windows are random: moving spots
of events. As many inputs are not zero as NeuroBench's multiply-accumulates say, and the counts are so large that the
network's activation sparsity is the published one. docs/measurements/parity.md has the result.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import snntorch
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from tcja_deploy.export import pipeline
from tcja_deploy.export.request import ExportRequest
from tcja_exporters.costs.roofline import Costs
from tcja_runtime.bundle.bundle import GOLDEN, MODEL
from tcja_runtime.data.contract import Floats
from tcja_runtime.evidence import golden

PUBLISHED = {"sparsity": 0.9507, "accumulates": 30_564_617.7, "multiplies": 9_227_011.6, "dense": 891_206_400}
"""The published figures: the activation sparsity, and the operations of a window."""
SHAPE = (150, 2, 32, 32)
BETAS = (0.9999903192467171, 0.7291118090686332, 0.9364650136740154, 0.8348241794080301)
THRESHOLDS = (3.511291184386264, 3.494437965584431, 1.5986853560315544, 0.3641469130041378)
PRODUCTS = ("conv1", "conv2", "conv3", "linear1")
DENSITY = 0.0811
"""The share of inputs that are not zero: of conv1's products without those of padding, so many are effective."""


class Net(nn.Module):
    """The network, which takes one time step [N, 2, 32, 32] and returns spikes and membranes [N, 11]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (
            nn.Conv2d(before, after, 5, padding="same") for before, after in ((2, 16), (16, 32), (32, 64))
        )
        self.linear1, self.pool, self.dropout = nn.Linear(1024, 11), nn.MaxPool2d(2), nn.Dropout(0.5)
        self.lif1, self.lif2, self.lif3, self.lif4 = (
            snntorch.Leaky(beta=beta, threshold=threshold, init_hidden=True, output=i == 3)
            for i, (beta, threshold) in enumerate(zip(BETAS, THRESHOLDS, strict=True))
        )

    def forward(self, x: Tensor) -> Any:
        x = self.lif1(self.pool(self.conv1(x)))
        x = self.lif2(self.pool(self.conv2(x)))
        x = self.lif3(self.pool(self.conv3(x)))
        return self.lif4(self.dropout(self.linear1(x.flatten(1))))


def network(weights: Path) -> Net:
    """The network with its weights, in eval mode."""
    net = Net()
    net.load_state_dict(torch.load(weights, weights_only=True, map_location="cpu"))
    return net.eval()


def windows(n: int, mean: float) -> Floats:
    """Event counts [N, *SHAPE]: the cells next to two moving spots; `mean` is the mean of their counts."""
    random = np.random.default_rng(0)
    t, rows, columns = np.ogrid[: SHAPE[0], :32, :32]
    near = np.full((n, SHAPE[0], 32, 32), np.inf)
    for window in near:
        for phase in random.uniform(0, 2 * np.pi, (2, 3)):
            row, column = (16 + 11 * np.sin(2 * np.pi * t / 60 + angle) for angle in phase[:2])
            np.minimum(window, (rows - row) ** 2 + (columns - column) ** 2, out=window)
    near = near[:, :, None] + random.exponential(20.0, (n, *SHAPE))  # noise, other for each polarity
    events = near <= np.quantile(near, DENSITY)
    return np.asarray(events * (1 + random.poisson(mean - 1, events.shape)), np.float32)


def run(net: Net, inputs: Floats) -> tuple[float, dict[str, list[Tensor]]]:
    """Run the network step by step; return its activation sparsity, and what each product takes at each step."""
    taken: dict[str, list[Tensor]] = {name: [] for name in PRODUCTS}
    fired: list[Tensor] = []

    def note(_layer: nn.Module, _given: Any, output: Any) -> None:
        fired.append(output[0] if isinstance(output, tuple) else output)

    layers = [net.get_submodule(f"lif{i}") for i in (1, 2, 3, 4)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    for name, kept in taken.items():
        keep = functools.partial(lambda kept, _layer, given: kept.append(given[0]), kept)
        handles.append(net.get_submodule(name).register_forward_pre_hook(keep))
    for layer in layers:
        layer.reset_mem()
    with torch.no_grad():
        for frame in torch.from_numpy(inputs).unbind(1):
            net(frame)
    for handle in handles:
        handle.remove()
    return 1 - sum(int(s.count_nonzero()) for s in fired) / sum(s.numel() for s in fired), taken


def counted(net: Net, inputs: Floats) -> dict[str, float]:
    """NeuroBench's figures of a window: those of `PUBLISHED`, and the operations of each product."""
    from neurobench.metrics.utils.layers import single_layer_MACs

    found: dict[str, float] = dict.fromkeys(("accumulates", "multiplies", "dense", *PRODUCTS), 0.0)
    found["sparsity"], taken = run(net, inputs)
    for name, steps in taken.items():
        layer = net.get_submodule(name)
        for given in steps:
            operations, spiking = single_layer_MACs(given, layer)
            found["accumulates" if spiking else "multiplies"] += operations / len(inputs)
            found[name] += operations / len(inputs)
            found["dense"] += single_layer_MACs(given, layer, total=True)[0] / len(inputs)
    return found


def sparse_windows(net: Net, n: int) -> Floats:
    """Windows on which the network has the published activation sparsity."""
    low, high = 1.0, 64.0
    while high - low > 0.02:
        mean = (low + high) / 2
        sparser = run(net, windows(n, mean))[0] > PUBLISHED["sparsity"]
        low, high = (mean, high) if sparser else (low, mean)
    return windows(n, low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--windows", type=int, default=2)
    args = parser.parse_args()
    net = network(args.weights)
    inputs = sparse_windows(net, args.windows)
    theirs = counted(net, inputs)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "data.npz", frames=inputs)
        request = ExportRequest(
            model=net,
            layout="step",
            data=Path(folder) / "data.npz",
            out=Path(folder) / "a.bundle",
            target="onnx",
            streaming=True,
        )
        began = time.perf_counter()
        manifest, report = pipeline.export(request)
        seconds = time.perf_counter() - began
        vectors = golden.load(request.out / GOLDEN, manifest.input)
        model = onnx.load(request.out / MODEL, load_external_data=False)
        size = (request.out / GOLDEN).stat().st_size
        flips = report.backends[0].flips
        print(f"{len(model.graph.node)} nodes, golden vectors of {size / 1e6:.1f} MB, exported in {seconds:.0f} s")
        print(f"spike flips: {flips}; stepwise to the bit: {report.stepwise is not None and report.stepwise.identical}")
        costs = Costs.of(model)
        ours = {each.module: each for each in costs.synapses(costs.rates(vectors))}
    table = Table("", "published", "NeuroBench's count", "this tool's count")
    accumulates = sum(each.accumulates for each in ours.values())
    multiplies = sum(each.multiply_accumulates for each in ours.values())
    rows: list[tuple[str, float | None, float, float | None]] = [
        ("activation sparsity", PUBLISHED["sparsity"], theirs["sparsity"], None),
        ("accumulates", PUBLISHED["accumulates"], theirs["accumulates"], accumulates),
        ("multiply-accumulates", PUBLISHED["multiplies"], theirs["multiplies"], multiplies),
        ("dense", PUBLISHED["dense"], theirs["dense"], sum(each.macs for each in ours.values())),
        *(
            (name, None, theirs[name], each.accumulates or each.multiply_accumulates)
            for name, each in ((name, ours[name]) for name in PRODUCTS)
        ),
    ]
    for name, *numbers in rows:
        table.add_row(name, *("" if x is None else f"{x:,.4f}" if x < 1 else f"{x:,.0f}" for x in numbers))
    Console(width=100).print(table)


if __name__ == "__main__":
    sys.exit(main())
