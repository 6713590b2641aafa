"""The neuron's CUDA kernel on this machine's GPU: its spikes and membranes, and its bandwidth against a copy's.

    python -m benchmarks.gpu.neuron_kernel BUNDLE [--batch 1 8] [--windows 1] [--ahead 1 4 8] [--runs 20] [--json FILE]

For every spiking layer of a bundle ONNX Runtime computes the currents of golden windows and, from them, the spikes. The
kernel takes the same currents in float32, and rounded to float16, and must fire those spikes (in float16: those of the
specification) and have the specification's membranes, all to the bit.

It is timed on drawn currents of the layers' shapes, in buffers that the cache does not hold, by the GPU's clock and
as one launch of many kernels. The copy is the CUDA runtime's from and to the GPU's memory; it moves as many bytes,
read and written, in turn. "pooled" is the kernel with 2 x 2 maximum pooling behind it; `--ahead` is `Kernel.ahead`.
Needs cuda-bindings and NVRTC.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tcja_runtime.backends.onnxruntime import OnnxRuntimeSession
from tcja_runtime.bundle.bundle import PLAIN_MODEL, Bundle
from tcja_runtime.bundle.network_signature import Layer
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import TcjaError
from tcja_runtime.evidence import golden
from tcja_runtime.files.folder import read_model
from tcja_runtime.machine.gpu import gpu
from tcja_runtime.model_file.tensor_names import current_tensor, spikes_tensor
from tcja_runtime.neuron import fire, membranes
from tcja_runtime.tensorrt.cuda import Cuda, Graph, Stream
from tcja_runtime.tensorrt.plugin import launch
from tcja_runtime.tensorrt.plugin.kernel import Kernel, width

TYPES = (np.float32, np.float16)
WARM_RUNS = 3
FEWEST_LAUNCHES = 8
"""In a graph, whose own launch is timed, too."""
MOST_PAIRS = 256
"""Of buffers; a layer so small that these fit the cache is faster than memory."""


def traces(bundle: Bundle, windows: int) -> dict[str, tuple[Floats, Floats]]:
    """Currents and spikes [T, N, ...] of every spiking layer, of the first golden windows."""
    manifest = bundle.manifest
    pairs = {layer.name: (current_tensor(layer.name), spikes_tensor(layer.name)) for layer in manifest.layers}
    names = [name for pair in pairs.values() for name in pair]
    session = OnnxRuntimeSession.open(read_model(bundle, PLAIN_MODEL), names)
    inputs = golden.read(bundle, manifest.input).samples.inputs[:windows]
    results = session.run({manifest.input.name: inputs})
    return {layer: (results[current], results[spikes]) for layer, (current, spikes) in pairs.items()}


def kernel(layer: Layer, dtype: type[np.generic], pool: int = 1, *, traced: bool = False) -> Kernel:
    half, window = dtype is np.float16, layer.shape
    return Kernel(layer.neuron, half, width(window, half, pool), pool, traced)


def different(layer: Layer, current: Floats, spikes: Floats) -> list[int]:
    """How many spikes and membranes of the kernel differ: in float32, then in float16."""
    found = []
    for dtype in TYPES:
        given = current.astype(dtype)
        expected = spikes != 0 if dtype is np.float32 else fire(layer.neuron, given.astype(np.float32))
        h = membranes(layer.neuron, given.astype(np.float32), expected)
        got, got_h = launch.run(kernel(layer, dtype, traced=True), given)
        found += [int((got != expected).sum()), int((got_h != h).sum())]
    return found


class Timer:
    """Times work on the GPU by its own clock."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self.stream = cuda, cuda.stream()
        self._first, self._last = (cuda.call("cudaEventCreate") for _ in range(2))

    def graph(self, work: Callable[[], None]) -> Graph:
        """All of the work as one launch, so that no gap between its parts is timed."""
        work()  # a module that is loaded late cannot be captured
        self.stream.wait()
        graph = self.stream.capture(work)
        if graph is None:
            sys.exit("CUDA does not capture this as a graph")
        return graph

    def medians(self, graphs: list[Graph], runs: int) -> list[float]:
        """Seconds that each takes, launched in turn."""
        taken: list[list[float]] = [[] for _ in graphs]
        for turn in range(runs + WARM_RUNS):
            for each, graph in zip(taken, graphs, strict=True):
                self._cuda.call("cudaEventRecord", self._first, self.stream.handle)
                self.stream.launch(graph)
                self._cuda.call("cudaEventRecord", self._last, self.stream.handle)
                self._cuda.call("cudaEventSynchronize", self._last)
                if turn >= WARM_RUNS:
                    each.append(self._cuda.call("cudaEventElapsedTime", self._first, self._last) / 1000)
        return [statistics.median(each) for each in taken]


class Currents:
    """Pairs of buffers, one for currents and one for spikes, more than the GPU's cache holds.

    A kernel is timed on all in turn, or it would read what it left in the cache.
    """

    def __init__(self, cuda: Cuda, stream: Stream, read: int, written: int, dtype: type[np.generic]) -> None:
        self._cuda = cuda
        cache = cuda.call("cudaDeviceGetAttribute", runtime().cudaDeviceAttr.cudaDevAttrL2CacheSize, 0)
        pairs = min(-(-4 * cache // (read + written)), MOST_PAIRS)
        larger = max(read, (read + written) // 2)
        self.pairs = [tuple(int(cuda.call("cudaMalloc", larger)) for _ in range(2)) for _ in range(pairs)]
        drawn = np.random.default_rng(0).standard_normal(min(read // np.dtype(dtype).itemsize, 2**22)).astype(dtype)
        filled = cuda.buffer(drawn.nbytes)
        filled.host[: drawn.nbytes] = drawn.view(np.uint8)
        filled.to_gpu(drawn.nbytes, stream)
        for source, _ in self.pairs:
            for start in range(0, read, drawn.nbytes):
                copy(cuda, stream, filled.address, source + start, min(drawn.nbytes, read - start))
        stream.wait()
        filled.free()

    def free(self) -> None:
        for pair in self.pairs:
            for address in pair:
                self._cuda.call("cudaFree", address)


def copy(cuda: Cuda, stream: Stream, source: int, target: int, size: int) -> None:
    kind = runtime().cudaMemcpyKind.cudaMemcpyDeviceToDevice
    cuda.call("cudaMemcpyAsync", target, source, size, kind, stream.handle)


def runtime() -> Any:
    from cuda.bindings import runtime

    return runtime


def bandwidth(timer: Timer, cuda: Cuda, made: Kernel, shape: tuple[int, ...], runs: int, sm: str) -> tuple[float, ...]:
    """Bytes a second of a kernel, and of a copy of as many bytes, read and written, in turn."""
    dtype = np.float16 if made.half else np.float32
    read = math.prod(shape) * np.dtype(dtype).itemsize
    sides = [size // made.pool for size in shape[-2:]] if made.pool > 1 else shape[-2:]
    written = math.prod([*shape[:-2], *sides]) * np.dtype(dtype).itemsize
    buffers, ptx = Currents(cuda, timer.stream, read, written, dtype), made.ptx(sm)
    turns = -(-FEWEST_LAUNCHES // len(buffers.pairs))

    def compute() -> None:
        for source, target in buffers.pairs * turns:
            launch.enqueue(made, ptx, shape, source, [target], timer.stream.handle)

    def copies() -> None:
        for source, target in buffers.pairs * turns:
            copy(cuda, timer.stream, source, target, (read + written) // 2)

    graphs = [timer.graph(compute), timer.graph(copies)]
    moved = (read + written) * len(buffers.pairs) * turns
    speeds = tuple(moved / taken for taken in timer.medians(graphs, runs))
    for graph in graphs:
        graph.free()
    buffers.free()
    return speeds


def bandwidths(layers: Sequence[Layer], steps: int, asked: argparse.Namespace, sm: str) -> list[dict[str, Any]]:
    """Of every layer's kernels, each shape once."""
    cuda, rows = Cuda.open(), []
    timer = Timer(cuda)
    shapes = {layer.shape: layer for layer in layers}
    kinds = [(dtype, pool) for pool in (1, 2) for dtype in TYPES]
    for ahead, batch, (shape, layer) in itertools.product(asked.ahead, asked.batch, shapes.items()):
        for dtype, pool in kinds:
            if pool > 1 and len(shape) < 3:
                continue
            made = dataclasses.replace(kernel(layer, dtype, pool), ahead=ahead)
            ours, theirs = bandwidth(timer, cuda, made, (steps, batch, *shape), asked.runs, sm)
            kind = f"{'pooled ' if pool > 1 else ''}{np.dtype(dtype).name}"
            rows.append({"ahead": ahead, "batch": batch, "shape": shape, "kind": kind, "kernel": ours, "copy": theirs})
    timer.stream.free()
    return rows


def speeds(rows: list[dict[str, Any]], title: str) -> Table:
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    table = Table("batch", "currents", *kinds, title=title, title_justify="left")
    for batch, shape in dict.fromkeys((row["batch"], row["shape"]) for row in rows):
        found = {row["kind"]: row for row in rows if (row["batch"], row["shape"]) == (batch, shape)}
        cells = [
            f"{found[kind]['kernel'] / 1e9:.0f} GB/s, {found[kind]['kernel'] / found[kind]['copy']:.2f}"
            if kind in found
            else ""
            for kind in kinds
        ]
        table.add_row(str(batch), "x".join(map(str, shape)), *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--windows", type=int, default=1)
    parser.add_argument("--ahead", type=int, nargs="+", default=[Kernel.ahead])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    device = gpu()
    if device is None:
        sys.exit("no GPU was found")
    bundle, console = Bundle.open(asked.bundle), Console(width=130)
    layers = {layer.name: layer for layer in bundle.manifest.layers}
    rows = bandwidths(list(layers.values()), bundle.manifest.time_steps, asked, device.sm)
    for ahead in asked.ahead:
        title = f"{device.name}, {ahead} steps ahead: bandwidth, and as a share of a copy's"
        console.print(speeds([row for row in rows if row["ahead"] == ahead], title))
    heads = ("spikes float32", "membranes", "spikes float16", "membranes")
    table = Table("layer", "currents", *heads, title="different from the specification", title_justify="left")
    counts = {name: different(layers[name], *pair) for name, pair in traces(bundle, asked.windows).items()}
    for name, found in counts.items():
        table.add_row(name, "x".join(map(str, layers[name].shape)), *map(str, found))
    console.print(table)
    if asked.json:
        asked.json.write_text(json.dumps({"gpu": device.name, "bandwidth": rows, "different": counts}))
    wrong = sum(map(sum, counts.values()))
    if wrong:
        sys.exit(f"{wrong} spikes or membranes differ")
    print("Every spike and membrane is the golden one, to the bit.")


if __name__ == "__main__":
    try:
        main()
    except TcjaError as error:
        sys.exit(f"error: {error}")
