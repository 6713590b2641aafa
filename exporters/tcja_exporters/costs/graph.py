"""An ONNX graph with the shape and type of every signal, for counting."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, TypeAlias

import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper, shape_inference

from tcja_exporters.costs.boards import Board, Mode, Precision
from tcja_runtime.errors import BadInput
from tcja_runtime.model_file.scan_pooling import opened

Signal: TypeAlias = Literal["spikes", "graded", "values"]
"""Graded spikes are zero where nothing fired, and not all of the same size elsewhere: gated ones, and means of some."""


PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


VIEWS = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Dropout", "DequantizeLinear")


FREE = ("Constant", "ConstantOfShape", "Shape")


MOVES = ("Transpose", "Expand", "Slice", "Gather", "Split", "Concat", "Pad", "Cast", "Tile")


PARTS = ("Slice", "Gather")


POOLS = ("MaxPool", "AveragePool")


_WEIGHTS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """What a node costs.

    Attributes:
        name: MODULE/OPERATOR.
        operator: of ONNX.
        precision: it computes in.
        macs: multiply-adds, of products.
        operations: all, a multiply-add being two.
        parameters: values of weights that no node before reads.
        weight_bytes: of them, as they are stored.
        read: bytes of weights and data.
        written: bytes.
        live: bytes of data that are kept while it runs.
        takes: what its first input is.
    """

    name: str
    operator: str
    precision: Precision
    macs: int
    operations: int
    parameters: int
    weight_bytes: int
    read: int
    written: int
    live: int
    takes: Signal

    @property
    def module(self) -> str:
        """The PyTorch module it comes from; empty if it is of the whole network."""
        return self.name.rpartition("/")[0]

    @property
    def moved(self) -> int:
        """Bytes between memory and GPU."""
        return self.read + self.written

    def time(self, board: Board, mode: Mode) -> tuple[float, float]:
        """Seconds that its operations take at least, and its bytes."""
        computing = self.operations / board.peak(self.precision, mode)
        return computing, self.moved / board.bandwidth(mode)


class Graph:
    """A graph whose every tensor has a shape and a type."""

    def __init__(self, model: onnx.ModelProto, batch: int) -> None:
        inferred = _inferred(model, batch)
        self.nodes = list(inferred.graph.node)
        self.inputs = [value.name for value in inferred.graph.input]
        self.outputs = [value.name for value in inferred.graph.output]
        self.constants = {tensor.name: tensor for tensor in inferred.graph.initializer}
        self.constants |= {
            node.output[0]: attribute.t
            for node in self.nodes
            for attribute in node.attribute
            if node.op_type == "Constant" and attribute.name == "value"
        }
        self._types = {
            value.name: value.type.tensor_type
            for values in (inferred.graph.value_info, inferred.graph.input, inferred.graph.output)
            for value in values
        }
        self.makers = {tensor: node for node in self.nodes for tensor in node.output}

    def shape(self, tensor: str) -> tuple[int, ...]:
        if tensor in self.constants:
            return tuple(self.constants[tensor].dims)
        found = self._types.get(tensor)
        dims = found.shape.dim if found else ()
        if found is None or not found.HasField("shape") or not all(dim.HasField("dim_value") for dim in dims):
            raise BadInput(f"the costs of the model cannot be told: nothing tells the shape of its tensor '{tensor}'")
        return tuple(dim.dim_value for dim in dims)

    def size(self, tensor: str) -> int:
        return math.prod(self.shape(tensor))

    def type(self, tensor: str) -> int:
        return int(self.constants[tensor].data_type if tensor in self.constants else self._types[tensor].elem_type)

    def stored(self, tensor: str) -> str:
        """The tensor in memory that another one is a view of."""
        while tensor in self.makers and self.makers[tensor].op_type in VIEWS:
            tensor = self.makers[tensor].input[0]
        return tensor

    def bytes(self, tensor: str) -> int:
        return self.size(tensor) * int(helper.tensor_dtype_to_np_dtype(self.type(tensor)).itemsize)

    def values(self, tensor: str) -> npt.NDArray[Any]:
        if tensor not in self.constants:
            raise BadInput(f"the firing rate behind '{tensor}' cannot be told: what it selects is not constant")
        return numpy_helper.to_array(self.constants[tensor])

    def is_weight(self, tensor: str) -> bool:
        """Whether it is a constant of numbers, not a shape or a lone scale."""
        constant = self.constants.get(tensor)
        return constant is not None and len(constant.dims) > 0 and constant.data_type in _WEIGHTS


def _inferred(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """The model with its batch fixed, all shapes that follow, and the spikes of every layer."""
    fixed = onnx.ModelProto.FromString(opened(model.SerializeToString()))
    axes = [dim for value in fixed.graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param]
    if len({dim.dim_param for dim in axes}) > 1:
        names = ", ".join(sorted({dim.dim_param for dim in axes}))
        raise BadInput(f"the costs of the model cannot be told: its inputs have more open axes than a batch ({names})")
    if not axes and batch != 1:
        raise BadInput(f"`batch` {batch}: the model has a batch of its own, which is fixed")
    for dim in axes:
        dim.dim_value = batch
    # What is stored of shapes has the batch as a symbol.
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        return shape_inference.infer_shapes(fixed, data_prop=True)
    except Exception as error:  # onnx's own, which share no base class
        text = str(error).strip().splitlines()[0]
        raise BadInput(f"the costs of the model cannot be told: its shapes do not follow ({text})") from error


def _precision(graph: Graph, node: onnx.NodeProto) -> Precision:
    """What a product computes in: int8 if both operands are, else what its input is."""
    types = {graph.type(graph.stored(tensor)) for tensor in node.input[:2]}
    if types == {onnx.TensorProto.INT8}:
        return "int8"
    return "fp16" if graph.type(node.input[0]) == onnx.TensorProto.FLOAT16 else "fp32"


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = [helper.get_attribute_value(each) for each in node.attribute if each.name == name]
    return found[0] if found else default
