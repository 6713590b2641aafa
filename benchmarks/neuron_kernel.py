"""The neuron's CUDA kernel on this machine's GPU: its spikes and membranes, and its bandwidth against a copy's.

    python benchmarks/neuron_kernel.py BUNDLE [--batch 8] [--runs 100]

For every spiking layer of a bundle ONNX Runtime computes the currents of the golden windows and, from them, the spikes.
The kernel takes the same currents in float32, and rounded to float16, and must fire those spikes (in float16: those of
the specification) and have the specification's membranes, all to the bit. Then it is timed on a batch of the first
window; the copy moves as many bytes as the kernel reads and writes, on the same GPU, in turn. "pooled" is the kernel
with 2 x 2 maximum pooling behind it. Needs cuda-bindings and NVRTC. It was never run yet: no GPU was at hand.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tcja_runtime import golden
from tcja_runtime.bundle import GOLDEN, PLAIN_MODEL, Bundle, Layer
from tcja_runtime.errors import TcjaError
from tcja_runtime.frames import Floats
from tcja_runtime.machine import gpu
from tcja_runtime.neuron import fire, membranes
from tcja_runtime.plugin import launch
from tcja_runtime.plugin.kernel import Kernel, width
from tcja_runtime.probe import current_tensor, spikes_tensor
from tcja_runtime.sessions.cuda import Cuda
from tcja_runtime.sessions.onnxruntime import OnnxRuntimeSession

TYPES = (np.float32, np.float16)


def traces(bundle: Bundle) -> dict[str, tuple[Floats, Floats]]:
    """Currents and spikes [T, N, ...] of every spiking layer, of the golden windows."""
    manifest = bundle.manifest
    pairs = {layer.name: (current_tensor(layer.name), spikes_tensor(layer.name)) for layer in manifest.layers}
    session = OnnxRuntimeSession(bundle.path / PLAIN_MODEL, [name for pair in pairs.values() for name in pair])
    windows = golden.load(bundle.path / GOLDEN, manifest.input).samples.inputs
    results = session.run({manifest.input.name: windows})
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


def seconds(cuda: Cuda, stream: int, work: Callable[[], object], runs: int) -> float:
    """Of one run, on the GPU's own clock."""
    first, last = cuda.call("cudaEventCreate"), cuda.call("cudaEventCreate")
    work()
    cuda.call("cudaEventRecord", first, stream)
    for _ in range(runs):
        work()
    cuda.call("cudaEventRecord", last, stream)
    cuda.call("cudaEventSynchronize", last)
    return float(cuda.call("cudaEventElapsedTime", first, last)) / 1000 / runs


def bandwidths(layer: Layer, steps: int, batch: int, runs: int) -> list[str]:
    """Bytes a second of the kernel as a share of a copy's: float32, float16, then pooled."""
    found, cuda = [], Cuda()
    from cuda.bindings import runtime

    device = gpu()
    stream = cuda.stream()
    for dtype, pool in ((np.float32, 1), (np.float16, 1), (np.float32, 2), (np.float16, 2)):
        if pool > 1 and len(layer.shape) < 3:
            found.append("")
            continue
        made = kernel(layer, dtype, pool)
        shape, size = (steps, batch, *layer.shape), np.dtype(dtype).itemsize
        read = int(np.prod(shape)) * size
        written = read if pool == 1 else int(np.prod([*shape[:-2], *(n // pool for n in shape[-2:])])) * size
        source, target = (int(cuda.call("cudaMalloc", read)) for _ in range(2))
        ptx, kind = made.ptx(device.sm), runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice

        def compute(made=made, ptx=ptx, shape=shape, source=source, target=target) -> None:
            launch.enqueue(made, ptx, shape, source, [target], stream.handle)

        def copy(n=(read + written) // 2, source=source, target=target, kind=kind) -> None:
            cuda.call("cudaMemcpyAsync", target, source, n, kind, stream.handle)

        cuda.call("cudaMemsetAsync", source, 0, read, stream.handle)
        ours, theirs = (seconds(cuda, stream.handle, work, runs) for work in (compute, copy))
        found.append(f"{(read + written) / ours / 1e9:.0f} GB/s, {theirs / ours:.2f}")
        for address in (source, target):
            cuda.call("cudaFree", address)
    stream.free()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=100)
    asked = parser.parse_args()
    device = gpu()
    if device is None:
        sys.exit("no GPU was found")
    bundle = Bundle.open(asked.bundle)
    table = Table(
        title=f"{device.name}, batch {asked.batch}: bandwidth, and as a share of a copy's", caption_justify="left"
    )
    heads = ("spikes fp32", "membranes", "spikes fp16", "membranes", "fp32", "fp16", "pooled fp32", "pooled fp16")
    for head in ("layer", "current", *heads):
        table.add_column(head)
    wrong = 0
    for name, (current, spikes) in traces(bundle).items():
        layer = next(each for each in bundle.manifest.layers if each.name == name)
        counts = different(layer, current, spikes)
        wrong += sum(counts)
        speeds = bandwidths(layer, len(current), asked.batch, asked.runs)
        table.add_row(name, "x".join(map(str, layer.shape)), *map(str, counts), *speeds)
    Console(width=150).print(table)
    if wrong:
        sys.exit(f"{wrong} spikes or membranes differ")
    print("Every spike and membrane is the golden one, to the bit.")


if __name__ == "__main__":
    try:
        main()
    except TcjaError as error:
        sys.exit(f"error: {error}")
