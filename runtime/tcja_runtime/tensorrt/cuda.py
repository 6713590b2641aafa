"""The functions of the CUDA runtime that a session needs, through NVIDIA's Python binding (`cuda.bindings.runtime`)."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.errors import Unavailable

_ALIGNMENT = 256
"""The alignment of tensors that TensorRT requires, in bytes. CUDA allocates memory with this alignment."""


class Cuda:
    """The CUDA runtime of this machine, through NVIDIA's Python binding."""

    def __init__(self, api: Any) -> None:
        self._api = api

    @classmethod
    def open(cls) -> Cuda:
        """Import the binding and look for a GPU.

        Raises:
            Unavailable: the binding, the driver or a GPU is missing.
        """
        cuda = cls(_binding())
        if not cuda.call("cudaGetDeviceCount"):
            raise Unavailable("CUDA finds no GPU on this machine")
        return cuda

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of CUDA. Returns the result of the function; None if it has no result.

        Args:
            name: the name of the function, such as "cudaMalloc".
            *arguments: the arguments of the function.

        Raises:
            Unavailable: the function failed. The text has the name of the function and the error.
        """
        error, *results = getattr(self._api, name)(*arguments)
        if error != self._api.cudaError_t.cudaSuccess:
            raise Unavailable(f"CUDA cannot do {name}: {self._told(error)}")
        return results[0] if results else None

    def _told(self, error: Any) -> str:
        told = self._api.cudaGetErrorString(error)[1]
        return f"{told.decode() if isinstance(told, bytes) else told} (error {int(error)})"

    def stream(self) -> Stream:
        """Make a new stream."""
        return Stream(self, self._api, int(self.call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking)))

    def buffer(self, size: int) -> Buffer:
        """Allocate memory on the GPU, and page-locked memory of the same size on the host; `size` is in bytes."""
        size = max(size, _ALIGNMENT)  # CUDA allocates no memory of 0 bytes
        address = int(self.call("cudaMalloc", size))
        try:
            pinned = int(self.call("cudaHostAlloc", size, self._api.cudaHostAllocDefault))
        except BaseException:
            self.call("cudaFree", address)
            raise
        host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pinned))
        return Buffer(self, self._api, address, pinned, host)


@dataclasses.dataclass(frozen=True)
class Buffer:
    """Memory on the GPU, and page-locked memory of the same size on the host, from which and to which it is copied.

    Attributes:
        address: the address of the memory on the GPU.
        host: the page-locked memory on the host, uint8 [bytes].
    """

    _cuda: Cuda
    _api: Any
    address: int
    _pinned: int
    host: npt.NDArray[np.uint8]

    def to_gpu(self, size: int, stream: Stream) -> None:
        """Copy the first `size` bytes to the GPU. The copy is added to the work of a stream."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._cuda.call("cudaMemcpyAsync", self.address, self._pinned, size, kind, stream.handle)

    def from_gpu(self, size: int, stream: Stream) -> None:
        """Copy the first `size` bytes from the GPU. The copy is added to the work of a stream."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._cuda.call("cudaMemcpyAsync", self._pinned, self.address, size, kind, stream.handle)

    def free(self) -> None:
        """Free the memory on the GPU and the memory on the host."""
        self._cuda.call("cudaFree", self.address)
        self._cuda.call("cudaFreeHost", self._pinned)


@dataclasses.dataclass(frozen=True)
class Stream:
    """A CUDA stream: a queue of work for the GPU, which is done in order.

    Attributes:
        handle: the handle of the stream in CUDA, an integer. TensorRT takes it as an argument.
    """

    _cuda: Cuda
    _api: Any
    handle: int

    def wait(self) -> None:
        """Wait until all work of the stream is done."""
        self._cuda.call("cudaStreamSynchronize", self.handle)

    def capture(self, work: Callable[[], None]) -> Graph | None:
        """Capture the work that a function adds to this stream, and return it as a graph. The work is not done.

        Returns None if the work cannot be captured. Example: a network with loops or conditions that the processor must
        check during the work.

        Args:
            work: a function that adds work to this stream.
        """
        self._cuda.call(
            "cudaStreamBeginCapture", self.handle, self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )
        refused = False
        try:
            work()
        except Unavailable:  # the capture must be ended after an error, too
            refused = True
        error, graph = self._api.cudaStreamEndCapture(self.handle)
        if refused or error != self._api.cudaError_t.cudaSuccess:
            self._api.cudaGetLastError()  # clears the error, which the next call would report
            return None
        try:
            with contextlib.suppress(Unavailable):
                return Graph(self._cuda, self._cuda.call("cudaGraphInstantiate", graph, 0))
        finally:
            self._cuda.call("cudaGraphDestroy", graph)
        return None

    def launch(self, graph: Graph) -> None:
        """Add the work of a graph to this stream."""
        self._cuda.call("cudaGraphLaunch", graph.executable, self.handle)

    def free(self) -> None:
        """Free the stream."""
        self._cuda.call("cudaStreamDestroy", self.handle)


@dataclasses.dataclass(frozen=True)
class Graph:
    """A CUDA graph: captured work that is sent to the GPU in one call.

    Attributes:
        executable: CUDA's object for the graph (`cudaGraphExec_t`).
    """

    _cuda: Cuda
    executable: Any

    def free(self) -> None:
        """Free the graph."""
        self._cuda.call("cudaGraphExecDestroy", self.executable)


def _binding() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise Unavailable(
            f"running an engine needs NVIDIA's CUDA binding ({error}): run 'pip install \"cuda-bindings==12.*\"', for "
            "CUDA 12, with 13.* for CUDA 13"
        ) from error
    return runtime
