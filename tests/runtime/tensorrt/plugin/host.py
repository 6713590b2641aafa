"""CUDA kernels run on the host: their source as C++, one thread after the other.

What CUDA gives a kernel is defined before the source: its qualifiers, its indices, and the conversion of a half, which
is an instruction of the GPU.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tcja_runtime.tensorrt.plugin.kernel import THREADS, Kernel

SHIM = """
#include <cstring>
#define __global__
#define __device__
struct Index { unsigned x; };
static Index blockIdx, blockDim, threadIdx;
static float widened(unsigned short bits) {
    const unsigned sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3ff;
    unsigned value = sign | (exponent + 112) << 23 | fraction << 13;
    float result;
    if (exponent == 31) value = sign | 0x7f800000u | fraction << 13;
    if (exponent == 0) {
        result = fraction * 0x1p-24f;
        return sign ? -result : result;
    }
    std::memcpy(&result, &value, 4);
    return result;
}
extern "C" void widen(unsigned n, float* values) { for (unsigned i = 0; i < n; ++i) values[i] = widened(i); }
"""
LAUNCH = """
extern "C" void launch{i}(unsigned blocks, unsigned threads, {parameters}) {{
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x)
        for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel{i}::kernel{i}({arguments});
}}
"""
Array = np.ndarray
Run = Callable[[Array], tuple[Array, Array | None]]


def compiled(kernels: Sequence[Kernel], folder: Path) -> ctypes.CDLL:
    """A library with `launch{i}` for each kernel; all in one file, because a compiler takes long to start."""
    text = [SHIM]
    for i, kernel in enumerate(kernels):
        source = kernel.source.replace(f"#define KERNEL {kernel.name}", f"#define KERNEL kernel{i}")
        defined = set(re.findall(r"#define (\w+)", source))
        text.append(f"namespace kernel{i} {{\n{source}\n}}\n")
        integers = ["int a", "int b"] if kernel.pool == 1 else ["int a", "int b", "int c", "int d"]
        parameters = ["const Io* x", *integers, "Io* s", *(["float* h"] if kernel.traced else [])]
        names = ", ".join(parameter.split()[-1] for parameter in parameters)
        text.append(LAUNCH.format(i=i, parameters=", ".join(parameters), arguments=names))
        text += [f"#undef {name}" for name in defined]
    (folder / "kernels.cpp").write_text("\n".join(text))
    command = ["g++", "-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Werror", "-Wno-unknown-pragmas"]
    command += ["-shared", "-fPIC", "-o", str(folder / "kernels.so"), str(folder / "kernels.cpp")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]
    return ctypes.CDLL(str(folder / "kernels.so"))


def run(library: ctypes.CDLL, i: int, kernel: Kernel, current: Array) -> tuple[Array, Array]:
    """Spikes and, if the kernel is traced, membranes; what it did not write is NaN. Writes outside fail."""
    current = np.ascontiguousarray(current)
    k = kernel.pool
    rows = tuple(size // k for size in current.shape[-2:]) if k > 1 else current.shape[-2:]
    # A megabyte of nothing behind what it may write.
    spikes = np.full(int(np.prod([*current.shape[:-2], *rows])) + 2**18, np.nan, current.dtype)
    membranes = np.full(current.size + 2**18, np.nan, np.float32)
    buffers = [spikes, membranes] if kernel.traced else [spikes]
    pointers = [buffer.ctypes.data_as(ctypes.c_void_p) for buffer in (current, *buffers)]
    sizes = map(ctypes.c_int, kernel.sizes(current.shape))
    getattr(library, f"launch{i}")(kernel.blocks(current.shape), THREADS, pointers[0], *sizes, *pointers[1:])
    fired, rest = np.split(spikes, [spikes.size - 2**18])
    assert np.isnan(rest).all()
    assert np.isnan(membranes[current.size :]).all()
    return fired.reshape(*current.shape[:-2], *rows), membranes[: current.size].reshape(current.shape)
