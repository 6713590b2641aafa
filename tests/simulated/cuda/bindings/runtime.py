"""The functions of NVIDIA's CUDA binding that are used, with the memory of this process as that of the GPU."""

from __future__ import annotations

import ctypes
import enum
import os
from collections.abc import Callable


class cudaError_t(enum.IntEnum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorInvalidResourceHandle = 400
    cudaErrorStreamCaptureInvalidated = 901


class cudaMemcpyKind(enum.IntEnum):
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class cudaStreamCaptureMode(enum.IntEnum):
    cudaStreamCaptureModeThreadLocal = 1


cudaHostAllocDefault = 0
cudaStreamNonBlocking = 1

OK = cudaError_t.cudaSuccess

_memory: dict[int, ctypes.Array[ctypes.c_uint8]] = {}
_streams: dict[int, list[Callable[[], None]]] = {}
_capturing: dict[int, list[Callable[[], None]]] = {}
_invalid: set[int] = set()
_graphs: dict[int, list[Callable[[], None]]] = {}
_next = iter(range(1, 1 << 30))
launches = 0
"""How many graphs were launched."""


def in_use() -> int:
    """How many things are allocated."""
    return len(_memory) + len(_streams) + len(_graphs)


def enqueue(stream: int, work: Callable[[], None], *, capturable: bool = True) -> None:
    """Give a stream something to do, which it does when it is waited for, or hold it in the graph being captured."""
    if stream in _capturing:
        if capturable:
            _capturing[stream].append(work)
        else:
            _invalid.add(stream)
    else:
        _streams[stream].append(work)


def cudaGetDeviceCount():
    if os.environ.get("SIMULATED_GPU") == "":
        return cudaError_t.cudaErrorNoDevice, 0
    return OK, 1


def cudaGetErrorString(error):
    return OK, error.name.encode()


def cudaGetLastError():
    return (OK,)


def cudaMalloc(size):
    if os.environ.get("SIMULATED_FAULT") == "memory":
        return cudaError_t.cudaErrorMemoryAllocation, None
    block = (ctypes.c_uint8 * size)()
    _memory[ctypes.addressof(block)] = block
    return OK, ctypes.addressof(block)


def cudaHostAlloc(size, flags):
    return cudaMalloc(size)


def cudaFree(address):
    return (OK,) if _memory.pop(address, None) is not None else (cudaError_t.cudaErrorInvalidResourceHandle,)


cudaFreeHost = cudaFree


def cudaMemcpyAsync(to, source, size, kind, stream):
    enqueue(stream, lambda: ctypes.memmove(to, source, size) and None)
    return (OK,)


def cudaStreamCreateWithFlags(flags):
    handle = next(_next)
    _streams[handle] = []
    return OK, handle


def cudaStreamDestroy(stream):
    del _streams[stream]
    return (OK,)


def cudaStreamSynchronize(stream):
    work, _streams[stream] = _streams[stream], []
    for each in work:
        each()
    return (OK,)


def cudaStreamBeginCapture(stream, mode):
    _capturing[stream] = []
    return (OK,)


def cudaStreamEndCapture(stream):
    work = _capturing.pop(stream)
    if stream in _invalid:
        _invalid.discard(stream)
        return cudaError_t.cudaErrorStreamCaptureInvalidated, None
    return OK, work


def cudaGraphInstantiate(graph, flags):
    handle = next(_next)
    _graphs[handle] = graph
    return OK, handle


def cudaGraphDestroy(graph):
    return (OK,)


def cudaGraphExecDestroy(handle):
    del _graphs[handle]
    return (OK,)


def cudaGraphLaunch(handle, stream):
    global launches
    launches += 1
    _streams[stream].extend(_graphs[handle])
    return (OK,)
