"""TensorRT and TensorRT-RTX on the GPU: raw plans, in numpy, TensorRT and NVIDIA's CUDA binding alone.

Every name of TensorRT's Python module used here exists from 10.3 to 11.4 and in TensorRT-RTX 1.7; a test compares them
with what the bindings of each version hold.
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
from tcja_runtime.tensorrt.cuda import Buffer, Cuda, Graph
from tcja_runtime.tensorrt.plugin import register

_TYPES = {"FLOAT": np.float32, "HALF": np.float16, "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_}

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """An input or output of an engine: its type, and the largest shape that a profile allows it."""

    name: str
    type: npt.DTypeLike
    largest: Shape

    @property
    def bytes(self) -> int:
        return _bytes(self, self.largest)


class TensorRtEngine:
    """A plan on the GPU, of which any number of sessions run at once, each with buffers of its own.

    Args:
        plan: what a builder made. It is native code: take it only from where its hash is known.
        module: the Python module of the TensorRT that built it.
        title: what it is, for messages.
        compatible: whether it was built to be loaded by later versions, and so holds a runtime of its own.
        plugin: whether it has the plugin in the form that Python launches (`tcja_runtime.tensorrt.plugin.AT_RUN_TIME`).

    Raises:
        Unavailable: TensorRT, the CUDA binding or a GPU is missing, or TensorRT refuses the plan.
    """

    def __init__(self, plan: bytes, module: str, title: str, *, compatible: bool = False, plugin: bool = False) -> None:
        trt = require(module)
        if plugin:
            register(trt)
        self._cuda = Cuda()
        self._trt, self._title = trt, title
        logger = _logger(trt)
        self._errors = logger.errors
        self._errors.clear()
        runtime = trt.Runtime(logger)
        if compatible:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise Unavailable(f"{module} {trt.__version__} refuses {title}: {self._said()}; build it again here")
        self._runtime, self._engine = runtime, engine  # a runtime must outlive its engines

    def session(self, *, graphs: bool = True) -> TensorRtSession:
        """A session of its own memory and stream.

        Args:
            graphs: whether work of the same shapes is captured as a CUDA graph once, then launched as a whole.

        Raises:
            Unavailable: the GPU's memory is not enough.
        """
        context = self._engine.create_execution_context()
        if context is None:
            raise Unavailable(f"{self._title} cannot be run: {self._said()}; close other programs or add swap")
        return TensorRtSession(self._trt, self._engine, context, self._cuda, self._said, graphs=graphs)

    def _said(self) -> str:
        return " / ".join(self._errors) or "TensorRT does not say why"


class TensorRtSession:
    """An engine with buffers that are allocated once, for the largest shapes that it takes.

    Attributes:
        inputs: names of the tensors it takes.
        uses_graph: whether the last run was a CUDA graph's.
    """

    def __init__(self, trt: Any, engine: Any, context: Any, cuda: Cuda, said: Any, *, graphs: bool) -> None:
        self._context, self._said, self._graphs = context, said, graphs
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._ranges = {name: [tuple(shape) for shape in engine.get_tensor_profile_shape(name, 0)] for name in inputs}
        for name, (_, _, most) in self._ranges.items():
            context.set_input_shape(name, most)
        self._tensors = {
            name: _Tensor(name, _type(engine.get_tensor_dtype(name)), tuple(context.get_tensor_shape(name)))
            for name in names
        }
        self.inputs: Sequence[str] = inputs
        self._outputs = [name for name in names if name not in self._ranges]
        self.uses_graph = False
        self._given: dict[str, Shape] = {}
        self._shapes: dict[str, Shape] = {}
        self._graph: Graph | None = None
        self._runs = 0
        self._held: list[Any] = []
        try:
            self._stream = self._hold(cuda.stream())
            self._buffers: dict[str, Buffer] = {
                name: self._hold(cuda.buffer(tensor.bytes)) for name, tensor in self._tensors.items()
            }
        except BaseException:
            self.close()
            raise
        for name, buffer in self._buffers.items():
            context.set_tensor_address(name, buffer.address)

    def run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        """Its results by name, from its inputs by name; of several windows more than it takes at once, part by part.

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
            lacking = max(least[0] - len(part), 0)  # an engine may not take few: it is given the last more than once
            filled = np.concatenate([part, np.repeat(part[-1:], lacking, axis=0)])
            parts.append({key: value[: len(part)] for key, value in self._run({name: filled}).items()})
        return {key: np.concatenate([part[key] for part in parts]) for key in self._outputs}

    def _run(self, feeds: Mapping[str, Floats]) -> dict[str, npt.NDArray[Any]]:
        shapes = {name: feeds[name].shape for name in self.inputs}
        if shapes != self._given:
            self._reshape(shapes)
        for name in self.inputs:
            np.copyto(self._host(name), feeds[name], casting="same_kind")
        # The first run of a shape lets TensorRT prepare what must not be captured.
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
        self._drop_graph()  # it is of the other shapes
        self._given, self._runs = {}, 0
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise Unavailable(f"TensorRT refuses '{name}' of {list(shape)}: {self._said()}")
        self._given = shapes
        self._shapes = shapes | {name: tuple(self._context.get_tensor_shape(name)) for name in self._outputs}

    def _enqueue(self) -> None:
        for name in self.inputs:
            self._buffers[name].to_gpu(_bytes(self._tensors[name], self._shapes[name]), self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise Unavailable(f"TensorRT cannot run the engine: {self._said()}")
        for name in self._outputs:
            self._buffers[name].from_gpu(_bytes(self._tensors[name], self._shapes[name]), self._stream)

    def _host(self, name: str) -> npt.NDArray[Any]:
        """A tensor's page-locked memory, as an array of its type and shape."""
        tensor, shape = self._tensors[name], self._shapes[name]
        return self._buffers[name].host[: _bytes(tensor, shape)].view(tensor.type).reshape(shape)

    def _hold(self, held: Any) -> Any:
        self._held.append(held)
        return held

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._graph.free()
        self._graph = None

    def close(self) -> None:
        """Give its memory back; it cannot run any more."""
        self._drop_graph()
        while self._held:
            self._held.pop().free()


def _bytes(tensor: _Tensor, shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(tensor.type).itemsize


def _type(kind: Any) -> npt.DTypeLike:
    name = str(kind).rpartition(".")[2]
    if name not in _TYPES:
        raise BadInput(f"the engine takes or returns {name}, which numpy has no type for; build it again")
    return _TYPES[name]


@functools.cache
def _logger(trt: Any) -> Any:
    """The one logger of this process: TensorRT keeps the first that it is given, and warns of others."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

    return Logger()
