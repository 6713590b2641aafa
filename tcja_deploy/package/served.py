"""The model of a folder of a model repository, run as Triton's backend for ONNX Runtime runs it.

This backend is a part of NVIDIA's containers and of no package for Python. So its rules are here, to see before
anything is served that a configuration and its model give the answers of a bundle, to the bit:

    when a sequence starts      each state has its initial values; without any, what was in memory (here: NaN)
    when a batch runs           the inputs and states of its requests are joined along the batch axis; each request gets
                                its part of the outputs
    after that                  the i-th of the inputs of states, sorted by name, gets the i-th of the sorted outputs

Sources: src/onnxruntime.cc of https://github.com/triton-inference-server/onnxruntime_backend (`ModelState`: the options
of a session); src/sequence_state.cc (`SequenceStates::Initialize` and `OutputState`) and
src/sequence_batch_scheduler/sequence_batch_scheduler.cc (`GenerateInitialStateData`, `UpdateImplicitState`) of
https://github.com/triton-inference-server/core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tcja_deploy.package.configuration import INITIAL, protobuf, read
from tcja_runtime.backends.onnxruntime import require

Arrays = dict[str, npt.NDArray[Any]]

_TYPES: Mapping[str, npt.DTypeLike] = {
    "TYPE_FP32": np.float32,
    "TYPE_FP16": np.float16,
    "TYPE_INT64": np.int64,
    "TYPE_INT32": np.int32,
    "TYPE_BOOL": np.bool_,
}


@dataclasses.dataclass(frozen=True)
class Request:
    """A request to a model.

    Attributes:
        inputs: its inputs, with the batch axis.
        sequence: the number of its sequence (the correlation ID), for a model with states.
        start: whether the sequence starts with it.
    """

    inputs: Arrays
    sequence: int = 0
    start: bool = False


@dataclasses.dataclass
class Served:
    """A model that is loaded.

    Attributes:
        config: its configuration, a `ModelConfig`.
    """

    config: Any
    _session: Any
    _initial: Arrays
    _sequences: dict[int, Arrays] = dataclasses.field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path, version: str = "1") -> Served:
        """Load a model from its folder in a repository.

        Raises:
            BadInput: the configuration cannot be read.
            Unavailable: ONNX Runtime, or the package tritonclient, is missing.
        """
        config, messages = read(folder), protobuf()
        onnxruntime = require()
        model = folder / version / (config.default_model_filename or "model.onnx")
        session = onnxruntime.InferenceSession(model, _options(onnxruntime, config), ["CPUExecutionProvider"])
        initial = {each.input_name: _initial(each, folder, messages) for each in config.sequence_batching.state}
        return cls(config, session, initial)

    def run(self, requests: Sequence[Request]) -> list[Arrays]:
        """Run requests in one batch. Those of a model with states belong to different sequences.

        Returns:
            For each request, the outputs that the configuration names.

        Raises:
            ValueError: a request is of a sequence that did not start.
        """
        states = [self._state(request) for request in requests] if self._initial else [{} for _ in requests]
        given = [{**request.inputs, **state} for request, state in zip(requests, states, strict=True)]
        names = [value.name for value in self._session.get_outputs()]
        feeds = {
            value.name: np.concatenate([each[value.name] for each in given]) for value in self._session.get_inputs()
        }
        made = dict(zip(names, self._session.run(None, feeds), strict=True))
        sizes = [len(next(iter(request.inputs.values()))) for request in requests]
        parts = {name: np.split(value, np.cumsum(sizes)[:-1]) for name, value in made.items()}
        after = sorted((each.output_name for each in self.config.sequence_batching.state), key=str.encode)
        for place, request in enumerate(requests):
            if self._initial:
                before = sorted(self._initial, key=str.encode)
                pairs = zip(before, after, strict=True)
                self._sequences[request.sequence] = {one: parts[other][place] for one, other in pairs}
        return [{out.name: parts[out.name][i] for out in self.config.output} for i in range(len(requests))]

    def _state(self, request: Request) -> Arrays:
        """Returns the state of the sequence of a request."""
        if request.start:
            return self._initial
        if request.sequence not in self._sequences:
            raise ValueError(f"the first request of sequence {request.sequence} does not start it")
        return self._sequences[request.sequence]


def _options(onnxruntime: Any, config: Any) -> Any:
    """The options that the backend gives to a session of ONNX Runtime, of those that a configuration has."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = {
        -1: levels.ORT_ENABLE_BASIC,
        1: levels.ORT_ENABLE_EXTENDED,
        2: levels.ORT_DISABLE_ALL,
    }.get(config.optimization.graph.level, levels.ORT_ENABLE_ALL)
    for name, field in (("intra", "intra_op_num_threads"), ("inter", "inter_op_num_threads")):
        parameter = f"{name}_op_thread_count"
        if parameter in config.parameters:
            setattr(options, field, int(config.parameters[parameter].string_value))
    return options


def _initial(state: Any, folder: Path, messages: Any) -> npt.NDArray[Any]:
    """The initial values of a state, [1, ...]."""
    kind = np.dtype(_TYPES[messages.DataType.Name(state.data_type)])
    if not state.initial_state:
        found: npt.NDArray[Any] = np.full((1, *state.dims), np.nan if kind.kind == "f" else -1, kind)
        return found
    (first,) = state.initial_state
    if first.WhichOneof("state_data") == "data_file":
        shape = (1, *first.dims)
        content = (folder / INITIAL / first.data_file).read_bytes()
        return np.frombuffer(content, kind, int(np.prod(shape))).reshape(shape)
    return np.zeros((1, *first.dims), kind)
