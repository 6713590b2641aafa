"""Runs engines of TensorRT and TensorRT-RTX on the GPU. It needs only numpy, TensorRT and NVIDIA's CUDA binding.

All names of TensorRT's Python module that are used here exist in the versions 10.3 to 11.4 and in TensorRT-RTX 1.7. A
test compares the names with the bindings of each version.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_runtime.bundle.engines import require
from tcja_runtime.data.contract import Floats
from tcja_runtime.errors import BadInput, Unavailable
from tcja_runtime.tensorrt.cuda import Buffer, Cuda, Graph, Stream
from tcja_runtime.tensorrt.plugin import register

_TYPES = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_}

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """An input or output of an engine.

    Attributes:
        name: the name of the tensor.
        type: the element type.
        largest: the shape of the tensor for the largest batch.
        range: the smallest, the usual and the largest shape of an input; None for an output.
    """

    name: str
    type: npt.DTypeLike
    largest: Shape
    range: tuple[Shape, ...] | None

    @property
    def bytes(self) -> int:
        return _bytes(self, self.largest)


@dataclasses.dataclass(frozen=True)
class TensorRtEngine:
    """An engine that is loaded on the GPU. Several sessions can run it at the same time, each with its own buffers."""

    _trt: Any
    _runtime: Any  # it must exist as long as its engines
    _engine: Any
    _cuda: Cuda
    _title: str

    @classmethod
    def load(
        cls, plan: bytes, target: str, title: str, *, compatible: bool = False, plugin: bool = False
    ) -> TensorRtEngine:
        """Load an engine.

        Args:
            plan: the content of model.engine. It is native code: check its hash first.
            target: the target that the engine was built for, one of `tcja_runtime.choices.ENGINE_TARGETS`.
            title: the name of the engine in messages.
            compatible: whether later TensorRT versions can load the engine; such an engine contains native code of its
                own runtime.
            plugin: whether the engine has the plugin in the form that Python launches
                (`tcja_runtime.tensorrt.plugin.AT_RUN_TIME`).

        Raises:
            Unavailable: TensorRT, the CUDA binding or a GPU is missing, or TensorRT refuses the engine.
        """
        trt = require(target)
        if plugin:
            register(trt)
        cuda = Cuda.open()
        logger = _logger(trt)
        logger.errors.clear()
        runtime = trt.Runtime(logger)
        if compatible:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            said = _said(logger)
            raise Unavailable(f"{target} {trt.__version__} refuses {title}: {said}; build it again here")
        return cls(trt, runtime, engine, cuda, title)

    def session(self, *, graphs: bool = True) -> TensorRtSession:
        """Returns a new session with its own memory and CUDA stream.

        Args:
            graphs: whether the work is captured as a CUDA graph in the second run with the same shapes. Later runs with
                these shapes launch the graph, which is faster.

        Raises:
            Unavailable: the GPU's memory is not enough.
        """
        context = self._engine.create_execution_context()
        if context is None:
            raise Unavailable(f"{self._title} cannot be run: {self.said()}; close other programs or add swap")
        tensors = _tensors(self._trt, self._engine, context)
        stream = self._cuda.stream()
        buffers: dict[str, Buffer] = {}
        try:
            for tensor in tensors:
                buffers[tensor.name] = self._cuda.buffer(tensor.bytes)
                context.set_tensor_address(tensor.name, buffers[tensor.name].address)
        except BaseException:
            _free(stream, buffers)
            raise
        return TensorRtSession(self, context, tensors, stream, buffers, graphs=graphs)

    def said(self) -> str:
        """Returns the errors that TensorRT has reported since the last engine was loaded, for messages."""
        return _said(_logger(self._trt))


def _tensors(trt: Any, engine: Any, context: Any) -> list[_Tensor]:
    """Returns the inputs and outputs of an engine, in the order of the engine."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    ranges = {name: tuple(map(tuple, engine.get_tensor_profile_shape(name, 0))) for name in inputs}
    for name, (_, _, most) in ranges.items():
        context.set_input_shape(name, most)
    return [
        _Tensor(name, _type(engine.get_tensor_dtype(name)), tuple(context.get_tensor_shape(name)), ranges.get(name))
        for name in names
    ]


class TensorRtSession:
    """An engine with buffers, which are allocated once for the largest shapes that the engine takes.

    Attributes:
        inputs: the names of the inputs.
        uses_graph: whether the last run was the launch of a CUDA graph.
    """

    def __init__(
        self,
        loaded: TensorRtEngine,
        context: Any,
        tensors: Sequence[_Tensor],
        stream: Stream,
        buffers: Mapping[str, Buffer],
        *,
        graphs: bool,
    ) -> None:
        self._loaded, self._context, self._stream, self._graphs = loaded, context, stream, graphs
        self._buffers = dict(buffers)
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._ranges = {tensor.name: tensor.range for tensor in tensors if tensor.range is not None}
        self.inputs: Sequence[str] = list(self._ranges)
        self._outputs = [name for name in self._tensors if name not in self._ranges]
        self.uses_graph = False
        self._given: dict[str, Shape] = {}
        self._shapes: dict[str, Shape] = {}
        self._graph: Graph | None = None
        self._runs = 0

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Run the engine. Takes the inputs by name, and returns the outputs by name.

        A batch that is larger than the largest batch of the engine is run in parts. A batch that is smaller than the
        smallest one is filled with copies of its last window.

        Raises:
            BadInput: an input has a shape that the engine was not built for.
            Unavailable: the GPU failed.
        """
        if len(self.inputs) > 1:
            return self._run(feeds)
        (name,) = self.inputs
        (least, _, most), given = self._ranges[name], feeds[name]
        n, size = len(given), most[0]
        if least[0] <= n <= size:
            return self._run(feeds)
        parts = []
        for start in range(0, n, size):
            part = given[start : start + size]
            lacking = max(least[0] - len(part), 0)  # the number of copies of the last window
            filled = np.concatenate([part, np.repeat(part[-1:], lacking, axis=0)])
            parts.append({key: value[: len(part)] for key, value in self._run({name: filled}).items()})
        return {key: np.concatenate([part[key] for part in parts]) for key in self._outputs}

    def _run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        shapes = {name: feeds[name].shape for name in self.inputs}
        for name in self.inputs:
            if feeds[name].dtype.kind != "f":  # integers would be converted, and with them images of 0 to 255
                raise BadInput(f"'{name}' is {feeds[name].dtype}; the network takes float32")
        if shapes != self._given:
            self._reshape(shapes)
        for name in self.inputs:
            np.copyto(self._host(name), feeds[name], casting="same_kind")
        # In the first run with new shapes, TensorRT does preparations that must not be part of the graph.
        if self._graphs and self._runs == 1:
            self._graph = self._stream.capture(self._enqueue)
        self.uses_graph = self._graph is not None
        if self._graph is not None:
            self._stream.launch(self._graph)
        else:
            self._enqueue()
        self._stream.wait()
        self._runs += 1
        return {name: self._host(name).copy() for name in self._outputs}

    def _reshape(self, shapes: dict[str, Shape]) -> None:
        for name, shape in shapes.items():
            least, _, most = self._ranges[name]
            fits = len(shape) == len(most) and all(a <= n <= b for a, n, b in zip(least, shape, most, strict=True))
            if not fits:
                raise BadInput(f"the engine takes '{name}' of {list(least)} to {list(most)}, not {list(shape)}")
        self._drop_graph()  # it was captured for the previous shapes
        self._given, self._runs = {}, 0
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise Unavailable(f"TensorRT refuses '{name}' of {list(shape)}: {self._loaded.said()}")
        self._given = shapes
        self._shapes = shapes | {name: tuple(self._context.get_tensor_shape(name)) for name in self._outputs}

    def _enqueue(self) -> None:
        for name in self.inputs:
            self._buffers[name].to_gpu(_bytes(self._tensors[name], self._shapes[name]), self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise Unavailable(f"TensorRT cannot run the engine: {self._loaded.said()}")
        for name in self._outputs:
            self._buffers[name].from_gpu(_bytes(self._tensors[name], self._shapes[name]), self._stream)

    def _host(self, name: str) -> npt.NDArray[Any]:
        """Returns the page-locked memory of a tensor, as an array of the tensor's type and shape."""
        tensor, shape = self._tensors[name], self._shapes[name]
        return self._buffers[name].host[: _bytes(tensor, shape)].view(tensor.type).reshape(shape)

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.free()
        self._graph = None

    def close(self) -> None:
        """Free the memory. The session cannot be run after that."""
        self._drop_graph()
        if self._buffers:
            _free(self._stream, self._buffers)
        self._buffers = {}


def _bytes(tensor: _Tensor, shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(tensor.type).itemsize


def _type(kind: Any) -> npt.DTypeLike:
    name = str(kind).rpartition(".")[2]
    if name not in _TYPES:
        raise BadInput(f"the engine takes or returns {name}, which numpy has no type for; build it again")
    return _TYPES[name]


def _free(stream: Stream, buffers: Mapping[str, Buffer]) -> None:
    for buffer in buffers.values():
        buffer.free()
    stream.free()


def _said(logger: Any) -> str:
    return " / ".join(logger.errors) or "TensorRT does not say why"


@functools.cache
def _logger(trt: Any) -> Any:
    """Returns the only logger of this process. TensorRT keeps the first logger that it gets, and warns about others."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Logger()
