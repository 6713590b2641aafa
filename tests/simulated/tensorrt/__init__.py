"""The names of TensorRT that are used. A plan holds the model and its profile; ONNX Runtime runs it."""

from __future__ import annotations

import ctypes
import enum
import json
import os
import time
from pathlib import Path

import numpy as np
import onnx

from .layers import as_json, as_log
from .plugins import (  # noqa: F401  # names of the module
    IPluginCreatorV3One,
    IPluginV3,
    IPluginV3OneBuild,
    IPluginV3OneCore,
    IPluginV3OneRuntime,
    PluginField,
    PluginFieldCollection,
    PluginFieldType,
    TensorRTPhase,
    get_plugin_registry,
    without_plugin,
)

__version__ = os.environ.get("SIMULATED_TENSORRT", "10.3.0")

_MAGIC = b"simulated plan\n"


class _Enum(enum.IntEnum):
    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"


class _Severity(_Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = _Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = _Severity

    def __init__(self) -> None:
        pass


class NetworkDefinitionCreationFlag(_Enum):
    EXPLICIT_BATCH, STRONGLY_TYPED = 0, 1


class BuilderFlag(_Enum):
    TF32, VERSION_COMPATIBLE = range(2)


class ProfilingVerbosity(_Enum):
    LAYER_NAMES_ONLY, NONE, DETAILED = range(3)


class MemoryPoolType(_Enum):
    WORKSPACE = 0


class HardwareCompatibilityLevel(_Enum):
    NONE, AMPERE_PLUS = range(2)


class ExecutionContextAllocationStrategy(_Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class LayerInformationFormat(_Enum):
    ONELINE, JSON = range(2)


class TensorIOMode(_Enum):
    NONE, INPUT, OUTPUT = range(3)


class DataType(_Enum):
    FLOAT, HALF, INT8, INT32, BOOL, INT64 = range(6)


class LayerType(_Enum):
    CONVOLUTION, DECONVOLUTION, MATRIX_MULTIPLY, DEQUANTIZE, SHUFFLE, OTHER, PLUGIN_V3 = range(7)


_LAYERS = {
    "Conv": LayerType.CONVOLUTION,
    "ConvTranspose": LayerType.DECONVOLUTION,
    "Gemm": LayerType.MATRIX_MULTIPLY,
    "MatMul": LayerType.MATRIX_MULTIPLY,
    "DequantizeLinear": LayerType.DEQUANTIZE,
    "TcjaLif": LayerType.PLUGIN_V3,
}
_TYPES = {
    1: DataType.FLOAT,
    10: DataType.HALF,
    3: DataType.INT8,
    6: DataType.INT32,
    7: DataType.INT64,
    9: DataType.BOOL,
}


class _Tensor:
    def __init__(self, name, dtype, shape) -> None:
        self.name, self.dtype, self.shape = name, dtype, shape


def _tensor(value):
    kind = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
    return _Tensor(value.name, _TYPES.get(kind.elem_type, DataType.FLOAT), shape)


class _Layer:
    def __init__(self, node, types) -> None:
        self.name, self.type = node.name, _LAYERS.get(node.op_type, LayerType.OTHER)
        self._inputs = [name for name in node.input if name]
        self._output = _Tensor(node.output[0], types.get(node.output[0], DataType.FLOAT), [])
        self.num_inputs = len(self._inputs)

    def get_input(self, i):
        return _Tensor(self._inputs[i], DataType.FLOAT, [])

    def get_output(self, i):
        return self._output


class _Network:
    def load(self, model) -> None:
        inferred = onnx.shape_inference.infer_shapes(model)
        types = {v.name: _TYPES.get(v.type.tensor_type.elem_type) for v in inferred.graph.value_info}
        stored = {t.name for t in model.graph.initializer}
        self.model = model
        self._inputs = [_tensor(v) for v in model.graph.input if v.name not in stored]
        self._outputs = [_tensor(v) for v in inferred.graph.output]
        self._layers = [_Layer(node, types) for node in model.graph.node]
        self.num_inputs, self.num_outputs, self.num_layers = map(len, (self._inputs, self._outputs, self._layers))

    def get_input(self, i):
        return self._inputs[i]

    def get_output(self, i):
        return self._outputs[i]

    def get_layer(self, i):
        return self._layers[i]


class OnnxParser:
    num_errors = 0

    def __init__(self, network, logger) -> None:
        self._network = network

    def parse_from_file(self, path) -> bool:
        path = os.fsdecode(path)  # bindings take the bytes of a path, too
        return self._parsed(onnx.load(path, load_external_data=False), path)

    def parse(self, content, path) -> bool:
        model = onnx.load_from_string(content)
        assert not model.functions
        if os.environ.get("SIMULATED_FAULT") == "plugin":
            return self._parsed(without_plugin(model), path)
        for node in model.graph.node:
            if node.domain:
                said = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
                version, namespace = said["plugin_version"].decode(), said["plugin_namespace"].decode()
                creator = get_plugin_registry().get_creator(node.op_type, version, namespace)
                field = PluginField("kernel", np.frombuffer(said["kernel"], np.int8), PluginFieldType.CHAR)
                creator.create_plugin(node.name, PluginFieldCollection([field]), TensorRTPhase.BUILD)
        return self._parsed(model, path)

    def _parsed(self, model, path) -> bool:
        for tensor in model.graph.initializer:  # onnx refuses links, TensorRT does not
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                at = {entry.key: entry.value for entry in tensor.external_data}
                content = (Path(path).parent / at["location"]).read_bytes()
                start = int(at.get("offset", 0))
                tensor.raw_data = content[start : start + int(at["length"])]
                tensor.ClearField("external_data")
                tensor.data_location = onnx.TensorProto.DEFAULT
        self._network.load(model)
        return True


class _Config:
    builder_optimization_level = 3

    def __init__(self) -> None:
        self._pools, self.profile = {}, None

    def set_flag(self, flag) -> None:
        pass

    clear_flag = set_flag

    def set_memory_pool_limit(self, pool, n) -> None:
        self._pools[pool] = n

    def get_memory_pool_limit(self, pool):
        return self._pools.get(pool, 1 << 30)

    def add_optimization_profile(self, profile) -> int:
        self.profile = profile
        return 0

    def create_timing_cache(self, content):
        return _TimingCache(set(content.split()))

    def set_timing_cache(self, cache, ignore_mismatch) -> None:
        self._cache = cache

    def get_timing_cache(self):
        return _TimingCache(self._cache.timings | {str(os.getpid()).encode()})


class _TimingCache:
    def __init__(self, timings) -> None:
        self.timings = timings

    def combine(self, other, ignore_mismatch) -> None:
        self.timings |= other.timings

    def serialize(self):
        return b" ".join(sorted(self.timings))


class _Profile:
    def __init__(self) -> None:
        self.shapes = {}

    def set_shape(self, name, least, tuned, most) -> None:
        self.shapes[name] = [list(least), list(tuned), list(most)]


class _Plan(bytearray):
    @property
    def nbytes(self) -> int:
        return len(self)


class Builder:
    def __init__(self, logger) -> None:
        self._logger = logger

    def create_network(self, flags):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return _Network()

    def create_builder_config(self):
        return _Config()

    def create_optimization_profile(self):
        return _Profile()

    def build_serialized_network(self, network, config):
        fault = os.environ.get("SIMULATED_FAULT", "")
        if fault.startswith("log:"):
            self._logger.log(ILogger.ERROR, fault[4:])
            return None
        if fault == "kill":
            os.kill(os.getpid(), 9)
        missing = [i.name for i in network._inputs if i.name not in config.profile.shapes]
        assert not missing, f"no profile for {missing}"
        model = without_plugin(network.model)
        if fault != "silent":
            shapes = {name: _open(*shapes) for name, shapes in config.profile.shapes.items()}
            self._logger.log(ILogger.VERBOSE, as_log(model, shapes))
        if fault == "strict":
            model = _changed(model)
        if fault == "swap":
            _swap_two_outputs(model)
        return _Plan(_MAGIC + json.dumps(config.profile.shapes).encode() + b"\n" + model.SerializeToString())


def _open(least, tuned, most):
    """The shape that is said of an input: an axis with a range is -1."""
    return [size if size == last else -1 for size, last in zip(least, most, strict=True)]


def _changed(model):
    """A TensorRT with a mistake: > for >=, as each of `tcja_exporters.time_forms` writes spikes and resets."""
    bodies = [attribute.g.node for node in model.graph.node for attribute in node.attribute]
    for node in (node for nodes in (model.graph.node, *bodies) for node in nodes):
        numbers = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "HardSigmoid":
            numbers["beta"].f -= 1
        elif node.op_type == "ThresholdedRelu":
            numbers["alpha"].f = np.nextafter(np.float32(numbers["alpha"].f), np.float32(-np.inf))
    for tensor in (each for each in model.graph.initializer if each.name.endswith("/largest_silent")):
        value = np.nextafter(onnx.numpy_helper.to_array(tensor), np.float32(np.inf))
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    return model


def _swap_two_outputs(model):
    """A TensorRT that mixes up the first two rows of the last weight."""
    last = [node for node in model.graph.node if node.op_type in ("Gemm", "MatMul")][-1]
    (weight,) = (t for t in model.graph.initializer if t.name == last.input[1])
    values = onnx.numpy_helper.to_array(weight).copy()
    values[[0, 1]] = values[[1, 0]]
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))


class Runtime:
    engine_host_code_allowed = False

    def __init__(self, logger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, plan):
        if not bytes(plan).startswith(_MAGIC):
            self._logger.log(ILogger.ERROR, "the plan has no magic tag")
            return None
        profile, _, model = bytes(plan)[len(_MAGIC) :].partition(b"\n")
        return _Engine(json.loads(profile), model)


class _Engine:
    def __init__(self, profile, model) -> None:
        import onnxruntime  # which a process that only builds does not need

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._model, self._profile = model, profile
        self._types = {v.name: v.type for v in (*self.session.get_inputs(), *self.session.get_outputs())}
        self._names = list(self._types)
        self.num_io_tensors = len(self._names)

    def get_tensor_name(self, i):
        return self._names[i]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name in self._profile else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return DataType.HALF if self._types[name] == "tensor(float16)" else DataType.FLOAT

    def get_tensor_profile_shape(self, name, profile):
        return self._profile[name]

    def create_execution_context(self, strategy=ExecutionContextAllocationStrategy.STATIC):
        return _Context(self)

    def create_engine_inspector(self):
        return _Inspector()


class _Inspector:
    execution_context = None

    def get_engine_information(self, kind):
        assert kind == LayerInformationFormat.JSON
        fault = os.environ.get("SIMULATED_FAULT")
        if fault == "inspect:memory":
            raise MemoryError
        if fault == "inspect:kill":
            os.kill(os.getpid(), 9)
        if fault == "inspect:sleep":
            time.sleep(600)
        context = self.execution_context
        return as_json(onnx.load_from_string(context._engine._model), context._shapes)


class _Context:
    def __init__(self, engine) -> None:
        self._engine, self._shapes, self._addresses, self._outputs = engine, {}, {}, {}

    def set_input_shape(self, name, shape) -> bool:
        self._shapes[name], self._outputs = tuple(shape), {}
        return True

    def get_tensor_shape(self, name):
        if name in self._shapes:
            return self._shapes[name]
        if not self._outputs:
            feeds = {n: np.zeros(shape, self._numpy(n)) for n, shape in self._shapes.items()}
            results = self._engine.session.run(None, feeds)
            names = [v.name for v in self._engine.session.get_outputs()]
            self._outputs = {n: r.shape for n, r in zip(names, results, strict=True)}
        return self._outputs[name]

    def set_tensor_address(self, name, address) -> bool:
        self._addresses[name] = address
        return True

    def _numpy(self, name):
        return np.float16 if self._engine.get_tensor_dtype(name) == DataType.HALF else np.float32

    def _array(self, name, shape):
        size = int(np.prod(shape)) * np.dtype(self._numpy(name)).itemsize
        memory = (ctypes.c_uint8 * size).from_address(self._addresses[name])
        return np.frombuffer(memory, self._numpy(name)).reshape(shape)

    def execute_async_v3(self, stream) -> bool:
        from cuda.bindings import runtime

        shapes = dict(self._shapes)

        def work() -> None:
            feeds = {name: self._array(name, shape) for name, shape in shapes.items()}
            results = self._engine.session.run(None, feeds)
            for value, result in zip(self._engine.session.get_outputs(), results, strict=True):
                np.copyto(self._array(value.name, result.shape), result)

        runtime.enqueue(stream, work, capturable=os.environ.get("SIMULATED_FAULT") != "capture")
        return True
