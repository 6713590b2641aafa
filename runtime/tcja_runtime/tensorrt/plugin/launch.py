"""Launches the kernel from Python, through NVIDIA's binding of the CUDA driver (`cuda.bindings.driver`)."""

from __future__ import annotations

import ctypes
import functools
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import Unavailable
from tcja_runtime.machine.gpu import gpu
from tcja_runtime.tensorrt.cuda import Cuda
from tcja_runtime.tensorrt.plugin.kernel import THREADS, Kernel


def driver() -> Any:
    """Import NVIDIA's binding of the CUDA driver.

    Raises:
        Unavailable: the binding is not installed.
    """
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ImportError as error:
        raise Unavailable(
            f"launching the neuron's kernel needs NVIDIA's CUDA binding ({error}): run "
            "'pip install \"cuda-bindings==12.*\"' for CUDA 12, with 13.* for CUDA 13"
        ) from error


def done(result: tuple[Any, ...]) -> Any:
    """Returns the value in the result of a call of the driver; None if the result has only an error code.

    Args:
        result: the result of the call: the error code, and possibly a value.

    Raises:
        Unavailable: the call failed.
    """
    code, *values = result
    if code != 0:
        raise Unavailable(f"the CUDA driver says {getattr(code, 'name', code)}")
    return values[0] if values else None


@functools.lru_cache(None)
def function(ptx: str, name: str) -> Any:
    """Load a function of a PTX text into the current CUDA context, until the process ends, and return the function."""
    cuda = driver()
    module = done(cuda.cuModuleLoadData(ptx.encode() + b"\0"))
    return done(cuda.cuModuleGetFunction(module, name.encode()))


def enqueue(
    kernel: Kernel, ptx: str, shape: tuple[int, ...], current: int, outputs: Sequence[int], stream: int
) -> None:
    """Launch a kernel in a stream, in the current context.

    Args:
        kernel: the kernel.
        ptx: the PTX of the kernel.
        shape: the shape of the currents, [T, ...].
        current: the address of the currents.
        outputs: the addresses of the spikes and, if the kernel is traced, of the membranes.
        stream: the handle of the stream.
    """
    cuda, sizes = driver(), kernel.sizes(shape)
    types = [ctypes.c_void_p, *[ctypes.c_int] * len(sizes), *[ctypes.c_void_p] * len(outputs)]
    arguments = (current, *sizes, *outputs), tuple(types)
    blocks = kernel.blocks(shape)
    done(cuda.cuLaunchKernel(function(ptx, kernel.name), blocks, 1, 1, THREADS, 1, 1, 0, stream, arguments, 0))


@functools.lru_cache(1)
def _sm() -> str:
    """Returns the compute capability of this machine's GPU. It is read once: reading is slower than a launch."""
    found = gpu()
    if found is None:
        raise Unavailable("no GPU was found")
    return found.sm


def run(kernel: Kernel, current: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Compile a kernel for this machine's GPU, and run it.

    Args:
        kernel: the kernel.
        current: the currents in the kernel's type, [T, ...]; with pooling [T, ..., H, W].

    Returns:
        The spikes. If the kernel is traced, also the membranes before firing. A neuron that is in no k x k square of
        the pooling has the membrane 0.

    Raises:
        Unavailable: the CUDA binding, a GPU or NVRTC is missing.
    """
    cuda = Cuda.open()
    sides = current.shape[-2:] if kernel.pool == 1 else tuple(size // kernel.pool for size in current.shape[-2:])
    results = [np.zeros((*current.shape[:-2], *sides), current.dtype)]
    results += [np.zeros(current.shape, np.float32)] if kernel.traced else []
    arrays, stream = [np.ascontiguousarray(current), *results], cuda.stream()
    buffers = [cuda.buffer(array.nbytes) for array in arrays]
    for array, buffer in zip(arrays, buffers, strict=True):
        buffer.host[: array.nbytes] = array.reshape(-1).view(np.uint8)
        buffer.to_gpu(array.nbytes, stream)
    first, *others = (buffer.address for buffer in buffers)
    enqueue(kernel, kernel.ptx(_sm()), current.shape, first, others, stream.handle)
    for array, buffer in zip(results, buffers[1:], strict=True):
        buffer.from_gpu(array.nbytes, stream)
    stream.wait()
    for array, buffer in zip(results, buffers[1:], strict=True):
        array.reshape(-1).view(np.uint8)[:] = buffer.host[: array.nbytes]
    for buffer in buffers:
        buffer.free()
    stream.free()
    return results
