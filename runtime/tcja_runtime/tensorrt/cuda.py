"""The CUDA runtime, as much of it as a session needs, through NVIDIA's binding (`cuda.bindings.runtime`)."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import Unavailable

_ALIGNMENT = 256
"""Bytes; what TensorRT wants its tensors to begin at, and what CUDA allocates at."""


class Cuda:
    """The CUDA runtime of this machine.

    Raises:
        Unavailable: the binding, the driver or a GPU is missing.
    """

    def __init__(self) -> None:
        self._api = _binding()
        if not self.call("cudaGetDeviceCount"):
            raise Unavailable("CUDA finds no GPU on this machine")

    def call(self, name: str, *arguments: Any) -> Any:
        """A function's result; None if it has none.

        Raises:
            Unavailable: it failed, the text says at what.
        """
        error, *results = getattr(self._api, name)(*arguments)
        if error != self._api.cudaError_t.cudaSuccess:
            raise Unavailable(f"CUDA cannot do {name}: {self._told(error)}")
        return results[0] if results else None

    def _told(self, error: Any) -> str:
        told = self._api.cudaGetErrorString(error)[1]
        return f"{told.decode() if isinstance(told, bytes) else told} (error {int(error)})"

    def stream(self) -> Stream:
        """A new stream."""
        return Stream(self, self._api)

    def buffer(self, size: int) -> Buffer:
        """Memory of some bytes on the GPU, and as much page-locked memory beside it."""
        return Buffer(self, self._api, size)


class Buffer:
    """Memory on the GPU, and page-locked memory that is copied to it or from it.

    Attributes:
        address: of the memory on the GPU.
        host: the page-locked memory, uint8 [bytes].
    """

    def __init__(self, cuda: Cuda, api: Any, size: int) -> None:
        self._cuda, self._api = cuda, api
        size = max(size, _ALIGNMENT)  # CUDA has no address for nothing
        self.address = int(cuda.call("cudaMalloc", size))
        try:
            self._pinned = int(cuda.call("cudaHostAlloc", size, api.cudaHostAllocDefault))
        except BaseException:
            cuda.call("cudaFree", self.address)
            raise
        memory = (ctypes.c_uint8 * size).from_address(self._pinned)
        self.host: npt.NDArray[np.uint8] = np.ctypeslib.as_array(memory)

    def to_gpu(self, size: int, stream: Stream) -> None:
        """Copy the first bytes to the GPU, once the stream comes to it."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._cuda.call("cudaMemcpyAsync", self.address, self._pinned, size, kind, stream.handle)

    def from_gpu(self, size: int, stream: Stream) -> None:
        """Copy the first bytes from the GPU, once the stream comes to it."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._cuda.call("cudaMemcpyAsync", self._pinned, self.address, size, kind, stream.handle)

    def free(self) -> None:
        """Give the memory back."""
        self._cuda.call("cudaFree", self.address)
        self._cuda.call("cudaFreeHost", self._pinned)


class Stream:
    """Work of the GPU, done in the order it is given.

    Attributes:
        handle: a number that TensorRT takes.
    """

    def __init__(self, cuda: Cuda, api: Any) -> None:
        self._cuda, self._api = cuda, api
        self.handle = int(cuda.call("cudaStreamCreateWithFlags", api.cudaStreamNonBlocking))

    def wait(self) -> None:
        """Until all work is done."""
        self._cuda.call("cudaStreamSynchronize", self.handle)

    def capture(self, work: Callable[[], None]) -> Graph | None:
        """What a function gives this stream to do, as one graph; None if that cannot be captured.

        A network with loops or conditions may need the processor in between, and cannot.
        """
        self._cuda.call(
            "cudaStreamBeginCapture", self.handle, self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )
        refused = False
        try:
            work()
        except Unavailable:  # what was refused must be ended, too
            refused = True
        error, graph = self._api.cudaStreamEndCapture(self.handle)
        if refused or error != self._api.cudaError_t.cudaSuccess:
            self._api.cudaGetLastError()  # or the next call would report it
            return None
        try:
            with contextlib.suppress(Unavailable):
                return Graph(self._cuda, self._cuda.call("cudaGraphInstantiate", graph, 0))
        finally:
            self._cuda.call("cudaGraphDestroy", graph)
        return None

    def launch(self, graph: Graph) -> None:
        """Do all that a graph holds."""
        self._cuda.call("cudaGraphLaunch", graph.executable, self.handle)

    def free(self) -> None:
        """Give it back."""
        self._cuda.call("cudaStreamDestroy", self.handle)


class Graph:
    """Work that the GPU is given at once.

    Attributes:
        executable: what CUDA makes of it.
    """

    def __init__(self, cuda: Cuda, executable: Any) -> None:
        self._cuda, self.executable = cuda, executable

    def free(self) -> None:
        """Give it back."""
        self._cuda.call("cudaGraphExecDestroy", self.executable)


def _binding() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise Unavailable(
            f"running an engine needs NVIDIA's CUDA binding ({error}): run 'pip install \"cuda-bindings==12.*\"', or "
            "13.*, whichever CUDA is installed"
        ) from error
    return runtime
