"""How ONNX Runtime convolves on a GPU: the networks' convolutions under each of its ways to choose an algorithm.

    python -m benchmarks.gpu.convolutions [NETWORK ...] [--windows 1 4] [--seconds 0.1] [--json FILE]

For every convolution of the networks in the registry, in its published size: the kernel that took longest, the median
of single runs with input and output in the GPU's memory, and the largest error on drawn spikes and weights against
float64 on the same GPU, in roundings (2^-24) of the sum of the products' magnitudes. Sums of products, in whatever
order, err by few; Winograd's algorithm and Fourier transforms by more. Needs torch, onnx and onnxruntime-gpu.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from tcja_exporters.modules.attention import SameConv1d
from tcja_exporters.networks import NETWORKS
from tcja_exporters.networks.base import ShapeReader
from tcja_runtime.data.windows import random_windows
from tcja_runtime.machine.gpu import gpu

SEARCHES = ("EXHAUSTIVE", "HEURISTIC", "DEFAULT")
RATE = 0.15
"""The share of neurons that fire in the random spikes."""
UNIT = 2.0**-24


@dataclasses.dataclass(frozen=True)
class Convolution:
    """Shapes of input, of one window, and of weights; strides; zeros before and behind, the same on every axis."""

    current: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    sides: tuple[int, int]

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.current))} * {'x'.join(map(str, self.weight))}, stride {self.stride[0]}"

    def model(self, weight: Tensor) -> bytes:
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, *self.current[1:]])
        asked = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
        pads = [side for side in self.sides for _ in self.stride]
        node = helper.make_node("Conv", ["x", "w"], ["y"], strides=self.stride, pads=pads)
        graph = helper.make_graph([node], "conv", [given], [asked], [numpy_helper.from_array(weight.numpy(), "w")])
        opset = [helper.make_opsetid("", 18)]
        return onnx.ModelProto.SerializeToString(helper.make_model(graph, opset_imports=opset, ir_version=10))

    def exact(self, x: Tensor, weight: Tensor) -> Tensor:
        function = nn.functional.conv2d if x.ndim == 4 else nn.functional.conv1d
        padded = nn.functional.pad(x.double(), self.sides * len(self.stride))
        return function(padded, weight.double(), stride=self.stride)


def convolutions(name: str) -> dict[Convolution, str]:
    """Of a network, with the first module that is one."""
    network = NETWORKS[name]
    sizes = network.sizes(ShapeReader({}, {}))
    model, found = network.build(sizes).eval(), {}

    def seen(title: str) -> Callable[..., None]:
        def hook(module: Any, given: tuple[Tensor], _: Tensor) -> None:
            sides = module.sides if isinstance(module, SameConv1d) else (module.padding[0],) * 2
            made = Convolution(tuple(given[0].shape), tuple(module.weight.shape), module.stride, sides)
            found.setdefault(made, f"{name} {title}")

        return hook

    for title, module in model.named_modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            module.register_forward_hook(seen(title))
    with torch.no_grad():
        model(torch.from_numpy(random_windows(network.contract(sizes), 1, seed=0).inputs))
    return found


def measured(made: Convolution, windows: int, search: str, seconds: float) -> dict[str, Any]:
    import onnxruntime

    generator = torch.Generator().manual_seed(0)
    shape = (made.current[0] * windows, *made.current[1:])
    x = (torch.rand(shape, generator=generator) < RATE).float().cuda()
    weight = torch.randn(made.weight, generator=generator)
    options = {"use_tf32": "0", "cudnn_conv_algo_search": search}
    session = onnxruntime.InferenceSession(made.model(weight), providers=[("CUDAExecutionProvider", options)])
    exact = made.exact(x, weight.cuda())
    magnitude = made.exact(x, weight.cuda().abs())
    y = torch.empty(exact.shape, device="cuda")
    binding = session.io_binding()
    binding.bind_input("x", "cuda", 0, "float32", shape, x.data_ptr())
    binding.bind_output("y", "cuda", 0, "float32", tuple(y.shape), y.data_ptr())
    torch.cuda.synchronize()
    for _ in range(3):
        session.run_with_iobinding(binding)
    taken: list[float] = []
    while len(taken) < 5 or sum(taken) < seconds:
        start = time.perf_counter()
        session.run_with_iobinding(binding)
        taken.append(time.perf_counter() - start)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        session.run_with_iobinding(binding)
    kernels = {event.name: event.device_time for event in profile.events() if event.device_time}
    error = ((y - exact).abs() / magnitude.clamp(min=UNIT)).max() / UNIT
    longest = max(kernels, key=lambda name: kernels[name], default="not told")
    return {"seconds": statistics.median(taken), "error": float(error), "kernel": longest}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", nargs="*", default=list(NETWORKS))
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--seconds", type=float, default=0.1, help="of measuring, each")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    import onnxruntime

    onnxruntime.preload_dlls()
    onnxruntime.set_default_logger_severity(4)  # it says that its default convolutions may be slow
    found: dict[Convolution, str] = {}
    for name in asked.network:
        found = convolutions(name) | found
    device, rows = gpu(), []
    table = Table("first", "windows", "search", "ms", "error", "kernel", title=device.name if device else "no GPU")
    for (made, first), windows, search in itertools.product(found.items(), asked.windows, SEARCHES):
        row = measured(made, windows, search, asked.seconds)
        rows.append({"first": first, "convolution": str(made), "windows": windows, "search": search, **row})
        cells = f"{row['seconds'] * 1000:.3f}", f"{row['error']:.1f}", row["kernel"][:60]
        table.add_row(first, str(windows), search, *cells)
        if asked.json:
            asked.json.write_text(json.dumps(rows))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
