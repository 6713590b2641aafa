"""Whether the configuration of a model says what the model itself says: its tensors, their types and shapes, its state.

A server checks inputs and outputs when it loads a model, and of states their number only (`ModelInstanceState` in
src/onnxruntime.cc, https://github.com/triton-inference-server/onnxruntime_backend). So it takes silently a state
without initial values, or of another type or shape; and states whose inputs sort otherwise than their outputs. It pairs
these by their order (`SequenceStates` in src/sequence_state.cc, https://github.com/triton-inference-server/core), so
layers would exchange their membranes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tcja_runtime.bundle.sidecar import EngineInfo

_OF_ONNX = {1: "TYPE_FP32", 2: "TYPE_UINT8", 3: "TYPE_INT8", 6: "TYPE_INT32", 7: "TYPE_INT64", 9: "TYPE_BOOL"}
_OF_ONNX |= {10: "TYPE_FP16"}
"""Triton's name of a type, by the number of TensorProto.DataType (onnx.proto3)."""
_OF_TENSORRT = {"FLOAT": "TYPE_FP32", "HALF": "TYPE_FP16", "INT8": "TYPE_INT8", "INT32": "TYPE_INT32"}
_OF_TENSORRT |= {"INT64": "TYPE_INT64", "UINT8": "TYPE_UINT8", "BOOL": "TYPE_BOOL"}
"""Triton's name of a type, by TensorRT's."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of a model.

    Attributes:
        type: Triton's name of its type, such as "TYPE_FP32"; that of the model's file if Triton has none.
        dims: its shape without the batch axis.
        batched: whether its first axis is a batch of any size.
    """

    type: str
    dims: tuple[int, ...]
    batched: bool


@dataclasses.dataclass(frozen=True)
class Tensors:
    """The inputs and outputs of a model, by their names.

    Attributes:
        inputs: the inputs.
        outputs: the outputs.
        most: the largest batch; None if there is no limit.
    """

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    most: int | None = None

    @classmethod
    def of_onnx(cls, model: Any) -> Tensors:
        """Returns those of an ONNX model, a `ModelProto`."""

        def named(values: Iterable[Any]) -> dict[str, Tensor]:
            return {value.name: _of_onnx(value.type.tensor_type) for value in values}

        return cls(named(model.graph.input), named(model.graph.output))

    @classmethod
    def of_engine(cls, info: EngineInfo) -> Tensors:
        """Returns those of an engine, from its sidecar."""
        found = {
            each.name: Tensor(_OF_TENSORRT.get(each.type, each.type), each.shape[1:], each.shape[:1] == (-1,))
            for each in info.tensors
        }
        inputs = {each.name for each in info.tensors if each.input}
        return cls(
            {name: tensor for name, tensor in found.items() if name in inputs},
            {name: tensor for name, tensor in found.items() if name not in inputs},
            info.batch[2],
        )


def _of_onnx(tensor: Any) -> Tensor:
    sizes = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
    kind = _OF_ONNX.get(tensor.elem_type, f"type {tensor.elem_type} of ONNX")
    return Tensor(kind, tuple(sizes[1:]), sizes[:1] == [-1])


def disagreements(config: Any, model: Tensors) -> list[str]:
    """Returns what a configuration says otherwise than its model, a clause each; empty if they agree.

    Args:
        config: the configuration, a `ModelConfig`.
        model: the inputs and outputs of the model.
    """
    states = config.sequence_batching.state
    inputs = [(each.name, each.data_type, each.dims) for each in config.input]
    inputs += [(each.input_name, each.data_type, each.dims) for each in states]
    outputs = [(each.name, each.data_type, each.dims) for each in config.output]
    outputs += [(each.output_name, each.data_type, each.dims) for each in states]
    types = config.DESCRIPTOR.fields_by_name["input"].message_type.fields_by_name["data_type"].enum_type
    found = []
    for kind, said, there in (("input", inputs, model.inputs), ("output", outputs, model.outputs)):
        names = [name for name, _, _ in said]
        found += [f"{kind} '{name}' is named twice" for name in sorted({n for n in names if names.count(n) > 1})]
        found += [f"the model has no {kind} '{name}'" for name in names if name not in there]
        found += [f"{kind} '{name}' of the model is not named" for name in there if name not in names]
        for name, number, dims in said:
            if name in there:
                found += _unlike(f"{kind} '{name}'", types.values_by_number[number].name, tuple(dims), there[name])
    if model.most is not None and config.max_batch_size > model.most:
        found.append(f"max_batch_size is {config.max_batch_size}, and the model takes {model.most} at most")
    if config.max_batch_size < 1:
        found.append(f"max_batch_size is {config.max_batch_size}, and the model has a batch axis")
    return found + _wrong_states(states)


def _unlike(what: str, kind: str, dims: Sequence[int], tensor: Tensor) -> list[str]:
    """Returns in what a tensor differs from what a configuration says of it."""
    found = []
    if kind != tensor.type:
        found.append(f"{what} is {kind}, in the model {tensor.type}")
    if dims != tensor.dims:
        found.append(f"{what} is {list(dims)}, in the model {list(tensor.dims)}")
    if not tensor.batched:
        found.append(f"{what} has no batch axis of any size in the model")
    return found


def _wrong_states(states: Sequence[Any]) -> list[str]:
    """Returns what a server would take silently, or refuse when a sequence begins."""
    found = []
    before = [each.output_name for each in sorted(states, key=lambda each: str(each.input_name).encode())]
    after = [each.output_name for each in sorted(states, key=lambda each: str(each.output_name).encode())]
    found += [f"state '{one}' would get '{other}'" for one, other in zip(before, after, strict=True) if one != other]
    for each in states:
        if len(each.initial_state) != 1 or not each.initial_state[0].WhichOneof("state_data"):
            found.append(f"state '{each.input_name}' has no initial values")
            continue
        first = each.initial_state[0]
        if (first.data_type, list(first.dims)) != (each.data_type, list(each.dims)) or not first.name:
            found.append(f"the initial values of state '{each.input_name}' have another type or shape, or no name")
    return found
